"""A small provider of OpenAI's Batch API in memory, which does to its batches whatever a test wants."""

import json
import re
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from servers.base import body_of

ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "scripted",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "sport"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 50, "completion_tokens": 2, "total_tokens": 52},
}


def answered(body=None, **changes):
    """What came of a request that was answered; `changes` are of its body."""
    return {"response": {"status_code": 200, "body": {**(body or ANSWER), **changes}}, "error": None}


def refused(status, message, code=None):
    """What came of a request that was refused."""
    error = {"message": message, "code": code, "type": None, "param": None}
    return {"response": {"status_code": status, "body": {"error": error}}, "error": None}


class BatchServer(ThreadingHTTPServer):
    """Answers every request of a batch with what `result_of(text, time)` says, the `time`-th time the text is asked.

    None leaves the row out of both files, though it is billed. A batch is completed at once. `show` may change what a look
    at it tells, `download` the bytes of a file, with how often each was asked for; `cut_at` breaks off so many downloads
    after so many bytes. `billed` counts answers and lost rows by text.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.base_url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        self.files, self.batches, self.asked = {}, {}, []
        self.times, self.billed = Counter(), Counter()
        self.result_of = lambda text, time: answered()  # noqa: ARG005
        self.show = lambda batch, polls: batch  # noqa: ARG005
        self.download = lambda raw, times: raw  # noqa: ARG005
        self.cut_at = []
        self.refuses = {}
        self._polls = Counter()

    def answer(self, method, path, raw):  # noqa: PLR0911  (a table of what is asked)
        """A status and an answer: a value for JSON, or bytes."""
        self.asked.append((method, path))
        for (asked_method, asked_path), (status, message) in self.refuses.items():
            if (method, path) == (asked_method, asked_path):
                return status, {"error": {"message": message}}
        match method, path.strip("/").split("?")[0].split("/"):
            case "POST", ["files"]:
                content = re.search(rb"\r\n\r\n(\{.*?\})\s*\r\n--", raw, re.DOTALL).group(1)
                return 200, {"id": self._add(content)}
            case "POST", ["batches"]:
                return 200, self._make(json.loads(raw))
            case "GET", ["batches"]:
                return 200, {"data": list(self.batches.values())[::-1], "has_more": False}
            case "GET", ["batches", batch_id] if batch_id in self.batches:
                self._polls[batch_id] += 1
                return 200, self.show(self.batches[batch_id], self._polls[batch_id])
            case "GET", ["files", file_id, "content"] if file_id in self.files:
                self._polls[file_id] += 1
                return 200, self.download(self.files[file_id], self._polls[file_id])
            case "DELETE", ["files", file_id] if file_id in self.files:
                del self.files[file_id]
                return 200, {"id": file_id, "deleted": True}
        return 404, {"error": {"message": f"there is nothing at {path}"}}

    def _add(self, content):
        file_id = f"file-{len(self.asked)}-{len(self.files)}"
        self.files[file_id] = content
        return file_id

    def _make(self, asked):
        answers, errors = [], []
        for line in self.files[asked["input_file_id"]].splitlines():
            request = json.loads(line)
            asked_by_user = (one for one in request["body"]["messages"] if one["role"] == "user")
            text = next(asked_by_user)["content"]
            self.times[text] += 1
            result = self.result_of(text, self.times[text])
            status = 200 if result is None else result["response"]["status_code"]
            self.billed[text] += status == 200
            if result is not None:
                (answers if status == 200 else errors).append({"custom_id": request["custom_id"], **result})
        total = sum(1 for _ in self.files[asked["input_file_id"]].splitlines())
        batch = {
            "id": f"batch_{len(self.batches)}",
            "object": "batch",
            "status": "completed",
            "created_at": 1_790_000_000,
            "metadata": asked["metadata"],
            "input_file_id": asked["input_file_id"],
            "output_file_id": self._lines(answers),
            "error_file_id": self._lines(errors),
            "errors": None,
            "request_counts": {"total": total, "completed": total - len(errors), "failed": len(errors)},
        }
        self.batches[batch["id"]] = batch
        return batch | {"status": "validating", "output_file_id": None, "error_file_id": None}

    def _lines(self, results):
        content = b"".join(json.dumps(result).encode() + b"\n" for result in results)
        return self._add(content) if results else None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._answer("GET")

    def do_POST(self):
        self._answer("POST")

    def do_DELETE(self):
        self._answer("DELETE")

    def _answer(self, method):
        status, answer = self.server.answer(method, self.path.removeprefix("/v1"), body_of(self))
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.path.endswith("/content") and self.server.cut_at:
            body, self.close_connection = body[: self.server.cut_at.pop(0)], True
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""
