"""The provider's Batch API as Labelmill needs it: one protocol, whichever library speaks it.

A batch goes out as a file of requests, one JSON line each as OpenAI's Batch API takes them (`custom_id`, `method`, `url`,
`body`), whose `custom_id` is the row key. It comes back as answers, each with the row key it belongs to.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from labelmill.errors import LabelmillError
from labelmill.providers.endpoint import Endpoint
from labelmill.question.answers import Answer


class BatchStatus(StrEnum):
    """Where a batch stands at the provider."""

    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """Whether nothing more will come of it. What is finished of an expired or a cancelled batch was paid."""
        return self in {self.COMPLETED, self.EXPIRED, self.CANCELLED, self.FAILED}


@dataclass(frozen=True)
class BatchError:
    """Why a provider took a batch for invalid: its own code, where it gave one, and its own words."""

    code: str | None
    message: str


@dataclass(frozen=True)
class BatchState:
    """A batch at one moment. `completed` and `failed` count its rows; `errors` say why a `failed` one is invalid.

    Counts that a provider leaves out or that can't be read are 0.
    """

    status: BatchStatus
    total: int = 0
    completed: int = 0
    failed: int = 0
    errors: tuple[BatchError, ...] = ()

    @property
    def has_counts(self) -> bool:
        """Whether the provider says how many rows were worked on: all zeros, as they stand at first, say nothing."""
        return self.total > 0 or self.completed > 0 or self.failed > 0

    @property
    def is_invalid(self) -> bool:
        """Whether it failed as a whole: nothing was asked, and nothing paid."""
        return self.status is BatchStatus.FAILED and not self.completed


@dataclass(frozen=True)
class RowError:
    """A row that got no answer: the HTTP status it would have had live (None where it was not executed), code, words."""

    status: int | None
    code: str | None
    message: str

    @property
    def was_executed(self) -> bool:
        """False where the batch ended before the row's turn: nothing was asked, and nothing paid."""
        return self.status is not None


@dataclass(frozen=True)
class BatchAnswer:
    """What came of one row: an answer, whatever it holds, or an error in its place."""

    row_key: str
    answer: Answer | None = None
    error: RowError | None = None


@dataclass(frozen=True)
class FoundBatch:
    """A batch that a provider knows: its id, and when it was made; None where that can't be read."""

    id: str
    created_at_utc: datetime | None


class BatchRefused(LabelmillError):  # noqa: N818  (the name is the sentence)
    """The provider has refused for good, in its own words: nothing was made, and asking again would be refused again."""


class BatchUnreachable(LabelmillError):  # noqa: N818
    """The provider did not answer, or answered that it can't now. What was asked of it may have been done all the same."""


def no_note(_: str) -> None:
    """Note nothing of an upload."""


class BatchClient(Protocol):
    """What the batch lane asks of a provider.

    Every method raises `BatchRefused` or `BatchUnreachable`, and nothing else of the provider's or the network's doing.
    An answer that can't be read counts as none.
    """

    @property
    def endpoint(self) -> Endpoint:
        """Where the requests go, and whose key is to be hidden."""

    def send(
        self, requests: Path, metadata: Mapping[str, str], uploaded: Callable[[str], None] = no_note
    ) -> str:
        """Upload a file of requests and make a batch of it; returns the batch's id.

        The making is tried once: a second try might make a second batch, and both would be paid. After a
        `BatchUnreachable` the batch may exist; `find` tells. `uploaded` is told the id of the file, where there is one,
        before the batch is made.
        """

    def find(
        self, metadata: Mapping[str, str], since: datetime, known: Collection[str] = ()
    ) -> FoundBatch | None:
        """The batch that carries this metadata (all of it), whenever it was made; None if there is none.

        Batches that were made long before `since` (UTC) are not looked through. `known` are ids of batches whose metadata
        is known to be another: where it shows late, nobody waits for theirs.
        """

    def state(self, batch_id: str) -> BatchState:
        """Where a batch stands.

        Raises:
            BatchRefused: the provider knows no such batch, or doesn't let us see it.
        """

    def answers(
        self, batch_id: str, row_keys: Sequence[str], metadata: Mapping[str, str]
    ) -> Iterator[BatchAnswer]:
        """What came of the rows of a batch that is final, in any order, as it is read from the provider.

        `row_keys` are those of the file that was sent, in its order, and `metadata` went with it. Rows that the provider
        says nothing of are not among the answers; a row that stands there twice is told once.
        """

    def cancel(self, batch_id: str) -> None:
        """Ask the provider to stop a batch; returns at once. One that is final already is left as it is."""

    def delete(self, batch_id: str | None, file_id: str | None) -> None:
        """Have the provider delete what it keeps of a batch that is settled: its files, or its results.

        `file_id` is the file that was uploaded for it; `batch_id` is None where no batch was made of that. What is gone
        already is no error.
        """
