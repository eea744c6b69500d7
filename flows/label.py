"""Label a Parquet dataset, as Prefect sees it: check, settle batches, plan, classify, merge, publish."""

from functools import partial

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.task_runners import ThreadPoolTaskRunner

from labelmill.errors import CannotWrite, JobRefused, LabelmillError
from labelmill.job.model import LabelJob
from labelmill.pipeline.alerts import alert_without_record, told_by_job
from labelmill.pipeline.label import label
from labelmill.run.record import RunRecord
from labelmill.run.runner import CHUNKS_IN_FLIGHT
from tasks.limits import check_shared_limit
from tasks.log_lines import forward_logs
from tasks.runner import PrefectRunner
from tasks.states import state_of, state_without_record
from tasks.tags import job_tags


def _name() -> str:
    parameters = runtime.flow_run.parameters
    started = runtime.flow_run.scheduled_start_time
    return f"{parameters['job'].name} {started:%Y-%m-%d}"


@flow(
    name="label-dataset",
    flow_run_name=_name,
    # A server's default of retries would run it again over its own ending, and hide how it ended.
    retries=0,
    task_runner=ThreadPoolTaskRunner(max_workers=CHUNKS_IN_FLIGHT),  # type: ignore[arg-type]
)
def label_dataset(
    job: LabelJob, model_base_url: str | None = None, *, retry_failed: bool = False
) -> State[RunRecord | LabelmillError]:
    """Label what is not labeled yet, and show the bill.

    Args:
        job: What to label, with which labels, by which model.
        model_base_url: Sends the requests elsewhere for this run, such as to a gateway.
        retry_failed: Asks the texts again that failed for good in earlier runs.
    """
    forward_logs()
    try:
        with alert_without_record(partial(told_by_job, job)), job_tags(job.name):
            check_shared_limit(job)
            record = label(job, model_base_url, retry_failed=retry_failed, runner=PrefectRunner(job))
    except (JobRefused, CannotWrite, OSError) as error:
        return state_without_record(error, job.output.path)
    message = f"{record.rows_labeled} of {record.rows_total} rows labeled. {record.message or ''}"
    return state_of(record.status, record, message.strip())
