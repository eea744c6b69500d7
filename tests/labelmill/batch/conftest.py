"""Both adapters on real HTTP: to the practice provider, or to a server that says what a test has staged."""

import itertools
import json
import urllib.request
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import polars as pl
import pytest
from langchain_core.messages import convert_to_messages
from servers.base import serving

from labelmill.batch.groups import RequestGroup
from labelmill.batch.outstanding import OutstandingBatches
from labelmill.batch.record import BatchRecord
from labelmill.batch.session import BatchSession
from labelmill.live.thought_room import ThoughtRoom
from labelmill.money.budget import Budget, Limit
from labelmill.providers.dialect import Dialect, SpokenDialect
from labelmill.providers.endpoint import Endpoint
from labelmill.providers.table import PROVIDERS as PROVIDERS_BY_NAME
from labelmill.providers.table import client_of
from labelmill.question.form import AnswerForm, response_format_of
from labelmill.stop import StopSignal
from labelmill.store.folder import OutputFolder
from labelmill.store.row_key import row_key_of
from practice import PracticeSettings

ADAPTERS = ["openai", "langasync"]
PROVIDERS = [*ADAPTERS, "anthropic", "google"]
"""The adapters for OpenAI, and the other providers with a batch lane."""


@pytest.fixture
def practice(practice):
    """The session's practice provider as if just started, and left as it was found."""
    practice.configure(PracticeSettings())
    practice.reset()
    yield practice
    practice.configure(PracticeSettings())
    practice.reset()


@pytest.fixture
def key_name():
    """The environment variable that the clients take their key from."""
    return "LABELMILL_TEST_API_KEY"


@pytest.fixture
def client_by(job_of, key_name):
    """Build the client of an adapter by its name: `client_by("openai", base_url)`."""

    def build(adapter, base_url, model="gpt-4o-mini"):
        settings = {"timeout_seconds": 5.0, "name": model}
        if adapter not in ADAPTERS:
            adapter, settings = "openai", settings | {"provider": adapter}
        if adapter == "langasync":
            pytest.importorskip("langasync")
        job = job_of(batch={"adapter": adapter}, model=settings)
        return client_of(job, Endpoint(base_url, key_name, practice=True))

    return build


@pytest.fixture(params=ADAPTERS)
def client_at(request, client_by):
    """Build a client of each adapter in turn: `client_at(base_url)`."""
    return lambda base_url: client_by(request.param, base_url)


@pytest.fixture
def client(client_at, practice):
    """The client of each adapter in turn, at the practice provider."""
    return client_at(practice.base_url)


@pytest.fixture(params=PROVIDERS)
def any_provider(request):
    """Each adapter and provider in turn."""
    return request.param


@pytest.fixture
def any_client(any_provider, client_by, practice):
    """The client of each adapter and provider in turn, at the practice provider."""
    at = {"google": practice.base_url.removesuffix("/v1") + "/v1beta"}
    return client_by(any_provider, at.get(any_provider, practice.base_url))


@pytest.fixture(params=[name for name in PROVIDERS if name != "google"])
def telling_provider(request):
    """The same, but for Gemini, which tells neither that a batch is being stopped nor which rows were not executed."""
    return request.param


@pytest.fixture
def telling_client(telling_provider, client_by, practice):
    """The client of each of these, at the practice provider."""
    return client_by(telling_provider, practice.base_url)


@pytest.fixture
def dialect(request):
    """The provider in whose dialect files of requests are written: that of the client that a test takes."""
    for name in ("any_provider", "telling_provider"):
        if name in request.fixturenames:
            return request.getfixturevalue(name)
    return "openai"


@pytest.fixture
def body_of(job_of):
    """Build the body of a request: `body_of("a text")`, with parts of it replaced."""
    labels = job_of().labels

    def build(text, **parts):
        prompt = "\n".join(["Choose one of these labels:", *(f"- {name}: {labels[name]}" for name in labels)])
        return {
            "model": "gpt-4o-mini",
            "messages": [{"role": "system", "content": prompt}, {"role": "user", "content": text}],
            "temperature": 0.0,
            "max_completion_tokens": 16,
            **parts,
        }

    return build


@pytest.fixture
def schema_format(job_of):
    """The labels of `job_of`'s job as a `response_format`."""
    return response_format_of(job_of().labels)


@pytest.fixture
def write_requests(tmp_path, job_of, dialect):
    """Write a file of requests from their bodies in OpenAI's form, by row key: `write_requests({"v1:0": body})`."""

    def line_of(row_key, body):
        if dialect in ADAPTERS:
            return {"custom_id": row_key, "method": "POST", "url": "/v1/chat/completions", "body": body}
        settings = {"name": body["model"], "temperature": body["temperature"]}
        lines = PROVIDERS_BY_NAME[dialect].batch_lines(
            job_of(model=settings), "", AnswerForm(body["max_completion_tokens"], None)
        )
        return lines(row_key, convert_to_messages(body["messages"]))

    def write(bodies, name="requests.jsonl"):
        path = tmp_path / name
        with path.open("w", encoding="utf-8") as lines:
            for row_key, body in bodies.items():
                lines.write(json.dumps(line_of(row_key, body), ensure_ascii=False) + "\n")
        return path

    return write


@pytest.fixture
def texts():
    """Twenty texts by row key."""
    return {f"v1:{number:02}": f"the match number {number}" for number in range(20)}


@pytest.fixture
def requests(texts, body_of, write_requests):
    """A file of a request for each text."""
    return write_requests({row_key: body_of(text) for row_key, text in texts.items()})


class StagedServer(ThreadingHTTPServer):
    """Answers by path, as a test has staged it; everything else is 404, or leads away. The JSON that was sent to it is in `bodies`.

    With `cut_at` set, a body is announced whole and broken off after so many bytes.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.base_url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        self.replies = {}
        self.redirects = {}
        self.asked = []
        self.bodies = []
        self.cut_at = {}

    def stage(self, path, body, status=200):
        """Answer a path (with its query, if any): with an object, with bytes, or with pieces of bytes as they come."""
        self.replies[_ordered(path)] = (status, body)

    def stage_batch(self, output=None, error_lines=None, **fields):
        """Stage the batch `b`: its status and the lines of its files, as objects or as bytes."""
        batch = {"id": "b", "object": "batch", "status": "completed", "created_at": 1_700_000_000, **fields}
        for name, lines in (("output", output), ("error", error_lines)):
            if lines is not None:
                batch[f"{name}_file_id"] = f"file-{name}"
                content = (
                    line if isinstance(line, bytes) else json.dumps(line, ensure_ascii=False).encode()
                    for line in lines
                )
                self.stage(f"/files/file-{name}/content", b"\n".join(content))
        self.stage("/batches/b", batch)


def _ordered(path):
    """A path with its query in the order of the alphabet."""
    base, _, query = path.partition("?")
    return f"{base}?{'&'.join(sorted(query.split('&')))}" if query else base


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self._answer()

    def do_DELETE(self):
        self._answer()

    def do_POST(self):
        left = int(self.headers["content-length"] or 0)
        if self.headers["content-type"] == "application/json":
            self.server.bodies.append(json.loads(self.rfile.read(left)))
            left = 0
        while left:
            left -= len(self.rfile.read(min(left, 1 << 16)))
        self._answer()

    def _answer(self):
        path = _ordered(self.path.removeprefix("/v1"))
        self.server.asked.append((self.command, path))
        status, body = self.server.replies.get(path, (404, {"error": {"message": "nothing is staged here"}}))
        if path in self.server.redirects:
            self.send_response(301)
            self.send_header("location", self.server.redirects[path])
            self.end_headers()
            return
        self.send_response(status)
        self.send_header("content-type", "application/json" if isinstance(body, dict) else "text/html")
        if isinstance(body, dict):
            body = json.dumps(body).encode()
        if path in self.server.cut_at:
            self.send_header("content-length", str(len(body)))
            body = body[: self.server.cut_at[path]]
        self.end_headers()
        for piece in [body] if isinstance(body, bytes) else body:
            self.wfile.write(piece)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def completion():
    """Build the body of a chat completion: `completion("sport")`, with parts of its choice replaced."""

    def build(content="sport", **choice):
        message = {"role": "assistant", "content": content}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "scripted",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop", **choice}],
            "usage": {"prompt_tokens": 11, "completion_tokens": 2, "total_tokens": 13},
        }

    return build


@pytest.fixture
def line():
    """Build a line of a batch's output: `line(custom_id, body, status)`."""

    def build(custom_id, body, status=200):
        response = {"status_code": status, "request_id": "r", "body": body}
        return {"custom_id": custom_id, "response": response, "error": None}

    return build


@pytest.fixture
def ids(request, row_keys):
    """The ids of the requests of three rows: their keys, or with langasync their places."""
    return ["0", "1", "2"] if "langasync" in request.node.name else row_keys


@pytest.fixture
def row_keys():
    """The keys of three rows."""
    return ["v1:a", "v1:b", "v1:c"]


@pytest.fixture
def staged_client(client_at, staged):
    """The client of each adapter in turn, at the staged server."""
    return client_at(staged.base_url)


@pytest.fixture
def staged_answers(staged_client, row_keys):
    """Read what came of the three rows of the staged batch, by row key."""
    return lambda: {answer.row_key: answer for answer in staged_client.answers("b", row_keys, {})}


@pytest.fixture
def staged():
    """Start a `StagedServer`."""
    with serving(StagedServer()) as server:
        yield server


@pytest.fixture
def write_group(tmp_path):
    """Write a group of texts, with the kind of an earlier answer for each in a correction: `write_group(["a"], ["off_label"])`."""

    def write(texts, problems=None, *, under_schema=False, name="group.parquet"):
        path = tmp_path / name
        pl.DataFrame(
            {
                "row_key": [row_key_of(text) for text in texts],
                "text": texts,
                "attempts": [0] * len(texts),
                "answers": [int(problems is not None)] * len(texts),
                "paid_attempts": [0] * len(texts),
                "refusals": [0] * len(texts),
                "problem": problems or [None] * len(texts),
            },
            schema={
                "row_key": pl.String,
                "text": pl.String,
                "attempts": pl.Int64,
                "answers": pl.Int64,
                "paid_attempts": pl.Int64,
                "refusals": pl.Int64,
                "problem": pl.String,
            },
        ).write_parquet(path)
        return RequestGroup(path, len(texts), problems is not None, under_schema)

    return write


@pytest.fixture
def record_of(job_of):
    """Build a batch's record with something in every field, some of them replaced."""

    def build(**fields):
        values = {
            "name": "20260301-120000-ab12-000",
            "step": "sent",
            "run_id": "20260301-120000-ab12",
            "job": job_of(),
            "task_key": "practice-0123456789abcdef",
            "practice": True,
            "base_url": "http://127.0.0.1:9/v1",
            "is_correction": False,
            "under_schema": False,
            "texts": 4,
            "estimated_tokens": 400,
            "worst_case_usd": Decimal("0.04"),
            "fingerprint": "f" * 64,
            "intended_at_utc": datetime(2026, 3, 1, 12, tzinfo=UTC),
            "batch_id": "batch_1",
        }
        return BatchRecord.model_validate(values | fields)

    return build


RUN_ID = "20260301-120000-ab12"
TASK_KEY = "practice-0123456789abcdef"


@pytest.fixture
def outstanding_of(practice):
    """Open the batches of a run at the practice provider: `outstanding_of(job, limit_usd="0.1")`.

    Called again it is the next run into the same folder, which takes over what the last one left.
    """
    return lambda job, **facts: OutstandingBatches(_context_of(job, practice.base_url, **facts))


@pytest.fixture
def session_of(practice):
    """Open the batch lane of a run, as `outstanding_of` its batches."""
    return lambda job, **facts: BatchSession(_context_of(job, practice.base_url, **facts))


def _context_of(
    job, practice_url, *, run_id=RUN_ID, task_key=TASK_KEY, limit_usd=None, base_url=None, is_practice=True
):
    """What the batch lane knows of a run."""
    limit = None if limit_usd is None else Limit(Decimal(limit_usd), "max_cost_usd", Decimal(limit_usd))
    return SimpleNamespace(
        job=job,
        run_id=run_id,
        task_key=task_key,
        practice=is_practice,
        base_url=base_url or practice_url,
        folder=OutputFolder.of(job),
        budget=Budget(limit),
        stop_signal=StopSignal(),
        spoken_dialect=SpokenDialect(job, Dialect()),
        take_numbers=itertools.count().__next__,
        thoughts=ThoughtRoom(job.model),
    )


@pytest.fixture
def made(practice):
    """Ask which batches the practice provider knows, newest first."""

    def ask():
        with urllib.request.urlopen(f"{practice.base_url}/batches?limit=100") as response:
            return json.load(response)["data"]

    return ask
