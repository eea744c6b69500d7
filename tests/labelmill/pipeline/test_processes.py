"""Several processes of one run: one budget, one pace, one bill; and each way in which one of them dies."""

import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from servers.base import Endpoint, completion, error
from world import CRASH_JOB, records_in

from labelmill.check.job import checked_job
from labelmill.errors import JobRefused
from labelmill.job.file import draft_of_file
from labelmill.pipeline.label import label
from labelmill.run.record import RunRecord
from practice import PracticeSettings

pytestmark = pytest.mark.slow

PRICE = {"input_usd_per_mtok": 100.0, "output_usd_per_mtok": 100.0}
FAMOUS_LAST = "the last text"


class Held(Endpoint):
    """Answers at once, but holds what comes after the first `free` requests until it is let go."""

    def __init__(self, free=0):
        super().__init__()
        self.free, self.go = free, threading.Event()

    def reply(self, call):
        """The right label, now or later."""
        if call.number > self.free:
            self.go.wait(60)
        return completion(call)


def texts(count):
    """So many texts, about both labels."""
    return [f"{'match' if number % 2 else 'bank'} {number}" for number in range(count)]


def until(happens, seconds=60.0):
    """Wait until something is so."""
    ends = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.01)


def workers_below(pid):
    """The worker processes of a run's process."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    every = [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in _children(task)
    ] or children
    return sorted({int(pid) for pid in every if b"labelmill.run.worker" in _command(pid)})


def _children(task):
    try:
        return (task / "children").read_text().split()
    except OSError:
        return []


def _command(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def is_alive(pid):
    """Whether a process runs, and is no mere entry."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except OSError:
        return False


def is_free(lock):
    """Whether nobody holds an output's lock."""
    with lock.open() as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def test_two_processes_label_and_bill_as_one_does(world):
    """Labels, ledger and bill are the server's own count, both workers have asked, and none was asked twice."""
    world.has(texts(300))
    with Endpoint() as server:
        record = world.run(server, run={"processes": 2, "rows_per_chunk": 20}, price=PRICE)
        assert record.status == "completed"
        assert server.requests == 300
        assert server.peak_in_flight <= 8
        assert set(server.calls_of.values()) == {1}
        world.assert_labels(300)
        world.assert_bill_is(server)
        again = world.run(server, run={"processes": 2}, price=PRICE)
        assert (again.status, again.requests, again.rows_reused) == ("completed", 0, 300)
    assert workers_below(os.getpid()) == []


def test_what_is_no_label_is_asked_again_and_told_of(world, caplog):
    """Corrections, a last pass over what failed, notices and lines of the log come from workers as from the run itself."""

    class Odd(Endpoint):
        def reply(self, call):
            if call.text.endswith("0") and call.number_of_text == 1:
                return completion(call, "I'd rather not say")
            if call.text == "bank 8":
                return error(500, "broken")
            return completion(call)

    world.has(texts(60))
    with Odd() as server, caplog.at_level(logging.INFO, "labelmill"):
        record = world.run(server, run={"processes": 2, "rows_per_chunk": 10})
        assert (record.rows_labeled, record.rows_failed) == (59, 1)
        # As often as one process asks it: four times, and once more at the end, whoever asks it then.
        assert server.calls_of["bank 8"] == 5
        world.assert_bill_is(server)


def test_one_budget_is_spent_by_two_processes_as_by_one(world, tmp_path):
    """A run that ends at its budget has spent no more than that, and as much of it, however many processes it has."""
    world.has(texts(400))
    spent = []
    for processes in (1, 2):
        with Endpoint() as server:
            run = {"processes": processes, "rows_per_chunk": 20, "max_cost_usd": 0.5}
            out = {"path": str(tmp_path / f"out-{processes}")}
            record = world.run(server, run=run, price=PRICE, model={"max_tokens": 10}, output=out)
            assert record.status == "budget_reached"
            assert "max_cost_usd = 0.5 would be passed by the next request" in record.message
            assert record.cost_usd <= 0.5
            assert 0 < record.rows_labeled == server.requests < 400
            spent.append(record.cost_usd)
    assert spent[0] == pytest.approx(spent[1], abs=0.0043)  # what one answer came to


def test_an_announced_limit_is_shared_out(practice, job_of, write_texts):
    """Two workers keep to what the provider announces, together: hardly a request is turned away, though each could send it all."""
    practice.configure(PracticeSettings(latency_seconds=0.05, requests_per_minute=1200, burst_seconds=1))
    practice.reset()
    write_texts(texts(160))
    record = label(
        job_of(run={"processes": 2, "rows_per_chunk": 20, "max_concurrency": 16}), practice.base_url
    )
    assert record.rows_labeled == 160
    # Each for itself would send twice what is allowed.
    assert practice.totals()["requests"] <= 1.1 * 160


def test_a_worker_that_is_killed_ends_the_run_with_its_name_and_its_bill(world):
    """The run says that a worker was killed, counts what it had asked, and the next run asks what is missing."""
    world.has(texts(200))
    with Held(free=50) as server:
        records = []
        run = threading.Thread(
            target=lambda: records.append(world.run(server, run={"processes": 2, "rows_per_chunk": 20}))
        )
        run.start()
        until(lambda: server.in_flight == 8)
        os.kill(workers_below(os.getpid())[0], signal.SIGKILL)
        server.go.set()
        run.join(60)
        (record,) = records
        assert record.status == "failed"
        assert record.message.startswith("a worker process was killed (signal 9)")
        # All that was sent is in the bill: answered, or sent and never heard of.
        assert record.requests == server.requests
        assert record.failures is None or "interrupted" not in record.failures
        assert not list(world.folder.glob("out/ledger/*/*.jsonl"))
        sent = server.requests
        last = world.run(server, run={"processes": 2})
        assert (last.status, last.rows_labeled) == ("completed", 200)
        assert server.requests - sent == 200 - record.rows_labeled
        assert Counter(server.calls_of.values())[2] <= 4


def test_a_worker_that_can_not_start_ends_the_run_in_its_last_words(world, tmp_path, monkeypatch):
    """The run says what the worker said, nothing was asked, and nobody waits."""
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'ImportError: libc.so is not there' >&2\nexit 3\n")
    broken.chmod(0o755)
    world.has(texts(100))
    with Endpoint() as server:
        monkeypatch.setattr(sys, "executable", str(broken))
        record = world.run(server, run={"processes": 2, "rows_per_chunk": 20})
        monkeypatch.undo()
        assert record.status == "failed"
        told = "a worker process ended (exit code 3): ImportError: libc.so is not there"
        assert record.message.startswith(told)
        assert (record.requests, server.requests) == (0, 0)


@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "Incorrect API key provided"), (400, "This model is not for you"), (404, "No such model")],
)
def test_what_all_are_refused_ends_the_run_whichever_worker_hears_it(world, status, said):
    """The run ends in the provider's words, after hardly more requests than one process sends, and both workers send nothing more."""

    class Refusing(Endpoint):
        def reply(self, call):  # noqa: ARG002  (whatever is asked)
            return error(status, said, code="invalid_api_key" if status == 401 else None)

    world.has(texts(400))
    sent = []
    for processes in (1, 2):
        with Refusing() as server:
            record = world.run(server, run={"processes": processes, "rows_per_chunk": 20})
            assert record.status == "failed"
            assert said in record.message
            sent.append(server.requests)
    assert sent[1] < 1.5 * sent[0] + 20


def test_what_one_worker_finds_out_of_the_endpoint_all_know(world):
    """A field that is refused is left out by both workers, after a refusal for each at most."""

    class Particular(Endpoint):
        def reply(self, call):
            if "max_tokens" in call.body:
                said = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
                return error(400, said, code="unsupported_parameter", param="max_tokens")
            return completion(call)

    world.has(texts(200))
    with Particular() as server:
        record = world.run(server, run={"processes": 2, "rows_per_chunk": 10, "max_concurrency": 2})
        assert (record.status, record.rows_labeled) == ("completed", 200)
        # Once for each process at most.
        assert 200 < server.requests <= 202


RUN = """
import sys
from pathlib import Path
from labelmill.check.job import checked_job
from labelmill.check.job import checked_job
from labelmill.job.file import draft_of_file
from labelmill.pipeline.label import label
record = label(checked_job(draft_of_file(Path("job.toml")), sys.argv[1]), sys.argv[1])
print(record.model_dump_json())
"""
"""A script without a guard, whose process is the run's: a worker takes no part of it."""


@pytest.fixture
def run_of_its_own(tmp_path, monkeypatch):
    """Start a run in a process of its own: `run_of_its_own(server)`."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-marked-0123456789abcdef")
    started = []

    def start(server, rows=200):
        pl.DataFrame({"text": texts(rows)}).write_parquet(tmp_path / "source.parquet")
        job = CRASH_JOB.replace('"practice"', '"openai"').replace(
            "max_concurrency = 8", "max_concurrency = 8\nprocesses = 2"
        )
        (tmp_path / "job.toml").write_text(job.replace("rows_per_chunk = 40", "rows_per_chunk = 20"))
        (tmp_path / "script.py").write_text(RUN)
        root = Path(__file__).parents[3]
        child = subprocess.Popen(
            [sys.executable, "script.py", server.base_url],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(root)},
        )
        started.append(child)
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


@pytest.mark.parametrize("signals", [[signal.SIGKILL], [signal.SIGINT, signal.SIGINT]])
def test_the_workers_of_a_run_that_is_killed_keep_what_was_in_flight(
    run_of_its_own, tmp_path, monkeypatch, signals
):
    """Nobody else may write until the workers have kept the answers to what they had sent; then nothing is paid twice."""
    monkeypatch.chdir(tmp_path)
    with Held(free=50) as server:
        child = run_of_its_own(server)
        until(lambda: server.in_flight == 8)
        workers = workers_below(child.pid)
        assert len(workers) == 2
        *first, last = signals
        for number in first:
            os.kill(child.pid, number)
            until(lambda: b"finishing" in os.read(child.stderr.fileno(), 4096))
        os.kill(child.pid, last)
        child.wait()
        job = checked_job(draft_of_file(Path("job.toml")), server.base_url)
        with pytest.raises(JobRefused, match="wait for it to end"):
            label(job, server.base_url)
        sent = server.requests
        server.go.set()
        until(lambda: is_free(tmp_path / "out" / ".lock"))
        assert not any(map(is_alive, workers))
        assert server.requests == sent
        record = label(job, server.base_url)
        assert (record.status, record.rows_labeled) == ("completed", 200)
        assert set(server.calls_of.values()) == {1}
        dead = next(one for one in records_in(tmp_path / "out") if one["run_id"] != record.run_id)
        assert (dead["status"], dead["requests"] + record.requests) == ("failed", server.requests)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_lets_them_drain(run_of_its_own, number):
    """A terminal and a service manager signal every process: what is in flight is kept, and the run publishes."""
    with Held(free=50) as server:
        child = run_of_its_own(server)
        until(lambda: server.in_flight == 8)
        workers = workers_below(child.pid)
        for pid in [*workers, child.pid]:
            os.kill(pid, number)
        until(lambda: b"finishing" in os.read(child.stderr.fileno(), 4096))
        server.go.set()
        out, _ = child.communicate(timeout=60)
        record = RunRecord.model_validate(json.loads(out))
        assert record.status == "cancelled"
        assert record.rows_labeled == record.requests == server.requests < 200
        assert not any(map(is_alive, workers))
