"""What chats have for robots, on this machine: each answers as its service's pages say, and keeps what it took."""

import base64
import hashlib
import hmac
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from servers.base import body_of

HOUR = 3600
TOKEN = "6f1c0ffe-5e2d-4c1b-9a77-0123456789ab"
PATHS = {
    "feishu": f"/open-apis/bot/v2/hook/{TOKEN}",
    "dingtalk": f"/robot/send?access_token={TOKEN}",
    "slack": f"/services/T00000000/B00000000/{TOKEN}",
    "wecom": f"/cgi-bin/webhook/send?key={TOKEN}",
    "webhook": f"/hooks/{TOKEN}",
}
"""The address of each, from its host on."""


class Robots(ThreadingHTTPServer):
    """All robots at one address. `taken` are the texts that each took, `posts` all that was posted, as (path, query, body).

    `secret` and `keyword` are what the robots want of a message; `replies` are (status, body) that come before anything else,
    in their order, the body a string or JSON. `clock` is where they get the time from.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = f"http://127.0.0.1:{self.server_address[1]}"
        self.taken, self.posts, self.replies = [], [], []
        self.secret = self.keyword = None
        self.clock = time.time
        self.held = None

    def handle_error(self, *_):
        """Say nothing of connections that clients have closed."""

    def url(self, service):
        """The address of a robot."""
        return self.root + PATHS[service]

    def answer(self, path, query, body):
        """What is answered to a post, as (status, body, headers)."""
        self.posts.append((path, query, body))
        if self.held is not None:
            self.held.wait(60)
        if self.replies:
            return (*self.replies.pop(0), {})[:3]
        if path.startswith("/open-apis/bot/v2/hook/"):
            return 200, self._feishu(json.loads(body)), {}
        if path == "/robot/send":
            return 200, self._dingtalk(json.loads(body), query), {}
        if path == "/cgi-bin/webhook/send":
            return 200, self._take(json.loads(body)["text"]["content"], {"errcode": 0, "errmsg": "ok"}), {}
        if path.startswith("/services/"):
            return 200, self._take(json.loads(body)["text"], "ok"), {}
        return 200, self._take(json.loads(body), ""), {}

    def _take(self, text, said):
        self.taken.append(text)
        return said

    def _feishu(self, body):
        if len(json.dumps(body, ensure_ascii=False).encode()) > 20_000:
            return {"code": 9499, "msg": "Bad Request", "data": {}}
        if self.secret is not None:
            key = f"{body.get('timestamp')}\n{self.secret}"
            right = base64.b64encode(hmac.new(key.encode(), b"", hashlib.sha256).digest()).decode()
            if body.get("sign") != right or abs(self.clock() - int(body["timestamp"])) > HOUR:
                words = "sign match fail or timestamp is not within one hour from current time"
                return {"code": 19021, "msg": words}
        text = body["content"]["text"] if body["msg_type"] == "text" else None
        if self.keyword and self.keyword not in text:
            return {"code": 19024, "msg": "Key Words Not Found"}
        return self._take(
            text, {"StatusCode": 0, "StatusMessage": "success", "code": 0, "data": {}, "msg": "success"}
        )

    def _dingtalk(self, body, query):
        if query.get("access_token") != [TOKEN]:
            return {"errcode": 300005, "errmsg": "token is not exist"}
        if self.secret is not None:
            (timestamp,), (sign,) = query.get("timestamp", [""]), query.get("sign", [""])
            digest = hmac.new(
                self.secret.encode(), f"{timestamp}\n{self.secret}".encode(), hashlib.sha256
            ).digest()
            if sign != base64.b64encode(digest).decode():
                return {"errcode": 310000, "errmsg": "sign not match"}
            if abs(self.clock() * 1000 - int(timestamp)) > HOUR * 1000:
                return {"errcode": 310000, "errmsg": "invalid timestamp"}
        text = body["text"]["content"] if body["msgtype"] == "text" else None
        if self.keyword and self.keyword not in text:
            return {"errcode": 310000, "errmsg": "keywords not in content"}
        return self._take(text, {"errcode": 0, "errmsg": "ok"})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        parts = urlsplit(self.path)
        status, said, headers = self.server.answer(parts.path, parse_qs(parts.query), body_of(self))
        raw = said.encode() if isinstance(said, str) else json.dumps(said).encode()
        self.send_response(status)
        for name, value in {"content-length": len(raw), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_):
        """Say nothing."""
