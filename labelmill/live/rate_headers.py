"""What a provider says about its rate limits in its answers' headers.

Source: OpenAI, "Rate limits in headers"; most compatible endpoints use the same names.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Announced:
    """One announced limit: how much a minute, and how much of it is left."""

    per_minute: float
    remaining: float


@dataclass(frozen=True)
class RateHeaders:
    """The limits an answer announces; None for those it doesn't."""

    requests: Announced | None
    tokens: Announced | None


def rate_headers_of(headers: Mapping[str, str]) -> RateHeaders:
    """Read the `x-ratelimit-*` headers of an answer."""
    return RateHeaders(_announced(headers, "requests"), _announced(headers, "tokens"))


def _announced(headers: Mapping[str, str], unit: str) -> Announced | None:
    try:
        per_minute = float(headers[f"x-ratelimit-limit-{unit}"])
        remaining = float(headers[f"x-ratelimit-remaining-{unit}"])
    except (KeyError, ValueError):
        return None
    return Announced(per_minute, remaining) if per_minute > 0 else None
