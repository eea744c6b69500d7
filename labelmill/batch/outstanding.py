"""The notes on the batches that concern a run: their records in memory and on disk, and the money held for them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from labelmill.batch.record import BatchFolder, BatchRecord, Step
from labelmill.job.model import LabelJob
from labelmill.live.limiter import PriorityLimiter
from labelmill.money.budget import Budget
from labelmill.money.prices import Lane, Price
from labelmill.providers.protocol import BatchClient
from labelmill.store.ledger import Ledger


@dataclass(frozen=True)
class Means:
    """What a run gives its batch lane. `client_of` and `price_of` are asked for each batch: an earlier job may have sent it.

    `take_number` gives the next chunk number of the run, which its ledger parts are named by.
    """

    job: LabelJob
    run_id: str
    task_key: str
    practice: bool
    base_url: str
    folder: BatchFolder
    ledger_of: Callable[[str], Ledger]
    client_of: Callable[[LabelJob, str], BatchClient]
    price_of: Callable[[LabelJob, str, Lane], Price | None]
    take_number: Callable[[], int]
    gate: PriorityLimiter
    budget: Budget


@dataclass
class OutstandingBatches:
    """The batches that are out, by name, and those that this run has settled."""

    means: Means
    out: dict[str, BatchRecord] = field(default_factory=dict)
    settled: list[BatchRecord] = field(default_factory=list)

    def take_over(self) -> None:
        """Read what earlier runs left, and settle what needs no provider for it."""
        for record in self.means.folder.sweep():
            if record.practice != self.means.practice:
                continue
            self.begin(record)
            part = self._part_of(record)
            if record.step == "intended":
                self.settle(record, "dropped", message="its run ended before it was sent")
            elif part is not None and part.exists():
                # Its answers are in the ledger; only the note was missing.
                self.settle(record, "harvested", message="harvested by a run that died right after")

    def begin(self, record: BatchRecord) -> BatchRecord:
        """Count a batch as out, and hold what it may cost."""
        self.means.budget.hold(record.worst_case_usd or Decimal(0))
        self.out[record.name] = record
        return record

    def note(self, record: BatchRecord, **changes: object) -> BatchRecord:
        """Change a record, on disk first."""
        self.out[record.name] = self.means.folder.write(record.model_copy(update=changes))
        return self.out[record.name]

    def settle(
        self, record: BatchRecord, step: Step, spent_usd: Decimal = Decimal(0), message: str | None = None
    ) -> None:
        """Close a batch: nothing more will come of it. What it was not charged goes back to the budget."""
        left = False if record.leaves_files else None
        self.settled.append(self.note(record, step=step, message=message, files_deleted=left))
        del self.out[record.name]
        self.means.budget.settle(record.worst_case_usd or Decimal(0), spent_usd)
        self.means.folder.requests_path(record.name).unlink(missing_ok=True)

    def delete_files(self, record: BatchRecord) -> None:
        """Have the provider delete what it keeps of a settled batch, and note that.

        Raises:
            BatchRefused: it won't.
            BatchUnreachable: it can't be asked now.
        """
        self.client(record).delete(record.batch_id, record.input_file_id)
        deleted = self.means.folder.write(record.model_copy(update={"files_deleted": True}))
        self.settled = [deleted if other.name == record.name else other for other in self.settled]

    @property
    def mine(self) -> list[BatchRecord]:
        """The batches of the run's own task that are out."""
        return [record for record in self.out.values() if self.is_mine(record)]

    def is_mine(self, record: BatchRecord) -> bool:
        """Whether a batch asks what the run's job asks."""
        return record.task_key == self.means.task_key

    def client(self, record: BatchRecord) -> BatchClient:
        """Who speaks to a batch's provider. A real batch stays where it went; practice has a new address in each run."""
        return self.means.client_of(record.job, self.means.base_url if record.practice else record.base_url)

    def price(self, record: BatchRecord, lane: Lane) -> Price | None:
        """What a batch's tokens cost on a lane."""
        return self.means.price_of(record.job, record.base_url, lane)

    def _part_of(self, record: BatchRecord) -> Path | None:
        if record.harvest_part is None:
            return None
        return self.means.ledger_of(record.task_key).folder / record.harvest_part
