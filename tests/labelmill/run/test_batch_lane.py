"""The batch lane of a run: where it stands, and what its steps do to the run."""

import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest

from labelmill.batch.steps import Harvest, Leave, Wait, next_step
from labelmill.errors import RunStopped
from labelmill.providers.protocol import BatchStatus
from labelmill.run import batch_lane
from labelmill.run.batch_lane import settle_batches, situation_of
from labelmill.run.costs import costs_of, write_costs
from labelmill.run.open_run import finished_record, open_run
from labelmill.run.runner import Runner
from practice import FaultKind, PracticeSettings

TEXTS = [f"the {word} number {number}" for number in range(3) for word in ("match", "bank")]
MOST_STEPS = 300


@pytest.fixture
def practice(practice):
    """The session's practice provider as if just started, and left as it was found."""
    practice.configure(PracticeSettings())
    practice.reset()
    yield practice
    practice.configure(PracticeSettings())
    practice.reset()


@pytest.fixture
def batch_job(job_of, write_texts):
    """Build a job on the batch lane over the texts: `batch_job(run={...})`."""

    def build(texts=TEXTS, run=None, **sections):
        write_texts(texts)
        return job_of(run={"lane": "batch", "poll_seconds": 0.05, **(run or {})}, **sections)

    return build


def taken(context, until=lambda _: False, *, retry_failed=False):
    """Settle the batches of a run, until that ends or a step is reached; returns the steps."""
    steps = []

    def recorded(situation):
        steps.append(next_step(situation))
        assert len(steps) < MOST_STEPS
        return Leave() if until(steps[-1]) else steps[-1]

    def plan():
        batch_lane.plan_batches(context, retry_failed=retry_failed)
        return True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_lane, "next_step", recorded)
        settle_batches(context, Runner(context.job), plan)
    return steps


def situation_now(context):
    """Where the lane of a run stands."""
    return situation_of(context, context.job.run, context.opened_at)


def kinds(steps):
    """What was done, waits left out."""
    return [type(step).__name__ for step in steps if not isinstance(step, Wait)]


def rows_of(context):
    """The ledger's rows of the run's task."""
    return context.ledger.scan().collect()


def test_a_lane_is_planned_sent_harvested_and_looked_over_once_more(batch_job, practice):
    """Every text once, and progress counts them; no request is sent context."""
    with open_run(batch_job(), practice.base_url) as context:
        steps = taken(context)
        now = context.progress.now()
        assert (now.texts, now.done, now.labeled, now.failed) == (6, 6, 6, 0)
        assert now.cost_usd == rows_of(context)["cost_usd"].sum() > 0
        assert now.batches == ()
    assert kinds(steps) == ["MakePlan", "Send", "Harvest", "MakePlan", "Finish"]
    assert practice.totals()["requests"] == 0
    assert practice.totals()["batch_rows_answered"] == 6


def test_what_is_worth_asking_again_goes_into_the_next_batch(batch_job, practice):
    """A failed row, an answer that was no label, a row that came back in no file: each is asked again, and then labeled."""
    faults = {FaultKind.SERVER_ERROR: 0.3, FaultKind.EMPTY: 0.3, FaultKind.BAD_JSON: 0.3}
    practice.configure(PracticeSettings(faults=faults))
    texts = [f"match {number}" for number in range(20)]
    with open_run(batch_job(texts, run={"patience_minutes": 0}), practice.base_url) as context:
        taken(context)
        rows, now = rows_of(context), context.progress.now()
    assert rows.filter(pl.col("label").is_not_null())["row_key"].n_unique() == 20
    assert {"provider_error", "empty_answer", "bad_response"} <= set(rows["error"].drop_nulls())
    assert (now.texts, now.done, now.failed) == (20, 20, 0)


@pytest.mark.slow
def test_texts_that_always_fail_are_given_up_and_the_lane_ends(batch_job, practice):
    """After `max_attempts` rows in batches, the run's own; what cost nothing the next run tries as often."""
    practice.configure(PracticeSettings(stubborn_faults={FaultKind.SERVER_ERROR: 1.0}))
    job = batch_job(run={"max_attempts": 3, "stop_at_failed_fraction": 1.0})
    with open_run(job, practice.base_url) as context:
        steps = taken(context)
        assert rows_of(context).height == 3 * 6
        assert context.progress.now().failed == 6
        assert context.ledger.failures().collect().height == 6
    assert kinds(steps).count("Send") == 3
    with open_run(job, practice.base_url) as context:
        assert kinds(taken(context)).count("Send") == 3
        assert rows_of(context).height == 6 * 6


def test_failures_of_earlier_runs_are_asked_again_where_that_is_wanted_and_once(batch_job, practice):
    """With `retry_failed`: not over and over within the run that fails at them anew."""
    practice.configure(PracticeSettings(stubborn_faults={FaultKind.TOO_LONG: 1.0}))
    job = batch_job(run={"stop_at_failed_fraction": 1.0})
    for retry_failed, sent in ((False, 1), (False, 0), (True, 1)):
        with open_run(job, practice.base_url) as context:
            assert kinds(taken(context, retry_failed=retry_failed)).count("Send") == sent


def test_what_goes_live_again_is_left_to_the_live_lane(batch_job, practice):
    """With `retry_lane = "live"` a text is in one batch at most."""
    practice.configure(PracticeSettings(stubborn_faults={FaultKind.SERVER_ERROR: 1.0}))
    job = batch_job(run={"retry_lane": "live", "stop_at_failed_fraction": 1.0})
    with open_run(job, practice.base_url) as context:
        assert kinds(taken(context)) == ["MakePlan", "Send", "Harvest", "MakePlan", "Finish"]
        assert context.ledger.tries(context.run_id).collect().height == 6


def test_a_lane_that_may_not_wait_leaves_its_batches_to_the_next_run(batch_job, practice):
    """Which harvests them without sending anything."""
    practice.configure(PracticeSettings(batch_seconds=600))
    job = batch_job(run={"max_wait_minutes": 0})
    with open_run(job, practice.base_url) as context:
        steps = taken(context)
        assert isinstance(steps[-1], Leave)
        assert [batch.texts for batch in context.progress.now().batches] == [6]
        assert batch_lane.digests_out(context).collect().height == 6
        record = finished_record(context, None)
        assert (record.texts_out, [batch.step for batch in record.batches]) == (6, ["sent"])
    practice.configure(PracticeSettings())
    with open_run(batch_job(), practice.base_url) as context:
        assert [kind for kind in kinds(taken(context)) if kind != "MakePlan"] == ["Harvest", "Finish"]
        assert rows_of(context).height == 6
        assert batch_lane.digests_out(context).collect().is_empty()


def test_a_stop_ends_the_lane_at_once_and_leaves_its_batches(batch_job, practice):
    """Ctrl-C within a wait: nothing more is asked, and nothing is cancelled."""
    practice.configure(PracticeSettings(batch_seconds=600))
    with open_run(batch_job(run={"poll_seconds": 100}), practice.base_url) as context:
        taken(context, until=lambda step: isinstance(step, Wait))
        context.stop_signal.stop(RunStopped("cancelled", "Ctrl-C"))
        started = time.monotonic()
        calls = practice.totals()["batch_calls"]
        batch_lane.wait_and_poll(context, 60)
        assert time.monotonic() - started < 5
        assert kinds([next_step(situation_now(context))]) == ["Finish"]
        assert practice.totals()["batch_calls"] == calls
        assert len(context.batch_session.outstanding.mine) == 1


def at_deadline_in(minutes):
    """Settings of the lane `auto` whose deadline is so many minutes from now."""
    moment = datetime.now(UTC) + timedelta(minutes=minutes)
    return {"lane": "auto", "deadline": f"{moment:%H:%M}", "max_concurrency": 1}


def test_before_its_deadline_the_lane_auto_waits_for_batches(batch_job, practice):
    """As the batch lane does, but no longer than until the live lane has to begin."""
    practice.configure(PracticeSettings(batch_seconds=600))
    with open_run(batch_job(run=at_deadline_in(120)), practice.base_url) as context:
        taken(context, until=lambda step: isinstance(step, Wait))
        now = situation_now(context)
    assert not now.goes_live
    # 600 seconds to cancel, and 6 texts of 2 seconds each, with slack.
    assert now.seconds_left == pytest.approx(120 * 60 - 600 - (6 * 2 * 1.5 + 30), abs=70)


def test_near_its_deadline_the_lane_auto_stops_its_batches_and_keeps_to_it(batch_job, practice):
    """What was finished of them is harvested; that the rest is then smaller brings no batch back."""
    practice.configure(PracticeSettings(batch_seconds=600, batch_finished_fraction=0.5))
    texts = [f"match {number}" for number in range(40)]
    with open_run(batch_job(texts, run=at_deadline_in(120)), practice.base_url) as context:
        taken(context, until=lambda step: isinstance(step, Wait))
        # As if the provider's hours had passed: the rest would need all the time that is left.
        context.__dict__["mean_seconds"] = 120 * 60 / 40
        steps = taken(context)
        assert kinds(steps) == ["CancelAll", "Harvest", "Finish"]
        assert rows_of(context).height == 20
        # With half of the texts there would be time again.
        context.__dict__["mean_seconds"] = 0.001
        assert situation_now(context).goes_live
        assert kinds(taken(context)) == ["Finish"]


def test_a_job_that_has_gone_live_stops_the_batches_of_its_lane_before(batch_job, practice, job_of):
    """On the lane `live`, batches that an earlier run has out are cancelled, harvested, and nothing is sent."""
    practice.configure(PracticeSettings(batch_seconds=600, batch_finished_fraction=0.5))
    with open_run(batch_job(run={"max_wait_minutes": 0}), practice.base_url) as context:
        taken(context)
    with open_run(job_of(run={"lane": "live", "poll_seconds": 0.05}), practice.base_url) as context:
        assert kinds(taken(context)) == ["CancelAll", "Harvest", "Finish"]
        assert rows_of(context).height == 3


def test_batches_in_which_most_rows_fail_stop_the_run(batch_job, practice):
    """Before the next one is paid for; the sentence names the batch and quotes what was wrong."""
    practice.configure(PracticeSettings(stubborn_faults={FaultKind.TRUNCATED: 1.0}))
    texts = [f"match {number}" for number in range(120)]
    with open_run(batch_job(texts, run={"max_answers": 5}), practice.base_url) as context:
        taken(context)
        assert "120 of the last 120 requests failed (120 truncated)" in context.stop_signal.stopped.message
        assert "cut off at max_tokens" in context.stop_signal.stopped.message
        assert "(in batch " in context.stop_signal.stopped.message
        assert rows_of(context).height == 120


def test_a_ledger_that_can_not_be_written_stops_the_run(batch_job, practice, monkeypatch):
    """In words that name the folder; the answers stay at the provider."""
    with open_run(batch_job(), practice.base_url) as context:
        steps = taken(context, until=lambda step: isinstance(step, Harvest))

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("labelmill.batch.session.write_part", full)
        with pytest.raises(OSError, match="No space"):
            batch_lane.harvest(context, steps[-1].names[0])
        assert context.stop_signal.stopped.message.endswith("out can't be written: No space left on device")
        assert list(context.batch_session.outstanding.out) == list(steps[-1].names)
        monkeypatch.undo()


def test_batches_out_are_shown_as_the_provider_speaks_of_them(batch_job, practice):
    """Their ids, their state in words, and how many of their texts are done."""
    practice.configure(PracticeSettings(batch_seconds=600))
    with open_run(batch_job(run={"max_wait_minutes": 0}), practice.base_url) as context:
        taken(context)
        (record,) = context.batch_session.outstanding.mine
        (seen,) = context.progress.now().batches
        assert (seen.name, seen.status, seen.done, seen.texts) == (record.batch_id, "sent", 0, 6)
        for changes, status, done in (
            ({"status": BatchStatus.IN_PROGRESS, "completed": 3, "failed": 1}, "in progress", 4),
            ({"status": None, "step": "creating", "batch_id": None}, "being made", 4),
        ):
            record = context.batch_session.outstanding.update(record, **changes)
            batch_lane.show_batches(context)
            (seen,) = context.progress.now().batches
            assert (seen.status, seen.done) == (status, done)
        assert seen.name == record.name


def test_costs_are_told_by_lane(batch_job, practice, job_of):
    """A row of `costs.parquet` for each batch, at the batch lane's prices; the record tells what was saved."""
    with open_run(batch_job(batch={"max_requests": 4}), practice.base_url) as context:
        taken(context)
        record = finished_record(context, None)
        costs = costs_of(context, record)
        write_costs(costs, context.record_folder)
    assert costs["lane"].to_list() == ["batch", "batch"]
    assert sorted(costs["texts"]) == [2, 4]
    assert costs["input_usd_per_mtok"].unique().to_list() == [0.075]
    assert costs.equals(pl.read_parquet(context.record_folder / "costs.parquet"))
    assert record.cost_usd == pytest.approx(costs["cost_usd"].sum())
    assert record.live_cost_usd == pytest.approx(2 * record.cost_usd)
    assert (record.texts_asked, record.texts_by_batch, record.texts_out) == (6, 6, 0)
    assert (record.price["input_usd_per_mtok"], record.batch_price["input_usd_per_mtok"]) == (0.15, 0.075)
    assert [batch.step for batch in record.batches] == ["harvested", "harvested"]
    with open_run(job_of(), practice.base_url) as context:
        assert costs_of(context, finished_record(context, None)).is_empty()


def test_a_budget_counts_what_is_out(batch_job, practice):
    """The next run has so much less to spend, until the batch is harvested."""
    practice.configure(PracticeSettings(batch_seconds=600))
    job = batch_job(run={"max_wait_minutes": 0, "max_cost_usd": 1.0})
    with open_run(job, practice.base_url) as context:
        taken(context)
        held = context.batch_session.outstanding.mine[0].worst_case_usd
    practice.configure(PracticeSettings())
    with open_run(job, practice.base_url) as context:
        assert context.budget.left_usd == 1 - held
        while not context.batch_session.ready():
            context.batch_session.poll()
            time.sleep(0.02)
        batch_lane.harvest(context, context.batch_session.ready()[0])
        assert context.budget.left_usd == 1 - rows_of(context)["cost_usd"].sum()
        assert context.budget.left_usd > 1 - held > Decimal("0.9")
