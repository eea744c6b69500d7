"""JSON as providers send it: every part read as what it should be, or as nothing. Nothing here raises."""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from labelmill.question.failures import printable

_MILLISECONDS_FROM = 1e11
"""A moment in seconds stays below for three thousand years."""


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
    except (TypeError, ValueError, RecursionError):
        return ""


def name_in(value: Any) -> str | None:
    """An id, which some write as a number; None for anything that names nothing."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None


def words_in(value: Any) -> str:
    """A provider's words, fit to be kept."""
    return printable("" if value is None else str(value))


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


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def is_text(value: str) -> bool:
    """Whether a string can be written as UTF-8: half of a character can't."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
