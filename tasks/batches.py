"""The batch lane: planning, sending and harvesting, each a task run that a person can see."""

from typing import Any

from prefect import runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from labelmill.run import batch_lane
from labelmill.run.label_run import LabelRun
from labelmill.run.live import live_run
from tasks.disk import disk_errors_as_sentences


def _harvest_name() -> str:
    parameters: dict[str, Any] = runtime.task_run.parameters
    return f"harvest {parameters['name']}"


@task(name="plan-batches", task_run_name="plan batches", retries=0, cache_policy=NO_CACHE)
@disk_errors_as_sentences
def plan_batches(run: LabelRun, *, retry_failed: bool = False) -> None:
    """Compare the source with the ledger and with the batches that are out, and line up what is missing."""
    texts = batch_lane.plan_batches(live_run(run.run_id), retry_failed=retry_failed)
    out = live_run(run.run_id).desk.notes.mine
    waiting = f"; {sum(record.texts for record in out):,} are in {len(out)} batches" if out else ""
    get_run_logger().info("%s texts to send%s", f"{texts:,}", waiting)


@task(name="send-batch", task_run_name="send batch {number}", retries=0, cache_policy=NO_CACHE)
@disk_errors_as_sentences
def send_batch(run: LabelRun, number: int) -> None:  # noqa: ARG001  (it names the task run)
    """Send the next batch of the plan. The batch that it makes is found again whatever dies."""
    batch_lane.send(live_run(run.run_id))


@task(name="harvest-batch", task_run_name=_harvest_name, retries=0, cache_policy=NO_CACHE)
@disk_errors_as_sentences
def harvest_batch(run: LabelRun, name: str) -> None:
    """Fetch a batch's answers and leave them in the ledger. Safe to run again: a harvest counts once."""
    result = batch_lane.harvest(live_run(run.run_id), name)
    labeled = sum(outcome.last.label is not None for outcome in result.outcomes)
    get_run_logger().info(
        "Batch %s: %s labels of %s answers", name, f"{labeled:,}", f"{len(result.outcomes):,}"
    )
