"""Compare ways to ask: the same texts one by one, in batches, and as a run does it."""

from typing import Annotated

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from pydantic import Field

from labelmill.compare.record import Comparison
from labelmill.errors import CannotWrite, JobRefused, LabelmillError
from labelmill.job.model import LabelJob
from labelmill.pipeline.compare import compare
from labelmill.plural import counted
from labelmill.report.formatting import cost_words
from tasks.form import with_form
from tasks.limits import check_shared_limit
from tasks.log_lines import forward_logs
from tasks.names import time_words
from tasks.runner import PrefectRunner
from tasks.states import state_of, state_without_record
from tasks.tags import job_tags

Rows = Annotated[int, Field(ge=1)]
Minutes = Annotated[float, Field(ge=0)]
Concurrency = Annotated[int, Field(ge=1, le=1000)]


def _name() -> str:
    parameters = runtime.flow_run.parameters
    return f"{parameters['job'].name} compare {time_words(runtime.flow_run.scheduled_start_time)}"


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
    forward_logs()
    try:
        check_shared_limit(job)
        with job_tags(job.name):
            comparison = compare(
                job,
                model_base_url,
                rows=rows,
                concurrency=concurrency,
                batch_wait_minutes=batch_wait_minutes,
                runner=PrefectRunner(job),
            )
    except (JobRefused, CannotWrite, OSError) as error:
        return state_without_record(error, job.output.path)
    texts, ways = (
        counted(comparison.rows, "text"),
        counted(len(comparison.strategies), "strategy", "strategies"),
    )
    cost = cost_words(comparison.cost_usd, comparison.cost_known_usd)
    message = f"{texts}, {ways}, cost {cost}. {comparison.message or ''}"
    return state_of(comparison.status, comparison, message.strip())


with_form(compare_strategies, ["rows", "concurrency", "batch_wait_minutes", "model_base_url", "job"])
