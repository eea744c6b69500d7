"""What version 0.1.0 left before the practice provider became a program of its own: read, harvested, and paid no second time."""

import json
from pathlib import Path
from typing import get_args

import polars as pl
import pytest

from labelmill.batch.record import BatchFolder, BatchRecord
from labelmill.job.file import draft_of_file
from labelmill.job.model import LabelJob
from labelmill.pipeline.label import label
from labelmill.providers.practice import practice_mistakes
from labelmill.question.prompt import in_wording
from labelmill.question.task_key import task_key_of
from labelmill.report.page import report_page
from labelmill.run.history import read_runs
from labelmill.run.record import RunRecord, Status, read_record
from labelmill.store.folder import OutputFolder
from practice import PracticeSettings

RUN_ID = "20260301-120000-ab12"
TASK_KEY = "practice-0488fb0da5cb84c5"
"""What version 0.1.0 called the task of `job`."""
PRACTICE = """
[practice]
latency_seconds = 0.0
latency_sigma = 0.2
requests_per_minute = 100000
tokens_per_minute = 100000000
burst_seconds = 60.0
seed = 3
odd_answers = 0.1
retry_after_seconds = 0.2
hang_seconds = 600.0
insufficient_quota_after = 100000
known_models = ["gpt-4o-mini"]
batch_seconds = 0.0
batch_cancelling_seconds = 0.0
batch_outcome = "completed"
batch_finished_fraction = 0.5
batch_missing_fraction = 0.05
batch_shuffled = true
batch_queue_tokens = 1000000
batch_max_requests = 50000
batch_max_bytes = 209715200
batch_error_calls = 1
[practice.faults]
rate_limited = 0.05
[practice.stubborn_faults]
refusal = 0.05
[practice.batch_hold_seconds]
create = 0.1
[practice.batch_errors]
list = "server_error"
"""
"""Every field that the section had; `required_key` looks like a key, with which no job file was ever taken."""
SECTION = {
    "latency_seconds": 0.0,
    "latency_sigma": 0.0,
    "requests_per_minute": None,
    "tokens_per_minute": None,
    "burst_seconds": 60.0,
    "seed": 0,
    "faults": {},
    "stubborn_faults": {},
    "odd_answers": 0.0,
    "retry_after_seconds": 0.2,
    "hang_seconds": 600.0,
    "insufficient_quota_after": None,
    "required_key": None,
    "known_models": None,
    "batch_seconds": 0.0,
    "batch_cancelling_seconds": 0.0,
    "batch_outcome": "completed",
    "batch_finished_fraction": None,
    "batch_missing_fraction": 0.0,
    "batch_shuffled": True,
    "batch_queue_tokens": None,
    "batch_max_requests": 50000,
    "batch_max_bytes": 209715200,
    "batch_hold_seconds": {},
    "batch_errors": {},
    "batch_error_calls": 1,
}
"""The same as a record or a deployment has it, in which the defaults stood too."""
SENT = """\
{"sent":"v1:4dc0a3b81dd5f0c91d664f268315f451","at_utc":"2026-03-01T12:00:00+00:00","worst_usd":"0.0000672"}
{"sent":"v1:f9df31138587849d8a2ad238656dfdd8","at_utc":"2026-03-01T12:00:00+00:00","worst_usd":"0.00006705"}
{"row_key":"v1:4dc0a3b81dd5f0c91d664f268315f451","at_utc":"2026-03-01T12:00:01+00:00","label":"sport","answered":true,\
"model":"practice:gpt-4o-mini","usage":{"input_tokens":77,"cached_input_tokens":0,"output_tokens":1,\
"cache_write_input_tokens":0},"cost_usd":"0.00001215","seconds":0.3093}
{"sent":"v1:381
"""
"""The journal of a run that was killed: an answer, a request in flight, and a line that broke off."""


@pytest.fixture
def practice(practice):
    """The session's practice provider as if just started, and left as it was found."""
    practice.configure(PracticeSettings())
    practice.reset()
    yield practice
    practice.configure(PracticeSettings())
    practice.reset()


@pytest.fixture
def job(job_of):
    """The job of `TASK_KEY`, as a record, a batch or a deployment of that version holds it."""
    labels = {"sport": "match, team", "money": "bank, market"}
    return job_of(labels=labels, practice=SECTION, run={"poll_seconds": 0.05, "max_failed_fraction": 1})


@pytest.fixture
def write_old(tmp_path, job):
    """Write that version's `run.json`: `write_old("completed")`."""

    def write(status):
        is_over = status != "running"
        old = {
            "run_id": RUN_ID,
            "status": status,
            "message": None,
            "practice": True,
            "job": job.model_dump(mode="json", exclude={"practice": {"settings"}}),
            "task_key": TASK_KEY,
            **{f"rows_{name}": 4 for name in ("total", "labeled", "reused", "failed", "pending", "empty")},
            "texts_asked": 4,
            "texts_labeled": 4,
            "requests": 4,
            "requests_unseen": 3,
            "input_tokens": 9,
            "cached_input_tokens": 0,
            "output_tokens": 2,
            "cost_usd": None,
            "unseen_usd": 0.25,
            "price": None,
            "seconds": 1.3 if is_over else None,
            "answer_seconds": {"p50": 0.0278, "p95": 0.0563, "max": 0.076},
            "texts_by_batch": 0,
            "live_cost_usd": None,
            "batch_price": None,
            "batches": [],
            "texts_out": 0,
            "other_tasks_cost_usd": 0.0,
            "labels": {"sport": 4},
            "failures": {},
            "provider_messages": [],
            "wrong_answers": [],
            "notices": [],
            "started_at_utc": "2026-03-01T12:00:00.607468Z",
            "finished_at_utc": "2026-03-01T12:00:01.909721Z" if is_over else None,
            "labeled_path": "out/labeled",
            "labeled_run_id": RUN_ID,
            "failed_path": None,
            "labelmill_version": "0.1.0",
        }
        folder = tmp_path / "out" / "runs" / RUN_ID
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps(old))
        return folder

    return write


def test_its_job_is_the_same_task(job):
    """The former section `[practice]` is read whole, and asks for nothing anew."""
    again = LabelJob.model_validate(job.model_dump(mode="json"))
    assert "practice-" + task_key_of(in_wording(again, 1)) == TASK_KEY


def test_its_settings_of_the_practice_provider_are_followed():
    """All that such a job says, the defaults that a record spells out included, the provider takes."""
    section = LabelJob.model_fields["practice"].annotation
    assert practice_mistakes(section.model_validate(SECTION)) == []


def test_a_job_file_with_every_former_field_is_sound(tmp_path):
    """So does a job file that was written by hand, each field with a value of its own."""
    (file := tmp_path / "job.toml").write_text(
        'name = "t"\nsource = {path = "a.parquet", text = "text"}\nlabels = {a = "", b = ""}\n'
        'model = {provider = "practice", name = "gpt-4o-mini"}\noutput = {path = "out"}\n' + PRACTICE
    )
    draft = draft_of_file(file)
    assert draft.mistakes == ()
    assert (
        draft.job.practice.model_extra.keys() | {"latency_seconds", "seed", "required_key"} == SECTION.keys()
    )
    assert practice_mistakes(draft.job.practice) == []


@pytest.mark.parametrize("status", get_args(Status))
def test_its_record_is_read_whatever_its_status(write_old, tmp_path, status):
    """By those who read a record, by the page, and by the history; an unknown cost stays unknown."""
    record = read_record(write_old(status))
    assert (record.status, record.requests_without_usage, record.cost_usd) == (status, 3, None)
    assert (record.cost_known_usd, record.unseen_usd) == (None, 0.25)
    assert RUN_ID in report_page(record)
    (facts,) = read_runs(OutputFolder(tmp_path / "out"))
    assert (facts.run_id, facts.status, facts.task_key) == (RUN_ID, status, TASK_KEY)


def test_what_a_record_from_before_the_batch_lane_does_not_tell_is_unknown(write_old):
    """What live requests would have cost was not counted then: it is not nothing."""
    old = json.loads((write_old("completed") / "run.json").read_text())
    del old["live_cost_usd"]
    assert RunRecord.model_validate(old).live_cost_usd is None


def test_the_journal_of_a_run_that_was_killed_is_folded_in(job, practice, write_texts, write_old, tmp_path):
    """Its answer is not asked for again, the request in flight is in its bill, and its record is closed."""
    write_texts(["the match of day 0", "a market"])
    folder = write_old("running")
    ledger = tmp_path / "out" / "ledger" / TASK_KEY
    ledger.mkdir(parents=True)
    (ledger / f"{RUN_ID}-00000.jsonl").write_text(SENT)
    record = label(job, practice.base_url)
    assert (record.status, record.rows_labeled, record.rows_reused) == ("completed", 2, 1)
    assert practice.totals()["requests"] == record.requests == 1
    closed = read_record(folder)
    assert (closed.status, closed.requests, closed.requests_without_usage) == ("failed", 2, 1)
    assert (closed.input_tokens, closed.unseen_usd) == (77, pytest.approx(0.00006705))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("provider", "model", "path"),
    [
        ("practice", "gpt-4o-mini", "/v1"),
        ("anthropic", "claude-haiku-4-5", ""),
        ("google", "gemini-2.5-flash-lite", "/v1beta"),
    ],
)
def test_a_batch_that_is_out_is_harvested(
    job_of, job, practice, write_texts, tmp_path, provider, model, path
):
    """Its record, of an adapter that only OpenAI's batches have now, is found with the provider, and nothing is sent twice."""
    write_texts(texts := ["the match", "a market", "the team"])
    adapter = "openai" if provider == "practice" else "langasync"
    mine = job_of(
        labels=job.labels,
        model={"provider": provider, "name": model},
        run={"lane": "batch", "poll_seconds": 0.05, "max_wait_minutes": 0},
        batch={"adapter": adapter},
        practice=SECTION,
    )
    practice.configure(PracticeSettings(batch_seconds=3600))
    address = practice.base_url.removesuffix("/v1") + path
    assert label(mine, address).status == "waiting"
    batches = BatchFolder(tmp_path / "out" / "batches")
    (sent,) = batches.read_all()
    old = json.loads(batches.record_path(sent.name).read_text())
    assert old["job"]["practice"].pop("settings") is None
    assert set(old["job"]["practice"]) == set(SECTION)
    Path(batches.record_path(sent.name)).write_text(json.dumps(old))
    practice.configure(PracticeSettings())
    done = label(mine, address)
    assert (done.status, done.rows_labeled, done.texts_by_batch) == ("completed", len(texts), len(texts))
    assert (practice.totals()["batches"], practice.totals()["requests"]) == (1, 0)
    assert [record.step for record in batches.read_all()] == ["harvested"]
    assert isinstance(batches.read_all()[0], BatchRecord)
    assert pl.read_parquet(tmp_path / "out" / "labeled")["label"].to_list() == ["sport", "money", "sport"]
