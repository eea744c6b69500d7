"""An example of an alert: what a run could not do, where a person sees it."""

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger


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
    get_run_logger().warning("%s: %s", job, sentence)
    # As code, so that nothing in the sentence is taken for markup.
    shown = "\n".join(f"    {line}" for line in sentence.splitlines())
    create_markdown_artifact(f"{job}:\n\n{shown}\n", key="alerts", description=job)
