"""Servers of objects, as they are: SeaweedFS and moto (S3), s3rver (S3 without conditions), Azurite (Azure).

`make test` installs them, into an environment of their own.
"""

import base64
import ctypes
import hashlib
import hmac
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen
from uuid import uuid4

import boto3
from botocore.config import Config

from labelmill.job.model import Storage
from labelmill.store.address import StoreAddress

ROOT = Path(__file__).parent.parent.parent
INSTALLED = Path(os.environ.get("LABELMILL_STORES_VENV", ROOT / ".venv-stores"))
_WAIT_SECONDS = 120
_IDENTITIES = """{"identities": [{"name": "tests", "credentials": [{"accessKey": "tests", "secretKey": "tests-secret"}],
"actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}"""
_ACCOUNT = "devstoreaccount1"
_AZURITES_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's own, which everybody knows."""
_S3_VARIABLES = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests-secret"}
_S3RVERS_VARIABLES = {"AWS_ACCESS_KEY_ID": "S3RVER", "AWS_SECRET_ACCESS_KEY": "S3RVER"}
_AZURE_VARIABLES = {"AZURE_STORAGE_ACCOUNT_NAME": _ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": _AZURITES_KEY}


@dataclass
class StoreServer:
    """A server of objects that runs: where it answers, and what its users have in their environment."""

    scheme: str
    endpoint: str
    variables: dict[str, str]
    start: Callable[[], subprocess.Popen] = field(repr=False)
    process: subprocess.Popen = field(repr=False)

    def bucket(self):
        """The address of a fresh bucket."""
        name = f"tests-{uuid4().hex[:12]}"
        if self.scheme == "az":
            _make_container(self.endpoint, name)
        else:
            self.client().create_bucket(Bucket=name)
        return StoreAddress.of(f"{self.scheme}://{name}", Storage(endpoint=self.endpoint))

    def client(self):
        """AWS's own client of it."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.variables["AWS_SECRET_ACCESS_KEY"],
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 10}),
        )

    def kill(self):
        """End it as a power cut does."""
        self.process.kill()
        self.process.wait()

    def restart(self):
        """Start it again on what it has on its disk."""
        self.process = self.start()
        _wait_for(self.endpoint, self.process)


def is_installed(program):
    """Whether a server is there, by its program below the environment."""
    return (INSTALLED / program).exists()


@contextmanager
def seaweedfs():
    """SeaweedFS, which holds what it says about conditions, also in races and after a kill."""
    names = [
        *(f"{part}.port{kind}" for part in ("master", "volume", "filer", "s3") for kind in ("", ".grpc")),
        "s3.port.iceberg",
        "s3.port.lance",
    ]
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    flags = [f"-{name}={port}" for name, port in ports.items()]
    with _folder() as folder:
        identities = folder / "identities.json"
        identities.write_text(_IDENTITIES)
        command = [
            str(INSTALLED / "bin" / "weed"),
            "server",
            "-s3",
            f"-dir={folder}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-master.telemetry=false",
            "-s3.autoCreateBucket=false",
            f"-s3.config={identities}",
            "-volume.max=2000",
            "-master.volumeSizeLimitMB=64",
            *flags,
        ]
        yield from _serving("s3", f"http://127.0.0.1:{ports['s3.port']}", _S3_VARIABLES, command, folder)


@contextmanager
def moto():
    """Moto, which is there in a second and quick."""
    (port,) = _free_ports(1)
    command = [str(INSTALLED / "bin" / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    with _folder() as folder:
        yield from _serving("s3", f"http://127.0.0.1:{port}", _S3_VARIABLES, command, folder)


@contextmanager
def s3rver():
    """S3rver, which passes over all conditions."""
    (port,) = _free_ports(1)
    with _folder() as folder:
        program = INSTALLED / "node_modules" / ".bin" / "s3rver"
        command = [str(program), f"--directory={folder}", "--address=127.0.0.1", f"--port={port}", "--silent"]
        yield from _serving("s3", f"http://127.0.0.1:{port}", _S3RVERS_VARIABLES, command, folder)


@contextmanager
def azurite():
    """Azurite, Microsoft's own emulator of Azure's blobs."""
    (port,) = _free_ports(1)
    with _folder() as folder:
        program = INSTALLED / "node_modules" / ".bin" / "azurite-blob"
        command = [
            str(program),
            "--silent",
            "--disableTelemetry",
            "--skipApiVersionCheck",
            "--blobHost=127.0.0.1",
            f"--blobPort={port}",
            f"--location={folder}",
        ]
        endpoint = f"http://127.0.0.1:{port}/{_ACCOUNT}"
        yield from _serving("az", endpoint, _AZURE_VARIABLES, command, folder)


def _serving(scheme, endpoint, variables, command, folder):
    log = (folder / "server.log").open("wb")

    def start():
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, preexec_fn=_end_with_us)  # noqa: PLW1509

    with log:
        server = StoreServer(scheme, endpoint, variables, start, start())
        try:
            _wait_for(endpoint, server.process)
            yield server
        finally:
            server.kill()


def _end_with_us():
    """End the server with the tests, however they end."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _wait_for(endpoint, process):
    until = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"the server of objects ended with {process.returncode}")
        try:
            urlopen(endpoint, timeout=5).close()
        except HTTPError:
            return
        except (URLError, OSError):
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(endpoint)


@contextmanager
def _folder():
    folder = Path(tempfile.mkdtemp(prefix="labelmill-stores-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _make_container(endpoint, name):
    date = formatdate(usegmt=True)
    version = "2021-08-06"
    resource = f"/{_ACCOUNT}/{_ACCOUNT}/{name}\nrestype:container"
    said = f"PUT\n\n\n\n\ntext/plain\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:{version}\n{resource}"
    digest = hmac.new(base64.b64decode(_AZURITES_KEY), said.encode(), hashlib.sha256).digest()
    headers = {
        "x-ms-date": date,
        "x-ms-version": version,
        "Authorization": f"SharedKey {_ACCOUNT}:{base64.b64encode(digest).decode()}",
        "Content-Length": "0",
        "Content-Type": "text/plain",
    }
    with suppress(BrokenPipeError):
        urlopen(Request(f"{endpoint}/{name}?restype=container", b"", headers, method="PUT")).close()
