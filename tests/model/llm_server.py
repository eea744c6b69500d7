"""A server with a real language model on this machine, and a recorder between it and whoever asks it."""

import http.client
import json
import os
import re
import socket
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from servers.base import body_of, text_of

MODEL = "smollm2-135m"
START_SECONDS = 300
PASSED_ON = ("content-type", "authorization")
COMPLETIONS = "/v1/chat/completions"
_ANSWERED = re.compile(rf'"POST {COMPLETIONS} HTTP/1\.1" (\d{{3}})')


class LanguageModelServer:
    """llama-cpp-python's server with SmolLM2-135M, started as its documentation says; `log` is what it says of itself."""

    def __init__(self, python, weights, log):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = log
        self._command = [
            *(python, "-m", "llama_cpp.server", "--model", weights, "--model_alias", MODEL),
            *("--host", "127.0.0.1", "--port", str(self.port), "--n_ctx", "2048", "--n_threads_batch", "1"),
        ]

    def __enter__(self):
        with self.log.open("w") as log:
            # Its own environment is all that it needs; unbuffered, so that the log has what was answered.
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env={**os.environ, "PYTHONUNBUFFERED": "1"}
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, self.log.read_text()[-2000:]
            assert time.monotonic() < deadline, "the server doesn't answer"
            time.sleep(0.2)
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(30)

    def _answers(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/v1/models")
            return connection.getresponse().status == http.HTTPStatus.OK
        except OSError:
            return False
        finally:
            connection.close()

    def answered(self):
        """How many completions it says that it has answered, by status."""
        return Counter(int(status) for status in _ANSWERED.findall(self.log.read_text()))


@dataclass
class Exchange:
    """A request for a completion, and what the server made of it."""

    body: dict
    status: int
    answer: dict
    is_delivered: bool = False

    @property
    def text(self):
        """The text to label."""
        return text_of(self.body)

    @property
    def said(self):
        """What the model says."""
        return self.answer["choices"][0]["message"]["content"]

    @property
    def tokens(self):
        """The tokens in and out, as the server counts them."""
        usage = self.answer.get("usage", {})
        return usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)


class Recorder(ThreadingHTTPServer):
    """Passes everything on to a server and keeps the completions.

    After `hold(n)`, the answers from the n-th on stay with it until `release()`: the server has done the work, and who asked
    is still waiting.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, upstream):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.base_url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        self.exchanges = []
        self.lock = threading.Lock()
        self.in_flight = self.peak_in_flight = 0
        self._hold_from = None
        self._released = threading.Event()

    def hold(self, first):
        """Keep back the answers from this one on, counted from 0."""
        self._hold_from = first
        self._released.clear()

    def release(self):
        """Let go of what is held, and hold nothing any more."""
        self._hold_from = None
        self._released.set()

    def held(self):
        """The exchanges whose answers are there, and were kept back."""
        with self.lock:
            return [each for each in self.exchanges if not each.is_delivered]

    def keep(self, exchange):
        """Note an exchange, and wait for as long as its answer is held; returns whether it never was."""
        with self.lock:
            self.exchanges.append(exchange)
            is_held = self._hold_from is not None and len(self.exchanges) > self._hold_from
            exchange.is_delivered = not is_held
        if is_held:
            self._released.wait()
        return not is_held

    def handle_error(self, *_):
        """Say nothing of connections that clients have closed."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        self._send(*self._asked("GET", None))

    def do_POST(self):
        recorder, raw = self.server, body_of(self)
        with recorder.lock:
            recorder.in_flight += 1
            recorder.peak_in_flight = max(recorder.peak_in_flight, recorder.in_flight)
        try:
            status, answer = self._asked("POST", raw)
        finally:
            with recorder.lock:
                recorder.in_flight -= 1
        if self.path != COMPLETIONS or recorder.keep(Exchange(json.loads(raw), status, json.loads(answer))):
            self._send(status, answer)
        else:
            self.close_connection = True

    def _asked(self, verb, raw):
        connection = http.client.HTTPConnection(self.server.upstream)
        headers = {name: self.headers[name] for name in PASSED_ON if name in self.headers}
        try:
            connection.request(verb, self.path, raw, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def _send(self, status, raw):
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_):
        """Say nothing."""
