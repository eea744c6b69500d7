"""The live lane of a run: a plan of what is missing, its chunks, and a last pass over what the provider failed at."""

import logging
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import polars as pl

from labelmill.dataset.plan import Plan, chunks_of, rows_per_chunk_of, write_pending, write_tried
from labelmill.errors import RunStopped
from labelmill.plural import counted
from labelmill.run.batch_lane import digests_out
from labelmill.run.classify import classify_chunk
from labelmill.run.collector import few_collections
from labelmill.run.context import RunContext
from labelmill.run.machines import Machines
from labelmill.run.publication import files_to_plan
from labelmill.run.runner import Runner
from labelmill.run.unreadable import read_digests
from labelmill.run.workers import Workers, workers_of
from labelmill.store.ledger import faults_named

log = logging.getLogger(__name__)


def ask_live(context: RunContext, runner: Runner, *, retry_failed: bool) -> None:
    """Ask what is missing with a request per text, and once more over what the provider failed at."""

    def make_plan(after: Plan | None) -> Plan:
        return plan_live(context, after=after, retry_failed=retry_failed and after is None)

    # They start while the plan is made.
    with runner.machines() as submit, workers_of(context, submit) as workers:
        ask_planned(context, runner, make_plan, workers)


def ask_planned(
    context: RunContext,
    runner: Runner,
    make_plan: Callable[[Plan | None], Plan],
    workers: Workers | Machines | None = None,
) -> None:
    """Ask the texts of a plan, and once more those of a plan after it, which goes over what the provider failed at.

    Without `workers` they are asked by this process.
    """
    plan = runner.step("plan", partial(make_plan, None))
    _classify(context, runner, plan, workers)
    if context.stop_signal.stopped is None and context.progress.now().failed:
        context.guard.is_last_pass = True
        _classify(context, runner, runner.step("plan", partial(make_plan, plan)), workers)
    context.guard.end()


def _classify(context: RunContext, runner: Runner, plan: Plan, workers: Workers | Machines | None) -> None:
    """Classify a plan's chunks. All are waited for: their answers are paid."""
    if workers is not None:
        workers.begin(plan)
    classify = partial(classify_chunk, context) if workers is None else workers.classify
    with few_collections():
        receipts = runner.map(
            "classify",
            partial(classify, plan.path),
            plan.chunks,
            lambda chunk: f"classify {chunk.number + 1}/{plan.last_chunk}",
        )
    for receipt in receipts:
        if isinstance(receipt, BaseException):
            sentence = f"a chunk could not be classified: {type(receipt).__name__}: {receipt}"
            context.stop_signal.stop(RunStopped("failed", sentence))


def plan_live(context: RunContext, *, after: Plan | None = None, retry_failed: bool = False) -> Plan:
    """Compare the source with the ledger and cut what is missing into chunks. What is in a batch is not missing.

    A plan `after` another goes over what that one has left undone. On the batch lane only texts that a batch has tried in
    vain are asked live.
    """
    job, ledger = context.job, context.ledger
    context.progress.enter("planning")
    path = context.record_folder / f"pending-{context.next_number}.parquet"

    def known(about: pl.Series | None) -> pl.LazyFrame:
        answered = ledger.known_digests(about, retry_failed=retry_failed, run_id=context.run_id)
        return pl.concat([answered, digests_out(context)])

    tried = [ledger.tries(context.run_id).select("digest")] if job.run.lane == "batch" else []
    limit = context.row_limit
    with faults_named(context.folder.ledgers):
        numbers = files_to_plan(context, retry_failed=retry_failed)
        read_digests(context, numbers)
        texts = write_pending(context.digests, numbers, known, path, limit.among(*tried), most=limit.most)
        limit.choose(path)
        if not retry_failed:
            write_tried(path, ledger.tries(context.run_id))
    if not after:
        context.notice_task_change(path, "live")
        context.tell_pending(path)
    return cut_into_chunks(context, path, texts, after)


def cut_into_chunks(context: RunContext, path: Path, texts: int, after: Plan | None = None) -> Plan:
    """The plan over so many texts of a file; one `after` another goes over what that one has left undone."""
    settings = context.job.run
    if after:
        context.progress.reopen(texts)
    else:
        context.progress.go_on("labeling", texts)
    workers = settings.processes if settings.runner == "local" else settings.workers
    each = math.ceil(settings.max_concurrency / workers)
    rows_per_chunk = rows_per_chunk_of(texts, each, settings.rows_per_chunk)
    first_chunk = context.take_numbers(math.ceil(texts / rows_per_chunk))
    plan = Plan(path, texts, chunks_of(texts, rows_per_chunk, first_chunk), first_chunk)
    again, chunks = " again" if after else "", counted(len(plan.chunks), "chunk")
    log.info("%s to ask%s, in %s", counted(texts, "text"), again, chunks)
    return plan
