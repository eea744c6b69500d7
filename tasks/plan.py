"""Planning: which texts still need a request."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from labelmill.dataset.plan import Plan, chunks_of, rows_per_chunk_of, write_pending
from labelmill.run.label_run import LabelRun


@task(name="plan", cache_policy=NO_CACHE)
def plan_run(run: LabelRun) -> Plan:
    """Compare the source with the ledger and cut what is missing into chunks."""
    settings = run.job.run
    texts = write_pending(run.files, run.template, run.ledger.known_digests(), run.plan_path)
    rows_per_chunk = rows_per_chunk_of(texts, settings.max_concurrency, settings.rows_per_chunk)
    return Plan(run.plan_path, texts, chunks_of(texts, rows_per_chunk))
