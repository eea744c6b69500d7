"""Label a Parquet dataset, as Prefect sees it: check, settle batches, plan, classify, merge, publish."""

from functools import partial
from typing import Annotated

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from labelmill.errors import CannotWrite, JobRefused, LabelmillError
from labelmill.job.model import LabelJob, Usd
from labelmill.pipeline.alerts import alert_without_record, told_by_job
from labelmill.pipeline.label import label
from labelmill.run.record import RunRecord
from labelmill.run.runner import CHUNKS_OPEN
from tasks.form import with_form
from tasks.limits import check_shared_limit
from tasks.log_lines import forward_logs
from tasks.names import time_words
from tasks.runner import PrefectRunner
from tasks.states import message_of, state_of, state_without_record
from tasks.tags import job_tags

Rows = Annotated[int, Field(ge=1)]


def _name() -> str:
    parameters = runtime.flow_run.parameters
    return f"{parameters['job'].name} {time_words(runtime.flow_run.scheduled_start_time)}"


@flow(
    name="label-dataset",
    flow_run_name=_name,
    # A server's default of retries would run it again over its own ending, and hide how it ended.
    retries=0,
    task_runner=ThreadPoolTaskRunner(max_workers=CHUNKS_OPEN),  # type: ignore[arg-type]
)
def label_dataset(
    job: LabelJob,
    model_base_url: str | None = None,
    *,
    retry_failed: bool = False,
    max_cost_usd: Usd | None = None,
    rows: Rows | None = None,
) -> State[RunRecord | LabelmillError]:
    """Label what is not labeled yet, and show the bill.

    Args:
        job: What to label, with which labels, by which model.
        model_base_url: Sends the requests elsewhere for this run, such as to a gateway.
        retry_failed: Asks the texts again that failed for good in earlier runs.
        max_cost_usd: The most that this run may cost, in USD; what the job says unless it is given.
        rows: Asks so many different texts at most, the first that have no label yet; the other rows stay pending. All of
            them unless it is given.
    """
    forward_logs()
    if max_cost_usd is not None:
        job = job.model_copy(update={"run": job.run.model_copy(update={"max_cost_usd": max_cost_usd})})
    try:
        with alert_without_record(partial(told_by_job, job)), job_tags(job.name):
            check_shared_limit(job)
            record = label(
                job, model_base_url, retry_failed=retry_failed, rows=rows, runner=PrefectRunner(job)
            )
    except (JobRefused, CannotWrite, OSError) as error:
        return state_without_record(error, job.output.path)
    return state_of(record.status, record, message_of(record))


# What people change for one run stands above the job.
with_form(label_dataset, ["max_cost_usd", "retry_failed", "rows", "model_base_url", "job"])
