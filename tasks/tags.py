"""Tags: every run of a job, and every task in it, is found by the job's name."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from prefect import runtime, tags
from prefect.client.orchestration import get_client
from prefect.logging import get_run_logger

TAG = "labelmill"


def run_tags(job: str) -> AbstractContextManager[set[str]]:
    """Tag the flow runs that begin in this block, as `job_tags` does one that has begun: it costs no request."""
    return tags(TAG, job)


@contextmanager
def job_tags(job: str) -> Iterator[None]:
    """Tag the flow run, and for the length of the block its task runs, with the job's name and `labelmill`."""
    wanted = {TAG, job}
    flow_run_id = runtime.flow_run.id
    if flow_run_id and not wanted <= set(runtime.flow_run.tags):
        try:
            with get_client(sync_client=True) as client:
                client.update_flow_run(flow_run_id, tags=sorted({*runtime.flow_run.tags, *wanted}))
        except Exception as error:  # noqa: BLE001  (a tag is for finding, and no reason to fail)
            get_run_logger().warning("The run can't be tagged: %s", type(error).__name__)
    with tags(*wanted):
        yield
