"""Opening a run: the lock, the endpoint, what a dead run left; and whatever happens, a record at the end."""

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial

from labelmill.check.provider import answering_endpoint
from labelmill.errors import JobRefused, LabelmillError, Mistake, RunStopped
from labelmill.job.model import LabelJob
from labelmill.job.zones import zone_notice
from labelmill.live.chain import chain_of
from labelmill.live.tracing import tracing
from labelmill.providers.endpoint import reachable
from labelmill.providers.environment import bypass_proxies, open_files_mistakes
from labelmill.run.causes import causes_of
from labelmill.run.confidence import confidence_notice
from labelmill.run.context import RunContext, new_run_id
from labelmill.run.counts import Work, work_of_run
from labelmill.run.publication import Merged
from labelmill.run.record import (
    NO_CAUSES,
    Prices,
    RunRecord,
    read_record,
    record_of,
    status_of,
    unreadable_of,
    write_record,
)
from labelmill.run.recovery import recover_dead_runs, remove_plans
from labelmill.run.wording import with_wording
from labelmill.store.folder import OutputFolder
from labelmill.store.lock import LockedError, locked
from labelmill.store.objects import StoreError

log = logging.getLogger(__name__)


@contextmanager
def open_output(job: LabelJob, model_base_url: str | None = None) -> Iterator[RunContext]:
    """Take the output folder of a job that was checked, and open a run into it for the length of the block.

    Journals that dead runs left are folded in before the block begins. The run's job says which version of the default
    wording it asks with, also where the one given leaves that open.

    Raises:
        JobRefused: another run writes into the same output folder, or no request would be answered.
    """
    bypass_proxies()
    left_open = job.prompt.wording == "auto"
    endpoint = answering_endpoint(job, model_base_url)
    # Worker processes inherit how many they may have; the last one at work has all requests in flight.
    if mistakes := open_files_mistakes(job.run.max_concurrency):
        raise JobRefused(mistakes)
    started = datetime.now(UTC)
    run_id = new_run_id(started)
    with ExitStack() as stack:
        folder = OutputFolder.of(job)
        try:
            lock = stack.enter_context(locked(folder.lock, f"run {run_id}, process {os.getpid()}"))
            if folder.working is not None:
                holder = f"run {run_id}, process {os.getpid()}"
                stack.enter_context(folder.working.held(holder, run_id))
        except LockedError as error:
            sentence = f"{error.holder} is writing into {folder.place!r}; wait for it to end"
            raise JobRefused([Mistake("output.path", sentence)]) from None
        except StoreError as error:
            raise JobRefused([Mistake("output.path", f"{error.filename}: {error.strerror}")]) from None
        # On the live lane too where it has been sent batches: they are to be settled as a provider's are.
        remembered = folder.practice if job.run.lane != "live" or folder.practice.exists() else None
        endpoint = stack.enter_context(reachable(endpoint, job.practice, remembered))
        traced = stack.enter_context(tracing(keep_texts=job.run.trace_texts))
        context = RunContext(
            job,
            run_id,
            endpoint.base_url or "",
            endpoint.practice,
            started,
            tracing=traced,
            chain_of=chain_of,
        )
        context.lock = lock
        if folder.working is not None:
            folder.working.on_lost = partial(_lose, context)
        context.record_folder.mkdir(parents=True, exist_ok=True)
        recover_dead_runs(context)
        # Before anything looks for its ledger.
        context.job = with_wording(job, context.past_jobs, practice=context.practice)
        # The rest of what the run shares, before any thread asks for it: the guard brings the budget along.
        _ = context.guard, context.batch_session, context.spoken_dialect
        if passed_over := context.listing.notice():
            context.notice(passed_over)
        if job.run.lane == "auto" and (renamed := zone_notice(job.run.deadline_timezone)):
            context.notice(renamed)
        context.notice_shorter_wording(left_open=left_open)
        try:
            yield context
        finally:
            remove_plans(context.record_folder)


def _lose(context: RunContext, why: str) -> None:
    context.stop_signal.stop(RunStopped("failed", why))


@contextmanager
def open_run(job: LabelJob, model_base_url: str | None = None) -> Iterator[RunContext]:
    """Begin a run of a job that was checked, and see it to its end.

    When the block raises, `run.json` still says what was asked and paid.

    Raises:
        JobRefused: another run writes into the same output folder.
    """
    with open_output(job, model_base_url) as context:
        folder = context.record_folder
        write_record(record_of(context, None, Work(), Prices(context.price), ("running", None), None), folder)
        try:
            yield context
        except BaseException as error:
            words = str(error) if isinstance(error, LabelmillError) else f"{type(error).__name__}: {error}"
            context.stop_signal.stop(RunStopped("failed", words[:500]))
            written = read_record(folder)
            if written is None or written.status == "running":
                write_record(finished_record(context, None), folder)
            raise


def finished_record(context: RunContext, merged: Merged | None) -> RunRecord:
    """The record of a run that ends now; `merged` is None where it could not publish."""
    work = work_of_run(context.folder.ledgers, context.run_id, context.task_key)
    answers = context.ledger.scan_run(context.run_id)
    causes = causes_of(answers)
    if without_confidence := confidence_notice(context.job, answers):
        context.notice(without_confidence)
    if merged is not None and merged.rows.failed and causes == NO_CAUSES:
        # None of them was asked again: they failed as they did before.
        causes = causes_of(context.ledger.scan())
    ending = status_of(
        merged,
        context.job.run.max_failed_fraction,
        context.stop_signal.stopped,
        context.batch_session.outstanding.mine,
        causes,
        unreadable_of(context),
        context.row_limit,
    )
    prices = Prices(context.price, context.batch_price)
    batches, finished = context.batch_session.records, datetime.now(UTC)
    return record_of(context, merged, work, prices, ending, finished, batches, causes, context.notices)
