"""Concurrency that adapts: slow start, one cut per episode of rate limits, growth only when it is used.

After inspect_ai's adaptive concurrency (its design note of that name), with the same reasons: a burst of 429s is one
event and is answered by one cut, and a limit that was not reached says nothing about whether a higher one would hold.
"""

import math
from dataclasses import dataclass

FIRST_LIMIT = 16
_CUT = 0.8
_GROWTH = 1.05
_SATURATED = 0.8
_EPISODE_SECONDS = 15.0


@dataclass
class AdaptiveLimit:
    """How many requests may be in flight, between 1 and `ceiling`. Times are seconds of any steady clock."""

    ceiling: int
    limit: int
    _clean: int = 0
    _peak: int = 0
    _slow_start: bool = True
    _episode_ends: float = -math.inf

    @classmethod
    def below(cls, ceiling: int) -> "AdaptiveLimit":
        """Start low, so that the first answers can tell of limits before they are passed."""
        return cls(ceiling, min(ceiling, FIRST_LIMIT))

    def answered(self, in_flight: int) -> None:
        """An answer came while so many were in flight. A round of them, well used, lets the limit grow."""
        self._clean += 1
        self._peak = max(self._peak, in_flight)
        if self._clean < self.limit:
            return
        if self._peak >= _SATURATED * self.limit:
            grown = self.limit * 2 if self._slow_start else math.ceil(self.limit * _GROWTH)
            self.limit = min(self.ceiling, grown)
        self._clean = self._peak = 0

    def rate_limited(self, now: float, retry_after_seconds: float | None) -> bool:
        """A 429 came: cut the limit, unless this episode has cut it already; tells whether it did."""
        self._slow_start = False
        self._clean = self._peak = 0
        if now < self._episode_ends:
            return False
        self._episode_ends = now + max(_EPISODE_SECONDS, retry_after_seconds or 0.0)
        self.limit = max(1, math.floor(self.limit * _CUT))
        return True

    def troubled(self) -> None:
        """The provider failed otherwise: the round doesn't count towards growth, and nothing is cut."""
        self._clean = self._peak = 0


class FixedLimit(AdaptiveLimit):
    """A limit that is held whatever the provider answers."""

    @classmethod
    def of(cls, limit: int) -> "FixedLimit":
        """So many requests in flight, no more and no fewer."""
        return cls(ceiling=limit, limit=limit)

    def answered(self, in_flight: int) -> None:
        """Nothing grows."""

    def rate_limited(self, now: float, retry_after_seconds: float | None) -> bool:  # noqa: ARG002
        """Nothing is cut."""
        return False

    def troubled(self) -> None:
        """Nothing changes."""
