"""Servers on loopback with certificates and without, and an environment that knows no proxies."""

import contextlib
import datetime as dt
import ipaddress
import os
import socket
import ssl
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from servers.raw import http_reply, says

KEY = "sk-marked-0123456789"
NOW = dt.datetime.now(dt.UTC)


@pytest.fixture
def environment(monkeypatch):
    """An environment with a key and without proxies; returns what sets more."""
    for name in list(os.environ):
        if name.casefold().endswith("_proxy") or name.startswith("SSL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return lambda **variables: [monkeypatch.setenv(name, value) for name, value in variables.items()]


@pytest.fixture
def serve():
    """Answer each connection on loopback by `handle(connection)`, until the test ends; returns the port."""
    with contextlib.ExitStack() as stack:

        def start(handle):
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def accept():
                with contextlib.suppress(OSError):
                    while True:
                        connection, _ = listening.accept()
                        with connection, contextlib.suppress(OSError):
                            handle(connection)

            threading.Thread(target=accept, daemon=True).start()
            stack.callback(listening.shutdown, socket.SHUT_RDWR)
            return listening.getsockname()[1]

        yield start


@pytest.fixture
def certificate(tmp_path):
    """Write a self-signed certificate and its key: `certificate(name, days)`; days before 0 have passed."""

    def write(name="127.0.0.1", days=1, begins=-10):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "labelmill's tests")])
        try:
            alternative = x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            alternative = x509.DNSName(name)
        signed = (
            x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(NOW + dt.timedelta(days=begins))
            .not_valid_after(NOW + dt.timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        path = tmp_path / f"{name}{days}{begins}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + signed.public_bytes(serialization.Encoding.PEM)
        )
        return path

    return write


@pytest.fixture
def serve_tls(serve):
    """A TLS server with a certificate; returns its port."""

    def start(path):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)

        def handle(connection):
            with context.wrap_socket(connection, server_side=True) as secure:
                says(http_reply(200, "{}"))(secure)

        return serve(handle)

    return start
