"""What the small servers share: they hear requests to label a text, answer, and count what they answered and billed."""

import json
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CORRECT = "correct"
"""As an answer's content: the label that the text asks for."""


@contextmanager
def serving(server):
    """Let a server answer, on a thread of its own, for the length of the block."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def body_of(handler):
    """The whole body of a request, chunked or not: what is left unread would reset the connection."""
    if handler.headers.get("transfer-encoding") != "chunked":
        return handler.rfile.read(int(handler.headers["content-length"] or 0))
    pieces = []
    while size := int(handler.rfile.readline(), 16):
        pieces.append(handler.rfile.read(size))
        handler.rfile.readline()
    handler.rfile.readline()
    return b"".join(pieces)


@dataclass(frozen=True)
class Call:
    """A request to label a text: its messages, and which it is of the server's and of the text's, from 1."""

    body: dict
    number: int
    number_of_text: int

    @property
    def text(self):
        """The text to label."""
        return text_of(self.body)

    @property
    def label(self):
        """What is right for the text."""
        return right_label(self.text)


@dataclass(frozen=True)
class Reply:
    """What a server sends back. `billed` are the input and output tokens it charges; `told` says whether it tells them.

    `body` is JSON or the bytes as they stand; `is_cut_off` breaks the connection before its last byte.
    """

    status: int
    body: object
    billed: tuple[int, int] = (0, 0)
    told: bool = True
    headers: dict = field(default_factory=dict)
    is_cut_off: bool = False


DROPPED = Reply(0, b"", told=False)
"""The connection ends without a response; whoever sent the request can't know whether it was worked on."""


def text_of(body):
    """The text that a request asks about, also where the system's message stands before it in the user's."""
    first, *rest = body["messages"]
    return (
        rest[0]["content"] if first["role"] in {"system", "developer"} else first["content"].split("\n\n")[-1]
    )


def right_label(text):
    """The label of a text: `sport` where it speaks of a match, else `money`."""
    return "sport" if "match" in text else "money"


def error(status, message, *, kind="invalid_request_error", code=None, headers=None, **more):
    """A refusal in OpenAI's form, which costs nothing."""
    body = {"error": {"message": message, "type": kind, "code": code, **more}}
    return Reply(status, body, headers=headers or {})


def completion(
    call, content=CORRECT, *, usage=None, finish_reason="stop", choice=None, model=None, **message
):
    """An answer with its bill: by default the right label, 20 tokens in for each message and 2 out.

    Args:
        call: what is answered.
        content: what the model says.
        usage: the usage as it is told, where that isn't OpenAI's.
        finish_reason: why the answer ended.
        choice: further fields beside the message.
        model: which model answers, where it isn't the one that was asked.
        message: further fields of the message.
    """
    billed = (20 * len(call.body["messages"]), 2)
    content = call.label if content is CORRECT else content
    body = {
        "id": f"chatcmpl-{call.number}",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": model or call.body["model"],
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, **message},
                "finish_reason": finish_reason,
                **(choice or {}),
            }
        ],
        "usage": usage or openai_usage(*billed),
    }
    return Reply(200, body, billed)


def openai_usage(sent, answered):
    """A usage as OpenAI tells it."""
    return {"prompt_tokens": sent, "completion_tokens": answered, "total_tokens": sent + answered}


class Endpoint(ThreadingHTTPServer):
    """A server of OpenAI's chat completions. Subclasses say in `reply` how they answer a call.

    `requests`, `calls_of` (by text), `order` (the texts as they came), `peak_in_flight`, `input_tokens` and
    `output_tokens` are its own count;
    `untold` are answers that it billed without telling the tokens.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, port=0):
        super().__init__(("127.0.0.1", port), _Handler)
        self.base_url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        self.lock = threading.Lock()
        self.requests = self.in_flight = self.peak_in_flight = 0
        self.input_tokens = self.output_tokens = self.untold = 0
        self.calls_of, self.order = Counter(), []
        self.models = Reply(200, {"object": "list", "data": [{"id": "gpt-4o-mini", "object": "model"}]})

    def reply(self, call):
        """How to answer a call; threads ask at once."""
        return completion(call)

    def answer(self, body):
        """Count a request and what its answer bills."""
        text = text_of(body)
        with self.lock:
            self.requests += 1
            self.calls_of[text] += 1
            self.order.append(text)
            self.in_flight += 1
            self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
            call = Call(body, self.requests, self.calls_of[text])
        try:
            reply = self.reply(call)
        finally:
            with self.lock:
                self.in_flight -= 1
        with self.lock:
            if reply.told:
                self.input_tokens += reply.billed[0]
                self.output_tokens += reply.billed[1]
            else:
                self.untold += 1
        return reply

    def handle_error(self, *_):
        """Say nothing of connections that clients have closed."""

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        self._send(self.server.models)

    def do_POST(self):
        self._send(self.server.answer(json.loads(self.rfile.read(int(self.headers["content-length"])))))

    def _send(self, reply):
        if reply is DROPPED:
            self.close_connection = True
            return
        raw = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        headers = {"content-type": "application/json", "content-length": len(raw), **reply.headers}
        self.send_response(reply.status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(raw[:-1] if reply.is_cut_off else raw)
        self.close_connection = self.close_connection or reply.is_cut_off

    def log_message(self, *_):
        """Say nothing."""
