"""What may answer where a Prefect server is looked for: one of another version, one with a password, or something else."""

import base64
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class PrefectStandIn(ThreadingHTTPServer):
    """Answers the question for its version, as a Prefect server does, and knows nothing else.

    Args:
        version: what it says; None is a web page in its place.
        auth: what it wants to hear as `user:password`.
        status: what it answers whatever it is asked, where it is in trouble.
    """

    daemon_threads = True

    def __init__(self, version="3.8.8", auth=None, status=None):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.version, self.auth, self.status = version, auth, status
        self.asked = []
        self.api_url = f"http://127.0.0.1:{self.server_address[1]}/api"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        status, body = self._answer()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _answer(self):
        told = self.server
        if told.status is not None:
            return told.status, b'{"detail": "database is locked"}'
        wanted = told.auth and f"Basic {base64.b64encode(told.auth.encode()).decode()}"
        if wanted and self.headers.get("authorization") != wanted:
            return 401, b'{"exception_message": "Unauthorized"}'
        if told.version is None:
            return 200, b"<!doctype html><html><body>Welcome</body></html>"
        if self.path != "/api/admin/version":
            return 404, b'{"detail": "Not Found"}'
        return 200, json.dumps(told.version).encode()

    def log_message(self, *_):
        """Say nothing."""
