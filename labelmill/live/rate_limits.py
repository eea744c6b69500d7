"""A provider's rate limits: what it says of them in its answers' headers, and a token bucket that mirrors its own.

Source of the headers: OpenAI, "Rate limits in headers"; most compatible endpoints use the same names.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Announced:
    """One announced limit: how much a minute, and how much of it is left."""

    per_minute: float
    remaining: float

    def part(self, fraction: float) -> "Announced":
        """A worker's part of it."""
        return Announced(self.per_minute * fraction, self.remaining * fraction)


@dataclass(frozen=True)
class RateHeaders:
    """The limits an answer announces; None for those it doesn't."""

    requests: Announced | None
    tokens: Announced | None

    def part(self, fraction: float) -> "RateHeaders":
        """A worker's part of each limit."""
        requests, tokens = (
            announced and announced.part(fraction) for announced in (self.requests, self.tokens)
        )
        return RateHeaders(requests, tokens)


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


_SECONDS_PER_MINUTE = 60.0
_ROUNDING = 1e-9


@dataclass
class Bucket:
    """So much a minute, refilled evenly. Times are seconds of any steady clock.

    `per_minute` is infinite until a limit is known. The level may fall below zero: what was sent is sent, and whoever
    comes next waits until it is made up for.
    """

    per_minute: float = math.inf
    capacity: float = math.inf
    level: float = math.inf
    at: float = 0.0
    cap: float = math.inf
    """The job's own limit; what a provider announces counts only below it."""

    @classmethod
    def capped(cls, cap: float | None, now: float) -> "Bucket":
        """A bucket with the job's own limit, or none. It holds a second's worth, and starts empty but for one.

        Providers that count the last minute, or the last ten seconds, would count a burst at the start on top of them.
        """
        if cap is None:
            return cls(at=now)
        burst = max(1.0, cap / _SECONDS_PER_MINUTE)
        return cls(per_minute=cap, capacity=burst, level=1.0, at=now, cap=cap)

    def wait_for(self, amount: float, now: float) -> float:
        """Seconds until an amount may be taken; one that is larger than the bucket, once that is full."""
        if math.isinf(self.per_minute):
            return 0.0
        self._refill(now)
        missing = min(amount, self.capacity) - self.level
        return missing * _SECONDS_PER_MINUTE / self.per_minute if missing > _ROUNDING * self.capacity else 0.0

    def take(self, amount: float, now: float) -> None:
        """Take an amount (or give back a negative one): of a request that is sent, or that was estimated wrongly."""
        if not math.isinf(self.per_minute):
            self._refill(now)
            self.level = min(self.capacity, self.level - amount)

    def learn(self, announced: Announced, outstanding: float, now: float, *, knows_all: bool = False) -> None:
        """Take over what the provider announces.

        The most it ever said remains is how much it lets through at once. Its level corrects ours downward: it may not know of
        what was sent since, and requests and their answers overtake one another. Where it knows of all, also upward.

        Args:
            announced: from the headers of an answer.
            outstanding: what has been sent and not been answered, the announcement's own request included.
            now: seconds.
            knows_all: whether nothing but its own request, which is the last one, was under way when it came.
        """
        if announced.per_minute >= self.cap:
            return
        first = math.isinf(self.per_minute) or self.per_minute == self.cap
        self._refill(now)
        self.per_minute = announced.per_minute
        self.capacity = announced.remaining + 1 if first else max(self.capacity, announced.remaining + 1)
        level = min(self.level, announced.remaining - (outstanding if first else 0.0))
        self.level = max(level, announced.remaining - outstanding) if knows_all else level

    def scale(self, factor: float, now: float) -> None:
        """Go on with so many times as much, of all that is known and of the job's own limit."""
        self._refill(now)
        self.per_minute, self.capacity = self.per_minute * factor, self.capacity * factor
        self.level, self.cap = self.level * factor, self.cap * factor

    def empty(self, now: float) -> None:
        """The provider says it is empty, whatever we thought."""
        if not math.isinf(self.per_minute):
            self._refill(now)
            self.level = min(self.level, 0.0)

    def _refill(self, now: float) -> None:
        if not math.isinf(self.per_minute):
            self.level = min(
                self.capacity, self.level + (now - self.at) * self.per_minute / _SECONDS_PER_MINUTE
            )
        self.at = now
