"""Looking at a batch that is out: what the provider says of it, and what follows."""

import logging
from datetime import UTC, datetime, timedelta
from itertools import islice

from labelmill.batch.outstanding import OutstandingBatches
from labelmill.batch.record import BatchRecord
from labelmill.errors import RunStopped
from labelmill.providers.protocol import BatchRefused, BatchState, BatchUnreachable

log = logging.getLogger(__name__)

UNDER_WAY_SECONDS = 30.0
"""A request to make a batch may arrive that long after its sender has given up or died."""
_MOST_WORDS = 3
"""So many different messages of the provider are quoted."""
QUEUE_IS_FULL = "token_limit_exceeded"
"""OpenAI's code for a batch that finds too many tokens waiting before it."""


def look_at(notes: OutstandingBatches, record: BatchRecord) -> BatchState | None:
    """Ask the provider about a batch, and note what is new; returns the state of one that it took for invalid."""
    try:
        if record.step == "creating":
            _find(notes, record)
        elif record.step == "sent" and not record.is_ready:
            return _take_note(notes, record, notes.client(record).state(record.batch_id or ""))
    except BatchUnreachable as error:
        log.warning("Batch %s can't be looked at: %s", record.batch_id or record.name, error)
    except BatchRefused as error:
        refused(notes, record, error)
    return None


def cancel(notes: OutstandingBatches, record: BatchRecord) -> None:
    """Ask the provider to stop a batch, once. What is finished of it was paid, and is harvested."""
    if record.step != "sent" or record.is_ready or record.cancel_asked:
        return
    try:
        notes.client(record).cancel(record.batch_id or "")
    except (BatchRefused, BatchUnreachable) as error:
        log.warning("Batch %s can't be cancelled: %s", record.batch_id, error)
    else:
        log.info("Batch %s is asked to stop; what is finished of it is kept", record.batch_id)
        notes.note(record, cancel_asked=True)


def refused(notes: OutstandingBatches, record: BatchRecord, error: BatchRefused) -> None:
    """The provider won't speak of a batch. Its texts are not asked again unless a person says so: they may be paid."""
    if record.practice:
        notes.settle(record, "dropped", message="the practice provider has forgotten it")
        return
    sentence = (
        f"batch {record.batch_id or record.name} can't be looked at: {error}; if it is gone for good, move "
        f"{notes.means.folder.record_path(record.name).parent} away, and its texts are asked anew"
    )
    log.error("%s", sentence)
    if notes.is_mine(record):
        notes.means.gate.stop(RunStopped("failed", sentence))


def _find(notes: OutstandingBatches, record: BatchRecord) -> None:
    """See whether a batch was made whose making nobody could note."""
    since = record.creating_at_utc or record.intended_at_utc
    known = {other.batch_id for other in notes.out.values() if other.batch_id}
    found = notes.client(record).find(record.metadata, since, known)
    if found is not None:
        log.info("Batch %s was made though nobody noted it; it is taken over", found.id)
        notes.note(record, step="sent", batch_id=found.id, sent_at_utc=found.created_at_utc or since)
    elif record.missing_since_utc is None:
        # Its sender has given up, or is dead, only now: how long ago it began tells nothing of what is still under way.
        notes.note(record, missing_since_utc=datetime.now(UTC))
    elif datetime.now(UTC) - record.missing_since_utc > timedelta(seconds=UNDER_WAY_SECONDS):
        why = f": {record.message}" if record.message else ""
        notes.settle(record, "dropped", message=f"the provider never made it{why}")


def _take_note(notes: OutstandingBatches, record: BatchRecord, state: BatchState) -> BatchState | None:
    if state.status is not record.status:
        done = f"{state.completed:,} of {record.texts:,} texts done, {state.failed:,} failed"
        log.info("Batch %s is %s: %s", record.batch_id, state.status.replace("_", " "), done)
    if state.is_invalid:
        said = dict.fromkeys(error.message for error in state.errors if error.message)
        words = "; ".join(islice(said, _MOST_WORDS)) or "the provider gives no reason"
        notes.settle(notes.note(record, status=state.status), "dropped", message=words)
        return state
    seen = {"status": state.status, "completed": state.completed, "failed": state.failed}
    if any(getattr(record, name) != value for name, value in seen.items()):
        notes.note(record, **seen)
    return None
