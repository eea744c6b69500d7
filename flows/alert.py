"""An example of an alert: what a run could not do, where a person sees it."""

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger

from labelmill.report.formatting import visible
from labelmill.report.markdown import escaped


@flow(name="alert")
def alert(job: str, sentence: str) -> None:
    """Say in the log and in an artifact why a run did not complete.

    To hear of it elsewhere, save a notification block (`prefect block register -m prefect.blocks.notifications`, then
    Slack, Teams or e-mail in the UI under Blocks), and send the same sentence here:
    `SlackWebhook.load("alerts").notify(sentence, subject=job)`.

    Args:
        job: The name of the job.
        sentence: Why its run did not complete.
    """
    get_run_logger().warning("%s: %s", visible(job), visible(sentence))
    create_markdown_artifact(alert_words(job, sentence), key="alerts", description=f"Alert of {escaped(job)}")


def alert_words(job: str, sentence: str) -> str:
    """The alert in Markdown. A provider's words and a job's name are text in it, and nothing else."""
    return f"Job: {escaped(job)}\n\n> {escaped(sentence)}\n"
