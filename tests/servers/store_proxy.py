"""Stands in front of a server of objects: counts what is asked, and does to requests and replies what networks and stores do."""

import threading
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Fault:
    """What happens to a request.

    Args:
        status: what is answered in the place of the store's answer; None where the connection ends without any.
        arrives: whether the store gets the request all the same.
        code: the error's code in the body.
    """

    status: int | None
    arrives: bool
    code: str = "Fault"


LOST_REPLY = Fault(None, arrives=True)
LOST_REQUEST = Fault(None, arrives=False)
CONFLICT = Fault(409, arrives=False, code="ConditionalRequestConflict")
BROKEN_BEFORE = Fault(500, arrives=False, code="InternalError")
BROKEN_AFTER = Fault(500, arrives=True, code="InternalError")
BUSY = Fault(503, arrives=False, code="SlowDown")
FORBIDDEN = Fault(403, arrives=False, code="AccessDenied")


class StoreProxy(ThreadingHTTPServer):
    """Passes requests on. `counts` has them by method, and listings as `LIST`; `faults` come to the next requests of a method."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, upstream):
        super().__init__(("127.0.0.1", 0), _PassingOn)
        self.upstream, self.counts, self.faults = upstream, Counter(), {}
        self.lock = threading.Lock()
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"

    def fail(self, method, *faults):
        """Let the next requests of a method meet these faults, one each; None is a request that meets none."""
        self.faults[method] = list(faults)

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def handle_error(self, *_):
        """Say nothing of connections that were cut."""


class _PassingOn(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _pass_on(self):
        kind = "LIST" if "list-type" in self.path else self.command
        with self.server.lock:
            self.server.counts[kind] += 1
            waiting = self.server.faults.get(self.command)
            fault = waiting.pop(0) if waiting else None
        body = self.rfile.read(int(self.headers.get("content-length") or 0)) or None
        if fault is None or fault.arrives:
            status, headers, content = self._asked(body)
        if fault is None:
            self._answer(status, headers, content)
        elif fault.status is None:
            self.close_connection = True
        else:
            said = f"<Error><Code>{fault.code}</Code><AccessKeyId>SECRET-KEY</AccessKeyId></Error>".encode()
            self._answer(fault.status, {"Content-Type": "application/xml"}, said)

    def _asked(self, body):
        # Signatures cover the host that the client has named. Without a type, urllib would call it a form.
        headers = {"content-type": "application/octet-stream", **dict(self.headers)}
        request = urllib.request.Request(self.server.upstream + self.path, body, headers, method=self.command)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def _answer(self, status, headers, content):
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in {"transfer-encoding", "connection", "content-length", "date", "server"}:
                self.send_header(name, value)
        length = headers.get("content-length") if self.command == "HEAD" else len(content)
        self.send_header("Content-Length", str(length or 0))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _pass_on  # noqa: N815  (as the standard library calls them)

    def log_message(self, *_):
        """Say nothing."""
