"""What a run does about those that died before it, in the very folder that they left."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import polars as pl
import pytest

from labelmill.errors import JobRefused
from labelmill.money.usage import Usage
from labelmill.question.attempts import Attempt
from labelmill.run.context import RunContext
from labelmill.run.counts import Work
from labelmill.run.open_run import open_run
from labelmill.run.record import Prices, RunRecord, read_record, record_of, write_record
from labelmill.run.recovery import recover_dead_runs
from labelmill.store.journal import Journal

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
LABELED = {"label": "sport", "answered": True, "usage": Usage(10, 0, 2), "cost_usd": Decimal("0.5")}


@pytest.fixture
def run(job_of, write_texts):
    """A run that starts."""
    write_texts(["match", "bank"])
    return RunContext(
        job=job_of(), run_id="20261124-120000-aaaa", base_url="", practice=True, started_at_utc=NOON
    )


@pytest.fixture
def dead(run):
    """A run of the same job that was killed: two requests in flight, one text labeled."""
    dead = replace(run, run_id="20261123-120000-dddd")
    write_record(
        record_of(dead, None, Work(), Prices(None), ("running", None), None), run.folder.run(dead.run_id)
    )
    with Journal(run.ledger.journal_path(dead.run_id, 0)) as journal:
        for number in range(3):
            journal.note_sent(f"v1:{number:032x}", Decimal("0.25"))
        journal.append(Attempt(f"v1:{0:032x}", NOON, **LABELED))
    return dead


def test_the_bill_of_a_killed_run_has_what_was_in_flight(run, dead):
    """As requests without usage, in its record and for the next run's budget."""
    recover_dead_runs(run)
    record = read_record(run.folder.run(dead.run_id))
    assert (record.status, record.requests, record.requests_without_usage) == ("failed", 3, 2)
    assert (record.cost_usd, record.unseen_usd) == (0.5, 0.5)


def test_every_temporary_file_of_ours_goes_and_no_one_elses(run, dead):
    """In all places where runs write, also below an output that is a person's own folder."""
    out = run.folder.path
    ours = [
        out / "._manifest.json.77.tmp",
        out / "failed" / ".20261123-120000-dddd.parquet.77.tmp",
        out / ".writing" / ".a.parquet.77.tmp",
        out / "practice" / ".writing" / ".a.parquet.77.tmp",
        out / "practice" / "._manifest.json.77.tmp",
        run.ledger.folder / ".20261123-120000-dddd-00000.parquet.77.tmp",
        run.folder.run(dead.run_id) / ".run.json.77.tmp",
        run.folder.run(dead.run_id) / ".report.html.77.tmp",
        run.folder.batches / "20261123-120000-dddd-000" / ".requests.parquet.77.tmp",
    ]
    others = [
        out / ".notes.md.77.tmp",
        out / "project" / "src" / ".main.py.77.tmp",
        out / "project" / ".main.py.77.tmp",
        out / "failed" / "kept.tmp",
        run.ledger.folder / ".kept.tmp",
    ]
    for path in (*ours, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    recover_dead_runs(run)
    assert [path for path in ours if path.exists()] == []
    assert [path for path in others if not path.exists()] == []


@pytest.mark.parametrize("name", ["run.json", "compare.json", "../../_manifest.json"])
@pytest.mark.parametrize("kept", [0, 1, 40, -2])
def test_a_record_that_was_cut_off_stands_in_no_ones_way(run, dead, name, kept):
    """A broken disk or a full one may leave such; what was paid is in the ledger."""
    path = run.folder.run(dead.run_id) / name
    whole = (run.folder.run(dead.run_id) / "run.json").read_bytes()
    path.write_bytes(whole[:kept])
    recover_dead_runs(run)
    assert run.ledger.scan().collect()["requests"].sum() == 3


def test_a_ledger_part_that_cannot_be_read_is_refused_before_anything_is_sent(run, dead, practice):
    """In another task's ledger too: its money counts. Nothing is changed, so that it can be mended."""
    part = run.folder.ledger("practice-other") / "20261101-120000-eeee-00000.parquet"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"PAR1 cut o")
    before = practice.totals()["requests"]
    with (
        pytest.raises(JobRefused, match=r"20261101-120000-eeee-00000\.parquet"),
        open_run(run.job, practice.base_url),
    ):
        raise AssertionError("it began")
    assert practice.totals()["requests"] == before
    assert run.ledger.journal_path(dead.run_id, 0).exists()
    part.unlink()
    with open_run(run.job, practice.base_url):
        assert not run.ledger.journal_path(dead.run_id, 0).exists()


def test_an_empty_part_is_set_aside_and_the_run_goes_on(run, dead):
    """Also the one whose journal is still there, from which it is written anew."""
    part = run.ledger.part_path(dead.run_id, 0)
    part.touch()
    recover_dead_runs(run)
    assert pl.read_parquet(part)["requests"].sum() == 3
    assert part.with_name(f"{part.name}.empty").exists()


def test_a_record_of_this_version_is_read_by_the_next_run(run, dead):
    """What closes it keeps all else of it."""
    path = run.folder.run(dead.run_id) / "run.json"
    before = RunRecord.model_validate_json(path.read_bytes())
    recover_dead_runs(run)
    after = json.loads(path.read_bytes())
    assert (after["run_id"], after["task_key"], after["job"]["name"]) == (
        before.run_id,
        before.task_key,
        before.job.name,
    )
