"""Deleting what a provider keeps of batches that are settled: files that hold people's texts, and take up room."""

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from labelmill.batch.outstanding import OutstandingBatches
from labelmill.batch.record import BatchRecord
from labelmill.providers.protocol import BatchRefused, BatchUnreachable

log = logging.getLogger(__name__)

_LONGEST_LIFE = timedelta(days=30)
"""OpenAI deletes the files of batches by itself after so long."""
_MOST_LEFT = 20
"""Batches of earlier runs whose files one run deletes."""


@dataclass
class FileDeletion:
    """The deletions of one run: those of the batches that it settles, and those that earlier runs have left.

    Each is tried once, and none costs the run anything: what can't be deleted now is left to the next run.
    """

    notes: OutstandingBatches
    _left: list[BatchRecord] | None = None
    _tried: set[str] = field(default_factory=set)
    _is_reachable: bool = True

    def go_on(self) -> None:
        """Delete what is to be deleted by now."""
        if self._left is None:
            means = self.notes.means
            since = datetime.now(UTC) - _LONGEST_LIFE
            self._left = means.folder.with_files_left(since, practice=means.practice)[-_MOST_LEFT:]
        for record in (*self._left, *self.notes.settled):
            if record.files_deleted is False and record.name not in self._tried and self._is_reachable:
                self._tried.add(record.name)
                self._delete(record)

    def _delete(self, record: BatchRecord) -> None:
        try:
            self.notes.delete_files(record)
        except (BatchRefused, BatchUnreachable, OSError) as error:
            log.warning("What the provider keeps of batch %s can't be deleted now: %s", record.name, error)
            self._is_reachable = not isinstance(error, BatchUnreachable)
