"""A file that can't be read costs itself: all others are labeled, and the run says so to the end."""

import json

import polars as pl
import pyarrow.parquet as pq
import pytest

from commands.run import exit_code_of
from labelmill.errors import RunStopped
from labelmill.pipeline.compare import compare
from labelmill.pipeline.label import label
from labelmill.run.record import read_record
from labelmill.run.runner import Runner
from practice import PracticeSettings


@pytest.fixture(autouse=True)
def _practice(practice):
    practice.configure(PracticeSettings())


@pytest.fixture
def source(tmp_path):
    """Write files of two texts each: `source("a", "b")`; `source.broken("b")` makes one unreadable where its text is."""
    folder = tmp_path / "source"
    folder.mkdir()

    def write(*names):
        for name in names:
            frame = pl.DataFrame({"text": [f"the match of {name}", f"the bank of {name}"], "n": [1, 2]})
            pq.write_table(
                frame.to_arrow(), folder / f"{name}.parquet", use_dictionary=False, compression="none"
            )

    def breaking(name):
        path = folder / f"{name}.parquet"
        path.write_bytes(path.read_bytes().replace(b"the bank", b"\xff" * 8))

    write.broken = breaking
    return write


@pytest.fixture
def run(practice, job_of, tmp_path):
    """Run a job over the folder."""

    def run_job(runner=None, **sections):
        job = job_of(source={"path": str(tmp_path / "source")}, **sections)
        return label(job, practice.base_url, runner=runner and runner(job))

    return run_job


def rows_in(record):
    """A record's rows by what became of them."""
    return {
        name: getattr(record, f"rows_{name}")
        for name in ("total", "labeled", "failed", "pending", "empty", "unreadable")
    }


@pytest.mark.parametrize("lane", ["live", "batch"])
def test_all_other_files_are_labeled_and_published(source, run, tmp_path, lane):
    """On each lane: the broken file is named with its column, its rows are counted by themselves, and nothing else is missing."""
    source("a", "b", "c")
    source.broken("b")
    record = run(run={"lane": lane, "poll_seconds": 0.05})
    assert (record.status, exit_code_of(record)) == ("files_unreadable", 6)
    assert rows_in(record) == {
        "total": 6,
        "labeled": 4,
        "failed": 0,
        "pending": 0,
        "empty": 0,
        "unreadable": 2,
    }
    (file,) = record.unreadable_files
    assert (file.path, file.column, file.rows) == (str(tmp_path / "source" / "b.parquet"), "text", 2)
    assert record.message == (
        f"1 file can't be read and was left out: the column 'text' of {file.path!r} ({file.reason}); all others are published; "
        "fix it or take it out of the source, and run it again"
    )
    assert sorted(path.name for path in (tmp_path / "out" / "labeled").iterdir()) == [
        "a.parquet",
        "c.parquet",
    ]
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_bytes())
    assert manifest["rows"] == {"total": 6, "ok": 4, "failed": 0, "pending": 0, "empty": 0, "unreadable": 2}
    assert (manifest["is_complete"], manifest["unreadable_files"]) == (False, ["b.parquet"])
    assert [file["path"] for file in manifest["files"]] == ["a.parquet", "c.parquet"]
    folder = tmp_path / "out" / "runs" / record.run_id
    assert read_record(folder) == record
    page = (folder / "report.html").read_text()
    assert "some files can&#39;t be read" in page
    assert "4 (100.0% of the readable rows)" in page


def test_what_an_earlier_run_has_published_of_it_stays(source, run, tmp_path):
    """Byte for byte, and the manifest names it; once the file is mended, the run completes and only new texts are asked."""
    source("a", "b")
    run()
    kept = (tmp_path / "out" / "labeled" / "b.parquet").read_bytes()
    whole = (tmp_path / "source" / "b.parquet").read_bytes()
    source.broken("b")
    record = run()
    assert (record.status, record.requests, record.rows_unreadable) == ("files_unreadable", 0, 2)
    assert (tmp_path / "out" / "labeled" / "b.parquet").read_bytes() == kept
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_bytes())
    assert [file["path"] for file in manifest["files"]] == ["a.parquet", "b.parquet"]
    (tmp_path / "source" / "b.parquet").write_bytes(whole)
    record = run()
    assert (record.status, record.requests, record.rows_labeled, record.unreadable_files) == (
        "completed",
        0,
        4,
        [],
    )
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_bytes())
    assert (manifest["is_complete"], manifest["unreadable_files"]) == (True, [])


def test_what_stopped_a_run_comes_first_and_the_files_are_named_too(source, run):
    """A budget, Ctrl-C and too many failures are its status; its sentence has both."""
    source("a", "b")
    source.broken("b")

    class Stopped(Runner):
        def watch(self, context):
            context.stop_signal.stop(RunStopped("cancelled", "enough"))
            return super().watch(context)

    record = run()
    assert record.status == "files_unreadable"
    source("c")
    record = run(run={"max_cost_usd": 0})
    assert (record.status, exit_code_of(record), record.rows_pending) == ("budget_reached", 4, 2)
    assert "1 file can't be read and was left out" in record.message
    assert run(runner=Stopped).status == "cancelled"


def test_a_source_of_which_nothing_can_be_read_labels_nothing(source, run, practice):
    """It ends in the same way, and nothing is asked."""
    source("a")
    source.broken("a")
    practice.reset()
    record = run()
    assert (record.status, rows_in(record)["unreadable"], practice.totals()["requests"]) == (
        "files_unreadable",
        2,
        0,
    )


def test_an_error_that_no_file_explains_is_not_taken_for_one(source, run, monkeypatch):
    """Files are only left out where reading them fails."""
    source("a")

    def broken(*_, **__):
        raise pl.exceptions.ComputeError("a mistake of ours")

    monkeypatch.setattr("labelmill.run.live_lane.write_pending", broken)
    with pytest.raises(pl.exceptions.ComputeError, match="a mistake of ours"):
        run()


def test_strategies_are_compared_over_what_can_be_read(source, practice, job_of, tmp_path):
    """A broken file takes no part, and ends nothing."""
    source("a", "b", "c")
    source.broken("b")
    job = job_of(source={"path": str(tmp_path / "source")})
    comparison = compare(job, practice.base_url, rows=4, concurrency=[2], batch_wait_minutes=0)
    assert (comparison.status, comparison.rows) == ("completed", 4)
