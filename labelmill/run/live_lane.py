"""The live lane of a run: a plan of what is missing, its chunks, and a last pass over what the provider failed at."""

import logging
import math
from functools import partial

import polars as pl

from labelmill.dataset.plan import Plan, chunks_of, rows_per_chunk_of, write_pending, write_tried
from labelmill.errors import RunStopped
from labelmill.run.batch_lane import digests_out
from labelmill.run.classify import classify_chunk
from labelmill.run.context import RunContext
from labelmill.run.publication import files_to_plan
from labelmill.run.runner import Runner
from labelmill.run.unreadable import read_digests
from labelmill.store.ledger import faults_named

log = logging.getLogger(__name__)


def ask_live(context: RunContext, runner: Runner, *, retry_failed: bool) -> None:
    """Ask what is missing with a request per text, and once more over what the provider failed at."""
    plan = runner.step("plan", partial(plan_live, context, retry_failed=retry_failed))
    _classify(context, runner, plan)
    if context.stop_signal.stopped is None and context.progress.now().failed:
        context.guard.is_last_pass = True
        _classify(context, runner, runner.step("plan", partial(plan_live, context, after=plan)))
    context.guard.end()


def _classify(context: RunContext, runner: Runner, plan: Plan) -> None:
    """Classify a plan's chunks. All are waited for: their answers are paid."""
    receipts = runner.map(
        "classify",
        partial(classify_chunk, context, plan.path),
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
    job, ledger, settings = context.job, context.ledger, context.job.run
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
    if after:
        context.progress.reopen(texts)
    else:
        context.notice_task_change(path, "live")
        context.tell_pending(path)
        context.progress.go_on("labeling", texts)
    rows_per_chunk = rows_per_chunk_of(texts, settings.max_concurrency, settings.rows_per_chunk)
    first_chunk = context.take_numbers(math.ceil(texts / rows_per_chunk))
    plan = Plan(path, texts, chunks_of(texts, rows_per_chunk, first_chunk), first_chunk)
    log.info("%s texts to ask%s, in %s chunks", f"{texts:,}", " again" if after else "", len(plan.chunks))
    return plan
