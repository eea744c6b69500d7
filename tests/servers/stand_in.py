"""A stand-in for an endpoint of OpenAI's dialect on both lanes: it insists on its own paths, key, fields and batches.

What is particular to one is a `Dialect`, as data. It counts what it answers, and what that costs at its own rates.
"""

import json
import re
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qsl, urlsplit

from servers.base import CORRECT, Call, Endpoint, Reply, body_of, completion
from servers.base import _Handler as _Plain

KEY = "stand-in-key-0123456789"


def openai_error(status, message, code=None):
    """An error in OpenAI's shape."""
    return Reply(status, {"error": {"message": message, "type": "invalid_request_error", "code": code}})


@dataclass(frozen=True)
class Dialect:
    """What is particular to an endpoint.

    `refuses` are fields that are answered with a refusal; with a value, those that begin with it. `rates` are per million
    tokens, in and out, in USD or in the currency of which one dollar is `usd_rate`. `batches` is what the lines of a
    batch call chat completions, None where there are no batches, and these cost `batch_part` of the rates.
    """

    rates: tuple[float, float]
    path: str = "/v1"
    key_header: str = "authorization"
    needs_key: bool = True
    refuses: dict = field(default_factory=dict)
    error: object = openai_error
    usage: object = None
    message: dict = field(default_factory=dict)
    model: str | None = None
    usd_rate: float = 1.0
    batches: str | None = None
    batch_part: float = 0.5


class StandIn(Endpoint):
    """An endpoint of a dialect. `usd` is what its answers cost, `live` and `by_batch` how many it gave on each lane."""

    def __init__(self, dialect):
        super().__init__()
        self.RequestHandlerClass = _Handler
        self.dialect = dialect
        self.root = self.base_url.removesuffix("/v1")
        self.base_url = self.root + dialect.path
        self.files, self.batches, self.asked, self.wrong_once = {}, {}, [], frozenset()
        self.live = self.by_batch = self.refused = 0
        self.usd = 0.0

    def respond(self, method, path, query, headers, raw):  # noqa: C901, PLR0911  (a table of what is asked)
        """The reply to whatever is asked."""
        with self.lock:
            self.asked.append((method, path))
        if (wrong := self.turned_away(path, query, headers)) is not None:
            return wrong
        match method, path.removeprefix(self.dialect.path).strip("/").split("/"):
            case "GET", ["models"]:
                return self.models
            case "POST", ["chat", "completions"]:
                return self.chat(json.loads(raw))
            case "POST", ["files"] if self.dialect.batches:
                return self.upload(raw)
            case "GET", ["files", file_id] if file_id in self.files:
                return self.look_at(file_id)
            case "GET", ["files", file_id, "content"] if file_id in self.files:
                return Reply(200, self.files[file_id]["content"])
            case "DELETE", ["files", file_id] if file_id in self.files:
                del self.files[file_id]
                return Reply(200, {"id": file_id, "deleted": True})
            case "POST", ["batches"] if self.dialect.batches:
                return self.make(json.loads(raw))
            case "GET", ["batches"] if self.dialect.batches:
                return Reply(200, {"data": list(self.batches.values())[::-1], "has_more": False})
            case "GET", ["batches", batch_id] if batch_id in self.batches:
                return self.poll(batch_id)
        return self.dialect.error(404, f"there is nothing at {path}")

    def turned_away(self, path, query, headers):  # noqa: ARG002
        """A refusal of a request that comes to the wrong place, or without the key; None for all others."""
        header = headers.get(self.dialect.key_header, "")
        others = {"authorization", "api-key"} - {self.dialect.key_header}
        if self.dialect.needs_key and (
            header.removeprefix("Bearer ") != KEY or any(map(headers.get, others))
        ):
            return self.dialect.error(401, "Incorrect API key provided")
        if not path.startswith(self.dialect.path + "/"):
            return self.dialect.error(404, f"there is nothing at {path}")
        return None

    def chat(self, body):
        """A live answer."""
        if (refusal := self.refusal_of(body)) is not None:
            with self.lock:
                self.refused += 1
            return refusal
        with self.lock:
            self.live += 1
        return self.answer(body)

    def refusal_of(self, body):
        """What is refused of a request; None where nothing is."""
        for name, value in self.dialect.refuses.items():
            if name in body and (value is None or json.dumps(body[name]).startswith(value)):
                return self.dialect.error(400, f"{name} is not supported")
        return None

    def reply(self, call):
        """The right label, billed at the live rates."""
        reply = self.answered(call)
        self.charge(reply.billed, 1.0)
        return reply

    def answered(self, call):
        """The right label, in the endpoint's own shape; `wrong_once` are answered with none the first time."""
        said = "cricket" if call.text in self.wrong_once and call.number_of_text == 1 else CORRECT
        reply = completion(call, said, model=self.dialect.model, **self.dialect.message)
        if self.dialect.usage is not None:
            reply = replace(reply, body={**reply.body, "usage": self.dialect.usage(*reply.billed)})
        return reply

    def charge(self, billed, part):
        """Count what an answer costs."""
        per_input, per_output = self.dialect.rates
        with self.lock:
            self.usd += part * (billed[0] * per_input + billed[1] * per_output) / 1e6 / self.dialect.usd_rate

    # ---- batches

    def upload(self, raw):
        """Keep a file of requests."""
        content = re.search(rb"\r\n\r\n(\{.*?\})\s*\r\n--", raw, re.DOTALL).group(1)
        file = self.keep(content)
        return Reply(200, {"id": file["id"], "object": "file", "status": file["status"]})

    def keep(self, content, status="processed"):
        """A file of one's own or another's."""
        with self.lock:
            file = {"id": f"file-{len(self.files)}-{len(self.asked)}", "status": status, "content": content}
            self.files[file["id"]] = file
        return file

    def look_at(self, file_id):
        """What is told of a file."""
        file = self.files[file_id]
        return Reply(200, {"id": file_id, "object": "file", "status": file["status"]})

    def make(self, asked):
        """Make a batch, unless something is wrong with it."""
        if asked["endpoint"] != self.dialect.batches:
            return self.dialect.error(400, f"{asked['endpoint']} is no endpoint of batches")
        if asked["input_file_id"] not in self.files:
            return self.dialect.error(400, f"No such File object: {asked['input_file_id']}")
        answers, errors = [], []
        for line in self.files[asked["input_file_id"]]["content"].splitlines():
            request = json.loads(line)
            status, body = self.row(request)
            result = {
                "custom_id": request["custom_id"],
                "response": {"status_code": status, "body": body},
                "error": None,
            }
            (answers if status == 200 else errors).append(json.dumps(result))
        batch = {
            "id": f"batch_{len(self.batches)}",
            "object": "batch",
            "status": "validating",
            "created_at": 1_790_000_000,
            "metadata": asked["metadata"],
            "input_file_id": asked["input_file_id"],
            "output_file_id": self.keep("\n".join(answers).encode())["id"] if answers else "",
            "error_file_id": self.keep("\n".join(errors).encode())["id"] if errors else "",
            "errors": None,
            "request_counts": {
                "total": len(answers) + len(errors),
                "completed": len(answers),
                "failed": len(errors),
            },
        }
        self.batches[batch["id"]] = batch
        hidden = {"output_file_id": None, "error_file_id": None}
        return Reply(200, batch | hidden)

    def row(self, request):
        """The status and the body of a row's response."""
        if request["url"] != self.dialect.batches:
            return 400, self.dialect.error(400, f"{request['url']} is no endpoint of batches").body
        if (refusal := self.refusal_of(request["body"])) is not None:
            return refusal.status, refusal.body
        text = request["body"]["messages"][1]["content"]
        with self.lock:
            self.calls_of[text] += 1
        reply = self.answered(Call(request["body"], self.by_batch + 1, self.calls_of[text]))
        self.charge(reply.billed, self.dialect.batch_part)
        with self.lock:
            self.by_batch += 1
            self.requests += 1
            self.input_tokens += reply.billed[0]
            self.output_tokens += reply.billed[1]
        return 200, reply.body

    def poll(self, batch_id):
        """A batch, which is completed at the second look."""
        batch = self.batches[batch_id]
        told = batch if batch["status"] == "completed" else {**batch, "output_file_id": None}
        batch["status"] = "completed" if batch["status"] == "in_progress" else batch["status"]
        if batch["status"] == "validating":
            batch["status"] = "in_progress"
        return Reply(200, {**told, "status": told["status"]})


class _Handler(_Plain, BaseHTTPRequestHandler):
    def do_GET(self):
        self._respond("GET", b"")

    def do_POST(self):
        self._respond("POST", body_of(self))

    def do_DELETE(self):
        self._respond("DELETE", b"")

    def _respond(self, method, raw):
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        self._send(self.server.respond(method, parts.path, query, self.headers, raw))
