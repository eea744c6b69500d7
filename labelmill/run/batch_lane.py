"""The batch lane of a live run: where it stands, and what a step on it does to the run."""

import time
from datetime import UTC, datetime

import polars as pl

from labelmill.batch.deadline import live_seconds_of, live_start, next_deadline
from labelmill.batch.groups import write_groups
from labelmill.batch.harvest import HarvestResult
from labelmill.batch.record import BatchRecord
from labelmill.batch.sending import Unsent
from labelmill.batch.steps import Situation
from labelmill.dataset.plan import write_pending
from labelmill.errors import RunStopped
from labelmill.live.progress import BatchSeen
from labelmill.money.prices import surcharge_of
from labelmill.providers.table import provider_of
from labelmill.run.live import RunContext, notice_task_change
from labelmill.store.ledger import faults_named

_CANCEL_SLACK_SECONDS = 60.0
_PHASE = "waiting for batches"


def situation_of(live: RunContext) -> Situation:
    """Where the batch lane of a run stands at this moment."""
    desk, settings, now = live.desk, live.run.job.run, time.monotonic()
    seconds_left = _seconds_to_live_start(live)
    desk.goes_live = desk.goes_live or (seconds_left is not None and seconds_left <= 0)
    cancelled_for = 0.0 if desk.cancelled_at is None else now - desk.cancelled_at
    return Situation(
        stopped=live.gate.stopped is not None,
        ready=desk.ready(),
        out=len(desk.notes.mine),
        unsent=desk.unsent_texts(),
        has_room=desk.has_room,
        pause_seconds=desk.paused_until - now,
        goes_live=desk.goes_live,
        are_cancelled=desk.cancelled_at is not None,
        looks=desk.looks,
        seconds_left=seconds_left
        if seconds_left is not None
        else settings.max_wait_minutes * 60 - (now - live.opened_at),
        cancel_seconds_left=live.run.job.batch.cancel_seconds + _CANCEL_SLACK_SECONDS - cancelled_for,
        poll_seconds=settings.poll_seconds,
    )


def _seconds_to_live_start(live: RunContext) -> float | None:
    """How long until the live lane has to begin; 0 on the live lane itself, None on the batch lane, where it never does."""
    job = live.run.job
    if job.run.lane == "live":
        return 0.0
    if job.run.lane == "batch" or job.run.deadline is None:
        return None
    out = live.desk.notes.mine
    texts = (live.desk.unsent_texts() or 0) + sum(record.texts - record.completed for record in out)
    in_batches = sum(record.texts for record in out)
    tokens = sum(record.estimated_tokens for record in out) / in_batches if in_batches else 0.0
    deadline = next_deadline(live.run.started_at_utc, job.run.deadline, job.run.deadline_timezone)
    start = live_start(
        deadline, live_seconds_of(texts, job.run, live.mean_seconds, tokens), job.batch.cancel_seconds
    )
    return (start - datetime.now(UTC)).total_seconds()


def digests_out(live: RunContext) -> pl.LazyFrame:
    """The digests of the run's texts that are in a batch: one column `digest` (UInt128)."""
    return live.desk.notes.means.folder.digests(live.desk.notes.mine)


def plan_batches(live: RunContext, *, retry_failed: bool = False) -> int:
    """Part the texts that are neither known nor in a batch into groups for the desk; returns how many there are.

    Where the job has failed texts asked again live, those that were tried stay out.
    """
    run, desk = live.run, live.desk
    known = [
        run.ledger.known_digests(retry_failed=retry_failed),
        digests_out(live),
        run.ledger.ended_in(run.run_id),
    ]
    tries = run.ledger.tries(run.run_id)
    if run.job.run.retry_lane == "live":
        known.append(tries.select("digest"))
    path = run.record_folder / f"pending-batches-{len(desk.notes.settled)}.parquet"
    with faults_named(run.folder.ledgers):
        texts = write_pending(run.files, run.template, pl.concat(known), path)
    notice_task_change(live, path, live.batch_price)
    has_schemas = provider_of(run.job.model).has_schemas
    desk.planned(Unsent(write_groups(path, tries, has_schemas=has_schemas)))
    live.progress.go_on("sending", texts + sum(record.texts for record in desk.notes.mine))
    show_batches(live)
    return texts


def send(live: RunContext) -> None:
    """Send the next batch of the plan.

    Raises:
        OSError: its file can't be written; nothing was sent.
    """
    live.progress.add(failed=live.desk.send())
    show_batches(live)


def wait_and_look(live: RunContext, seconds: float) -> None:
    """Wait, but not beyond a stop, and ask the provider about every batch that is out."""
    live.gate.wait_unless_stopped(seconds)
    if live.gate.stopped is None:
        live.desk.look()
        show_batches(live)


def harvest(live: RunContext, name: str) -> HarvestResult:
    """Harvest one batch, and count what came of it.

    Raises:
        OSError: the ledger can't be written; the run is stopped, and the answers stay at the provider.
    """
    is_mine = live.desk.notes.is_mine(live.desk.notes.out[name])
    try:
        result = live.desk.harvest(name)
    except OSError as error:
        words = f"{live.run.folder.path} can't be written: {error.strerror or error}"
        live.gate.stop(RunStopped("failed", words))
        raise
    for outcome in result.outcomes:
        live.progress.pay(outcome.cost_usd)
    if is_mine:
        for model in dict.fromkeys(outcome.last.model for outcome in result.outcomes):
            live.guard.notice_surcharge(surcharge_of(live.batch_price, model))
        labeled = sum(outcome.last.label is not None for outcome in result.outcomes)
        live.progress.add(labeled=labeled, failed=sum(outcome.ended for outcome in result.outcomes) - labeled)
    show_batches(live)
    return result


def show_batches(live: RunContext) -> None:
    """Let the run's progress tell which batches are out."""
    live.progress.show_batches(_PHASE, tuple(_seen(record) for record in live.desk.notes.out.values()))


def _seen(record: BatchRecord) -> BatchSeen:
    status = "being made" if record.status is None else record.status.replace("_", " ")
    if record.step == "sent" and record.status is None:
        status = "sent"
    return BatchSeen(record.batch_id or record.name, status, record.completed + record.failed, record.texts)
