"""The batch lane of a run: where it stands, the one loop that settles its batches, and what a step does to the run."""

import logging
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial

import polars as pl

from labelmill.batch.deadline import live_seconds_of, live_start, next_deadline
from labelmill.batch.groups import Unsent, write_groups
from labelmill.batch.harvest import HarvestResult
from labelmill.batch.record import BatchRecord
from labelmill.batch.steps import (
    CancelAll,
    Finish,
    Harvest,
    Leave,
    MakePlan,
    Send,
    Situation,
    Wait,
    next_step,
)
from labelmill.dataset.plan import write_pending
from labelmill.errors import RunStopped
from labelmill.job.model import Run
from labelmill.live.progress import BatchSeen
from labelmill.money.prices import surcharge_of
from labelmill.plural import are_counted, counted
from labelmill.providers.table import provider_of
from labelmill.run.context import RunContext
from labelmill.run.publication import files_to_plan
from labelmill.run.runner import Runner
from labelmill.run.unreadable import read_digests
from labelmill.store.ledger import faults_named

log = logging.getLogger(__name__)

_CANCEL_SLACK_SECONDS = 60.0
_PHASE = "waiting for batches"


def settle_batches(
    context: RunContext,
    runner: Runner,
    make_plan: Callable[[], bool],
    settings: Run | None = None,
    since: float | None = None,
) -> None:
    """Settle the batches that are out and send what is missing, until nothing is left to do or to wait for.

    Args:
        context: the run.
        runner: takes the steps that a person may want to see.
        make_plan: called where a plan is due; false where there is no more to plan.
        settings: how long to wait, and for what, where it is not as the job says.
        since: when the waiting began, in monotonic seconds, where it was not when the run opened.
    """
    settings, since = settings or context.job.run, context.opened_at if since is None else since
    session, sent = context.batch_session, 0
    session.poll()
    while True:
        match next_step(situation_of(context, settings, since)):
            case Harvest(names):
                _harvest_all(context, runner, names)
            case MakePlan():
                if not make_plan():
                    return
            case Send():
                sent += 1
                runner.step("send-batch", partial(send, context), f"send batch {sent}")
            case CancelAll():
                session.cancel_mine()
            case Wait(seconds):
                wait_and_poll(context, seconds)
            case Leave() | Finish():
                return


def harvest_late(context: RunContext, runner: Runner) -> None:
    """Harvest what batches have come to an end while the rest was asked live, such as those of an earlier task."""
    session = context.batch_session
    if session.outstanding.out and context.stop_signal.stopped is None:
        session.poll()
        _harvest_all(context, runner, session.ready())


def _harvest_all(context: RunContext, runner: Runner, names: Iterable[str]) -> None:
    for name in names:
        runner.step("harvest-batch", partial(harvest, context, name), f"harvest {name}")


def situation_of(context: RunContext, settings: Run, since: float) -> Situation:
    """Where the batch lane of a run stands at this moment."""
    session, now = context.batch_session, time.monotonic()
    seconds_left = _seconds_to_live_start(context, settings)
    session.goes_live = session.goes_live or (seconds_left is not None and seconds_left <= 0)
    cancelled_for = 0.0 if session.cancelled_at is None else now - session.cancelled_at
    return Situation(
        stopped=context.stop_signal.stopped is not None,
        ready=session.ready(),
        out=len(session.outstanding.mine),
        unsent=session.unsent_texts(),
        has_room=session.has_room,
        pause_seconds=session.paused_until - now,
        goes_live=session.goes_live,
        are_cancelled=session.cancelled_at is not None,
        polls=session.polls,
        seconds_left=seconds_left
        if seconds_left is not None
        else settings.max_wait_minutes * 60 - (now - since),
        cancel_seconds_left=context.job.batch.cancel_seconds + _CANCEL_SLACK_SECONDS - cancelled_for,
        poll_seconds=settings.poll_seconds,
    )


def _seconds_to_live_start(context: RunContext, settings: Run) -> float | None:
    """How long until the live lane has to begin; 0 on the live lane itself, None on the batch lane, where it never does."""
    if settings.lane == "live":
        return 0.0
    if settings.lane == "batch" or settings.deadline is None:
        return None
    out = context.batch_session.outstanding.mine
    texts = (context.batch_session.unsent_texts() or 0) + sum(
        record.texts - record.completed for record in out
    )
    in_batches = sum(record.texts for record in out)
    tokens = sum(record.estimated_tokens for record in out) / in_batches if in_batches else 0.0
    deadline = next_deadline(context.started_at_utc, settings.deadline, settings.deadline_timezone)
    start = live_start(
        deadline,
        live_seconds_of(texts, settings, context.mean_seconds, tokens),
        context.job.batch.cancel_seconds,
    )
    return (start - datetime.now(UTC)).total_seconds()


def digests_out(context: RunContext) -> pl.LazyFrame:
    """The digests of the run's texts that are in a batch: one column `digest` (UInt128)."""
    outstanding = context.batch_session.outstanding
    return outstanding.folder.digests(outstanding.mine)


def plan_batches(context: RunContext, *, retry_failed: bool = False) -> None:
    """Part the texts that are neither known nor in a batch into groups, to be sent.

    Where the job has failed texts asked again live, those that were tried stay out.
    """
    ledger, session, limit = context.ledger, context.batch_session, context.row_limit
    tries = ledger.tries(context.run_id)

    def known(about: pl.Series | None) -> pl.LazyFrame:
        answered = ledger.known_digests(about, retry_failed=retry_failed)
        tried = [tries.select("digest")] if context.job.run.retry_lane == "live" else []
        return pl.concat([answered, digests_out(context), ledger.ended_in(context.run_id), *tried])

    path = context.record_folder / f"pending-batches-{len(session.outstanding.settled)}.parquet"
    with faults_named(context.folder.ledgers):
        numbers = files_to_plan(context, retry_failed=retry_failed)
        read_digests(context, numbers)
        texts = write_pending(context.digests, numbers, known, path, limit.among(), most=limit.most)
        limit.choose(path)
    context.notice_task_change(path, "batch")
    context.tell_pending(path)
    has_schemas = provider_of(context.job.model).has_schemas
    session.planned(Unsent(write_groups(path, tries, has_schemas=has_schemas)))
    out = session.outstanding.mine
    in_batches = sum(record.texts for record in out)
    context.progress.go_on("sending", texts + in_batches)
    show_batches(context)
    batches = counted(len(out), "batch", "batches")
    waiting = f"; {are_counted(in_batches, 'text')} in {batches}" if out else ""
    log.info("%s to send%s", counted(texts, "text"), waiting)


def send(context: RunContext) -> None:
    """Send the next batch of the plan. The batch that it makes is found again whatever dies.

    Raises:
        OSError: its file can't be written; nothing was sent.
    """
    context.progress.add(failed=context.batch_session.send())
    show_batches(context)


def wait_and_poll(context: RunContext, seconds: float) -> None:
    """Wait, but not beyond a stop, and ask the provider about every batch that is out."""
    context.stop_signal.wait_unless_stopped(seconds)
    if context.stop_signal.stopped is None:
        context.batch_session.poll()
        show_batches(context)


def harvest(context: RunContext, name: str) -> None:
    """Harvest one batch, and count what came of it. A harvest counts once, however often it is tried.

    Raises:
        OSError: the ledger can't be written; the run is stopped, and the answers stay at the provider.
    """
    session = context.batch_session
    is_mine = session.outstanding.is_mine(session.outstanding.out[name])
    try:
        result = session.harvest(name)
    except OSError as error:
        words = f"{context.folder.place} can't be written: {error.strerror or error}"
        context.stop_signal.stop(RunStopped("failed", words))
        raise
    labeled = _count(context, result, is_mine=is_mine)
    show_batches(context)
    answers = counted(len(result.outcomes), "answer")
    log.info("Batch %s: %s from %s", name, counted(labeled, "label"), answers)


def _count(context: RunContext, result: HarvestResult, *, is_mine: bool) -> int:
    """Let the run's progress tell of a harvest; returns how many labels it brought."""
    outcomes = result.outcomes
    labeled = sum(outcome.last.label is not None for outcome in outcomes)
    for outcome in outcomes:
        context.progress.pay(outcome.cost_usd)
    if is_mine:
        for model in dict.fromkeys(outcome.last.model for outcome in outcomes):
            context.guard.notice_surcharge(surcharge_of(context.batch_price, model))
        context.progress.add(labeled=labeled, failed=sum(outcome.ended for outcome in outcomes) - labeled)
    return labeled


def show_batches(context: RunContext) -> None:
    """Let the run's progress tell which batches are out."""
    out = context.batch_session.outstanding.out.values()
    context.progress.show_batches(_PHASE, tuple(_seen(record) for record in out))


def _seen(record: BatchRecord) -> BatchSeen:
    status = "being made" if record.status is None else record.status.replace("_", " ")
    if record.step == "sent" and record.status is None:
        status = "sent"
    return BatchSeen(record.batch_id or record.name, status, record.completed + record.failed, record.texts)
