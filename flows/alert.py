"""An alert of what only Prefect sees: a run whose process died, or that never came to its first line."""

from collections.abc import Mapping
from uuid import UUID

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.logging import get_run_logger

from labelmill.pipeline.alerts import alert_of_error, told_by_values
from labelmill.report.formatting import visible
from labelmill.report.markdown import escaped


@flow(name="alert")
def alert(flow_run: str, sentence: str) -> None:
    """Tell whom the run's job names, or the environment, why it did not get to its end. Its own ends a run tells itself.

    Args:
        flow_run: The flow run, as Prefect's events name it: `prefect.flow-run.` and its id.
        sentence: What Prefect says of its state.
    """
    with get_client(sync_client=True) as client:
        parameters = client.read_flow_run(UUID(flow_run.rpartition(".")[2])).parameters
    job = parameters.get("job")
    told = told_by_values(job if isinstance(job, Mapping) else {}, "a job")
    get_run_logger().warning("%s: %s", visible(told.job), visible(sentence))
    alert_of_error(told, [sentence])
    create_markdown_artifact(
        alert_words(told.job, sentence), key="alerts", description=f"Alert of {escaped(told.job)}"
    )


def alert_words(job: str, sentence: str) -> str:
    """The alert in Markdown. A provider's words and a job's name are text in it, and nothing else."""
    return f"Job: {escaped(job)}\n\n> {escaped(sentence)}\n"
