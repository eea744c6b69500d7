"""Sending a batch, so that it is found again whatever dies: the intent first, then the request, then its id."""

import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from labelmill.batch.groups import RequestGroup
from labelmill.batch.outstanding import OutstandingBatches
from labelmill.batch.record import BatchRecord
from labelmill.batch.requests import Bound, RequestsFile, RequestWriter, Room
from labelmill.errors import RunStopped
from labelmill.money.usage import Usage
from labelmill.providers.protocol import BatchRefused, BatchUnreachable
from labelmill.question.attempts import Attempt, outcomes_of
from labelmill.question.failures import Failure
from labelmill.store.files import written_whole
from labelmill.store.ledger import frame_of

log = logging.getLogger(__name__)


@dataclass
class Unsent:
    """The groups of the latest plan, and how many of their texts are in batches already."""

    groups: tuple[RequestGroup, ...] = ()
    offset: int = 0

    @property
    def texts(self) -> int:
        """How many texts are in no batch yet."""
        return sum(group.texts for group in self.groups) - self.offset

    def move(self, texts: int) -> None:
        """Count texts as sent."""
        self.offset += texts
        while self.groups and self.offset >= self.groups[0].texts:
            self.offset -= self.groups[0].texts
            self.groups = self.groups[1:]


@dataclass(frozen=True)
class NoRoom:
    """What kept even one text from being sent, and what that text may cost at most (None: its price is unknown)."""

    bound: Bound
    worst_case_usd: Decimal | None = None


def send_next(notes: OutstandingBatches, unsent: Unsent, room: Room) -> NoRoom | None:
    """Send the next texts of a plan as one batch, as many as there is room for.

    Returns:
        why not even one text was sent; None where a batch went out, or may have.

    Raises:
        OSError: a file can't be written; nothing was sent.
    """
    means, group = notes.means, unsent.groups[0]
    price = means.price_of(means.job, means.base_url, "batch")
    writer = RequestWriter(
        means.job, means.base_url, price, is_correction=group.is_correction, under_schema=group.under_schema
    )
    name = means.folder.new_name(means.run_id)
    requests = means.folder.path / name / "requests.jsonl"
    requests.parent.mkdir(parents=True, exist_ok=True)
    try:
        written = writer.write(group, unsent.offset, room, requests, means.folder.requests_path(name))
        if not written.size.requests:
            means.folder.requests_path(name).unlink()
            requests.unlink()
            requests.parent.rmdir()
            return None if written.bound is None else NoRoom(written.bound, written.next_usd)
        _make(notes, _intend(notes, name, group, written), requests)
    finally:
        requests.unlink(missing_ok=True)
    unsent.move(written.size.requests)
    return None


def give_up_next(notes: OutstandingBatches, unsent: Unsent, failure: Failure) -> None:
    """Leave in the ledger why the next text of a plan can be in no batch. Nothing is asked, and the others go on.

    Raises:
        OSError: the ledger can't be written.
    """
    means = notes.means
    attempt = Attempt(
        unsent.groups[0].row_key_at(unsent.offset),
        datetime.now(UTC),
        failure=failure.kind,
        message=failure.message,
        usage=Usage(),
        cost_usd=Decimal(0),
    )
    (outcome,) = outcomes_of([attempt], means.job.run)
    outcome = replace(outcome, requests=0, ended=True, live_cost_usd=Decimal(0))
    part = means.ledger_of(means.task_key).part_path(means.run_id, means.take_number())
    with written_whole(part) as temporary:
        frame_of([outcome], means.run_id, "batch").write_parquet(temporary)
    unsent.move(1)


def _intend(notes: OutstandingBatches, name: str, group: RequestGroup, written: RequestsFile) -> BatchRecord:
    means, size = notes.means, written.size
    record = BatchRecord(
        name=name,
        step="intended",
        run_id=means.run_id,
        job=means.job,
        task_key=means.task_key,
        practice=means.practice,
        base_url=means.base_url,
        is_correction=group.is_correction,
        under_schema=group.under_schema,
        texts=size.requests,
        estimated_tokens=size.tokens,
        worst_case_usd=size.worst_case_usd,
        fingerprint=written.fingerprint,
        intended_at_utc=datetime.now(UTC),
    )
    return notes.begin(means.folder.write(record))


def _make(notes: OutstandingBatches, record: BatchRecord, requests: Path) -> None:
    name = notes.note(record, step="creating", creating_at_utc=datetime.now(UTC)).name

    def note_upload(file_id: str) -> None:
        notes.note(notes.out[name], input_file_id=file_id)

    try:
        batch_id = notes.client(record).send(requests, record.metadata, note_upload)
    except BatchRefused as error:
        notes.settle(notes.out[name], "dropped", message=str(error))
        notes.means.gate.stop(RunStopped("failed", f"the provider refused a batch: {error}"))
    except BatchUnreachable as error:
        # It may have been made: it is looked for before its texts are sent again.
        log.warning("Whether batch %s was made is not known yet: %s", name, error)
        notes.note(notes.out[name], message=str(error))
    else:
        notes.note(notes.out[name], step="sent", batch_id=batch_id, sent_at_utc=datetime.now(UTC))
        log.info("Batch %s is sent: %s texts", batch_id, f"{record.texts:,}")
