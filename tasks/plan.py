"""Planning: which texts still need a request."""

import math

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from labelmill.dataset.plan import Plan, chunks_of, rows_per_chunk_of, write_pending, write_tried
from labelmill.run.batch_lane import digests_out
from labelmill.run.label_run import LabelRun
from labelmill.run.live import live_run, notice_task_change
from labelmill.store.ledger import faults_named
from tasks.disk import disk_errors_as_sentences


@task(name="plan", task_run_name="plan", retries=0, cache_policy=NO_CACHE)
@disk_errors_as_sentences
def plan_run(run: LabelRun, *, after: Plan | None = None, retry_failed: bool = False) -> Plan:
    """Compare the source with the ledger and cut what is missing into chunks. What is in a batch is not missing.

    A plan `after` another goes over what that one has left undone. On the batch lane only texts that a batch has tried in
    vain are asked live.
    """
    live, settings = live_run(run.run_id), run.job.run
    live.progress.enter("planning")
    path = run.record_folder / f"pending-{live.numbers.next}.parquet"
    known = pl.concat(
        [run.ledger.known_digests(retry_failed=retry_failed, run_id=run.run_id), digests_out(live)]
    )
    among = run.ledger.tries(run.run_id).select("digest") if settings.lane == "batch" else None
    with faults_named(run.folder.ledgers):
        texts = write_pending(run.files, run.template, known, path, among)
        if not retry_failed:
            write_tried(path, run.ledger.tries(run.run_id))
    if after:
        live.progress.reopen(texts)
    else:
        notice_task_change(live, path, live.price)
        live.progress.go_on("labeling", texts)
    rows_per_chunk = rows_per_chunk_of(texts, settings.max_concurrency, settings.rows_per_chunk)
    first_chunk = live.numbers.take(math.ceil(texts / rows_per_chunk))
    plan = Plan(path, texts, chunks_of(texts, rows_per_chunk, first_chunk), first_chunk)
    again = " again" if after else ""
    get_run_logger().info("%s texts to ask%s, in %s chunks", f"{texts:,}", again, len(plan.chunks))
    return plan
