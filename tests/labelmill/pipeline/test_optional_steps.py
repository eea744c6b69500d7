"""What a run leaves beside its labels, their manifest and its record costs none of them, whatever goes wrong with it."""

import errno
import json
import logging
import pathlib
import shutil

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commands.run import exit_code_of
from labelmill.errors import CannotWrite
from labelmill.pipeline import label as pipeline
from labelmill.pipeline.compare import compare
from labelmill.pipeline.label import label
from labelmill.report import findings
from labelmill.report.comparison import notices
from labelmill.run.record import read_record
from labelmill.run.runner import Runner
from practice import PracticeSettings

ERRORS = {
    "TypeError": TypeError("unsupported operand"),
    "ValueError": ValueError("no"),
    "full": OSError(errno.ENOSPC, "No space left on device", "somewhere"),
    "denied": PermissionError(errno.EACCES, "Permission denied", "somewhere"),
    "polars": pl.exceptions.ComputeError("no"),
    "memory": MemoryError(),
    "panic": pl.exceptions.PanicException("no"),
    "sentence": CannotWrite("it can't be written"),
}
STEPS = {
    "costs_of": pipeline,
    "write_costs": pipeline,
    "write_failed_rows": pipeline,
    "past_runs": findings,
    "spent_of_limits": findings,
    "failure_examples": findings,
    "seconds_bins_of": findings,
    "page_figures": pipeline,
    "report_page": pipeline,
    "write_text_whole": pipeline,
    "labeled_words": pipeline,
}
"""What is taken after `run.json`, and the module that looks it up."""
SHOWN = ("the report", "the labels", "the run's end")


class Showing(Runner):
    """Shows two things and announces one; some of it goes wrong."""

    def __init__(self, job, broken):
        super().__init__(job)
        self.broken, self.done = broken, []

    def _do(self, thing):
        if thing in self.broken:
            raise ERRORS[self.broken[thing]]
        self.done.append(thing)

    def shows(self, record, *parts):
        """By noting it."""
        assert (record.status, len(parts)) == ("completed", 3)
        return {thing: lambda thing=thing: self._do(thing) for thing in SHOWN[:2]}

    def announces(self, record):
        """By noting it."""
        assert record.finished_at_utc
        return {SHOWN[2]: lambda: self._do(SHOWN[2])}


def raising(error):
    """A function that raises this, whatever it is called with."""

    def broken(*_, **__):
        raise error

    return broken


@pytest.fixture
def run_broken(practice, job_of, write_texts):
    """Run a job some of whose rows fail, while some steps raise: `run_broken({"report_page": "full"})`."""
    write_texts([*(f"the match {number}" for number in range(12)), None])
    practice.configure(PracticeSettings(stubborn_faults={"content_filter": 0.4}))

    def run(broken=None):
        broken = broken or {}
        job = job_of(run={"max_failed_fraction": 1.0, "max_cost_usd": 1.0})
        runner = Showing(job, {name: kind for name, kind in broken.items() if name in SHOWN})
        with pytest.MonkeyPatch.context() as patch:
            for name in broken.keys() & STEPS.keys():
                patch.setattr(STEPS[name], name, raising(ERRORS[broken[name]]))
            record = label(job, practice.base_url, runner=runner)
        return record, runner

    return run


def manifest_in(folder):
    """What the manifest says, but for who wrote it and when."""
    manifest = json.loads((folder / "out" / "_manifest.json").read_bytes())
    return {name: value for name, value in manifest.items() if name not in {"run_id", "created_at_utc"}}


def counts_of(record):
    """A record's rows and how it ended."""
    return (
        record.status,
        record.message,
        exit_code_of(record),
        {name: value for name, value in record if name.startswith("rows_") or name in {"labels", "failures"}},
    )


@pytest.mark.slow
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(broken=st.dictionaries(st.sampled_from([*STEPS, *SHOWN]), st.sampled_from(list(ERRORS)), min_size=1))
def test_whatever_goes_wrong_the_run_ends_as_without_it(run_broken, tmp_path, broken):
    """Manifest, counts and ending are those of a run without trouble; the record on the disk says once why what is missing."""
    for first, second in (("costs_of", "write_costs"), ("report_page", "write_text_whole")):
        if first in broken:
            # What there isn't is not written.
            broken.pop(second, None)
    run_broken()
    whole, _ = run_broken()
    shutil.rmtree(tmp_path / "out" / "failed")
    expected, manifest = counts_of(whole), manifest_in(tmp_path)
    record, runner = run_broken(broken)
    assert counts_of(record) == expected
    assert manifest_in(tmp_path) == manifest
    assert json.loads((tmp_path / "out" / "_manifest.json").read_bytes())["run_id"] == record.run_id
    folder = tmp_path / "out" / "runs" / record.run_id
    assert read_record(folder) == record
    assert record.omissions
    assert record.notices == record.omissions
    assert sum("No space left on device" in sentence for sentence in record.omissions) == (
        "full" in broken.values()
    )
    assert len(record.omissions) == len(set(broken.values()))
    assert set(SHOWN) - set(runner.done) == broken.keys() & set(SHOWN)
    assert (folder / "report.html").exists() == (not broken.keys() & {"report_page", "write_text_whole"})
    assert (folder / "costs.parquet").exists() == (not broken.keys() & {"costs_of", "write_costs"})
    assert [path.exists() for path in record.failed_files] == (
        [] if "write_failed_rows" in broken else [True]
    )


def test_the_report_says_what_is_missing(run_broken, tmp_path, caplog):
    """What went wrong before it stands in the page; the log has all of it, and why in full at the level debug."""
    caplog.set_level(logging.DEBUG, "labelmill")  # an earlier test may have set this one
    record, _ = run_broken({"past_runs": "ValueError", "write_costs": "full", "the labels": "TypeError"})
    page = (tmp_path / "out" / "runs" / record.run_id / "report.html").read_text()
    costs, past, labels = record.omissions
    assert costs == "costs.parquet could not be written: No space left on device"
    assert past == "The earlier runs could not be read: ValueError: no"
    assert labels == "The labels could not be shown: TypeError: unsupported operand"
    assert f"{costs}." in page
    assert f"{past}." in page
    warned = [line.message for line in caplog.records if line.levelno == logging.WARNING]
    assert warned == [costs, past, labels]
    assert any(line.exc_info for line in caplog.records)


def test_a_run_without_trouble_has_nothing_to_say(run_broken):
    """Neither notices nor omissions, and its failed rows are where the record says."""
    record, runner = run_broken()
    assert (record.notices, record.omissions, runner.done) == ([], [], list(SHOWN))
    assert record.rows_failed
    assert sum(pl.scan_parquet(path).select(pl.len()).collect().item() for path in record.failed_files) == (
        record.rows_failed
    )
    assert record.failed_path == record.failed_paths[0]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_process_ends_it(run_broken, tmp_path, error):
    """In the middle of what is optional too; manifest and record are there by then."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "report_page", raising(error))
        with pytest.raises(error):
            run_broken()
    (record,) = map(read_record, (tmp_path / "out" / "runs").iterdir())
    assert (record.status, manifest_in(tmp_path)["status"]) == ("completed", "completed")


def test_a_plan_that_can_not_be_removed_ends_no_run(run_broken, monkeypatch, caplog):
    """The copy of the texts stays until the next run, and the log says so."""
    unlink = pathlib.Path.unlink

    def denied(path, missing_ok=False):
        if path.match("pending*.parquet"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "unlink", denied)
        record, _ = run_broken()
    assert record.status == "completed"
    assert "the next run tries again" in caplog.text


def test_a_comparison_that_can_not_be_shown_is_kept(practice, job_of, write_texts, tmp_path):
    """Its record is written all the same, and says so."""
    write_texts([f"the match {number}" for number in range(8)])

    class Broken(Runner):
        def shows(self, *_):
            return {"the comparison": raising(TypeError("no"))}

    comparison = compare(
        job_of(), practice.base_url, rows=4, concurrency=[2], batch_wait_minutes=0, runner=Broken(job_of())
    )
    assert comparison.omissions == ["The comparison could not be shown: TypeError: no"]
    written = json.loads((tmp_path / "out" / "runs" / comparison.run_id / "compare.json").read_bytes())
    assert (written["status"], written["omissions"]) == ("completed", comparison.omissions)
    assert f"{comparison.omissions[0]}." in notices(comparison)
