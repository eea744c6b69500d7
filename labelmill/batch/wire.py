"""OpenAI's batch objects as they stand on the wire, read into the batch lane's own."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from labelmill.batch.client import BatchError, BatchState, BatchStatus, BatchUnreachable, FoundBatch
from labelmill.question.failures import printable

FILE_NAME = "requests.jsonl"
"""What an upload is called: another ending is refused."""
PAGE_LIMIT = 100
"""The most batches that one page of the list holds."""
MOST_PAGES = 1_000
"""A list that goes on beyond so many pages has no end."""
CLOCKS_DIFFER_BY = timedelta(hours=15)
"""How far a provider's dates may be from ours: more than any time zone is from UTC, which some forget to say."""

_MILLISECONDS_FROM = 1e11
"""A moment in seconds stays below for three thousand years."""

Batch = Mapping[str, Any]
HideKey = Callable[[str], str]


def mapping_in(value: Any) -> Mapping[str, Any]:
    """A part of an answer that should be an object; an empty one where it is not."""
    return value if isinstance(value, Mapping) else {}


def list_in(value: Any) -> Sequence[Any]:
    """A part of an answer that should be a list; an empty one where it is not."""
    return value if isinstance(value, list) else []


def count_in(value: Any) -> int:
    """A count, which some write as text; 0 for anything that is none."""
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else 0.0
    except (ValueError, OverflowError):
        return 0
    return int(number) if math.isfinite(number) and number > 0 else 0


def json_of(value: Any) -> str:
    """A part of an answer as JSON; empty where it is nested too deeply."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return ""


def name_in(value: Any) -> str | None:
    """An id, which some write as a number; None for anything that names nothing."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None


def words_in(value: Any, hide_key: HideKey) -> str:
    """A provider's words, fit to be kept: the key is hidden before they are cut, lest a part of it stays."""
    return printable(hide_key("" if value is None else str(value)))


def moment_in(value: Any) -> datetime | None:
    """A moment: seconds or milliseconds since 1970, as a number or as text, or a date; None for anything else."""
    try:
        if isinstance(value, str) and not _is_number(value):
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        seconds = float(value) if isinstance(value, int | float | str) else 0.0
        if isinstance(value, bool) or seconds <= 0:
            return None
        return datetime.fromtimestamp(seconds / 1000 if seconds > _MILLISECONDS_FROM else seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def id_of(answer: Batch) -> str:
    """The id of the file or the batch that an answer tells of.

    Raises:
        ValueError: it tells of none.
    """
    name = name_in(answer.get("id"))
    if name is None:
        raise ValueError("the answer has no id")
    return name


def state_of(batch: Batch, hide_key: HideKey) -> BatchState:
    """Where a batch stands.

    Raises:
        ValueError: with a status that OpenAI's Batch API doesn't have.
    """
    counts = mapping_in(batch.get("request_counts"))
    said = map(mapping_in, list_in(mapping_in(batch.get("errors")).get("data")))
    return BatchState(
        BatchStatus(str(batch.get("status"))),
        total=count_in(counts.get("total")),
        completed=count_in(counts.get("completed")),
        failed=count_in(counts.get("failed")),
        errors=tuple(
            BatchError(name_in(error.get("code")), words_in(error.get("message"), hide_key)) for error in said
        ),
    )


def files_of(batch: Batch, *fields: str) -> Iterator[str]:
    """The ids of a batch's files that stand in some of its fields, each once.

    Without fields, of those that hold what came of it, the answers' first.
    """
    names = (name_in(batch.get(name)) for name in fields or ("output_file_id", "error_file_id"))
    yield from dict.fromkeys(name for name in names if name is not None)


def page_in(answer: Batch) -> Sequence[Batch]:
    """The batches of one page of the list."""
    return [batch for batch in list_in(answer.get("data")) if isinstance(batch, Mapping)]


def found_in(page: Sequence[Batch], metadata: Mapping[str, str]) -> FoundBatch | None:
    """The batch of a page that carries this metadata: nothing else tells whose it is, least of all its date."""
    for batch in page:
        if metadata.items() <= mapping_in(batch.get("metadata")).items():
            return FoundBatch(id_of(batch), made_at(batch))
    return None


def is_past(page: Sequence[Batch], since: datetime) -> bool:
    """Whether the pages after this one are long before a moment. A list that starts with the oldest never is.

    Nor is one whose dates can't be read.
    """
    first, last = made_at(page[0]), made_at(page[-1])
    return first is not None and last is not None and first >= last and last < since - CLOCKS_DIFFER_BY


def made_at(batch: Batch) -> datetime | None:
    """When a batch was made; None where that can't be read."""
    return moment_in(batch.get("created_at"))


def endless() -> BatchUnreachable:
    """What is said of a list of batches that has no end."""
    return BatchUnreachable(f"the provider's list of batches has no end within {MOST_PAGES:,} pages")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
