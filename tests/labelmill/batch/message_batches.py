"""A small server that speaks the dialect of Anthropic's Message Batches."""

import json
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BATCHES = "/v1/messages/batches"


def succeeded(text, stop_reason="end_turn"):
    """A result that is an answer."""
    return {
        "type": "succeeded",
        "message": {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-scripted",
            "content": [{"type": "text", "text": text}],
            "stop_reason": stop_reason,
            "stop_sequence": None,
            "usage": {
                "input_tokens": 10,
                "cache_read_input_tokens": 5,
                "cache_creation_input_tokens": 0,
                "output_tokens": 2,
            },
        },
    }


def errored(kind, message):
    """A result that is an error."""
    return {
        "type": "errored",
        "error": {"type": "error", "error": {"type": kind, "message": message}, "request_id": None},
    }


class MessageBatchesServer(ThreadingHTTPServer):
    """Message Batches in memory: each request comes to what `result_of` says of its text, once `ends` is true."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.base_url = f"http://127.0.0.1:{self.server_address[1]}"
        self.made = []
        self.result_of = lambda _: succeeded("sport")
        self.ends = True
        self.forgets_to_answer = False
        self.page_limit = 100
        self.keys = set()
        self.extra_lines = []

    def make(self, requests):
        """Make a batch; returns its id."""
        batch_id = f"msgbatch_{len(self.made)}"
        self.made.insert(
            0, {"id": batch_id, "made": datetime.now(UTC), "requests": requests, "cancelled": False}
        )
        return batch_id

    def batch(self, batch_id):
        """A batch by its id, or None."""
        return next((batch for batch in self.made if batch["id"] == batch_id), None)

    def results(self, batch):
        """The lines of a batch's results, in another order than the requests'."""
        results = [
            {
                "custom_id": request["custom_id"],
                "result": self.result_of(request["params"]["messages"][0]["content"]),
            }
            for request in batch["requests"]
        ]
        return results[::-1]

    def object(self, batch):
        """A batch as Anthropic describes it."""
        ended = self.ends
        counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
        for result in self.results(batch):
            counts[result["result"]["type"] if ended else "processing"] += 1
        return {
            "id": batch["id"],
            "type": "message_batch",
            "processing_status": "ended" if ended else "canceling" if batch["cancelled"] else "in_progress",
            "request_counts": counts,
            "created_at": batch["made"].isoformat(timespec="seconds").replace("+00:00", "Z"),
            # Elsewhere, as behind a gateway: the key must not follow.
            "results_url": f"http://127.0.0.1:9{BATCHES}/{batch['id']}/results" if ended else None,
        }


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        raw = self.rfile.read(int(self.headers["content-length"] or 0))
        if self.path == BATCHES:
            batch_id = self.server.make(json.loads(raw)["requests"])
            if self.server.forgets_to_answer:
                return self._say({"type": "error", "error": {"type": "api_error", "message": "oops"}}, 500)
            return self._say(self.server.object(self.server.batch(batch_id)))
        batch = self._batch()
        if batch:
            batch["cancelled"] = True
            self._say(self.server.object(batch))
        return None

    def do_GET(self):
        self.server.keys.add(self.headers["x-api-key"])
        path, _, query = self.path.partition("?")
        if path == BATCHES:
            ids = [batch["id"] for batch in self.server.made]
            asked = dict(pair.split("=") for pair in query.split("&"))
            start = ids.index(asked["after_id"]) + 1 if "after_id" in asked else 0
            page = self.server.made[start : start + self.server.page_limit]
            more = start + len(page) < len(ids)
            return self._say({"data": [self.server.object(batch) for batch in page], "has_more": more})
        batch = self._batch()
        if batch and path.endswith("/results"):
            lines = [json.dumps(result, ensure_ascii=False).encode() for result in self.server.results(batch)]
            return self._send(b"\n".join([*lines, *self.server.extra_lines]))
        return self._say(self.server.object(batch)) if batch else None

    def _batch(self):
        batch = self.server.batch(self.path.removeprefix(BATCHES + "/").split("/")[0])
        if batch is None:
            self._say(
                {"type": "error", "error": {"type": "not_found_error", "message": "no such batch"}}, 404
            )
        return batch

    def _say(self, body, status=200):
        self._send(json.dumps(body).encode(), status)

    def _send(self, raw, status=200):
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_):
        """Say nothing."""
