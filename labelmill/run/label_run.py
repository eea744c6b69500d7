"""One run of a job: what every part of it needs to know, in values that can be handed from task to task."""

import secrets
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from labelmill.dataset.merge import Merger
from labelmill.dataset.source import SourceFile, source_files
from labelmill.dataset.template import TextTemplate, read_template
from labelmill.job.model import LabelJob
from labelmill.question.task_key import task_key_of
from labelmill.run.task_change import former_ledgers
from labelmill.store.folder import OutputFolder
from labelmill.store.ledger import PRACTICE_PREFIX, Ledger


class LabelRun(BaseModel):
    """A job, the id of this run of it, and the address its requests go to."""

    model_config = ConfigDict(frozen=True)

    job: LabelJob
    run_id: str
    base_url: str
    practice: bool
    started_at_utc: datetime

    @cached_property
    def task_key(self) -> str:
        """The key of the job's ledger. Practice answers are kept apart from a model's."""
        return (PRACTICE_PREFIX if self.practice else "") + task_key_of(self.job)

    @cached_property
    def folder(self) -> OutputFolder:
        """Where the run writes."""
        return OutputFolder.of(self.job)

    @cached_property
    def ledger(self) -> Ledger:
        """The answers paid for the job's task, also those that earlier versions kept under another key."""
        also = former_ledgers(self.folder, self.job, practice=self.practice)
        return Ledger(self.folder.ledger(self.task_key), also)

    @cached_property
    def template(self) -> TextTemplate:
        """The text of a row."""
        return read_template(self.job.source.text)

    @property
    def merger(self) -> Merger:
        """Joins the ledger's answers to the source."""
        return Merger(self.ledger, self.template)

    @cached_property
    def files(self) -> list[SourceFile]:
        """The source's files."""
        return source_files(self.job.source.path)

    @property
    def record_folder(self) -> Path:
        """Where the run's record goes."""
        return self.folder.run(self.run_id)


def new_run_id(now: datetime) -> str:
    """A run's id: its start in UTC, and four hex digits for runs that start in the same second. Sorts by time."""
    return f"{now.astimezone(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
