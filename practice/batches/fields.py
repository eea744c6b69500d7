"""What the Batch API's requests carry, read with OpenAI's complaints."""

from collections.abc import Mapping
from typing import Any

from practice.batches.records import FILE_LIFE_SECONDS
from practice.errors import RequestRefusedError

_SHORTEST_LIFE_SECONDS = 3600
_MOST_PAIRS = 16
_LONGEST_KEY = 64
_LONGEST_VALUE = 512


def not_found(message: str) -> RequestRefusedError:
    """404: there is nothing of this id."""
    return RequestRefusedError(404, message, param="id")


def missing(name: str) -> RequestRefusedError:
    """400: a parameter is not there."""
    message = f"Missing required parameter: '{name}'."
    return RequestRefusedError(400, message, "missing_required_parameter", param=name)


def wrong(message: str, name: str) -> RequestRefusedError:
    """400: a parameter has a value it may not have."""
    return RequestRefusedError(400, message, "invalid_value", param=name)


def life_seconds(given: Any, name: str) -> float | None:
    """The seconds of an expiration policy, or None where none is given.

    Raises:
        RequestRefusedError: it is no such policy.
    """
    if given is None:
        return None
    if not isinstance(given, Mapping) or given.get("anchor") != "created_at":
        raise wrong(f"'{name}' must have the anchor 'created_at'.", f"{name}.anchor")
    try:
        seconds = int(given.get("seconds", ""))
    except (TypeError, ValueError):
        seconds = 0
    if not _SHORTEST_LIFE_SECONDS <= seconds <= FILE_LIFE_SECONDS:
        message = f"'{name}.seconds' must lie between {_SHORTEST_LIFE_SECONDS} and {FILE_LIFE_SECONDS}."
        raise wrong(message, f"{name}.seconds")
    return float(seconds)


def metadata_of(given: Any) -> dict[str, str] | None:
    """The metadata of a batch.

    Raises:
        RequestRefusedError: there is too much of it, or it is no mapping of text to text.
    """
    if given is None:
        return None
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise wrong("'metadata' must map text to text.", "metadata")
    if len(given) > _MOST_PAIRS:
        raise wrong(f"'metadata' has {len(given)} pairs, and may have {_MOST_PAIRS}.", "metadata")
    for key, value in given.items():
        if len(key) > _LONGEST_KEY or len(value) > _LONGEST_VALUE:
            message = f"'metadata' keys may have {_LONGEST_KEY} characters, values {_LONGEST_VALUE}."
            raise wrong(message, f"metadata.{key[:_LONGEST_KEY]}")
    return given


def limit_of(given: str | None, default: int, most: int) -> int:
    """How many entries of a list are wanted.

    Raises:
        RequestRefusedError: it is no number between 1 and the most.
    """
    if given is None:
        return default
    if not given.isdecimal() or not 1 <= int(given) <= most:
        raise wrong(f"'limit' must be a whole number from 1 to {most}.", "limit")
    return int(given)


def page_of(bodies: list[dict[str, Any]], after: str | None, limit: int) -> dict[str, Any]:
    """A part of a list, as OpenAI pages: what comes after an entry.

    Raises:
        RequestRefusedError: there is no such entry.
    """
    start = 0
    if after is not None:
        places = [place for place, body in enumerate(bodies) if body["id"] == after]
        if not places:
            raise wrong(f"'after' names nothing in this list: {after}", "after")
        start = places[0] + 1
    page = bodies[start : start + limit]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": start + limit < len(bodies),
    }
