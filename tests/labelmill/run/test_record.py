"""The record of a run."""

import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelmill.errors import RunStopped
from labelmill.run.causes import Causes, Said
from labelmill.run.context import RunContext
from labelmill.run.counts import RowCounts, Work
from labelmill.run.publication import Merged, Published
from labelmill.run.record import (
    Prices,
    RunRecord,
    UnreadableFile,
    read_record,
    record_of,
    status_of,
    write_record,
)

EARLIER = Published(run_id="r1", task_key="another", practice=False, ok=90)
CAUSES = Causes(
    (Said(count=180, text="500: oops"), Said(count=1, text="the provider did not answer in time")),
    (Said(count=2, text="not one of the labels: 'The label is sport'"),),
)
WHY = (
    'Why: "500: oops" (180 times), "the provider did not answer in time" (once). '
    "Wrong answers: \"not one of the labels: 'The label is sport'\" (twice)"
)


def merged(rows, kept=None):
    """What merging came to."""
    return Merged(rows=rows, labeled=Path("out/labeled"), kept=kept)


@pytest.mark.parametrize(
    ("rows", "stopped", "status"),
    [
        (RowCounts(total=10, labeled=10), None, "completed"),
        (RowCounts(), None, "completed"),
        (RowCounts(total=100, labeled=95, failed=5), None, "completed"),
        (RowCounts(total=100, labeled=94, failed=6), None, "too_many_failures"),
        (RowCounts(total=100, labeled=4, pending=96), RunStopped("budget_reached", "no"), "budget_reached"),
        (RowCounts(total=100, labeled=4, pending=96), RunStopped("cancelled", "no"), "cancelled"),
        (RowCounts(total=10, labeled=10), RunStopped("cancelled", "no"), "completed"),
        (RowCounts(total=10, failed=10), RunStopped("failed", "no"), "failed"),
        (RowCounts(), RunStopped("cancelled", "no"), "cancelled"),
        (RowCounts(total=100, empty=100), None, "completed"),
        (RowCounts(total=100, empty=100), RunStopped("cancelled", "no"), "completed"),
        (RowCounts(total=100, labeled=87, empty=13), None, "completed"),
        (RowCounts(total=100, labeled=6, failed=1, empty=93), None, "too_many_failures"),
        (RowCounts(total=1000, labeled=95, failed=5, empty=900), None, "completed"),
    ],
)
def test_how_a_run_ends(rows, stopped, status):
    """What stopped a run tells its status, else its failures do; being cancelled with all done is completed."""
    found, message = status_of(merged(rows), 0.05, stopped)
    assert found == status
    assert (message is None) == (status == "completed")


def out(*texts):
    """Batches that are out, with so many texts each."""
    return [SimpleNamespace(texts=number) for number in texts]


@pytest.mark.parametrize(
    ("rows", "stopped", "batches", "status", "words"),
    [
        (RowCounts(total=10, labeled=4, pending=6), None, out(6), "waiting", "6 texts are in 1 batch at"),
        (
            RowCounts(total=10, labeled=4, pending=6),
            None,
            out(2, 2000),
            "waiting",
            "2,002 texts are in 2 batches at",
        ),
        (RowCounts(total=10, labeled=4, pending=6), None, (), "waiting", "6 rows could not be sent yet"),
        (
            RowCounts(total=10, labeled=4, failed=2, pending=4),
            None,
            out(4),
            "too_many_failures",
            "2 of 10 rows",
        ),
        (RowCounts(total=10, pending=10), RunStopped("cancelled", "Ctrl-C"), out(10), "cancelled", "Ctrl-C"),
        (RowCounts(total=10, pending=10), RunStopped("budget_reached", "no"), out(4), "budget_reached", "no"),
    ],
)
def test_a_run_that_leaves_texts_behind_is_waiting(rows, stopped, batches, status, words):
    """In batches, or not sent yet; what stopped it, and too many failures, are said first."""
    found, message = status_of(merged(rows), 0.05, stopped, batches)
    assert found == status
    assert words in message


def test_the_last_sentence_shows_the_cause():
    """Too many failures, and what stopped a run as failed, are told with what was said most often and how often."""
    rows = RowCounts(total=2200, labeled=1788, failed=212, empty=200)
    status, message = status_of(merged(rows), 0.05, None, (), CAUSES)
    assert status == "too_many_failures"
    assert message == (
        "212 of 2,000 rows with a text failed (10.6%), more than max_failed_fraction = 0.05; "
        f"what was labeled is published. {WHY}"
    )
    stopped = RunStopped("failed", "51 of the last 100 requests failed (51 provider_error).")
    assert status_of(merged(rows), 0.05, stopped, (), CAUSES)[1] == f"{stopped.message} {WHY}"
    assert status_of(None, 0.05, stopped, (), CAUSES)[1] == f"{stopped.message} {WHY}"


def test_a_cause_that_the_sentence_names_is_not_said_twice():
    """What stopped the run may be in the provider's words already."""
    stopped = RunStopped("failed", "the provider answered 500: oops")
    told = status_of(None, 0.05, stopped, (), Causes(CAUSES.provider_messages[:1]))[1]
    assert told == "the provider answered 500: oops"


@pytest.mark.parametrize("reason", ["budget_reached", "cancelled"])
def test_a_run_that_ended_for_another_reason_names_no_cause(reason):
    """Failures are not why a budget was reached."""
    rows = RowCounts(total=10, labeled=5, pending=5)
    assert status_of(merged(rows), 0.05, RunStopped(reason, "no"), (), CAUSES)[1] == "no"


@pytest.mark.parametrize(
    ("rows", "stopped", "status"),
    [
        (RowCounts(total=100, labeled=4, pending=96), RunStopped("budget_reached", "no"), "budget_reached"),
        (RowCounts(total=100, labeled=90, failed=10), None, "too_many_failures"),
        (RowCounts(total=100, labeled=4, pending=96), None, "waiting"),
    ],
)
def test_a_run_that_left_the_published_labels_says_whose_they_are(rows, stopped, status):
    """And does not say that its own are published."""
    found, message = status_of(merged(rows, EARLIER), 0.05, stopped)
    assert found == status
    assert "labeled/ still holds the labels of run r1" in message
    assert "is published" not in message


def test_a_record_of_an_earlier_version_is_read(tmp_path, job_of):
    """What it lacks is nothing, or unknown."""
    old = {
        "run_id": "r1",
        "status": "completed",
        "message": None,
        "practice": False,
        "job": job_of().model_dump(mode="json"),
        "task_key": "0123456789abcdef",
        **{f"rows_{name}": 1 for name in ("total", "labeled", "reused", "failed", "pending")},
        **dict.fromkeys(("texts_asked", "requests", "requests_unseen"), 1),
        **dict.fromkeys(("input_tokens", "cached_input_tokens", "output_tokens"), 1),
        "cost_usd": 0.5,
        "unseen_usd": 0.0,
        "price": None,
        "seconds": 1.0,
        "labels": {"sport": 1},
        "failures": {"empty_text": 1},
        "started_at_utc": "2026-03-01T12:00:00Z",
        "finished_at_utc": "2026-03-01T12:00:01Z",
        "labeled_path": "out/labeled",
        "failed_path": "out/failed/r1.parquet",
    }
    (tmp_path / "run.json").write_text(json.dumps(old))
    record = read_record(tmp_path)
    assert isinstance(record, RunRecord)
    assert (record.rows_empty, record.texts_labeled, record.labeled_run_id) == (0, None, None)
    assert (record.provider_messages, record.wrong_answers, record.rows_with_text) == ([], [], 1)
    assert (record.requests_without_usage, record.cost_known_usd) == (1, 0.5)
    assert (record.rows_unreadable, record.unreadable_files, record.omissions) == (0, [], [])
    assert record.failed_files == [Path("out/failed/r1.parquet")]
    assert "requests_unseen" not in json.loads(record.model_dump_json())


UNREADABLE = [
    UnreadableFile(path=f"/in/{number}.parquet", column=column, reason="no UTF-8", rows=5)
    for number, column in enumerate(["text", "text", None, "text", "text"])
]


@pytest.mark.parametrize(
    ("rows", "stopped", "batches", "status"),
    [
        (RowCounts(total=15, labeled=10, unreadable=5), None, (), "files_unreadable"),
        (
            RowCounts(total=15, labeled=10, unreadable=5),
            RunStopped("cancelled", "no"),
            (),
            "files_unreadable",
        ),
        (RowCounts(total=15, labeled=5, failed=5, unreadable=5), None, (), "too_many_failures"),
        (RowCounts(total=15, labeled=5, pending=5, unreadable=5), None, out(5), "waiting"),
        (
            RowCounts(total=15, pending=10, unreadable=5),
            RunStopped("budget_reached", "no"),
            (),
            "budget_reached",
        ),
        (RowCounts(total=15, pending=10, unreadable=5), RunStopped("failed", "no"), (), "failed"),
        (RowCounts(), None, (), "files_unreadable"),
    ],
)
def test_files_that_were_left_out_are_named_however_a_run_ends(rows, stopped, batches, status):
    """They are its status where nothing else is; three are named, each with its column where it has one."""
    found, message = status_of(merged(rows), 0.05, stopped, batches, unreadable=UNREADABLE)
    assert found == status
    assert (
        "5 files can't be read and were left out: the column 'text' of '/in/0.parquet' (no UTF-8), the column 'text' of "
        "'/in/1.parquet' (no UTF-8), '/in/2.parquet' (no UTF-8) and 2 more; all others are published; fix them or take them out of the source"
    ) in message
    assert "published" not in status_of(None, 0.05, stopped, batches, unreadable=UNREADABLE)[1]


@given(rows=st.lists(st.integers(0, 50), min_size=6, max_size=6))
def test_shares_are_of_the_rows_that_could_be_read_and_have_a_text(rows):
    """Rows add up, and what is in a file that can't be read neither raises nor lowers the share that failed."""
    labeled, failed, pending, empty, unreadable, more = rows
    counts = RowCounts(
        total=labeled + failed + pending + empty, labeled=labeled, failed=failed, pending=pending, empty=empty
    )
    found = counts.and_unreadable(unreadable).and_unreadable(more)
    assert found.total == labeled + failed + pending + found.empty + found.unreadable
    assert (found.with_text, found.unreadable) == (counts.with_text, unreadable + more)


@pytest.mark.parametrize(
    "field", ["requests", "input_tokens", "cost_usd", "unseen_usd", "requests_without_usage"]
)
def test_a_record_without_its_bill_is_none(tmp_path, job_of, field):
    """What was paid is unknown there, and is not read as nothing."""
    run = RunContext(
        job=job_of(),
        run_id="r1",
        base_url="",
        practice=False,
        started_at_utc=datetime(2026, 3, 1, tzinfo=UTC),
    )
    write_record(record_of(run, None, Work(), Prices(None), ("running", None), None), tmp_path)
    written = json.loads((tmp_path / "run.json").read_text())
    assert read_record(tmp_path) is not None
    del written[field]
    (tmp_path / "run.json").write_text(json.dumps(written))
    assert read_record(tmp_path) is None
