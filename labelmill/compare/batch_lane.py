"""The batch lane as a strategy: the sample as the provider's batches, at the lane's price."""

import time
from pathlib import Path

from labelmill.batch.groups import Unsent, write_groups
from labelmill.batch.record import BatchRecord
from labelmill.compare.sample import Sample
from labelmill.run.batch_lane import settle_batches
from labelmill.run.context import RunContext
from labelmill.run.runner import Runner

KIND, NAME = "batch_lane", "batch lane"


def ask_on_batch_lane(context: RunContext, sample: Sample, max_wait_minutes: float) -> list[Path]:
    """Send the sample as a batch, or as several where one is too small, and wait for its answers; none is sent again.

    What is not back in time stays with the provider, and the next run harvests it.
    """
    job, session = context.job, context.batch_session
    settings = job.run.model_copy(update={"lane": "batch", "max_wait_minutes": max_wait_minutes})

    def plan_nothing() -> bool:
        # Where a batch of an earlier run has ended, nothing is planned for its texts here.
        session.planned(Unsent())
        return any(record.run_id == context.run_id for record in session.outstanding.mine)

    session.planned(Unsent(write_groups(sample.path, context.ledger.tries(context.run_id).head(0))))
    settle_batches(context, Runner(job), plan_nothing, settings, time.monotonic())
    return [context.ledger.folder / record.harvest_part for record in sent_by(context) if record.harvest_part]


def sent_by(context: RunContext) -> list[BatchRecord]:
    """The batches that a run has sent itself, settled or out."""
    return [record for record in context.batch_session.records if record.run_id == context.run_id]
