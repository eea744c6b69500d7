"""What is on disk of each batch: enough to find it again whatever dies, and to harvest it without the job file.

    batches/<name>/batch.json          the record, written before each step that a provider can see
                   requests.parquet    the row keys in the order they were sent, until the batch is harvested

A record's `step` only ever moves on:

    intended -> creating -> sent -> harvesting -> harvested
                    └---------└---> dropped        (the provider never made it, or took it for invalid: nothing was paid)
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from labelmill.errors import JobRefused, Mistake
from labelmill.job.model import LabelJob, Model
from labelmill.providers.dialect import Dialect
from labelmill.providers.protocol import BatchStatus
from labelmill.store.files import fault_of_parquet, remove, write_text_whole
from labelmill.store.row_key import key_digest

BatchStep = Literal["intended", "creating", "sent", "harvesting", "harvested", "dropped"]
_OUTSTANDING: frozenset[BatchStep] = frozenset({"intended", "creating", "sent", "harvesting"})
_METADATA_CHARACTERS = 512
"""The longest value that OpenAI takes in a batch's metadata."""
REQUESTS_SCHEMA = pl.Schema(
    {
        "row_key": pl.String,
        "attempts": pl.Int64,
        "answers": pl.Int64,
        "paid_attempts": pl.Int64,
        "refusals": pl.Int64,
    }
)
"""A batch's rows: their keys, and what had been tried of their texts before. Earlier versions lack the last two."""


class BatchRecord(BaseModel):
    """One batch, from before it is sent until its answers are in the ledger.

    `job` is the job as it was when the batch was made: its answers are read by it, and go into the ledger of `task_key`.
    `is_correction`, `under_schema` and `dialect` tell how its texts were asked, `thought_room` how many tokens an answer may
    take for thoughts; earlier versions lack the last two. `worst_case_usd` is what it may cost at most, None
    where the price is unknown; `estimated_tokens` is what it takes of the provider's queue. `fingerprint` is the SHA-256 of
    the file of requests. `missing_since_utc` is since when it is looked for in vain, None while it is found. `harvest_part` names the ledger
    part its answers go into, noted before that part is written. `unready_since_utc` is since when the batch has ended without
    all of its answers being there, as far as `answers_seen` of them. `input_file_id` is the file that was uploaded for it, where
    one was; `files_deleted` is false while the provider keeps files that it need no longer keep, None where nothing is to be
    deleted.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    step: BatchStep
    run_id: str
    job: LabelJob
    task_key: str
    practice: bool
    base_url: str
    is_correction: bool
    under_schema: bool
    dialect: Dialect | None = None
    thought_room: int = 0
    texts: int
    estimated_tokens: int
    worst_case_usd: Decimal | None
    fingerprint: str
    intended_at_utc: datetime
    creating_at_utc: datetime | None = None
    missing_since_utc: datetime | None = None
    sent_at_utc: datetime | None = None
    batch_id: str | None = None
    status: BatchStatus | None = None
    completed: int = 0
    failed: int = 0
    cancel_asked: bool = False
    harvest_run_id: str | None = None
    harvest_part: str | None = None
    unready_since_utc: datetime | None = None
    answers_seen: int = 0
    input_file_id: str | None = None
    files_deleted: bool | None = None
    message: str | None = None

    @property
    def is_outstanding(self) -> bool:
        """Whether its texts may still be answered, or have been, without the ledger knowing."""
        return self.step in _OUTSTANDING

    @property
    def is_ready(self) -> bool:
        """Whether its answers can be harvested. A `failed` batch has none, as a rule: the provider took it for invalid."""
        has_ended = self.status is not None and self.status.is_final
        is_invalid = self.status is BatchStatus.FAILED and not self.completed
        return self.step == "harvesting" or (self.step == "sent" and has_ended and not is_invalid)

    @property
    def leaves_files(self) -> bool:
        """Whether the provider keeps anything of a batch that is to go once it is settled."""
        has_something = self.batch_id is not None or self.input_file_id is not None
        return has_something and not self.job.batch.keep_files

    @property
    def metadata(self) -> dict[str, str]:
        """What the provider keeps with the batch, so that it is found again by this alone."""
        values = {
            "labelmill_job": self.job.name,
            "labelmill_run": self.run_id,
            "labelmill_batch": self.name,
            "labelmill_content": self.fingerprint,
        }
        return {name: value[:_METADATA_CHARACTERS] for name, value in values.items()}


class BatchFolder:
    """The batches of an output folder. To be written under the folder's lock only."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def record_path(self, name: str) -> Path:
        """Where a batch's record is."""
        return self.path / name / "batch.json"

    def requests_path(self, name: str) -> Path:
        """Where the row keys of a batch are."""
        return self.path / name / "requests.parquet"

    def write(self, record: BatchRecord) -> BatchRecord:
        """Write a record, whole or not at all, and return it."""
        write_text_whole(self.record_path(record.name), record.model_dump_json(indent=2) + "\n")
        return record

    def sweep(self) -> list[BatchRecord]:
        """Take away what dead runs left: files of requests, which hold texts, and all that belongs to no record.

        Returns:
            the batches that are not settled, the earliest first.

        Raises:
            JobRefused: which texts are in one of them can't be read.
        """
        outstanding = [record for record in self.read_all() if record.is_outstanding]
        for record in outstanding:
            self._refuse_unreadable(self.requests_path(record.name))
        needed = {record.name for record in outstanding}
        for folder in self.path.glob("[!.]*/"):
            kept = {"batch.json", "requests.parquet"} if folder.name in needed else {"batch.json"}
            for left in [*folder.glob("requests.*"), *folder.glob(".*.tmp")]:
                if left.name not in kept:
                    remove(left)
            if not any(folder.iterdir()):
                folder.rmdir()
        return outstanding

    def read_all(self) -> list[BatchRecord]:
        """All records, the earliest first.

        Raises:
            JobRefused: one can't be read: money may be out that this version knows nothing of.
        """
        return list(self._read(sorted(self.path.glob("*/batch.json"))))

    def last_dialect(self, model: Model, base_url: str) -> Dialect | None:
        """The dialect in which the latest batch was answered that a model at an address was sent; None where none is known."""
        asked = (model.provider, model.name, base_url)
        return next(
            (
                record.dialect
                for record in reversed(self.read_all())
                if record.dialect is not None
                and record.step == "harvested"
                and record.completed
                and (record.job.model.provider, record.job.model.name, record.base_url) == asked
            ),
            None,
        )

    def with_files_left(self, since: datetime, *, practice: bool) -> list[BatchRecord]:
        """The settled batches whose files are still to be deleted at the provider, among those made since a moment (UTC)."""
        return [
            record
            for record in self.read_all()
            if record.files_deleted is False
            and not record.is_outstanding
            and record.practice == practice
            and record.intended_at_utc >= since
        ]

    def outstanding(self, *, practice: bool) -> list[BatchRecord]:
        """The batches that are not settled, the earliest first; practice and paid ones don't meet."""
        return [record for record in self.read_all() if record.is_outstanding and record.practice == practice]

    def new_name(self, run_id: str) -> str:
        """A name for a run's next batch."""
        return f"{run_id}-{len(list(self.path.glob(f'{run_id}-*/'))):03d}"

    def row_keys(self, record: BatchRecord) -> pl.DataFrame:
        """A batch's rows in the order they were sent, as `REQUESTS_SCHEMA`."""
        rows = pl.read_parquet(self.requests_path(record.name), hive_partitioning=False)
        return rows.select(
            name if name in rows.columns else pl.lit(0, kind).alias(name)
            for name, kind in REQUESTS_SCHEMA.items()
        )

    def digests(self, records: Iterable[BatchRecord]) -> pl.LazyFrame:
        """The digests of the texts that are in these batches: one column `digest` (UInt128)."""
        paths = [self.requests_path(record.name) for record in records]
        keys = (
            pl.scan_parquet(paths, hive_partitioning=False, glob=False)
            if paths
            else pl.LazyFrame(schema=REQUESTS_SCHEMA)
        )
        return keys.select(digest=key_digest(pl.col("row_key")))

    @staticmethod
    def _refuse_unreadable(requests: Path) -> None:
        fault = fault_of_parquet(requests) if requests.exists() else "it is not there"
        if fault is not None:
            sentence = (
                f"{str(requests)!r} can't be read: {fault}. It tells which texts are in a batch that may still be paid for: "
                "put it back from a backup, or move its folder away once the batch is settled at the provider"
            )
            raise JobRefused([Mistake("output.path", sentence)])

    @staticmethod
    def _read(paths: Iterable[Path]) -> Iterator[BatchRecord]:
        for path in paths:
            try:
                yield BatchRecord.model_validate_json(path.read_bytes())
            except ValidationError:
                sentence = (
                    f"{str(path)!r} can't be read by this version of Labelmill, and its batch may still be paid for; "
                    "run the version that wrote it, or move the folder away once the batch is settled at the provider"
                )
                raise JobRefused([Mistake("output.path", sentence)]) from None
