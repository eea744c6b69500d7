"""The flow as Prefect shows it, with a real Prefect server: names, tags, artifacts, limits, logs, and the state of each ending."""

import json
import re
from base64 import b64decode
from pathlib import Path
from typing import get_args
from xml.etree import ElementTree as ET

import polars as pl
import pyarrow.parquet as pq
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType

from flows.label import label_dataset
from labelmill.errors import CannotWrite, RunFailed, RunStopped
from labelmill.report.formatting import usd
from labelmill.run.record import Status
from practice import PracticeSettings
from tasks.artifact_keys import artifact_key_of
from tasks.runner import PrefectRunner

pytestmark = pytest.mark.usefixtures("prefect_server")

TEXTS = [f"the {word} of day {number}" for number in range(40) for word in ("match", "market", "team")]
BATCH = {"lane": "batch", "poll_seconds": 0.05}


@pytest.fixture
def run(practice, left_by):
    """Run the flow against the session's practice provider and return its state and record."""

    def run_flow(job, settings=None):
        practice.configure(settings or PracticeSettings())
        practice.reset()
        state = label_dataset(job, practice.base_url, return_state=True)
        return state, left_by(state)

    return run_flow


def figures_in(report):
    """The charts in a report, each as SVG that an XML parser takes."""
    images = re.findall(r"\]\(data:image/svg\+xml;base64,([^)]+)\)", report)
    return [ET.fromstring(b64decode(image)) for image in images]  # noqa: S314  (our own)


ENDINGS = {
    "completed": (PracticeSettings(), {}, StateType.COMPLETED, "Completed"),
    "budget_reached": (PracticeSettings(), {"max_cost_usd": 0}, StateType.COMPLETED, "BudgetReached"),
    "waiting": (
        PracticeSettings(batch_seconds=3600),
        {**BATCH, "max_wait_minutes": 0},
        StateType.COMPLETED,
        "Waiting",
    ),
    "too_many_failures": (
        PracticeSettings(stubborn_faults={"content_filter": 1.0}),
        {},
        StateType.FAILED,
        "Failed",
    ),
    "files_unreadable": (PracticeSettings(), {}, StateType.FAILED, "Failed"),
    "failed": (PracticeSettings(required_key="another"), {}, StateType.FAILED, "Failed"),
    "cancelled": (PracticeSettings(), {}, StateType.CANCELLED, "Cancelled"),
}
"""What makes a run end with each status: what the provider does, what the job says, and the state of the flow run."""


def spoil(write_texts, path):
    """Write a file whose text column can't be read."""
    write_texts(["the match of a spoilt file"] * 50, path.name)
    told = pq.ParquetFile(path).metadata.row_group(0).column(1)
    begin = told.dictionary_page_offset or told.data_page_offset
    content = path.read_bytes()
    path.write_bytes(content[:begin] + b"\xff" * 8 + content[begin + 8 :])


class Cancelled(PrefectRunner):
    """Takes the steps of a run that somebody has cancelled."""

    def watch(self, context):
        """Stop before anything is asked."""
        context.stop_signal.stop(RunStopped("cancelled", "enough"))
        return super().watch(context)


@pytest.mark.slow
def test_worker_processes_are_behind_the_same_task_runs(run, job_of, write_texts, seen):
    """With several processes each chunk is a task run as ever, which waits for its worker."""
    write_texts(TEXTS)
    state, record = run(job_of(run={"processes": 2, "rows_per_chunk": 40}))
    assert (record.status, record.rows_labeled) == ("completed", len(TEXTS))
    chunks = {f"classify {number}/3" for number in (1, 2, 3)}
    _, _, tasks = seen(state, lambda names: chunks <= set(names))
    assert chunks <= {task_run.name for task_run in tasks}


@pytest.mark.parametrize("status", ENDINGS)
def test_each_ending_is_a_state_of_its_own_and_holds_the_record(
    run, job_of, write_texts, monkeypatch, status
):
    """The state's type, name and message say how the run ended; whoever asks for its result gets the record, or an error with it."""
    assert ENDINGS.keys() == set(get_args(Status)) - {"running"}
    write_texts(TEXTS[:4])
    settings, asked, kind, name = ENDINGS[status]
    if status == "cancelled":
        monkeypatch.setattr("flows.label.PrefectRunner", Cancelled)
    job = job_of(run=asked)
    if status == "files_unreadable":
        spoil(write_texts, Path(job.source.path).with_name("spoilt.parquet"))
        job = job_of(run=asked, source={"path": str(Path(job.source.path).with_name("*.parquet"))})
    state, record = run(job, settings)
    assert (record.status, state.type, state.name) == (status, kind, name)
    unreadable = ", 50 unreadable" if status == "files_unreadable" else ""
    labeled = f"{record.rows_labeled} of {record.rows_total} rows labeled{unreadable}"
    assert state.message.startswith(f"{labeled}, {usd(record.cost_usd)} (practice, nothing was paid).")
    assert (record.message or "") in state.message
    if kind is StateType.FAILED:
        with pytest.raises(RunFailed) as failed:
            state.result()
        assert failed.value.record == record
        assert [said.text in state.message for said in record.provider_messages[:1]] == (
            [] if status == "files_unreadable" else [True]
        )
    elif kind is StateType.COMPLETED:
        assert state.result() == record


def test_a_run_on_the_batch_lane_labels_every_row(run, practice, job_of, write_texts):
    """As a flow too it settles its batches, and the labels are published."""
    source = write_texts(TEXTS[:12])
    state, record = run(job_of(run=BATCH))
    assert (state.is_completed(), record.status, record.texts_by_batch) == (True, "completed", 12)
    rows = pl.read_parquet(f"{record.labeled_path}/**/*.parquet")
    assert rows.select(source.columns).equals(source)
    assert rows["label_status"].unique().to_list() == ["ok"]
    assert practice.totals()["requests"] == 0


@pytest.mark.parametrize(
    "broken", ["labelmill.pipeline.label.write_manifest", "labelmill.run.open_run.write_record"]
)
def test_a_file_that_can_not_be_written_is_a_failed_state_in_a_sentence(
    run, job_of, write_texts, monkeypatch, broken
):
    """Within a step and outside of one: the state's message is the sentence, and so is what its result raises."""

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(broken, full)
    write_texts(TEXTS[:2])
    state, sentence = run(job_of())
    assert isinstance(sentence, CannotWrite)
    assert (state.is_failed(), state.message) == (True, str(sentence))
    assert "can't be written: No space left on device" in state.message


def test_the_page_a_person_looks_at(run, job_of, write_texts, seen):
    """The run is named and tagged, and its report, tables, links and progress are artifacts under the job's key."""
    write_texts([*TEXTS, None])
    settings = PracticeSettings(stubborn_faults={"off_label": 0.1})
    job = job_of(
        name="daily news", run={"rows_per_chunk": 50, "max_failed_fraction": 1, "max_cost_usd_per_day": 1}
    )
    run(job, settings)
    state, record = run(job, settings)

    steps = {"plan", "merge", "publish", "announce"}
    flow_run, artifacts, task_runs = seen(state, lambda names: set(names) >= steps)
    started = flow_run.expected_start_time.astimezone()
    assert flow_run.name == f"daily news {started:%Y-%m-%d %H:%M:%S}"
    assert set(flow_run.tags) == {"daily news", "labelmill"}
    assert {task_run.name for task_run in task_runs} == {"plan", "merge", "publish", "announce"}
    assert set.intersection(*(set(task_run.tags) for task_run in task_runs)) >= {"daily news", "labelmill"}
    found = {
        artifact.key.removeprefix(artifact_key_of("daily news") + "-"): artifact for artifact in artifacts
    }
    assert found.keys() == {"report", "costs", "labels", "failures", "labeled", "page", "progress"}
    report = found["report"].data
    assert f"run `{record.run_id}`" in report
    assert "Compared with run" in report
    assert "max\\_cost\\_usd\\_per\\_day" in report
    assert "| empty \\(no text\\) | 1 |" in report or "| empty (no text) | 1 |" in report
    assert "not one of the labels" in report
    assert report.count("](data:image/svg+xml;base64,") == len(figures_in(report)) == 2
    labels = json.loads(found["labels"].data)
    assert {row["label"]: row["rows"] for row in labels} == {
        name: f"{count:,}" for name, count in record.labels.items()
    }
    assert {row["kind"] for row in json.loads(found["failures"].data)} == {"off_label"}
    assert found["progress"].data == 100
    place = found["labeled"].data
    assert f"\n{record.labeled_path}\n" in place
    (line,) = re.findall(r"```python\n(.*?)\n```", place, flags=re.DOTALL)
    read = {}
    exec(line, read)  # noqa: S102  (what a person copies from the page)
    assert read["rows"].height == record.rows_total
    assert (
        f"\n{Path(record.labeled_path).parent / 'runs' / record.run_id / 'report.html'}\n"
        in found["page"].data
    )
    assert "file://" not in place + found["page"].data


def test_texts_of_customers_are_in_the_report_and_in_no_log_line(run, job_of, write_texts, caplog):
    """Examples of failures show the beginning of a text where people look for it; log lines and messages don't."""
    write_texts(["the match of my secret", "the market"])
    settings = PracticeSettings(stubborn_faults={"off_label": 1.0})
    state, record = run(job_of(run={"max_failed_fraction": 1}), settings)
    page = Path(record.labeled_path).parent / "runs" / record.run_id / "report.html"
    assert "the match of my secret" in page.read_text()
    assert "my secret" not in (page.parent / "run.json").read_text() + caplog.text + (state.message or "")


def test_a_progress_artifact_that_can_not_be_written_hurts_nothing(run, job_of, write_texts, monkeypatch):
    """With the artifact API broken from the first update on, every row is labeled all the same."""

    def broken(*_args, **_more):
        raise ConnectionError("the server is away")

    monkeypatch.setattr("tasks.progress.create_progress_artifact", broken)
    write_texts(TEXTS[:5])
    state, record = run(job_of())
    assert (state.is_completed(), record.rows_labeled) == (True, 5)


def test_a_shared_limit_that_does_not_exist_is_a_sentence_before_anything_is_asked(
    run, practice, job_of, write_texts
):
    """A job that names a Prefect limit which isn't there is refused, with the command that makes it."""
    write_texts(TEXTS[:3])
    state, refused = run(job_of(run={"shared_limit": "nowhere"}))
    assert state.is_failed()
    assert "prefect gcl create nowhere" in str(refused)
    assert practice.totals()["requests"] == 0


def test_chunks_hold_a_shared_limit(run, practice, job_of, write_texts):
    """With a shared limit of one, one chunk at a time is asked."""
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name("one-at-a-time", 1)
    write_texts(TEXTS[:30])
    job = job_of(run={"shared_limit": "one-at-a-time", "rows_per_chunk": 10, "max_concurrency": 100})
    _, record = run(job, PracticeSettings(latency_seconds=0.2))
    assert record.rows_labeled == 30
    assert practice.totals()["peak_in_flight"] <= 10
