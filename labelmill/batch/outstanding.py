"""The batches that concern a run: their records, the money held for them, and what the provider is asked about each.

Each step writes the record before and after what the provider sees of it, so that the next run can go on from any moment
at which this process may die.
"""

import logging
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Protocol

from labelmill.batch.groups import RequestGroup, Unsent
from labelmill.batch.record import BatchFolder, BatchRecord, BatchStep
from labelmill.batch.requests import NoRoom, RequestsFile, RequestWriter, Room
from labelmill.errors import RunStopped
from labelmill.job.model import LabelJob
from labelmill.live.thought_room import ThoughtRoom
from labelmill.money.budget import Budget
from labelmill.money.prices import Lane, Price
from labelmill.providers.dialect import Dialect, SpokenDialect
from labelmill.providers.protocol import BatchClient, BatchRefused, BatchState, BatchUnreachable
from labelmill.providers.table import client_of, endpoint_at, price_of
from labelmill.stop import StopSignal
from labelmill.store.files import remove
from labelmill.store.folder import OutputFolder
from labelmill.store.ledger import Ledger

log = logging.getLogger(__name__)

UNDER_WAY_SECONDS = 30.0
"""A request to make a batch may arrive that long after its sender has given up or died."""
REAPPEARS_SECONDS = 300.0
"""A batch that is there may be unknown to its provider for moments (anthropics/anthropic-sdk-python#1432)."""
_MOST_QUOTED = 3
"""So many different messages of the provider are quoted."""
_LONGEST_LIFE = timedelta(days=30)
"""OpenAI deletes the files of batches by itself after so long."""
_MOST_LEFT = 20
"""Batches of earlier runs whose files one run deletes."""


class BatchContext(Protocol):
    """What the batch lane knows of its run, and shares with the rest of it."""

    @property
    def job(self) -> LabelJob:
        """What is asked."""

    @property
    def run_id(self) -> str:
        """Names its batches."""

    @property
    def task_key(self) -> str:
        """Names the ledger of its task."""

    @property
    def practice(self) -> bool:
        """Whether the practice provider answers. Practice and paid batches don't meet."""

    @property
    def base_url(self) -> str:
        """Where its requests go."""

    @property
    def folder(self) -> OutputFolder:
        """Where it writes, under the folder's lock."""

    @property
    def budget(self) -> Budget:
        """What it may spend."""

    @property
    def spoken_dialect(self) -> SpokenDialect:
        """What it has found out of its endpoint's dialect."""

    @property
    def stop_signal(self) -> StopSignal:
        """Set where a further batch would be no better."""

    @property
    def thoughts(self) -> ThoughtRoom:
        """The room that answers have for thoughts."""

    def take_numbers(self, count: int = 1) -> int:
        """Take chunk numbers of the run, which its ledger parts are named by; returns the first."""


class OutstandingBatches:
    """The batches that are out, by name, and those that this run has settled.

    What earlier runs have left is taken over at once, and what needs no provider for it is settled. The money that they
    may still cost is held from here on.

    Raises:
        JobRefused: there is a record of a batch that this version can't read.
    """

    def __init__(self, run: BatchContext) -> None:
        self.run = run
        self.folder = BatchFolder(run.folder.batches)
        self.out: dict[str, BatchRecord] = {}
        self.settled: list[BatchRecord] = []
        self._files_left: list[BatchRecord] | None = None
        self._deletions_tried: set[str] = set()
        self._may_delete = True
        for record in self.folder.sweep():
            if record.practice != run.practice:
                continue
            self.begin(record)
            if record.step == "intended":
                self.settle(record, "dropped", message="its run ended before it was sent")
            elif record.harvest_part and self.ledger_of(record.task_key).holds(record.harvest_part):
                # Its answers are in the ledger; only the record does not say so yet.
                self.settle(record, "harvested", message="harvested by a run that died right afterwards")

    @property
    def mine(self) -> list[BatchRecord]:
        """The batches of the run's own task that are out."""
        return [record for record in self.out.values() if self.is_mine(record)]

    def is_mine(self, record: BatchRecord) -> bool:
        """Whether a batch asks what the run's job asks."""
        return record.task_key == self.run.task_key

    def client(self, record: BatchRecord) -> BatchClient:
        """Who speaks to a batch's provider. A real batch stays where it went; practice has a new address in each run."""
        base_url = self.run.base_url if record.practice else record.base_url
        return client_of(record.job, endpoint_at(record.job.model, base_url, practice=self.run.practice))

    def price(self, record: BatchRecord, lane: Lane) -> Price | None:
        """What a batch's tokens cost on a lane, by the job that sent it."""
        return price_of(record.job.model, record.job.price, record.base_url, lane)

    def ledger_of(self, task_key: str) -> Ledger:
        """Where the answers of a task's batches go."""
        return Ledger(self.run.folder.ledger(task_key))

    def begin(self, record: BatchRecord) -> BatchRecord:
        """Count a batch as out, and hold what it may cost."""
        self.run.budget.hold(record.worst_case_usd or Decimal(0))
        self.out[record.name] = record
        return record

    def update(self, record: BatchRecord, **changes: object) -> BatchRecord:
        """Change a record, on disk first."""
        self.out[record.name] = self.folder.write(record.model_copy(update=changes))
        return self.out[record.name]

    def settle(
        self,
        record: BatchRecord,
        step: BatchStep,
        spent_usd: Decimal = Decimal(0),
        message: str | None = None,
    ) -> None:
        """Close a batch: nothing more will come of it. What it was not charged goes back to the budget."""
        left = False if record.leaves_files else None
        self.settled.append(self.update(record, step=step, message=message, files_deleted=left))
        del self.out[record.name]
        self.run.budget.settle(record.worst_case_usd or Decimal(0), spent_usd)
        remove(self.folder.requests_path(record.name))

    def send_next(self, unsent: Unsent, room: Room) -> NoRoom | None:
        """Send the next texts of a plan as one batch, as many as there is room for.

        Returns:
            why not even one text was sent; None where a batch went out, or may have.

        Raises:
            OSError: a file can't be written; nothing was sent.
        """
        run, group = self.run, unsent.groups[0]
        price = price_of(run.job.model, run.job.price, run.base_url, "batch")
        dialect, thought_room = run.spoken_dialect.now, run.thoughts.tokens
        writer = RequestWriter(
            run.job,
            run.base_url,
            price,
            is_correction=group.is_correction,
            under_schema=group.under_schema,
            dialect=dialect,
            widened=run.thoughts.widened,
        )
        name = self.folder.new_name(run.run_id)
        requests = self.folder.path / name / "requests.jsonl"
        requests.parent.mkdir(parents=True, exist_ok=True)
        try:
            written = writer.write(group, unsent.offset, room, requests, self.folder.requests_path(name))
            if not written.size.requests:
                remove(self.folder.requests_path(name))
                requests.unlink()
                requests.parent.rmdir()
                return None if written.bound is None else NoRoom(written.bound, written.next_usd)
            self._make(self._intend(name, group, written, dialect, thought_room), requests)
        finally:
            requests.unlink(missing_ok=True)
        unsent.move(written.size.requests)
        return None

    def _intend(
        self, name: str, group: RequestGroup, written: RequestsFile, dialect: Dialect, thought_room: int
    ) -> BatchRecord:
        run, size = self.run, written.size
        record = BatchRecord(
            name=name,
            step="intended",
            run_id=run.run_id,
            job=run.job,
            task_key=run.task_key,
            practice=run.practice,
            base_url=run.base_url,
            is_correction=group.is_correction,
            under_schema=group.under_schema,
            dialect=dialect,
            thought_room=thought_room,
            texts=size.requests,
            estimated_tokens=size.tokens,
            worst_case_usd=size.worst_case_usd,
            fingerprint=written.fingerprint,
            intended_at_utc=datetime.now(UTC),
        )
        return self.begin(self.folder.write(record))

    def _make(self, record: BatchRecord, requests: Path) -> None:
        name = self.update(record, step="creating", creating_at_utc=datetime.now(UTC)).name

        def note_upload(file_id: str) -> None:
            if self.out[name].input_file_id == file_id:  # it is waited for, which a stop ends
                self.run.stop_signal.raise_if_stopped()
            else:
                self.update(self.out[name], input_file_id=file_id)

        try:
            batch_id = self.client(record).send(requests, record.metadata, note_upload)
        except BatchRefused as error:
            self.settle(self.out[name], "dropped", message=str(error))
            advice = '; where it has no Batch API, set run.lane = "live"' if error.is_missing else ""
            self.run.stop_signal.stop(RunStopped("failed", f"the provider refused a batch: {error}{advice}"))
        except RunStopped:
            self.settle(
                self.out[name], "dropped", message="the run ended while the provider looked through its file"
            )
        except BatchUnreachable as error:
            # It may have been made: it is looked for before its texts are sent again.
            log.warning("It is not known yet whether batch %s was created: %s", name, error)
            self.update(self.out[name], message=str(error))
        else:
            self.update(self.out[name], step="sent", batch_id=batch_id, sent_at_utc=datetime.now(UTC))

    def poll(self, record: BatchRecord) -> BatchState | None:
        """Ask the provider about a batch, and keep what is new; returns the state of one that it took for invalid."""
        try:
            if record.step == "creating":
                self._find(record)
            elif record.step == "sent" and not record.is_ready:
                return self._take_state(record, self.client(record).state(record.batch_id or ""))
        except BatchUnreachable as error:
            log.warning("Batch %s can't be checked: %s", record.batch_id or record.name, error)
        except BatchRefused as error:
            self.refused(record, error)
        return None

    def _may_reappear(self, record: BatchRecord) -> bool:
        """Whether a batch has been missing for moments only; its record keeps since when."""
        since = record.missing_since_utc
        if since is None:
            since = self.update(record, missing_since_utc=datetime.now(UTC)).missing_since_utc
        return since is not None and datetime.now(UTC) - since < timedelta(seconds=REAPPEARS_SECONDS)

    def _find(self, record: BatchRecord) -> None:
        """See whether a batch was made whose making nobody could write down."""
        since = record.creating_at_utc or record.intended_at_utc
        known = {other.batch_id for other in self.out.values() if other.batch_id}
        found = self.client(record).find(record.metadata, since, known)
        if found is not None:
            log.info("Batch %s had been created without a record of it, and has been found", found.id)
            sent = found.created_at_utc or since
            self.update(record, step="sent", batch_id=found.id, sent_at_utc=sent, missing_since_utc=None)
        elif record.missing_since_utc is None:
            # Its sender has given up, or is dead, only now: how long ago it began tells nothing of what is under way.
            self.update(record, missing_since_utc=datetime.now(UTC))
        elif datetime.now(UTC) - record.missing_since_utc > timedelta(seconds=UNDER_WAY_SECONDS):
            why = f": {record.message}" if record.message else ""
            self.settle(record, "dropped", message=f"the provider never created it{why}")

    def _take_state(self, record: BatchRecord, state: BatchState) -> BatchState | None:
        if state.status is not record.status:
            done = f"{state.completed:,} of {record.texts:,} texts done, {state.failed:,} failed"
            log.info("Batch %s is %s: %s", record.batch_id, state.status.replace("_", " "), done)
        if state.is_invalid:
            said = dict.fromkeys(error.message for error in state.errors if error.message)
            words = "; ".join(islice(said, _MOST_QUOTED)) or "the provider gives no reason"
            self.settle(self.update(record, status=state.status), "dropped", message=words)
            return state
        counts = {"completed": state.completed, "failed": state.failed}
        seen = {"status": state.status, **counts, "missing_since_utc": None}
        if any(getattr(record, name) != value for name, value in seen.items()):
            self.update(record, **seen)
        return None

    def refused(self, record: BatchRecord, error: BatchRefused) -> None:
        """The provider won't speak of a batch. Its texts are not asked again unless a person says so: they may be paid."""
        if record.practice:
            self.settle(record, "dropped", message="the practice provider has forgotten it")
            return
        if error.is_missing and self._may_reappear(record):
            log.warning("Batch %s can't be found now: %s", record.batch_id or record.name, error)
            return
        sentence = (
            f"batch {record.batch_id or record.name} can't be looked at: {error}; if it is gone for good, move "
            f"{self.folder.record_path(record.name).parent} away, and its texts are asked again"
        )
        log.error("%s", sentence)
        if self.is_mine(record):
            self.run.stop_signal.stop(RunStopped("failed", sentence))

    def cancel(self, record: BatchRecord) -> None:
        """Ask the provider to stop a batch, once. What is finished of it was paid, and is harvested."""
        if record.step != "sent" or record.is_ready or record.cancel_asked:
            return
        try:
            self.client(record).cancel(record.batch_id or "")
        except (BatchRefused, BatchUnreachable) as error:
            log.warning("Batch %s can't be cancelled: %s", record.batch_id, error)
        else:
            log.info("Batch %s has been asked to stop; what is finished of it is kept", record.batch_id)
            self.update(record, cancel_asked=True)

    def delete_files(self) -> None:
        """Have the provider delete what it keeps of settled batches: it holds people's texts, and takes up room.

        Those are the batches that this run has settled so far, and some that earlier runs have left. Each is tried once,
        and none costs the run anything: what can't be deleted now is left to the next run.
        """
        if self._files_left is None:
            since = datetime.now(UTC) - _LONGEST_LIFE
            left = self.folder.with_files_left(since, practice=self.run.practice)
            self._files_left = left[-_MOST_LEFT:]
        for record in (*self._files_left, *self.settled):
            if (
                record.files_deleted is False
                and record.name not in self._deletions_tried
                and self._may_delete
            ):
                self._deletions_tried.add(record.name)
                self._delete_files_of(record)

    def _delete_files_of(self, record: BatchRecord) -> None:
        try:
            self.client(record).delete(record.batch_id, record.input_file_id)
            deleted = self.folder.write(record.model_copy(update={"files_deleted": True}))
        except (BatchRefused, BatchUnreachable, OSError) as error:
            log.warning("What the provider keeps of batch %s can't be deleted now: %s", record.name, error)
            self._may_delete = not isinstance(error, BatchUnreachable)
        else:
            self.settled = [deleted if other.name == record.name else other for other in self.settled]
