"""What a job leaves and where: the layout of its output folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from labelmill.job.model import LabelJob

COMPARISON = "compare.json"
"""The record of a comparison, where a run has its `run.json`."""


@dataclass(frozen=True)
class OutputFolder:
    """The folder a job writes into. Only `labeled/` and `failed/` are of interest to those who read the labels."""

    path: Path

    @classmethod
    def of(cls, job: LabelJob) -> Self:
        """The output folder of a job."""
        return cls(Path(job.output.path))

    @property
    def lock(self) -> Path:
        """What a run holds while it writes."""
        return self.path / ".lock"

    @property
    def labeled(self) -> Path:
        """The source's files with the label columns."""
        return self.path / "labeled"

    @property
    def practice_labeled(self) -> Path:
        """The same of a rehearsal, where `labeled/` holds a model's labels."""
        return self.path / "practice" / "labeled"

    def failed(self, run_id: str) -> Path:
        """The rows that one run left without a label."""
        return self.path / "failed" / f"{run_id}.parquet"

    @property
    def ledgers(self) -> Path:
        """The ledgers of all tasks that were ever run into this folder."""
        return self.path / "ledger"

    def ledger(self, task_key: str) -> Path:
        """The answers paid for one task."""
        return self.ledgers / task_key

    @property
    def batches(self) -> Path:
        """The batches that were sent to a provider's Batch API."""
        return self.path / "batches"

    @property
    def practice(self) -> Path:
        """What a practice provider remembers of the batches it was sent, from one run to the next."""
        return self.batches / ".practice"

    @property
    def runs(self) -> Path:
        """The records of all runs into this folder."""
        return self.path / "runs"

    def run(self, run_id: str) -> Path:
        """One run's record: `run.json`, `costs.parquet`, `report.html`."""
        return self.runs / run_id
