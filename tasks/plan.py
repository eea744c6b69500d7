"""Planning: which texts still need a request."""

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from labelmill.dataset.plan import Plan, chunks_of, rows_per_chunk_of, write_pending
from labelmill.run.label_run import LabelRun
from labelmill.run.live import live_run
from tasks.disk import tells_of_the_disk


@task(name="plan", task_run_name="plan", cache_policy=NO_CACHE)
@tells_of_the_disk
def plan_run(run: LabelRun, *, after: Plan | None = None, retry_failed: bool = False) -> Plan:
    """Compare the source with the ledger and cut what is missing into chunks.

    A plan `after` another goes over what that one has left undone, and numbers its chunks on.
    """
    progress, settings = live_run(run.run_id).progress, run.job.run
    progress.enter("planning")
    first_chunk = after.last_chunk if after else 0
    path = run.record_folder / f"pending-{first_chunk}.parquet"
    texts = write_pending(run.files, run.template, run.ledger.known_digests(retry_failed=retry_failed), path)
    if after:
        progress.reopen(texts)
    else:
        progress.enter("labeling", texts)
    rows_per_chunk = rows_per_chunk_of(texts, settings.max_concurrency, settings.rows_per_chunk)
    plan = Plan(path, texts, chunks_of(texts, rows_per_chunk, first_chunk), first_chunk)
    again = " again" if after else ""
    get_run_logger().info("%s texts to ask%s, in %s chunks", f"{texts:,}", again, len(plan.chunks))
    return plan
