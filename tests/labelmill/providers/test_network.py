"""What goes wrong on the way to a provider, against real sockets, in sentences; and the free request before a run."""

import contextlib
import errno
import resource
import socket
import ssl
import sys
import threading

import httpx
import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers.raw import http_reply, replies_at_once, request_of, says

from labelmill.check.provider import answering_endpoint, endpoint_mistakes, key_mistakes
from labelmill.errors import JobRefused
from labelmill.providers.endpoint import Endpoint
from labelmill.providers.environment import bypass_proxies
from labelmill.providers.failures import connection_words, was_sent
from labelmill.providers.openai import client_to

KEY = "sk-marked-0123456789"
pytestmark = pytest.mark.usefixtures("environment")


def endpoint(base_url, practice=False):
    """An endpoint with the test's key."""
    return Endpoint(base_url, "OPENAI_API_KEY", practice=practice)


def free_port():
    """A port of this machine that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture(autouse=True, params=["ours", "openai's own"])
def connections(request, monkeypatch):
    """What the openai client sends by: what Labelmill's connections raise is told as what its own client's do."""
    monkeypatch.setattr(sys.modules[__name__], "OURS", request.param == "ours")


OURS = False


def failure(base_url, timeout=5.0, http_client=None, key=KEY):
    """What the openai client raises when it asks a chat model there."""
    if OURS and http_client is None:
        http_client = client_to(base_url)
    with (
        openai.OpenAI(
            base_url=base_url, api_key=key, max_retries=0, timeout=timeout, http_client=http_client
        ) as client,
        pytest.raises((openai.OpenAIError, UnicodeError)) as caught,
    ):
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
    return caught.value


# ---- words


def test_a_refused_connection_is_told_with_its_place():
    """Host and port of what did not answer are said, and the request did not leave."""
    port = free_port()
    error = failure(f"http://127.0.0.1:{port}/v1")
    assert connection_words(error) == f"nothing answers at 127.0.0.1:{port}: connection refused"
    assert not was_sent(error)


@pytest.mark.parametrize("host", ["models.invalid", "a..invalid", f"{'x' * 64}.invalid"])
def test_a_name_that_can_not_be_resolved_is_told(host):
    """A host that there is not, or that can't be one, is told as its name's fault, and the request did not leave."""
    error = failure(f"http://{host}/v1")
    words = connection_words(error)
    assert "could not be resolved" in words or "no host name" in words
    assert host in words or "no host name" in words
    assert not was_sent(error)


@pytest.mark.parametrize(
    ("name", "days", "begins", "words"),
    [
        ("127.0.0.1", 1, -10, "is self-signed and not trusted here; name a PEM file"),
        ("127.0.0.1", -1, -10, "has expired"),
        ("127.0.0.1", 10, 5, "is not valid yet"),
        ("10.0.0.1", 1, -10, "is for another address"),
    ],
)
def test_a_certificate_that_is_not_accepted_is_told_by_what_is_wrong(
    name, days, begins, words, certificate, serve_tls, environment
):
    """Not trusted, expired, not valid yet, another's: each is said, and the request did not leave."""
    path = certificate(name, days, begins)
    if "self-signed" not in words:
        environment(SSL_CERT_FILE=str(path))
    port = serve_tls(path)
    error = failure(f"https://127.0.0.1:{port}/v1")
    assert connection_words(error).startswith(f"TLS: the certificate of 127.0.0.1:{port} {words}")
    assert not was_sent(error)


def test_another_host_names_certificate_is_told(certificate, serve_tls, environment):
    """A name that the certificate doesn't hold is said."""
    path = certificate("models.example")
    environment(SSL_CERT_FILE=str(path))
    error = failure(f"https://localhost:{serve_tls(path)}/v1")
    assert "is for another host name" in connection_words(error)


def test_a_trusted_private_certificate_is_accepted_on_loopback(certificate, serve_tls, environment):
    """A server of this machine with a certificate of its own is asked, as by the openai client alone."""
    path = certificate()
    environment(SSL_CERT_FILE=str(path))
    assert key_mistakes(endpoint(f"https://127.0.0.1:{serve_tls(path)}/v1"), MODEL) == []


def test_a_bundle_that_is_not_read_is_named(certificate, serve_tls, environment):
    """Whoever set another program's variable learns that it isn't read; a bundle that is read and lacks it is named."""
    base_url = f"https://127.0.0.1:{serve_tls(certificate())}/v1"
    environment(REQUESTS_CA_BUNDLE="/etc/corporate.pem")
    assert "in SSL_CERT_FILE (REQUESTS_CA_BUNDLE is not read here)" in connection_words(failure(base_url))
    other = str(certificate("10.0.0.2"))
    words = connection_words(failure(base_url), {"SSL_CERT_FILE": other})
    assert f"SSL_CERT_FILE is {other!r}" in words


def test_a_plain_port_behind_https_is_told(serve):
    """TLS spoken to a server that has none gets a hint at the scheme, and the request did not leave."""
    port = serve(replies_at_once(http_reply(400)))
    error = failure(f"https://127.0.0.1:{port}/v1")
    words = connection_words(error)
    assert words == f"TLS: 127.0.0.1:{port} does not speak TLS; its address may have to begin with http://"
    assert not was_sent(error)


def test_a_tls_port_behind_http_is_told(serve):
    """HTTP spoken to a TLS server that answers with an alert gets a hint at the scheme."""
    error = failure(f"http://127.0.0.1:{serve(says(bytes.fromhex('15030100020246')))}/v1")
    assert connection_words(error).endswith("seems to speak TLS; its address may have to begin with https://")
    assert was_sent(error)


def _reset(connection):
    connection.recv(65_536)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


@pytest.mark.parametrize(
    ("handle", "words"),
    [
        (_reset, "the connection"),
        (says(b""), "closed the connection without an answer"),
        (says(b"+PONG\r\n\r\n"), "answers is not HTTP"),
        (says(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"), "was cut off"),
        (says(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab"), "was cut off"),
    ],
)
def test_what_breaks_after_the_request_left_may_have_arrived(handle, words, serve):
    """A connection that came about and broke is told as that, and the request counts as sent."""
    port = serve(handle)
    error = failure(f"http://127.0.0.1:{port}/v1")
    told = connection_words(error)
    # A reset may be seen as an end, and an answer's end as a reset: the system's choice.
    assert words in told or "reset the connection" in told
    assert f"127.0.0.1:{port}" in told
    assert was_sent(error)


def test_a_silent_server_may_have_got_the_request(serve):
    """A time-out after the connection came about is the answer's, and the request counts as sent."""
    release = threading.Event()
    port = serve(lambda _: release.wait(30))
    error = failure(f"http://127.0.0.1:{port}/v1", timeout=0.2)
    release.set()
    assert connection_words(error) == f"127.0.0.1:{port} did not answer in time"
    assert was_sent(error)


def test_a_connection_that_is_not_accepted_in_time_is_told():
    """A full queue of connections is told as that, and the request did not leave."""
    with socket.socket() as full, contextlib.ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        error = failure(f"http://127.0.0.1:{full.getsockname()[1]}/v1", timeout=0.2)
    assert "did not accept the connection in time" in connection_words(error)
    assert not was_sent(error)


def test_no_free_connection_is_told(serve):
    """A pool without a free place is no one's fault outside, and the request did not leave."""
    release = threading.Event()
    port = serve(lambda _: release.wait(30))
    with httpx2.Client(limits=httpx2.Limits(max_connections=1), trust_env=False, timeout=0.2) as pool:

        def hold():
            with contextlib.suppress(httpx2.HTTPError):
                pool.get(f"http://127.0.0.1:{port}/", timeout=5)

        holding = threading.Thread(target=hold)
        holding.start()
        while not pool._transport._pool.connections:
            pass
        error = failure(f"http://127.0.0.1:{port}/v1", timeout=0.2, http_client=pool)
        release.set()
        holding.join()
    assert connection_words(error) == "no connection became free in time"
    assert not was_sent(error)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_too_few_open_files_are_not_the_endpoints_fault(host, serve):
    """A process that may open no more files says so, and does not blame the address; nor its name."""
    port = serve(says(http_reply(200, "{}")))
    with openai.OpenAI(base_url=f"http://{host}:{port}/v1", api_key=KEY, max_retries=0) as client:
        models = client.models  # imported when it is first named
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        try:
            # From the second time on, glibc's resolver leaves another number than that of too many files.
            socket.getaddrinfo(host, port)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
            with pytest.raises(openai.APIConnectionError) as caught:
                models.list()
            words = connection_words(caught.value)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert words == "this process may open no more files: raise ulimit -n, or lower run.max_concurrency"
    assert not was_sent(caught.value)


@pytest.mark.parametrize("key", [f"{KEY}\nx", f"{KEY}é"])
def test_a_key_that_can_not_be_sent_is_not_shown(key, serve):
    """Characters that no key has are told without the key, and the request did not leave."""
    error = failure(f"http://127.0.0.1:{serve(says(http_reply(200)))}/v1", key=key)
    words = connection_words(error)
    assert "the key holds" in words
    assert KEY not in words
    assert not was_sent(error)


# ---- proxies


PROXIED = "https://models.example/v1"


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_dead_proxy_is_told_by_its_variable(name, environment):
    """Which variable leads to the proxy that doesn't answer is said, without its password."""
    port = free_port()
    environment(**{name: f"http://me:secret@127.0.0.1:{port}"})
    error = failure(PROXIED)
    assert connection_words(error) == (
        f"nothing answers at the proxy http://[hidden]@127.0.0.1:{port} ({name}): connection refused"
    )
    assert not was_sent(error)


def test_a_proxy_whose_name_can_not_be_resolved_is_told(environment):
    """It is the proxy's name, and not the provider's, that is said."""
    environment(HTTPS_PROXY="http://me:secret@proxy.invalid:3128")
    words = connection_words(failure(PROXIED))
    assert words.startswith("the name 'proxy.invalid' of HTTPS_PROXY could not be resolved")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (407, "wants a user name and a password (407)"),
        (403, "through: 403 Forbidden"),
        (502, "through: 502 Bad Gateway"),
    ],
)
def test_a_proxy_that_lets_nothing_through_is_told(status, words, serve, environment):
    """What a proxy says to CONNECT is said as the proxy's, and the request did not leave."""
    environment(HTTPS_PROXY=f"http://127.0.0.1:{serve(says(http_reply(status)))}")
    error = failure(PROXIED)
    told = connection_words(error)
    assert words in told
    assert "HTTPS_PROXY" in told
    assert not was_sent(error)


def test_a_plain_proxy_behind_https_is_told(serve, environment):
    """A proxy that is named with https:// and speaks HTTP, as most do, gets a hint at the scheme."""
    port = serve(replies_at_once(http_reply(400)))
    environment(HTTPS_PROXY=f"https://127.0.0.1:{port}")
    words = connection_words(failure(PROXIED))
    assert words.startswith(f"TLS: the proxy https://127.0.0.1:{port} (HTTPS_PROXY) does not speak TLS")


def test_a_certificate_behind_a_proxy_is_the_endpoints(certificate, serve, environment):
    """Through a tunnel it is the provider's certificate that is told, as a firewall that inspects TLS replaces it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate("models.example"))

    def tunnel(connection):
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with contextlib.suppress(ssl.SSLError):
            context.wrap_socket(connection, server_side=True)

    environment(HTTPS_PROXY=f"http://127.0.0.1:{serve(tunnel)}")
    error = failure(PROXIED)
    assert connection_words(error).startswith("TLS: the certificate of models.example:443 is self-signed")
    assert not was_sent(error)


# ---- any exception


def test_httpx_and_its_async_client_are_told_alike():
    """The library of langasync, which connects in its own way, gets the same sentence."""
    port = free_port()

    async def ask():
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.get(f"http://127.0.0.1:{port}/")

    import asyncio  # noqa: PLC0415

    with pytest.raises(httpx.ConnectError) as caught:
        asyncio.run(ask())
    assert connection_words(caught.value) == f"nothing answers at 127.0.0.1:{port}: connection refused"
    assert not was_sent(caught.value)


def test_a_providers_own_refusal_was_sent(serve):
    """Words of a provider that sound like a failure of this machine don't make its answer one."""
    body = '{"error": {"message": "Illegal header value; ConnectError; [Errno 111] Connection refused"}}'
    error = failure(f"http://127.0.0.1:{serve(says(http_reply(400, body)))}/v1")
    assert isinstance(error, openai.BadRequestError)
    assert was_sent(error)


ERRORS = st.sampled_from(
    [
        OSError,
        ConnectionResetError,
        TimeoutError,
        ValueError,
        httpx2.ConnectError,
        httpx2.ReadError,
        httpx2.ProxyError,
        httpx.RemoteProtocolError,
        ssl.SSLError,
        KeyError,
        Exception,
    ]
)


@given(ERRORS, ERRORS, st.text(max_size=40), st.sampled_from([None, *errno.errorcode]))
def test_every_exception_has_a_sentence(outer, inner, said, number):
    """Whatever was raised, there is one line that can be shown, without credentials and without a number in brackets."""
    told = f"{said} http://me:pa55word@host/x"
    cause = inner(number, told) if number and issubclass(inner, OSError) else inner(told)
    error = outer(told)
    error.__cause__ = cause
    words = connection_words(error)
    assert words
    assert words.isprintable()
    assert "pa55word" not in words
    assert "[Errno" not in words or "[Errno" in said
    assert was_sent(error) in {True, False}


# ---- the free request


class _Model:
    """A model's section as the check needs it: its provider."""

    def __init__(self, provider):
        self.provider = provider


MODEL = _Model("openai")


def asked(serve, reply):
    """A server with one reply, and the requests it got."""
    requests = []

    def handle(connection):
        requests.append(request_of(connection))
        connection.sendall(reply)

    return f"http://127.0.0.1:{serve(handle)}/v1", requests


RESTRICTED = (
    "You have insufficient permissions for this operation. Missing scopes: api.model.read. Check that you have the "
    "correct role in your organization"
)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (
            401,
            '{"error": {"message": "Incorrect API key provided: sk-marked-0123456789.", "code": "invalid_api_key"}}',
        ),
        (401, '{"detail": "Unauthorized sk-marked-0123456789"}'),
        (401, "no sk-marked-0123456789"),
        (401, ""),
        (400, '{"code": "invalid", "error": "Incorrect API key provided: sk-marked-0123456789"}'),
        (400, '[{"error": {"message": "API key not valid. Please pass a valid API key."}}]'),
        (403, '{"error": {"message": "no", "code": "invalid_api_key"}}'),
    ],
)
def test_a_wrong_key_is_found_by_one_free_request(status, body, serve):
    """One GET of the models, and the key's variable is named in the provider's words, without the key."""
    base_url, requests = asked(serve, http_reply(status, body))
    (mistake,) = key_mistakes(endpoint(base_url), MODEL)
    assert mistake.where == "OPENAI_API_KEY"
    assert f"{base_url} did not accept the key ({status})" in mistake.sentence
    assert KEY not in str(mistake)
    assert len(requests) == 1
    assert requests[0].startswith("GET /v1/models HTTP/1.1")
    assert f"Bearer {KEY}".casefold() in requests[0].casefold()


def test_a_missing_key_is_told_as_missing(serve, monkeypatch):
    """A local server that wants a key, where there is none, is told as that."""
    monkeypatch.delenv("OPENAI_API_KEY")
    base_url, _ = asked(serve, http_reply(401, '{"error": "Unauthorized"}'))
    (mistake,) = key_mistakes(endpoint(base_url), MODEL)
    assert mistake.sentence == f"{base_url} wants a key (401): Unauthorized"


@pytest.mark.parametrize(
    "reply",
    [
        http_reply(200, '{"object": "list", "data": []}'),
        http_reply(200, "<html>login</html>", "text/html"),
        http_reply(401, f'{{"error": {{"message": "{RESTRICTED}"}}}}'),
        http_reply(401, '{"detail": "Virtual key is not allowed to call this route."}'),
        http_reply(401, "<html><h1>401 Authorization Required</h1></html>", "text/html"),
        http_reply(400, '{"error": "no such route"}'),
        http_reply(402),
        http_reply(403, f'{{"error": {{"message": "{RESTRICTED}"}}}}'),
        http_reply(404),
        http_reply(405),
        http_reply(429),
        http_reply(500),
        http_reply(503),
        b"",
        b"+PONG\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
    ],
)
def test_what_leaves_it_open_is_no_mistake(reply, serve):
    """Endpoints without a list of models, restricted keys, servers with errors: the run goes on, after one request."""
    base_url, requests = asked(serve, reply)
    assert key_mistakes(endpoint(base_url), MODEL) == []
    assert len(requests) == 1


def test_a_silent_endpoint_is_not_waited_for(serve):
    """A server that does not answer in time is left to the run."""
    release = threading.Event()
    port = serve(lambda _: release.wait(30))
    assert key_mistakes(endpoint(f"http://127.0.0.1:{port}/v1"), MODEL, timeout_seconds=0.2) == []
    release.set()


def test_a_wrong_port_is_found_before_a_run():
    """Nothing listens there: the address, the reason and a question are said."""
    base_url = f"http://127.0.0.1:{free_port()}/v1"
    (mistake,) = key_mistakes(endpoint(base_url), MODEL)
    assert mistake.where == base_url
    assert mistake.sentence.startswith("nothing answers at 127.0.0.1:")
    assert mistake.sentence.endswith("connection refused; is the server running?")


def test_a_server_that_has_just_started_is_found():
    """A refusal is asked about once more."""
    port = free_port()
    base_url = f"http://127.0.0.1:{port}/v1"
    with socket.socket() as late:
        late.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        late.bind(("127.0.0.1", port))
        timer = threading.Timer(0.1, late.listen)
        timer.start()
        assert key_mistakes(endpoint(base_url), MODEL, timeout_seconds=1) == []
        timer.join()


@pytest.mark.parametrize("base_url", ["https://models.invalid/v1", "http://a..b/v1"])
def test_a_wrong_name_is_found_before_a_run(base_url):
    """A host that there is not is a mistake in the address."""
    (mistake,) = key_mistakes(endpoint(base_url), MODEL)
    assert mistake.where == base_url


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_refuses_is_found_before_a_run(scheme, serve, environment):
    """A proxy that wants a password is a mistake in its variable, whether it tunnels or forwards."""
    name = f"{scheme.upper()}_PROXY"
    environment(**{name: f"http://127.0.0.1:{serve(says(http_reply(407)))}"})
    (mistake,) = key_mistakes(endpoint(f"{scheme}://models.example/v1"), MODEL)
    assert mistake.where == name
    assert "wants a user name and a password" in mistake.sentence


@pytest.mark.parametrize(
    ("provider", "path", "header"),
    [
        ("anthropic", "/v1/models", f"x-api-key: {KEY}"),
        ("google", "/v1/models", f"x-goog-api-key: {KEY}"),
    ],
)
def test_each_provider_is_asked_in_its_own_way(provider, path, header, serve):
    """The key goes into the provider's own header, and into no other; redirects are not followed."""
    base_url, requests = asked(serve, http_reply(401, '{"error": {"message": "invalid x-api-key"}}'))
    (mistake,) = key_mistakes(endpoint(base_url), _Model(provider))
    assert "invalid x-api-key" in mistake.sentence
    told = requests[0].casefold()
    assert told.startswith(f"get {path} ")
    assert header in told
    assert "authorization" not in told
    assert ("anthropic-version: 2023-06-01" in told) is (provider == "anthropic")


def test_practice_is_not_asked():
    """A practice provider has no key, and one that is yet to be started no address."""
    assert key_mistakes(endpoint("http://127.0.0.1:9/v1", practice=True), MODEL) == []
    assert key_mistakes(endpoint(None), MODEL) == []


def test_a_broken_environment_is_told_before_anything_is_asked(serve):
    """What can't be used is told alone: the request that it would break is not made."""
    base_url, requests = asked(serve, http_reply(401))
    (mistake,) = endpoint_mistakes(endpoint(base_url), MODEL, {"ALL_PROXY": "socks://x"})
    assert (mistake.where, requests) == ("ALL_PROXY", [])
    bypass_proxies({})


def test_an_endpoint_is_asked_once_by_the_command_line_and_its_flow(serve, job_of):
    """Who asks again within a minute sends no second request; what was wrong is asked about again."""
    base_url, requests = asked(serve, http_reply(404))
    job = job_of(model={"provider": "openai"})
    found = [answering_endpoint(job, base_url) for _ in range(3)]
    assert [each.base_url for each in found] == [base_url] * 3
    assert [request.split()[1] for request in requests].count("/v1/models") == 1
    base_url, requests = asked(serve, http_reply(401, '{"error": "no"}'))
    for _ in range(2):
        with pytest.raises(JobRefused, match="did not accept the key"):
            answering_endpoint(job, base_url)
    assert [request.split()[1] for request in requests].count("/v1/models") == 2
