"""The batches that concern a run: what earlier runs left, and the money that is held for it."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from labelmill.batch.record import BatchFolder
from labelmill.errors import JobRefused
from labelmill.store.compaction import FEWEST_PARTS, compact
from labelmill.store.folder import OutputFolder
from labelmill.store.ledger import Ledger, frame_of, write_part

NAME = "20260228-120000-0000-000"


@pytest.fixture
def left(job_of, record_of, write_group):
    """Leave a batch as an earlier run left it, its row keys and its file of requests beside it."""

    def leave(name=NAME, job=None, **fields):
        job = job or job_of()
        folder = BatchFolder(OutputFolder.of(job).batches)
        record = folder.write(record_of(name=name, job=job, **fields))
        folder.requests_path(name).write_bytes(write_group(["a", "b", "c", "d"]).path.read_bytes())
        (folder.path / name / "requests.jsonl").write_bytes(b"{}")
        return record

    return leave


def files_of(record):
    """What is in a batch's folder."""
    return {path.name for path in (OutputFolder.of(record.job).batches / record.name).iterdir()}


@pytest.mark.parametrize("step", ["creating", "sent", "harvesting"])
def test_what_an_earlier_run_sent_is_out_and_its_money_held(left, outstanding_of, step):
    """It may still be charged; the file of requests, which holds texts, is taken away."""
    record = left(step=step, harvest_part="20260228-120000-0000-00000.parquet")
    outstanding = outstanding_of(record.job, limit_usd="0.1")
    assert (outstanding.out, outstanding.settled) == ({NAME: record}, [])
    assert outstanding.run.budget.left_usd == Decimal("0.06")
    assert files_of(record) == {"batch.json", "requests.parquet"}


def test_what_was_never_sent_is_dropped_and_its_texts_are_free(left, outstanding_of):
    """The intent is written before anything goes out; a run that died with no more than that has paid nothing."""
    record = left(step="intended", batch_id=None)
    outstanding = outstanding_of(record.job, limit_usd="0.1")
    assert not outstanding.out
    assert [one.step for one in outstanding.settled] == ["dropped"]
    assert outstanding.run.budget.left_usd == Decimal("0.1")
    assert files_of(record) == {"batch.json"}


def test_a_harvest_whose_part_is_in_the_ledger_is_done(left, outstanding_of):
    """It died between writing the answers and noting it; they are not read twice."""
    part = "20260228-120000-0000-00007.parquet"
    record = left(step="harvesting", harvest_part=part)
    ledger = OutputFolder.of(record.job).ledger(record.task_key)
    ledger.mkdir(parents=True)
    (ledger / part).touch()
    outstanding = outstanding_of(record.job, limit_usd="0.1")
    assert not outstanding.out
    assert [one.step for one in outstanding.settled] == ["harvested"]
    assert outstanding.run.budget.left_usd == Decimal("0.1")
    # Settled for good: the next run sees nothing of it.
    assert outstanding_of(record.job).settled == []


def test_a_harvest_whose_part_was_put_together_with_others_is_done(left, outstanding_of):
    """A rehearsal into the same output may do so before a run looks at what was paid: nothing is harvested twice."""
    record = left(step="harvesting", harvest_part="20260228-120000-0000-00007.parquet")
    ledger = Ledger(OutputFolder.of(record.job).ledger(record.task_key))
    ledger.folder.mkdir(parents=True)
    for chunk in range(2 * FEWEST_PARTS):
        write_part(ledger.part_path("20260228-120000-0000", chunk), frame_of([], "any"))
    compact(ledger.folder)
    assert not (ledger.folder / record.harvest_part).exists()
    outstanding = outstanding_of(record.job)
    assert [one.step for one in outstanding.settled] == ["harvested"]
    missing = left(step="harvesting", harvest_part=f"20260228-120000-0000-{2 * FEWEST_PARTS:05}.parquet")
    assert outstanding_of(missing.job).out == {NAME: missing}


@pytest.mark.parametrize("step", ["harvested", "dropped"])
def test_what_is_settled_is_none_of_a_later_runs_business(left, outstanding_of, step):
    """Nothing is held for it."""
    record = left(step=step)
    outstanding = outstanding_of(record.job, limit_usd="0.1")
    assert (outstanding.out, outstanding.settled, outstanding.run.budget.left_usd) == ({}, [], Decimal("0.1"))


def test_practice_leaves_paid_batches_alone(left, outstanding_of):
    """A rehearsal neither harvests nor waits for what was paid for."""
    record = left(practice=False)
    assert not outstanding_of(record.job).out
    assert list(outstanding_of(record.job, is_practice=False).out) == [NAME]


def test_a_record_that_can_not_be_read_keeps_a_run_from_beginning(left, outstanding_of):
    """What it stands for may be paid for."""
    record = left()
    (OutputFolder.of(record.job).batches / NAME / "batch.json").write_bytes(b"torn")
    with pytest.raises(JobRefused, match="can't be read by this version"):
        outstanding_of(record.job)


def test_only_batches_of_the_runs_own_task_are_its_own(left, outstanding_of):
    """Those of an earlier prompt or model are out as well, but they hold none of its texts."""
    left("a-000")
    record = left("b-000", task_key="practice-ffffffffffffffff")
    outstanding = outstanding_of(record.job)
    assert list(outstanding.out) == ["a-000", "b-000"]
    assert [one.name for one in outstanding.mine] == ["a-000"]


def test_a_change_is_on_disk_before_it_is_known_in_memory(left, outstanding_of, monkeypatch):
    """A full disk leaves both as they were."""
    record = left()
    outstanding = outstanding_of(record.job)
    monkeypatch.setattr("labelmill.batch.record.write_text_whole", _full)
    with pytest.raises(OSError, match="full"):
        outstanding.update(record, step="harvesting")
    assert outstanding.out[NAME].step == "sent"
    assert outstanding.folder.read_all()[0].step == "sent"


def _full(*_):
    raise OSError("the disk is full")


def test_what_a_batch_was_not_charged_goes_back(left, outstanding_of):
    """Money is held once, and given back once."""
    record = left()
    outstanding = outstanding_of(record.job, limit_usd="0.1")
    outstanding.settle(record, "harvested", Decimal("0.01"), "all well")
    assert outstanding.run.budget.left_usd == Decimal("0.09")
    (settled,) = outstanding.settled
    assert (settled.step, settled.message) == ("harvested", "all well")
    assert outstanding.folder.read_all() == [settled]
    assert files_of(record) == {"batch.json"}


def test_a_batch_of_unknown_price_holds_nothing(left, outstanding_of):
    """A job with a budget and no price is refused before; without one there is nothing to hold."""
    record = left(worst_case_usd=None)
    outstanding = outstanding_of(record.job, limit_usd="0.1")
    outstanding.settle(record, "harvested")
    assert outstanding.run.budget.left_usd == Decimal("0.1")


def test_real_batches_stay_where_they_went_and_practice_is_asked_anew(left, outstanding_of, record_of):
    """A practice provider has another address in each run; a real one's keys work nowhere else."""
    outstanding = outstanding_of(left().job)
    here = outstanding.run.base_url
    there = record_of(practice=False, base_url="http://127.0.0.1:7/v1")
    assert outstanding.client(there).endpoint.base_url == "http://127.0.0.1:7/v1"
    assert (
        outstanding.client(record_of(practice=True, base_url="http://127.0.0.1:7/v1")).endpoint.base_url
        == here
    )


def test_a_batch_is_priced_by_its_own_job(left, outstanding_of, record_of, job_of):
    """The job may name another model or price today."""
    outstanding = outstanding_of(left().job)
    own = {"input_usd_per_mtok": 8.0, "output_usd_per_mtok": 8.0, "batch_fraction": 0.25}
    record = record_of(job=job_of(price=own))
    assert outstanding.price(record, "batch").entry["input_usd_per_mtok"] == 2.0
    assert outstanding.price(record, "live").entry["input_usd_per_mtok"] == 8.0


def test_an_intent_is_counted_and_held_at_once(outstanding_of, record_of):
    """Before anything is sent."""
    record = record_of(step="intended", intended_at_utc=datetime.now(UTC))
    outstanding = outstanding_of(record.job, limit_usd="0.1")
    assert outstanding.begin(outstanding.folder.write(record)) == record
    assert outstanding.run.budget.left_usd == Decimal("0.06")
