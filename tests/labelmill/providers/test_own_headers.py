"""A job's own headers go with every request, on whichever way, and what comes back without their secrets."""

import contextlib
import json
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from langchain_core.messages import HumanMessage
from servers.base import body_of, serving

from labelmill.check.provider import key_mistakes
from labelmill.providers.protocol import BatchRefused, BatchUnreachable
from labelmill.providers.table import client_of, endpoint_of, provider_of
from labelmill.question.failures import Failure
from labelmill.question.form import form_of

KEY, SECRET = "sk-of-the-test-0123456789", "gateway-0123456789"
OWN = {"X-Team": "news", "X-Gateway-Key": "Token env:GATEWAY_SECRET"}


class Listening(ThreadingHTTPServer):
    """Keeps the headers of whatever it is asked, and repeats a secret one in each answer, with a status of its own."""

    daemon_threads = True

    def __init__(self, status=200):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.heard = status, []
        self.base_url = f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._answer()

    def do_POST(self):
        self._answer()

    def do_DELETE(self):
        self._answer()

    def _answer(self):
        body_of(self)
        self.server.heard.append((self.command, self.path, dict(self.headers.items())))
        said = f"you sent {self.headers['x-gateway-key']}"
        body = {
            "id": "x-1",
            "name": "x-1",
            "data": [],
            "created_at": 1_790_000_000,
            "error": {"message": said},
        }
        raw = json.dumps(body).encode()
        self.send_response(self.server.status)
        self.send_header("connection", "close")
        self.send_header("content-length", str(len(raw)))
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def job_at(job_of, monkeypatch):
    """A job with headers of its own, one of them secret: `job_at("openai", adapter="langasync")`."""
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.setenv(name, KEY)
    monkeypatch.setenv("GATEWAY_SECRET", SECRET)

    def build(provider, adapter="openai"):
        return job_of(model={"provider": provider, "name": "m", "headers": OWN}, batch={"adapter": adapter})

    return build


def assert_all_carry(heard, provider):
    """Every request has the job's headers beside the provider's own."""
    assert heard
    for command, path, told in heard:
        headers = {name.casefold(): value for name, value in told.items()}
        assert (headers["x-team"], headers["x-gateway-key"]) == ("news", f"Token {SECRET}"), (command, path)
        key = {"openai": "authorization", "anthropic": "x-api-key", "google": "x-goog-api-key"}[provider]
        assert headers[key].removeprefix("Bearer ") == KEY


@pytest.mark.parametrize(
    ("provider", "adapter"),
    [("openai", "openai"), ("openai", "langasync"), ("anthropic", "openai"), ("google", "openai")],
)
def test_every_call_of_a_batch_carries_them(job_at, tmp_path, provider, adapter):
    """Its file, its making, looks at it, and its end; what the provider repeats of them is hidden."""
    if adapter == "langasync":
        pytest.importorskip("langasync")
    job = job_at(provider, adapter)
    path = tmp_path / "requests.jsonl"
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    path.write_text(json.dumps({"custom_id": "k", "body": body, "request": {}, "metadata": {}}) + "\n")
    with serving(Listening()) as server:
        client = client_of(job, endpoint_of(job.model, server.base_url))
        server.heard.clear()  # whether practice answers there was asked
        assert client.send(path, {"labelmill_job": "test"}) == "x-1"
        for ask in (
            lambda: client.find({"a": "b"}, datetime.now(UTC)),
            lambda: client.state("x-1"),
            lambda: client.cancel("x-1"),
            lambda: client.delete("x-1", "file"),
        ):
            with contextlib.suppress(BatchUnreachable, BatchRefused, ValueError):
                ask()
        assert len(server.heard) >= 4
        assert_all_carry(server.heard, provider)
        server.status = 400
        with pytest.raises(BatchRefused) as refused:
            client.state("x-1")
        assert "Token [key]" in str(refused.value)


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google"])
def test_the_free_request_carries_them(job_at, provider):
    """And the sentence of a key that isn't accepted has no secret in it."""
    job = job_at(provider)
    with serving(Listening(401)) as server:
        endpoint = endpoint_of(job.model, server.base_url)
        server.heard.clear()
        (mistake,) = key_mistakes(endpoint, job.model)
        assert_all_carry(server.heard, provider)
    assert "you sent Token [key]" in mistake.sentence
    assert SECRET not in repr(endpoint)


def test_a_live_request_carries_them(job_at):
    """So does what it comes to: neither the key nor the secret is in it."""
    job = job_at("openai")
    with serving(Listening(400)) as server:
        chat = provider_of(job.model).chat(job, server.base_url, KEY, form_of(job))
        reply = chat.send(chat.payload_of([HumanMessage("hi")]))
        assert_all_carry(server.heard, "openai")
    assert isinstance(reply.result, Failure)
    assert "Token [key]" in reply.result.message
