"""The batch lane as a strategy: the sample as the provider's batches, at the lane's price."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from labelmill.batch.groups import write_groups
from labelmill.batch.record import BatchRecord
from labelmill.batch.sending import Unsent
from labelmill.batch.steps import Harvest, MakePlan, Send, Wait, next_step
from labelmill.compare.sample import Sample
from labelmill.run.batch_lane import harvest, send, situation_of, wait_and_look
from labelmill.run.live import RunContext

KIND, NAME = "batch_lane", "batch lane"


def ask_on_batch_lane(live: RunContext, sample: Sample, max_wait_minutes: float) -> list[Path]:
    """Send the sample as a batch, or as several where one is too small, and wait for its answers; none is sent again.

    What is not back in time stays with the provider, and the next run harvests it.
    """
    lane = _on_the_lane(live, max_wait_minutes)
    lane.desk.planned(Unsent(write_groups(sample.path, live.run.ledger.tries(live.run.run_id).head(0))))
    while True:
        match next_step(situation_of(lane)):
            case Harvest(names):
                for name in names:
                    harvest(lane, name)
            case Send():
                send(lane)
            case Wait(seconds):
                wait_and_look(lane, seconds)
            case MakePlan() if any(record.run_id == live.run.run_id for record in lane.desk.notes.mine):
                # A batch of an earlier run has ended. Nothing is planned for its texts here.
                lane.desk.planned(Unsent())
            case _:
                break
    return [live.run.ledger.folder / record.harvest_part for record in sent_by(live) if record.harvest_part]


def sent_by(live: RunContext) -> Iterator[BatchRecord]:
    """The batches that a live run has sent, settled or out."""
    notes = live.desk.notes
    return (record for record in (*notes.settled, *notes.out.values()) if record.run_id == live.run.run_id)


def _on_the_lane(live: RunContext, max_wait_minutes: float) -> RunContext:
    """The same live run as if its job were on the batch lane, and it had begun now."""
    job = live.run.job
    settings = job.run.model_copy(update={"lane": "batch", "max_wait_minutes": max_wait_minutes})
    run = live.run.model_copy(update={"job": job.model_copy(update={"run": settings})})
    return replace(live, run=run, opened_at=time.monotonic())
