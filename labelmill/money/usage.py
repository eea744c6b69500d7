"""Tokens, as the provider counts them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from labelmill.money.usage_shapes import SERVICE_TIERS, SHAPES, Place, UsageShape

MAX_TOKENS = 2**53
"""Above this JSON's numbers are no longer exact in many programs, and no answer has that many tokens."""
_SERVICE_TIER_CHARACTERS = 64


@dataclass(frozen=True)
class Usage:
    """Tokens of one answer or of many.

    `input_tokens` includes `cached_input_tokens`, which were read from a cache, and `cache_write_input_tokens`, which were
    written to one; `output_tokens` includes `reasoning_tokens`, the thoughts as far as the provider tells them apart.
    """

    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    cache_write_input_tokens: int = 0
    reasoning_tokens: int = 0

    def __add__(self, other: Self) -> "Usage":
        return Usage(
            self.input_tokens + other.input_tokens,
            self.cached_input_tokens + other.cached_input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_write_input_tokens + other.cache_write_input_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
        )

    @classmethod
    def from_message(cls, metadata: Mapping[str, Any] | None) -> Self | None:
        """Read LangChain's `usage_metadata`; None where the provider sent none, which is unknown and not zero.

        Some models count cached tokens beside the input and not in it, which the total tells; otherwise no more of them count
        than there is input. What of the total is neither was answered too: thoughts that are shown nowhere.
        """
        if metadata is None:
            return None
        details = metadata.get("input_token_details") or {}
        cached, written = details.get("cache_read") or 0, details.get("cache_creation") or 0
        reasoning = (metadata.get("output_token_details") or {}).get("reasoning") or 0
        sent, output = metadata["input_tokens"], metadata["output_tokens"]
        rest = (metadata.get("total_tokens") or 0) - sent - output
        if rest >= cached + written > 0:
            sent, rest = sent + cached + written, rest - cached - written
        # What the total has beyond both is thoughts.
        answered, reasoning = output + max(rest, 0), reasoning or max(rest, 0)
        written = min(written, sent)
        return cls(sent, min(cached, sent - written), answered, written, min(reasoning, answered))


def usage_of(body: object) -> Usage | None:
    """The tokens that a provider's answer tells of, in any of the shapes of `SHAPES`; None where it tells of none.

    It never raises, whatever JSON `body` is. What can't be so is not told: a request always has input, and no count is
    negative, a fraction, a text or true. Where the total is more than input and output, the rest is output: thoughts.
    """
    return next((usage for shape, told in _told(body) if (usage := _usage_in(shape, told)) is not None), None)


def tokens_told_in_total(body: object) -> int | None:
    """All tokens of an answer that doesn't tell how many of them were input; None where it tells the parts, or nothing."""
    if usage_of(body) is not None:
        return None
    totals = (_known(told, shape.total) for shape, told in _told(body) if shape.total is not None)
    return max(totals, default=0) or None


def service_tier_of(body: object) -> str | None:
    """The tier at which an answer says that it was served, in the provider's word; None where it says nothing."""
    for place in SERVICE_TIERS:
        tier = _at(body, place)
        if isinstance(tier, str) and tier:
            return "".join(filter(str.isprintable, tier[:_SERVICE_TIER_CHARACTERS])) or "unknown"
    return None


def _told(body: object) -> Iterator[tuple[UsageShape, Mapping[str, Any]]]:
    for shape in SHAPES:
        for root in shape.roots:
            told = _at(body, root)
            if isinstance(told, Mapping) and (shape.sign is None or _at(told, shape.sign) is not None):
                yield shape, told


def _usage_in(shape: UsageShape, told: Mapping[str, Any]) -> Usage | None:
    try:
        asked, answered = _count(told, shape.input), _count(told, shape.output)
        sent_beside, answered_beside = (
            _counts(told, beside) for beside in (shape.input_beside, shape.output_beside)
        )
        written = max(_counts(told, shape.written), default=0)
        cached = max((_known(told, place) for place in shape.cached), default=0)
        if shape.cache_is_beside:
            cached = max(_counts(told, shape.cached), default=0)
    except ValueError:
        return None
    if asked is None:
        return None
    sent = asked + sum(sent_beside) + (cached + written if shape.cache_is_beside else 0)
    total = 0 if shape.total is None else _known(told, shape.total)
    if answered is None and not answered_beside and total < sent:
        return None
    output = (answered or 0) + sum(answered_beside)
    reasoning = max((_known(told, place) for place in shape.reasoning), default=0)
    if reasoning > output:  # it can't be part of it
        output += reasoning
    shown = output
    if (
        cached > sent > 0 and total - sent - output >= cached
    ):  # it can't be part of it, and the total has room
        sent += cached
    output = max(output, total - sent)
    return _usage(sent, cached, output, written, max(reasoning, output - shown))


def _usage(sent: int, cached: int, output: int, written: int, reasoning: int) -> Usage | None:
    if not 0 < sent < MAX_TOKENS or output >= MAX_TOKENS:
        return None
    written = min(written, sent)
    return Usage(sent, min(cached, sent - written), output, written, reasoning)


def _counts(told: object, places: Sequence[Place]) -> list[int]:
    """The counts that are told in these places.

    Raises:
        ValueError: one of them can't be so.
    """
    return [count for place in places if (count := _count(told, place)) is not None]


def _known(told: object, place: Place) -> int:
    """A count; 0 where it is not told, or can't be so."""
    try:
        return _count(told, place) or 0
    except ValueError:
        return 0


def _count(told: object, place: Place) -> int | None:
    """A count of tokens; None where it is not told.

    Raises:
        ValueError: it can't be so.
    """
    value = _at(told, place)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():  # some languages write every number with a point
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < MAX_TOKENS:
        raise ValueError(value)
    return value


def _at(value: object, place: Place) -> object:
    for step in place:
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value
