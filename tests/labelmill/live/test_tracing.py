"""Tracing: what LangSmith's own client sends to a server that takes LangSmith's calls, and what a broken one changes."""

import email
import email.policy
import json
import logging
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import langsmith.utils
import pytest
from langsmith.env import _runtime_env

from labelmill.dataset.plan import chunks_of, write_pending
from labelmill.live.tracing import QueueClient, without_texts
from labelmill.pipeline.label import label
from labelmill.run.classify import classify_chunk
from labelmill.run.open_run import open_run
from practice import PracticeSettings

KEY = "lsv2_marked_0123456789abcdef"
MARK = "marked-text"
TEXTS = [f"the {MARK} number {number} of a football match" for number in range(8)]
INFO = {
    "batch_ingest_config": {"use_multipart_endpoint": True, "size_limit": 100, "size_limit_bytes": 20_000_000}
}


class LangSmithServer(ThreadingHTTPServer):
    """Takes what LangSmith's client sends. `mood` is `well`, `broken` (500), `hanging`, or `old` (no multipart)."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.mood, self.bodies, self.headers_seen, self.steps = "well", [], [], {}
        self.ended = threading.Event()

    def take(self, step, field, value):
        """Keep one field of a step, or all of them where the field has no name."""
        kept = self.steps.setdefault(step, {})
        kept.update(value if field is None else {field: value})

    def of_type(self, kind):
        """The steps of a type, such as `llm`."""
        return [step for step in self.steps.values() if step.get("run_type") == kind]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._answer(INFO)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.bodies.append(body)
        self.server.headers_seen.append(self.headers)
        if self.server.mood == "well":
            head = f"content-type: {self.headers['content-type']}\r\n\r\n".encode()
            for part in email.message_from_bytes(head + body, policy=email.policy.HTTP).iter_parts():
                name = part.get_param("name", header="content-disposition")
                _, step, *field = name.split(".", 2)
                self.server.take(step, field[0] if field else None, json.loads(part.get_payload(decode=True)))
        if self.server.mood == "old" and self.path.endswith("/batch"):
            batch = json.loads(body)
            for step in [*batch.get("post", []), *batch.get("patch", [])]:
                self.server.take(step["id"], None, step)
        self._answer({}, 404 if self.server.mood == "old" and self.path.endswith("/multipart") else 202)

    def _answer(self, value, status=200):
        if self.server.mood == "hanging":
            self.server.ended.wait(60)
        raw = json.dumps(value).encode()
        self.send_response(500 if self.server.mood == "broken" else status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_):
        pass


def _forget_environment():
    langsmith.utils.get_env_var.cache_clear()
    langsmith.utils.get_tracer_project.cache_clear()
    _runtime_env.get_langchain_env_var_metadata.cache_clear()


@pytest.fixture
def langsmith_server():
    """A server in LangSmith's place."""
    server = LangSmithServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.ended.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def traced(langsmith_server, monkeypatch):
    """An environment in which LangSmith is on, at the server."""
    for name, value in {
        "LANGSMITH_TRACING": "true",
        "LANGSMITH_ENDPOINT": langsmith_server.url,
        "LANGSMITH_API_KEY": KEY,
        "LANGSMITH_PROJECT": "our-project",
    }.items():
        monkeypatch.setenv(name, value)
    _forget_environment()
    yield langsmith_server
    monkeypatch.undo()
    _forget_environment()


@pytest.fixture
def label_texts(practice, job_of, write_texts, tmp_path):
    """Label the texts as one chunk: `label_texts(trace_texts=...)` gives the receipt, the run id and the seconds."""
    practice.configure(PracticeSettings())
    practice.reset()

    def label(texts=TEXTS, faults=None, **run):
        practice.configure(PracticeSettings(**(faults or {})))
        write_texts(texts)
        job = job_of(run={"max_concurrency": 4, "max_attempts": 1, **run})
        started = time.monotonic()
        with open_run(job, practice.base_url) as context:
            path = tmp_path / "pending.parquet"
            count = write_pending(
                context.digests, range(len(context.files)), context.ledger.known_digests, path
            )
            receipt = classify_chunk(context, path, chunks_of(count, 100)[0])
            run_id = context.run_id
        return receipt, run_id, time.monotonic() - started

    yield label
    practice.configure(PracticeSettings())


def test_each_request_arrives_with_job_run_chunk_and_row_key(traced, label_texts):
    """Job, run id, chunk and row key are metadata of every step, in the project of the environment."""
    receipt, run_id, _ = label_texts()
    assert receipt.labeled == len(TEXTS)
    steps = traced.of_type("llm")
    assert len(steps) == len(TEXTS)
    for step in traced.steps.values():
        metadata = step["extra"]["metadata"]
        assert (metadata["job"], metadata["run_id"], metadata["chunk"]) == ("test", run_id, 0)
        assert metadata["row_key"].startswith("v1:")
        assert step["session_name"] == "our-project"
        assert step["end_time"]
    assert len({step["extra"]["metadata"]["row_key"] for step in steps}) == len(TEXTS)
    assert all(step["extra"]["metadata"]["usage_metadata"]["input_tokens"] > 0 for step in steps)


def test_texts_and_answers_stay_here(traced, label_texts):
    """Neither a text nor what the model said of it leaves, and no step has inputs or outputs."""
    label_texts()
    assert traced.steps
    assert not any(MARK.encode() in body for body in traced.bodies)
    assert not any(step.get("inputs") or step.get("outputs") for step in traced.steps.values())


def test_error_messages_are_cut_to_the_name_of_the_exception(traced, label_texts):
    """A provider may repeat the text in its error, so that only the kind of the error is sent."""
    receipt, *_ = label_texts(faults={"stubborn_faults": {"too_long": 1.0}})
    assert receipt.failed == len(TEXTS)
    errors = {step["error"] for step in traced.of_type("llm")}
    assert errors
    assert all(error.isidentifier() for error in errors)
    assert not any(MARK.encode() in body for body in traced.bodies)


def test_texts_are_sent_where_the_job_says_so(traced, label_texts):
    """With trace_texts the text and the answer arrive."""
    label_texts(trace_texts=True)
    assert any(MARK.encode() in body for body in traced.bodies)
    assert all(MARK in json.dumps(step["inputs"]) for step in traced.of_type("llm"))
    assert all("sport" in json.dumps(step["outputs"]) for step in traced.of_type("llm"))


def test_a_server_without_multipart_gets_batches(traced, label_texts):
    """An older LangSmith of one's own takes `/runs/batch`."""
    traced.mood = "old"
    label_texts()
    assert len(traced.of_type("llm")) == len(TEXTS)
    assert not any(MARK.encode() in body for body in traced.bodies)


def test_no_key_is_written_or_sent(traced, label_texts, tmp_path, monkeypatch):
    """LangSmith's key is in its header and in no file; the provider's key is in no trace."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-marked-0123456789abcdef")
    label_texts()
    assert traced.headers_seen[0]["x-api-key"] == KEY
    assert not any(KEY.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert not any(KEY.encode() in body or b"sk-marked" in body for body in traced.bodies)


@pytest.mark.slow
@pytest.mark.parametrize(("mood", "seconds"), [("broken", 8), ("hanging", 14)])
def test_a_broken_or_hanging_langsmith_changes_no_label_and_little_time(
    mood, seconds, traced, label_texts, caplog
):
    """The run ends as without it, waits at most the few seconds of the last flush, and says it in one sentence."""
    traced.mood = mood
    with caplog.at_level(logging.WARNING):
        receipt, _, took = label_texts()
    assert receipt.labeled == len(TEXTS)
    assert took < seconds
    (said,) = [record for record in caplog.records if "langsmith" in record.message.lower()]
    assert "the labels are not affected" in said.message


@pytest.mark.slow
def test_a_langsmith_that_is_away_changes_nothing(traced, label_texts):
    """Where nobody listens, the run ends as without it."""
    traced.server_close()
    traced.shutdown()
    receipt, _, took = label_texts()
    assert receipt.labeled == len(TEXTS)
    assert took < 10


@pytest.mark.slow
def test_a_tracing_that_cannot_begin_is_said_and_sends_nothing(traced, label_texts, monkeypatch, caplog):
    """Without a key for the hosted LangSmith nothing is traced, also not by LangChain's own tracer with its texts."""
    monkeypatch.delenv("LANGSMITH_API_KEY")
    monkeypatch.delenv("LANGSMITH_ENDPOINT")
    monkeypatch.setenv("LANGSMITH_TRACING_SAMPLING_RATE", "many")
    _forget_environment()
    receipt, *_ = label_texts()
    assert receipt.labeled == len(TEXTS)
    assert any("nothing is traced" in record.message for record in caplog.records)
    assert traced.bodies == []


@pytest.mark.parametrize("value", [None, "false", ""])
def test_without_the_variable_nothing_is_traced(value, traced, label_texts, monkeypatch):
    """Tracing is off unless it is asked for: no request, no thread."""
    if value is None:
        monkeypatch.delenv("LANGSMITH_TRACING")
    else:
        monkeypatch.setenv("LANGSMITH_TRACING", value)
    _forget_environment()
    label_texts()
    assert traced.bodies == []
    assert not [thread for thread in threading.enumerate() if "langsmith" in thread.name]


def test_a_full_queue_drops_and_does_not_wait(traced):
    """What LangSmith can't take in time is dropped, so that memory is bounded and nobody waits."""
    traced.mood = "hanging"
    langsmith_queue = QueueClient(keep_texts=False, most_waiting=10)
    started = time.monotonic()
    for number in range(1000):
        langsmith_queue.update_run(f"00000000-0000-0000-0000-{number:012}", outputs={"a": 1})
    langsmith_queue.send_the_rest(seconds=0.5)
    assert time.monotonic() - started < 3
    assert langsmith_queue.lost == 1000


def test_a_step_without_texts_keeps_its_times_and_numbers():
    """Inputs, outputs and messages go; names, times and metadata stay, and the step itself is not changed."""
    step = {
        "name": "s",
        "inputs": {"a": MARK},
        "outputs": {"b": MARK},
        "error": f"BadRequestError('{MARK}')\n...",
    }
    assert without_texts(step) == {"name": "s", "inputs": {}, "outputs": {}, "error": "BadRequestError"}
    assert without_texts({"error": f"「{MARK}"}) == {"error": "error"}
    assert MARK in step["error"]


@pytest.mark.slow
def test_worker_processes_trace_as_the_run_would(traced, practice, job_of, write_texts):
    """Each request of a worker arrives with its job, run and row key, and without its text."""
    practice.configure(PracticeSettings())
    write_texts(TEXTS)
    record = label(job_of(run={"processes": 2, "rows_per_chunk": 4}), practice.base_url)
    assert record.rows_labeled == len(TEXTS)
    steps = traced.of_type("llm")
    assert {step["extra"]["metadata"]["run_id"] for step in steps} == {record.run_id}
    assert len({step["extra"]["metadata"]["row_key"] for step in steps}) == len(TEXTS)
    assert not any(MARK.encode() in body for body in traced.bodies)
