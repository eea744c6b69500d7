"""What a job leaves and where: the layout of its output folder."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from uuid import uuid4

from labelmill.errors import JobRefused, Mistake
from labelmill.job.model import LabelJob
from labelmill.store.files import shown_path
from labelmill.store.lock import LockedError, locked
from labelmill.store.objects import Store, StoreError
from labelmill.store.working import WorkingFolder, folder_of, store_of, working_folder_of

COMPARISON = "compare.json"
"""The record of a comparison, where a run has its `run.json`."""
PREVIEW = "preview.json"
"""The record of a preview that has asked."""


_FRAME = "frame"
FRAME_FILE = "frame.parquet"
"""What the file is called that holds a frame's texts, and so the one with its labels."""


@dataclass(frozen=True)
class OutputFolder:
    """The folder a job writes into. Only `labeled/` and `failed/` are of interest to those who read the labels.

    A frame, which has no file, has its labels in a place of their own: `labeled/` is for the datasets that others read, and
    the ledger is for both.

    Args:
        path: the folder.
        is_of_frame: whether it is a frame that is labeled.
    """

    path: Path
    is_of_frame: bool = False

    @classmethod
    def of(cls, job: LabelJob) -> Self:
        """The output folder of a job, on this machine: where its address is in a bucket, the working folder of that."""
        return cls.at(folder_of(job.output), job.source.path)

    @classmethod
    def at(cls, path: Path, source_path: str) -> Self:
        """The output folder at a path, of a source, which may be a frame's texts."""
        texts = Path(source_path)
        frame = texts.parent.parent
        is_texts = (texts.name, frame.name) == (FRAME_FILE, _FRAME)
        return cls(path, is_of_frame=is_texts and frame.parent.resolve() == path.resolve())

    def frame_file(self, call: str) -> Path:
        """Where a call has the texts of its frame."""
        return self.path / _FRAME / call / FRAME_FILE

    @contextmanager
    def frame_texts(self) -> Iterator[Path]:
        """Where a frame's texts may be written, by one call for itself, for the length of the block.

        They are locked meanwhile: what a dead process has left is told by that, and taken away.
        """
        frame = self.path / _FRAME
        for left in frame.glob("texts-*/"):
            with suppress(LockedError, OSError), locked(left / ".lock", ""):
                shutil.rmtree(left)
        file = self.frame_file(f"texts-{uuid4().hex[:12]}")
        made = [folder for folder in (frame, self.path, self.path.parent) if not folder.exists()]
        try:
            with locked(file.with_name(".lock"), f"process {os.getpid()}"):
                yield file
        finally:
            shutil.rmtree(file.parent, ignore_errors=True)
            # A call that was refused leaves nothing.
            with suppress(OSError):
                for folder in made:
                    folder.rmdir()

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return shown_path(self.path)

    @property
    def working(self) -> WorkingFolder | None:
        """What writes it through to its bucket; None where it is in none."""
        return working_folder_of(self.path)

    @property
    def store(self) -> Store:
        """The objects in it, for those that share it."""
        return store_of(self.path)

    def refresh(self) -> None:
        """Have at hand what the bucket has that it is in, if any, unless a run of this machine is at work in it.

        Raises:
            JobRefused: the bucket can't be read.
        """
        if self.working is not None:
            try:
                self.working.pull_if_idle()
            except StoreError as error:
                raise JobRefused([Mistake("output.path", f"{error.filename}: {error.strerror}")]) from None

    @property
    def lock(self) -> Path:
        """What a run holds while it writes."""
        return self.path / ".lock"

    @property
    def labeled(self) -> Path:
        """The source's files with the label columns."""
        return self._published / "labeled"

    @property
    def practice_labeled(self) -> Path:
        """The same of a rehearsal, where `labeled/` holds a model's labels."""
        return self._published / "practice" / "labeled"

    @property
    def _published(self) -> Path:
        return self.path / _FRAME if self.is_of_frame else self.path

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
