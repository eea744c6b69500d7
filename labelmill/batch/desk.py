"""The desk: the batch lane of one run, and every step that is taken on it.

Each step writes the record before and after what the provider sees of it, so that the next run can go on from any moment
at which this process may die.
"""

import logging
import time
from dataclasses import dataclass, field
from decimal import Decimal

from labelmill.batch import looking
from labelmill.batch.client import BatchRefused, BatchUnreachable
from labelmill.batch.harvest import Crop, Reading, crop_of
from labelmill.batch.notes import Notes
from labelmill.batch.record import BatchRecord
from labelmill.batch.requests import Bound, Room
from labelmill.batch.sending import Unsent, give_up_next, send_next
from labelmill.errors import BudgetReached, RunStopped
from labelmill.job.provider import provider_of
from labelmill.store.files import written_whole
from labelmill.store.ledger import frame_of

log = logging.getLogger(__name__)

_FIELD_OF_BOUND = {
    "requests": "batch.max_requests",
    "tokens": "batch.max_queue_tokens",
}


@dataclass
class BatchDesk:
    """The batches of one run. One thread at a time uses it: the flow's, or that of the task it waits for.

    `unsent` is None where a plan is due; `has_room` is false where nothing more fits until a batch is settled; `looks` were
    taken since anything last changed; until `paused_until` (monotonic seconds) nothing is sent, since the provider's queue
    was full, or it did not answer. `goes_live` stays true once it is: the less is left, the later the live lane could begin.
    """

    notes: Notes
    unsent: Unsent | None = None
    has_room: bool = True
    looks: int = 0
    queue_tokens: int | None = None
    paused_until: float = 0.0
    goes_live: bool = False
    cancelled_at: float | None = None
    _settled_before_plan: int = 0
    _sent_in_vain: int = 0
    _postponed: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.queue_tokens = self.notes.means.job.batch.max_queue_tokens

    def ready(self) -> tuple[str, ...]:
        """The batches whose answers can be fetched, other tasks' too."""
        return tuple(
            name for name, record in self.notes.out.items() if record.is_ready and name not in self._postponed
        )

    def planned(self, unsent: Unsent) -> None:
        """Take a new plan."""
        self.unsent, self._settled_before_plan = unsent, len(self.notes.settled)

    def unsent_texts(self) -> int | None:
        """How many planned texts are in no batch; None where a plan is due: none was made, or batches have ended since."""
        if self.unsent is None or (
            not self.unsent.texts and len(self.notes.settled) > self._settled_before_plan
        ):
            return None
        return self.unsent.texts

    def look(self) -> None:
        """Ask the provider about every batch that is out."""
        self._postponed.clear()
        before = {name: (record.step, record.status) for name, record in self.notes.out.items()}
        for record in list(self.notes.out.values()):
            self._look_at(record)
        after = {name: (record.step, record.status) for name, record in self.notes.out.items()}
        self.looks = 0 if after != before else self.looks + 1
        self.has_room = self.has_room or len(after) < len(before)

    def cancel_mine(self) -> None:
        """Ask the provider to stop the batches of the run's task; those found later are stopped when they are found."""
        self.cancelled_at, self.looks = time.monotonic(), 0
        for record in self.notes.mine:
            looking.cancel(self.notes, record)

    def send(self) -> int:
        """Send the next batch of the latest plan, as large as there is room for.

        Returns:
            how many texts were given up instead, since no batch can hold them.

        Raises:
            OSError: its file can't be written; nothing was sent.
        """
        if self.unsent is not None and self.unsent.texts:
            bound = send_next(self.notes, self.unsent, self._room())
            self.looks = 0
            if bound == "bytes":
                give_up_next(self.notes, self.unsent)
                return 1
            if bound is not None:
                self._tell_no_room(bound)
            elif any(record.step == "creating" for record in self.notes.mine):
                self._pause()
            else:
                self._sent_in_vain = 0
        return 0

    def harvest(self, name: str) -> Crop:
        """Fetch a batch's answers and leave them in the ledger of its own task.

        Raises:
            OSError: the ledger can't be written; the answers stay at the provider.
        """
        means, record = self.notes.means, self.notes.out[name]
        path = means.ledger_of(record.task_key).part_path(means.run_id, means.take_number())
        # Noted before it is written: should this process die in between, the part tells whether it was.
        record = self.notes.note(
            record, step="harvesting", harvest_run_id=means.run_id, harvest_part=path.name
        )
        reading = Reading.of(record, self.notes.price(record, "batch"), self.notes.price(record, "live"))
        row_keys = means.folder.row_keys(record)
        try:
            answers = self.notes.client(record).answers(record.batch_id or "", row_keys["row_key"].to_list())
            crop = crop_of(answers, row_keys, reading, record.status, record.completed)
        except BatchUnreachable as error:
            log.warning("The answers of batch %s can't be fetched yet: %s", record.batch_id, error)
            self._postponed.add(name)
            return Crop()
        except BatchRefused as error:
            self._postponed.add(name)
            looking.refused(self.notes, record, error)
            return Crop()
        if crop.outcomes:
            frame = frame_of(crop.outcomes, means.run_id, "batch")
            with written_whole(path) as temporary:
                frame.write_parquet(temporary)
        spent = sum(((one.cost_usd or Decimal(0)) + one.unseen_usd for one in crop.outcomes), Decimal(0))
        self.notes.settle(record, "harvested", spent)
        self.has_room, self.looks = True, 0
        if crop.fatal and self.notes.is_mine(record):
            means.gate.stop(RunStopped("failed", crop.fatal))
        return crop

    def _look_at(self, record: BatchRecord) -> None:
        invalid = looking.look_at(self.notes, record)
        if invalid is not None and self.notes.is_mine(record):
            self._was_invalid(record, [error.code for error in invalid.errors])
        now = self.notes.out.get(record.name)
        if now is None and record.step == "creating" and self.notes.is_mine(record):
            self._was_never_made(record)
        if now is not None and (self.cancelled_at is not None or not self.notes.is_mine(now)):
            looking.cancel(self.notes, now)

    def _was_invalid(self, record: BatchRecord, codes: list[str | None]) -> None:
        """Nothing was paid. Where the provider's queue was full, smaller batches may go through later; else it is the end."""
        words = self.notes.settled[-1].message
        if looking.QUEUE_IS_FULL not in codes:
            self.notes.means.gate.stop(
                RunStopped("failed", f"the provider took a batch for invalid: {words}")
            )
            return
        waiting = sum(other.estimated_tokens for other in self.notes.mine)
        self.queue_tokens = waiting + record.estimated_tokens // 2
        self._pause()
        self.unsent = None
        log.warning("The provider's queue is full; smaller batches are sent later: %s", words)

    def _was_never_made(self, record: BatchRecord) -> None:
        self._sent_in_vain += 1
        if self._sent_in_vain >= self.notes.means.job.run.max_attempts:
            words = f"the provider has made none of {self._sent_in_vain} batches: {record.message or 'it did not answer'}"
            self.notes.means.gate.stop(RunStopped("failed", words))

    def _pause(self) -> None:
        self.paused_until = time.monotonic() + self.notes.means.job.run.poll_seconds

    def _room(self) -> Room:
        limits, tokens = self.notes.means.job.batch, self.queue_tokens
        mine = self.notes.mine
        if tokens is not None and mine:
            tokens -= sum(record.estimated_tokens for record in mine)
        provider = provider_of(self.notes.means.job.model)
        return Room(
            min(limits.max_requests, provider.max_requests or limits.max_requests),
            min(limits.max_bytes, provider.max_bytes or limits.max_bytes),
            tokens,
            self.notes.means.budget.left_usd,
        )

    def _tell_no_room(self, bound: Bound) -> None:
        """Not even one text fits: wait for a batch to end, or stop where none is out."""
        self.has_room = False
        if self.notes.mine:
            return
        own = self.notes.means.job.batch.max_queue_tokens
        if bound == "tokens" and self.queue_tokens != own:
            # A guess that has become too small: others may be filling the provider's queue.
            self.queue_tokens, self.has_room = own, True
            self._pause()
            return
        limit = self.notes.means.budget.limit
        if bound == "budget" and limit is not None:
            sentence = (
                f"{limit.field} = {limit.limit_usd} would be passed by one more text on the batch lane "
                f"(${limit.left_usd - (self.notes.means.budget.left_usd or 0):.6f} spent by this run or held for batches)"
            )
            self.notes.means.gate.stop(BudgetReached(sentence))
        else:
            sentence = f"a single text is larger than {_FIELD_OF_BOUND[bound]} allows"
            self.notes.means.gate.stop(RunStopped("failed", sentence))
