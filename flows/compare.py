"""Compare ways to ask: the same texts one by one, in batches, and as a run does it."""

from datetime import UTC, datetime
from typing import Annotated

from prefect import flow, runtime
from prefect.logging import get_run_logger
from prefect.states import State
from pydantic import Field

from labelmill.check.job import checked_job
from labelmill.check.provider import refuse_without_live_lane
from labelmill.compare.record import Comparison, comparison_of
from labelmill.compare.strategies import WARM_UP, strategies_of
from labelmill.errors import CannotWrite, JobRefused, LabelmillError
from labelmill.job.file import draft_of
from labelmill.job.model import LabelJob
from labelmill.run.open_run import open_output
from labelmill.run.signals import draining_signals
from tasks.compare import ask_by_strategy, plan_comparison, publish_comparison
from tasks.limits import check_shared_limit
from tasks.log_lines import forward_logs
from tasks.progress import progress_lines
from tasks.states import state_of, state_without_record
from tasks.tags import job_tags

Rows = Annotated[int, Field(ge=1)]
Minutes = Annotated[float, Field(ge=0)]
Concurrency = Annotated[int, Field(ge=1, le=1000)]


def _name() -> str:
    parameters = runtime.flow_run.parameters
    started = runtime.flow_run.scheduled_start_time
    return f"{parameters['job'].name} compare {started:%Y-%m-%d}"


@flow(name="compare-strategies", flow_run_name=_name, retries=0)
def compare_strategies(
    job: LabelJob,
    rows: Rows = 100,
    concurrency: list[Concurrency] = [1, 2, 5],  # noqa: B006  (the form in the UI shows it, and nobody changes it)
    model_base_url: str | None = None,
    batch_wait_minutes: Minutes = 10.0,
) -> State[Comparison | LabelmillError]:
    """Ask the same texts by each strategy, and show time, cost, failures and agreement side by side.

    Args:
        job: The job whose source is asked, with its labels, its model and its budget.
        rows: How many distinct texts to ask by each strategy.
        concurrency: The levels of concurrency that `chain.batch` is tried at.
        model_base_url: Sends the requests elsewhere, such as to a gateway.
        batch_wait_minutes: How long to wait for the provider's Batch API; 0 leaves the batch lane out.
    """
    try:
        comparison = _compare(job, rows, concurrency, model_base_url, batch_wait_minutes)
    except (JobRefused, CannotWrite, OSError) as trouble:
        return state_without_record(trouble, job.output.path)
    message = f"{comparison.rows} texts, {len(comparison.strategies)} strategies. {comparison.message or ''}"
    return state_of(comparison.status, comparison, message.strip())


def _compare(
    job: LabelJob, rows: int, concurrency: list[int], model_base_url: str | None, batch_wait_minutes: float
) -> Comparison:
    forward_logs()
    checked_job(draft_of(job.model_dump(mode="json"), job.name), model_base_url)
    refuse_without_live_lane(job)
    check_shared_limit(job)
    with job_tags(job.name), open_output(job, model_base_url) as live:
        run = live.run
        strategies = strategies_of(job, concurrency, batch_wait_minutes, live.batch_price)
        with progress_lines(live), draining_signals(live, get_run_logger().warning):
            sample, estimate = plan_comparison(run, strategies, rows)
            live.progress.enter("comparing", estimate.requests)
            ask_by_strategy(run, WARM_UP, sample)
            receipts = [
                ask_by_strategy(run, strategy, sample) for strategy in strategies if live.gate.stopped is None
            ]
        comparison = comparison_of(live, sample.rows, estimate, receipts, datetime.now(UTC))
        publish_comparison(run, comparison)
    return comparison
