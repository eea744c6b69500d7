"""Requests that Labelmill sends by itself, like the openai client's first one, over real sockets."""

import contextlib
import gzip
import json
import os
import socket
import ssl
import struct
import threading
import zlib

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers.raw import http_reply, request_of

from labelmill.providers.connections import IDLE_SECONDS, Connections, PreparedRequest, shared_connections
from labelmill.providers.table import PROVIDERS
from labelmill.question.answers import Answer
from labelmill.question.failures import Failure
from labelmill.question.form import form_of
from labelmill.question.prompt import prompt_of

pytestmark = pytest.mark.usefixtures("environment")
COMPLETION = json.dumps(
    {
        "model": "gpt-4o-mini",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "sport"}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 30, "completion_tokens": 1, "total_tokens": 31},
    }
)


def kept_alive(status, body=COMPLETION, *more):
    """A response after which the connection stays."""
    raw = body if isinstance(body, bytes) else body.encode()
    head = [f"HTTP/1.1 {status} X", "content-type: application/json", *more]
    if not any("chunked" in line for line in more):
        head.append(f"content-length: {len(raw)}")
    return "\r\n".join([*head, "", ""]).encode() + raw


@pytest.fixture
def asked(job_of):
    """Ask a model at an address: `asked(base_url)` sends a text, and again; each time it returns the reply's result."""

    def build(base_url, **model):
        job = job_of(model={"provider": "openai", **model})
        chat = PROVIDERS["openai"].chat(job, base_url, "sk-marked-0123456789", form_of(job))
        payload = chat.payload_of(prompt_of(job).format_messages(text="球赛 \N{SNOWMAN}"))
        return lambda: chat.send(payload).result

    return build


@pytest.fixture
def conversing(serve):
    """A server that answers each request of a connection in turn, by `answer_of(number)`, and notes them by connection."""

    def start(answer_of):
        seen = []

        def handle(connection):
            own = []
            seen.append(own)
            while head := request_of(connection):
                own.append(head)
                connection.sendall(answer_of(sum(map(len, seen))))

        return f"http://127.0.0.1:{serve(handle)}/v1", seen

    return start


def bodies_by(connection):
    """A request's head and body, whole."""
    read = b""
    while b"\r\n\r\n" not in read:
        read += connection.recv(65_536)
    head, _, body = read.partition(b"\r\n\r\n")
    length = int(
        next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")).split()[1]
    )
    while len(body) < length:
        body += connection.recv(65_536)
    return head.decode(), body.decode()


def test_the_second_request_is_sent_like_the_first(serve, asked):
    """Of the request that OpenAI's client makes and the one that follows it every header and every byte of the body are the same."""
    seen = []

    def handle(connection):
        for _ in range(2):
            seen.append(bodies_by(connection))
            connection.sendall(kept_alive(200))

    ask = asked(
        f"http://127.0.0.1:{serve(handle)}/v1",
        headers={"x-team": "labels"},
        extra_body={"top_k": 1, "timeout": 3},
    )
    assert [ask().content, ask().content] == ["sport", "sport"]
    (first, first_body), (second, second_body) = seen
    assert json.loads(second_body) == json.loads(first_body)
    assert len(second_body) == len(first_body)
    assert sorted(second.lower().split("\r\n")) == sorted(first.lower().split("\r\n"))
    assert "authorization: bearer sk-marked" in second.lower()
    assert "x-team: labels" in second.lower()


def test_a_connection_serves_one_request_after_the_other(conversing, asked):
    """Requests that follow each other share a connection."""
    base_url, seen = conversing(lambda _: kept_alive(200))
    ask = asked(base_url)
    assert {ask().content for _ in range(5)} == {"sport"}
    assert len(seen) == 1


def test_a_connection_that_was_closed_meanwhile_is_not_used(serve, asked):
    """A server that closes after each answer costs no request, whether or not it says so."""
    served = []

    def handle(connection):
        request_of(connection)
        served.append(connection)
        connection.sendall(kept_alive(200))
        connection.shutdown(socket.SHUT_RDWR)

    ask = asked(f"http://127.0.0.1:{serve(handle)}/v1")
    results = [ask() for _ in range(20)]
    assert {type(result) for result in results} <= {Answer, Failure}
    # What was closed before it was taken out is never used; what closes at that very moment is a connection that broke.
    assert sum(isinstance(result, Answer) for result in results) >= 15
    assert all(result.kind == "connection" for result in results if isinstance(result, Failure))


def test_a_connection_is_not_kept_for_long(conversing, asked, monkeypatch):
    """One that nobody used for some seconds is closed: servers forget such connections without a word."""
    base_url, seen = conversing(lambda _: kept_alive(200))
    ask = asked(base_url)
    ask(), ask()
    monkeypatch.setattr("labelmill.providers.connections.IDLE_SECONDS", -IDLE_SECONDS)
    ask()
    assert len(seen) == 2


def in_chunks(body):
    """A body in three chunks."""
    third = len(body) // 3
    parts = (body[:third], body[third : 2 * third], body[2 * third :])
    return b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in parts) + b"0\r\n\r\n"


@pytest.mark.parametrize(
    "packed",
    [
        kept_alive(200, gzip.compress(COMPLETION.encode()), "content-encoding: gzip"),
        kept_alive(200, zlib.compress(COMPLETION.encode()), "content-encoding: deflate"),
        kept_alive(200, in_chunks(COMPLETION.encode()), "transfer-encoding: chunked"),
        kept_alive(
            200,
            in_chunks(gzip.compress(COMPLETION.encode())),
            "transfer-encoding: chunked",
            "content-encoding: gzip",
        ),
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + kept_alive(200),
        http_reply(200, COMPLETION),
        b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n" + COMPLETION.encode(),
    ],
    ids=["gzip", "deflate", "chunked", "chunked gzip", "early hints", "closing", "http/1.0"],
)
def test_answers_come_however_they_are_packed(packed, serve, asked):
    """Compressed, in chunks, after hints, with a connection that closes: it is the same answer."""
    is_last = b"connection: close" in packed or packed.startswith(b"HTTP/1.0")

    def handle(connection):
        while request_of(connection):
            connection.sendall(packed)
            if is_last:
                return

    ask = asked(f"http://127.0.0.1:{serve(handle)}/v1")
    assert [ask().content for _ in range(3)] == ["sport"] * 3


def test_headers_of_limits_are_read_whatever_their_case(serve, job_of):
    """What a provider says of its limits comes through; a header that comes twice is joined."""
    head = b"HTTP/1.1 200 OK\r\nX-RateLimit-Limit-Requests: 60\r\nx-two: a\r\nX-Two: b\r\ncontent-length: 2\r\n\r\n{}"
    port = serve(
        lambda connection: [connection.sendall(head) for _ in iter(lambda: request_of(connection), "")]
    )
    job = job_of(model={"provider": "openai"})
    chat = PROVIDERS["openai"].chat(job, f"http://127.0.0.1:{port}/v1", "k", form_of(job))
    payload = chat.payload_of(prompt_of(job).format_messages(text="x"))
    first, second = chat.send(payload).headers, chat.send(payload).headers
    for headers in (first, second):
        assert headers["x-ratelimit-limit-requests"] == "60"
        assert headers["x-two"] == "a, b"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(status, conversing, asked):
    """The key goes to no other host; the sentence names the address, and says what to do."""
    other, elsewhere = conversing(lambda _: kept_alive(200))
    redirect = kept_alive(status, "", f"location: {other}?token=secret")
    base_url, _ = conversing(lambda number: redirect if number > 1 else kept_alive(200))
    ask = asked(base_url)
    assert ask().content == "sport"
    failure = ask()
    assert (failure.kind, failure.is_account, failure.may_have_been_paid) == ("denied", True, False)
    assert other in failure.message
    assert "base_url" in failure.message
    assert "secret" not in failure.message
    assert elsewhere == []


# ---- on the way


def test_a_private_authoritys_certificate_is_trusted(certificate, serve, environment, asked):
    """A TLS server with a certificate of one's own is asked, and its connection kept."""
    path = certificate()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    handshakes = []

    def handle(connection):
        with context.wrap_socket(connection, server_side=True) as secure:
            handshakes.append(secure.version())
            while request_of(secure):
                secure.sendall(kept_alive(200))

    environment(SSL_CERT_FILE=str(path))
    ask = asked(f"https://127.0.0.1:{serve(handle)}/v1")
    assert [ask().content for _ in range(4)] == ["sport"] * 4
    assert len(handshakes) == 1


def test_a_forwarding_proxy_is_told_the_whole_address(conversing, environment, asked):
    """A proxy that forwards gets the address and its own password with each request."""
    base_url, seen = conversing(lambda _: kept_alive(200))
    port = base_url.split(":")[2].split("/")[0]
    environment(HTTP_PROXY=f"http://me:p%40ss@127.0.0.1:{port}")
    ask = asked("http://models.example/v1")
    assert [ask().content for _ in range(2)] == ["sport"] * 2
    (told,) = seen
    for head in told:
        assert head.startswith("POST http://models.example/v1/chat/completions HTTP/1.1\r\n")
        assert "\r\nproxy-authorization: basic bWU6cEBzcw==" in head.replace("Proxy-A", "proxy-a").replace(
            "Basic", "basic"
        )
        assert "\r\nhost: models.example\r\n" in head.lower().replace("host", "host")


def test_a_tunnel_is_dug_once_and_used_for_all(certificate, serve, environment, asked):
    """Behind CONNECT the TLS is the provider's own, and the proxy's password goes to the proxy alone."""
    path = certificate("models.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    tunnels, inside = [], []

    def tunnel(connection):
        tunnels.append(request_of(connection))
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with context.wrap_socket(connection, server_side=True) as secure:
            while head := request_of(secure):
                inside.append(head)
                secure.sendall(kept_alive(200))

    environment(HTTPS_PROXY=f"http://me:secret@127.0.0.1:{serve(tunnel)}", SSL_CERT_FILE=str(path))
    ask = asked("https://models.example/v1")
    assert [ask().content for _ in range(3)] == ["sport"] * 3
    assert len(tunnels) == 1
    assert tunnels[0].startswith("CONNECT models.example:443 ")
    assert "roxy-" in tunnels[0]
    assert not any("roxy-" in head for head in inside)
    assert "authorization" not in tunnels[0].lower().replace("proxy-authorization", "")


def listed(base_url):
    """What comes of the free question for a list of models."""
    return PROVIDERS["openai"].list_models(base_url, "sk-marked-0123456789", 5.0)


def test_the_free_question_opens_the_connection_of_the_first_request(conversing, asked):
    """They go the same way, and introduce themselves alike."""
    base_url, seen = conversing(
        lambda _: kept_alive(200, '{"data": []}') if len(seen[0]) == 1 else kept_alive(200)
    )
    assert listed(base_url) == (200, "")
    assert asked(base_url)().content == "sport"
    ((question, request),) = seen
    assert question.startswith("GET /v1/models ")
    agents = {
        line
        for head in (question, request)
        for line in head.lower().split("\r\n")
        if line.startswith("user-agent")
    }
    assert len(agents) == 1


@pytest.mark.parametrize("status", [200, 401])
@pytest.mark.parametrize("packed", [("content-encoding: gzip",), ()])
def test_of_a_list_of_models_a_refusal_alone_is_read(status, packed, serve):
    """A list may be long, or never end: its connection is closed. A refusal's words are read, however they are packed."""
    closed = threading.Event()
    words = gzip.compress(b"no such key") if packed else b"no such key"

    def handle(connection):
        request_of(connection)
        length = len(words) if status == 401 else 10_000_000
        head = (f"HTTP/1.1 {status} X", *packed, f"content-length: {length}", "", "")
        connection.sendall("\r\n".join(head).encode() + words)
        with contextlib.suppress(OSError):
            while connection.recv(1):
                pass
        closed.set()

    assert listed(f"http://127.0.0.1:{serve(handle)}/v1") == (status, "no such key" if status == 401 else "")
    if status == 200:
        assert closed.wait(5)


def test_what_python_has_no_way_for_goes_by_httpx(serve, environment, asked):
    """A SOCKS proxy is spoken to by the library that knows how."""
    asked_for = []

    def socks(connection):
        connection.recv(3)
        connection.sendall(b"\x05\x00")
        request = connection.recv(262)
        length = request[4]
        asked_for.append(
            (request[5 : 5 + length].decode(), struct.unpack(">H", request[5 + length : 7 + length])[0])
        )
        connection.sendall(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
        while request_of(connection):
            connection.sendall(kept_alive(200, gzip.compress(COMPLETION.encode()), "content-encoding: gzip"))

    environment(ALL_PROXY=f"socks5h://127.0.0.1:{serve(socks)}")
    ask = asked("http://models.example/v1")
    assert [ask().content for _ in range(3)] == ["sport"] * 3
    assert asked_for == [("models.example", 80)]
    assert listed("http://models.example/v1") == (200, "")
    assert set(asked_for) == {("models.example", 80)}


def test_an_excepted_host_is_asked_directly(conversing, environment, asked):
    """NO_PROXY is kept, and this machine is always reached directly."""
    base_url, _ = conversing(lambda _: kept_alive(200))
    environment(HTTP_PROXY="http://127.0.0.1:9", ALL_PROXY="http://127.0.0.1:9")
    ask = asked(base_url)
    assert [ask().content for _ in range(2)] == ["sport"] * 2
    assert shared_connections("http://models.example/v1") is not shared_connections(base_url)


# ---- what breaks


@pytest.mark.parametrize(
    ("breaks", "kind", "words"),
    [
        (b"", "connection", "closed the connection without an answer"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{", "bad_response", "was cut off"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab", "bad_response", "was cut off"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "connection", "is not HTTP"),
        (b"\x15\x03\x01\x00\x02\x02\x16", "connection", "seems to speak TLS"),
    ],
)
def test_what_breaks_in_a_later_request_is_told_as_in_the_first(breaks, kind, words, serve, asked):
    """The kind, the words and whether it may have been paid do not depend on who has sent it."""
    behaviour = {"next": breaks}

    def handle(connection):
        request_of(connection)
        connection.sendall(behaviour["next"])

    base_url = f"http://127.0.0.1:{serve(handle)}/v1"
    ask = asked(base_url)
    first = ask()
    behaviour["next"] = http_reply(200, COMPLETION)
    assert ask().content == "sport"
    behaviour["next"] = breaks
    second = ask()
    assert (second.kind, second.message, second.may_have_been_paid) == (
        first.kind,
        first.message,
        first.may_have_been_paid,
    )
    assert (second.kind, words in second.message) == (kind, True)


def test_a_silent_server_is_given_up_after_the_jobs_time(serve, asked):
    """A later request waits as long as the job says, and counts as a time-out that may have been paid."""
    replies = iter([http_reply(200, COMPLETION)])
    done = threading.Event()

    def handle(connection):
        request_of(connection)
        reply = next(replies, None)
        if reply is None:
            done.wait(10)
        else:
            connection.sendall(reply)

    ask = asked(f"http://127.0.0.1:{serve(handle)}/v1", timeout_seconds=0.2)
    assert ask().content == "sport"
    failure = ask()
    done.set()
    assert (failure.kind, failure.may_have_been_paid) == ("timeout", True)


def test_an_answer_to_a_request_that_was_not_read_to_its_end_is_kept(serve):
    """A server may refuse what is too long, and close, before it has read it."""
    refused = http_reply(413, '{"error": {"message": "too large"}}')

    def handle(connection):
        connection.recv(1000)
        connection.sendall(refused)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 20):
            pass

    prepared = PreparedRequest.like(
        httpx2.Request("POST", f"http://127.0.0.1:{serve(handle)}/v1", headers={"a": "b"})
    )
    assert Connections().post(prepared, b"x" * 5_000_000).status_code == 413


@pytest.mark.parametrize("value", ["a\nb", "a\r\nx: y", " a", "\0"])
def test_a_header_that_no_request_may_hold_is_not_sent_and_not_shown(value, serve):
    """A line break in a key would begin another header."""
    heads = []
    port = serve(lambda connection: heads.append(request_of(connection)))
    request = httpx2.Request("POST", f"http://127.0.0.1:{port}/", headers=[(b"x-key", value.encode())])
    with pytest.raises(httpx2.LocalProtocolError, match=r"^Illegal header value$"):
        Connections().post(PreparedRequest.like(request), b"")
    assert heads == []


@given(st.binary(max_size=400))
def test_whatever_comes_back_ends_in_an_answer_or_in_one_of_httpx2s_errors(answer):
    """No bytes of a server get anything else out of a connection, and none leaves it in use."""
    listening = socket.create_server(("127.0.0.1", 0))

    def reply():
        connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError):
            request_of(connection)
            connection.sendall(answer)

    with listening:
        threading.Thread(target=reply, daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        connections = Connections()
        try:
            came = connections.post(PreparedRequest.like(httpx2.Request("POST", url, headers={})), b"{}")
        except httpx2.TransportError:
            return
        finally:
            connections.close()
        assert 100 <= came.status_code <= 999


def test_a_child_uses_none_of_its_parents_connections(conversing, asked):
    """Two processes never write into one conversation."""
    base_url, seen = conversing(lambda _: kept_alive(200))
    ask = asked(base_url)
    ask(), ask()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os._exit(0 if asked(base_url)().content == "sport" else 1)
        os._exit(2)
    # The server takes one connection after the other: the child's, once the parent's is closed.
    shared_connections(base_url).close()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(seen) == 2
