"""What a run may replace in the output folder."""

import json
import shutil
from datetime import UTC, datetime

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelmill.errors import RunStopped
from labelmill.providers.table import price_of
from labelmill.question.attempts import Attempt
from labelmill.run.context import RunContext
from labelmill.run.counts import RowCounts, Work
from labelmill.run.manifest import write_manifest
from labelmill.run.publication import (
    Published,
    destination_of,
    may_replace,
    publish_labels,
    published_in,
)
from labelmill.run.record import Prices, record_of, status_of, unreadable_of
from labelmill.store.folder import OutputFolder
from labelmill.store.journal import Journal
from labelmill.store.row_key import row_key_of

A_MODELS = Published(run_id="r1", task_key="t1", practice=False, ok=2)
REHEARSED = Published(run_id="r1", task_key="practice-t1", practice=True, ok=2)
OTHER_WORDS = {"sport": "games", "money": "finance"}


@pytest.fixture
def publish(job_of):
    """Publish as a run does that knows some labels and failures: `publish("r1", {text: label}, practice=True)`."""

    def publish_as(run_id, answers=(), failures=(), practice=False, unreadable=(), **sections):
        job = job_of(**sections)
        run = RunContext(
            job=job, run_id=run_id, base_url="", practice=practice, started_at_utc=datetime.now(UTC)
        )
        with Journal(run.ledger.journal_path(run_id, 0)) as journal:
            for text, label in dict(answers).items():
                journal.append(
                    Attempt(row_key_of(text), datetime.now(UTC), label=label, answered=True, model="m")
                )
            for text in failures:
                journal.append(Attempt(row_key_of(text), datetime.now(UTC), failure="too_long", message="no"))
            run.ledger.add(journal, job.run)
        broken = {file.path: file.path.read_bytes() for file in run.files if file.path.name in unreadable}
        for path, content in broken.items():
            told = pq.ParquetFile(path).metadata.row_group(0).column(1)
            assert told.path_in_schema == "text"
            begin = told.dictionary_page_offset or told.data_page_offset
            path.write_bytes(content[:begin] + b"\xff" * 8 + content[begin + 8 :])
        merged = publish_labels(run)
        ending = status_of(
            merged,
            job.run.max_failed_fraction,
            RunStopped("budget_reached", "no") if merged.rows.pending else None,
            unreadable=unreadable_of(run),
        )
        price = price_of(job.model, job.price, "")
        record = record_of(run, merged, Work(), Prices(price), ending, datetime.now(UTC))
        if record.is_published:
            files, left = (
                [file.relative for file in group] for group in (run.readable_files, run.unreadable)
            )
            write_manifest(record, files, datetime.now(UTC), left)
        return record

    return publish_as


@pytest.fixture
def labeled(tmp_path):
    """The labels in a folder of the output: `labeled()`, `labeled("practice/labeled")`."""

    def read(folder="labeled"):
        return pl.read_parquet(tmp_path / "out" / folder / "source.parquet")["label"].to_list()

    return read


@pytest.mark.parametrize(
    ("published", "has_paid", "practice", "folder"),
    [
        (None, False, True, "labeled"),
        (None, False, False, "labeled"),
        (None, True, True, "practice/labeled"),
        (None, True, False, "labeled"),
        (REHEARSED, True, True, "labeled"),
        (REHEARSED, False, False, "labeled"),
        (A_MODELS, True, True, "practice/labeled"),
        (A_MODELS, False, True, "practice/labeled"),
        (A_MODELS, True, False, "labeled"),
    ],
)
def test_a_rehearsal_never_publishes_over_a_models_labels(tmp_path, published, has_paid, practice, folder):
    """It has a folder of its own where the manifest, or without one the ledger, tells of a model."""
    output = OutputFolder(tmp_path)
    found = destination_of(output, published, practice=practice, has_paid_answers=has_paid)
    assert found == tmp_path / folder


@given(
    labeled=st.integers(0, 100),
    failed=st.integers(0, 100),
    pending=st.integers(0, 3),
    empty=st.integers(0, 100),
)
def test_another_tasks_labels_are_replaced_when_nothing_is_missing(labeled, failed, pending, empty):
    """No row is pending, and of those with a text no more failed than the job allows; empty rows have no say."""
    rows = RowCounts(
        total=labeled + failed + pending + empty, labeled=labeled, failed=failed, pending=pending, empty=empty
    )
    allowed = not pending and failed <= 0.05 * (labeled + failed)
    assert may_replace(rows, 0.05) == allowed


@pytest.mark.parametrize(
    "words",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"files": null}',
        '{"files": [], "rows": null}',
        '{"files": [{"path": "a.parquet"}], "rows": null}',
        '{"files": [{"path": "a.parquet"}], "run_id": 1, "rows": {"ok": 1}}',
    ],
)
def test_a_manifest_that_can_not_be_read_tells_nothing(tmp_path, words):
    """It is as if there were none."""
    (tmp_path / "labeled").mkdir()
    (tmp_path / "labeled" / "a.parquet").write_bytes(b"")
    (tmp_path / "_manifest.json").write_text(words)
    assert published_in(tmp_path / "labeled") is None


def test_a_rehearsal_into_a_paid_output_leaves_the_paid_labels(publish, labeled, write_texts, tmp_path):
    """Its labels stand beside, with a manifest of their own, and `labeled_path` says where."""
    write_texts(["a", "b"])
    publish("r1", {"a": "sport", "b": "money"})
    before = (tmp_path / "out" / "_manifest.json").read_bytes()
    record = publish("r2", {"a": "money", "b": "money"}, practice=True)
    assert labeled() == ["sport", "money"]
    assert (tmp_path / "out" / "_manifest.json").read_bytes() == before
    assert record.labeled_path == str(tmp_path / "out" / "practice" / "labeled")
    assert (record.labeled_run_id, record.status) == ("r2", "completed")
    assert labeled("practice/labeled") == ["money", "money"]
    manifest = json.loads((tmp_path / "out" / "practice" / "_manifest.json").read_text())
    assert (manifest["practice"], manifest["run_id"]) == (True, "r2")


def test_a_rehearsal_before_the_first_paid_run_gives_way_to_it(publish, labeled, write_texts, tmp_path):
    """Made-up labels are worth nothing: a paid run replaces them also where it ends early."""
    write_texts(["a", "b"])
    publish("r1", {"a": "money", "b": "money"}, practice=True)
    assert labeled() == ["money", "money"]
    record = publish("r2", {"a": "sport"})
    assert labeled() == ["sport", None]
    assert record.labeled_run_id == "r2"
    assert not (tmp_path / "out" / "practice").exists()


def test_a_rehearsal_after_a_run_that_was_killed_while_it_published_stays_beside(
    publish, labeled, write_texts, tmp_path
):
    """There is no manifest then, but answers that were paid for."""
    write_texts(["a", "b"])
    publish("r1", {"a": "sport", "b": "money"})
    (tmp_path / "out" / "_manifest.json").unlink()
    publish("r2", {"a": "money", "b": "money"}, practice=True)
    assert labeled() == ["sport", "money"]


@pytest.mark.parametrize(
    ("answers", "failures", "status"),
    [
        ({"a": "money"}, (), "budget_reached"),
        ({"a": "money"}, ("b",), "too_many_failures"),
        ({}, (), "budget_reached"),
    ],
)
def test_a_changed_task_that_ends_early_leaves_the_published_labels(
    publish, labeled, write_texts, tmp_path, answers, failures, status
):
    """No good label turns pending or failed; the record says whose labels are there, and counts its own."""
    write_texts(["a", "b", None])
    publish("r1", {"a": "sport", "b": "money"})
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "labeled").rglob("*.parquet")}
    before = (tmp_path / "out" / "_manifest.json").read_bytes()
    record = publish("r2", answers, failures, labels=OTHER_WORDS)
    assert labeled() == ["sport", "money", None]
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert (tmp_path / "out" / "_manifest.json").read_bytes() == before
    assert (record.status, record.labeled_run_id) == (status, "r1")
    assert "labeled/ still holds the labels of run r1" in record.message
    assert record.rows_labeled == len(answers)
    assert record.rows_failed == len(failures)
    assert record.rows_total == record.rows_labeled + record.rows_failed + record.rows_pending + 1


def test_a_changed_task_replaces_the_labels_once_it_has_an_answer_for_every_row(
    publish, labeled, write_texts
):
    """Then as always: published whole, with its manifest."""
    write_texts(["a", "b", " "])
    publish("r1", {"a": "sport", "b": "money"})
    publish("r2", {"a": "money"}, labels=OTHER_WORDS)
    record = publish("r3", {"b": "sport"}, labels=OTHER_WORDS)
    assert labeled() == ["money", "sport", None]
    assert (record.status, record.labeled_run_id, record.message) == ("completed", "r3", None)


def test_the_same_task_is_published_however_it_ended(publish, labeled, write_texts):
    """Its labels are all in one ledger, so that nothing is lost that was there."""
    write_texts(["a", "b"])
    publish("r1", {"a": "sport", "b": "money"})
    write_texts(["a", "b", "new"])
    record = publish("r2")
    assert labeled() == ["sport", "money", None]
    assert record.labeled_run_id == "r2"


def test_labels_that_somebody_deleted_hold_up_nobody(publish, labeled, write_texts, tmp_path):
    """A manifest that was left behind speaks of nothing."""
    write_texts(["a", "b"])
    publish("r1", {"a": "sport", "b": "money"})
    shutil.rmtree(tmp_path / "out" / "labeled")
    publish("r2", {"a": "money"}, labels=OTHER_WORDS)
    assert labeled() == ["money", None]


def test_where_no_row_had_a_label_any_task_may_publish(publish, labeled, write_texts):
    """A first run whose key was refused leaves nothing worth keeping."""
    write_texts(["a", "b"])
    publish("r1")
    publish("r2", {"a": "money"}, labels=OTHER_WORDS)
    assert labeled() == ["money", None]


@pytest.fixture
def two_files(write_texts, tmp_path):
    """A source of two files, and the sections of a job over them: `two_files()`; `labels()` reads what is published."""
    (tmp_path / "source").mkdir()
    write_texts(["a"], "source/1.parquet")
    write_texts(["b"], "source/2.parquet")
    return {"source": {"path": str(tmp_path / "source")}}


def published_labels(tmp_path):
    """The labels of each published file."""
    paths = sorted((tmp_path / "out" / "labeled").iterdir())
    return {path.name: pl.read_parquet(path)["label"].to_list() for path in paths}


def test_what_is_published_of_a_file_that_can_not_be_read_stays(publish, two_files, tmp_path):
    """It is of the same task, and the manifest goes on naming it, though its rows are counted as unreadable."""
    publish("r1", {"a": "sport", "b": "money"}, **two_files)
    record = publish("r2", unreadable={"2.parquet"}, **two_files)
    assert published_labels(tmp_path) == {"1.parquet": ["sport"], "2.parquet": ["money"]}
    assert (record.status, record.rows_total, record.rows_labeled, record.rows_unreadable) == (
        "files_unreadable",
        2,
        1,
        1,
    )
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert [file["path"] for file in manifest["files"]] == ["1.parquet", "2.parquet"]
    assert (manifest["unreadable_files"], manifest["is_complete"]) == (["2.parquet"], False)


def test_labels_of_two_tasks_are_never_beside_each_other(publish, two_files, tmp_path):
    """A changed task waits until the file is mended or gone: half of each would be labels that look right."""
    publish("r1", {"a": "sport", "b": "money"}, **two_files)
    record = publish("r2", {"a": "money"}, unreadable={"2.parquet"}, labels=OTHER_WORDS, **two_files)
    assert published_labels(tmp_path) == {"1.parquet": ["sport"], "2.parquet": ["money"]}
    assert (record.status, record.labeled_run_id) == ("files_unreadable", "r1")
    assert "labeled/ still holds the labels of run r1" in record.message
    assert "all others are published" not in record.message
    (tmp_path / "source" / "2.parquet").unlink()
    assert publish("r3", labels=OTHER_WORDS, **two_files).status == "completed"
    assert published_labels(tmp_path) == {"1.parquet": ["money"]}


def test_made_up_labels_do_not_stay_beside_a_models(publish, two_files, tmp_path):
    """What a rehearsal has published of a file that can't be read any more goes when a model's labels come."""
    publish("r1", {"a": "money", "b": "money"}, practice=True, **two_files)
    publish("r2", {"a": "sport"}, unreadable={"2.parquet"}, **two_files)
    assert published_labels(tmp_path) == {"1.parquet": ["sport"]}
