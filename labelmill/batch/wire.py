"""OpenAI's batch objects as they stand on the wire, read into the batch lane's own."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from labelmill.batch.client import BatchError, BatchState, BatchStatus, FoundBatch
from labelmill.model.failures import printable

FILE_NAME = "requests.jsonl"
"""What an upload is called: another ending is refused."""
PAGE_LIMIT = 100
"""The most batches that one page of the list holds."""

Batch = Mapping[str, Any]


def mapping_in(value: Any) -> Mapping[str, Any]:
    """A part of an answer that should be an object; an empty one where it is not."""
    return value if isinstance(value, Mapping) else {}


def id_of(answer: Batch) -> str:
    """The id of the file or the batch that an answer tells of.

    Raises:
        ValueError: it tells of none.
    """
    name = answer.get("id")
    if not isinstance(name, str) or not name:
        raise ValueError("the answer has no id")
    return name


def state_of(batch: Batch) -> BatchState:
    """Where a batch stands.

    Raises:
        ValueError: with a status that OpenAI's Batch API doesn't have.
    """
    counts = mapping_in(batch.get("request_counts"))
    said = map(mapping_in, mapping_in(batch.get("errors")).get("data") or ())
    return BatchState(
        BatchStatus(str(batch.get("status"))),
        total=counts.get("total") or 0,
        completed=counts.get("completed") or 0,
        failed=counts.get("failed") or 0,
        errors=tuple(
            BatchError(error.get("code"), printable(str(error.get("message") or ""))) for error in said
        ),
    )


def files_of(batch: Batch) -> Iterator[str]:
    """The ids of the files that hold what came of a batch, the answers' first."""
    return (batch[name] for name in ("output_file_id", "error_file_id") if batch.get(name))


def page_in(answer: Batch) -> Sequence[Batch]:
    """The batches of one page of the list."""
    listed = answer.get("data")
    return [batch for batch in listed if isinstance(batch, Mapping)] if isinstance(listed, list) else []


def found_in(page: Sequence[Batch], metadata: Mapping[str, str], since: datetime) -> FoundBatch | None:
    """The batch of a page that carries this metadata and was made at a moment or later."""
    for batch in page:
        carried = mapping_in(batch.get("metadata"))
        if _made(batch) >= int(since.timestamp()) and metadata.items() <= carried.items():
            return FoundBatch(id_of(batch), datetime.fromtimestamp(_made(batch), UTC))
    return None


def is_past(page: Sequence[Batch], since: datetime) -> bool:
    """Whether the pages after this one are older than a moment. A list that starts with the oldest never is."""
    newest_first = _made(page[0]) >= _made(page[-1])
    return newest_first and _made(page[-1]) < int(since.timestamp())


def _made(batch: Batch) -> int:
    """When a batch was made: the provider counts whole seconds."""
    made = batch.get("created_at")
    return int(made) if isinstance(made, int | float) else 0
