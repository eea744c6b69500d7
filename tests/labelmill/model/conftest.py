"""The real chain on real HTTP: to the practice provider, or to a server that answers with what a test scripts."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain as chained
from itertools import repeat

import pytest

from labelmill.model.chain import Toll, chain_of
from labelmill.model.throttle import Throttle
from labelmill.money.budget import Budget
from labelmill.money.prices import price_of
from labelmill.practice import PracticeSettings


@pytest.fixture
def practice(practice):
    """The session's practice provider as if just started, and left as it was found."""
    practice.configure(PracticeSettings())
    practice.reset()
    yield practice
    practice.configure(PracticeSettings())


@pytest.fixture
def toll_of():
    """Build the toll of a job: its throttle, a budget without a limit unless one is given, its price."""

    def build(job, limit=None):
        return Toll(Throttle(job.run), Budget(limit), price_of(job.model, job.price))

    return build


@pytest.fixture
def chain_at(toll_of):
    """Build the chain of a job for an endpoint: `chain_at(job, base_url)`."""

    def build(job, base_url, key="practice", toll=None):
        return chain_of(job, base_url, key, toll or toll_of(job))

    return build


class ScriptedServer(ThreadingHTTPServer):
    """Answers every POST with the next of its replies, the last one for ever, and keeps the requests it got."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies, self.headers_seen = [], []
        self.base_url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        self.replies = iter(())

    def reply(self, *replies):
        """Set the replies: tuples of a status, a body (a dict or bytes) and headers."""
        self.replies = chained(replies, repeat(replies[-1]))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.server.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.server.headers_seen.append(self.headers)
        status, body, headers = (*next(self.server.replies), {})[:3]
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {
            "content-type": "application/json",
            "content-length": len(raw),
            **headers,
        }.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def scripted():
    """Start a `ScriptedServer`."""
    with ScriptedServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def completion():
    """Build the body of a chat completion: `completion("sport")`, with its message, reason or usage replaced."""

    def build(content="sport", finish_reason="stop", usage=(11, 2), **message):
        counted = usage and {
            "prompt_tokens": usage[0],
            "completion_tokens": usage[1],
            "total_tokens": sum(usage),
        }
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "scripted",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": content, **message},
                    "finish_reason": finish_reason,
                }
            ],
            "usage": counted,
        }

    return build
