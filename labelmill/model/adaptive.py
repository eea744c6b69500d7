"""Concurrency that adapts: slow start, one cut per episode of overload, growth only when it is used.

After inspect_ai's adaptive concurrency (its design note of that name), with the same reasons: a burst of 429s is one
event and is answered by one cut, and a limit that was not reached says nothing about whether a higher one would hold.
An episode is not a span of time but the requests that were sent before its cut: what they come to tells nothing of the
lower limit. So a provider that asks for long waits can't hold the limit up (inspect_ai's issue 5137).
"""

import math
from collections import Counter, deque
from dataclasses import dataclass, field

FIRST_LIMIT = 16
FEWEST_OVERLOADED = 3
"""Fewer never cut: whoever is alone in being turned away waits alone."""
ISOLATED_FRACTION = 0.1
"""Up to here, what fails is the failed request's own matter: no cut, and no loss of the round's growth."""
_FEWEST_LOOKED_AT = 10
_DEEPEST_CUT = 0.5
_GROWTH = 1.05
_SATURATED = 0.8
_ROUNDING = 1e-9
_IN_WORDS = {
    "rate_limited": "429",
    "overloaded": "overloaded",
    "timeout": "timed out",
    "connection": "no connection",
}


@dataclass
class AdaptiveLimit:
    """How many requests may be in flight, between 1 and `ceiling`.

    It looks at what came of the last `limit` requests, of 10 at least. Where overload is more than isolated among them,
    the limit is cut by the fraction that didn't get through, to a half at most. `epoch` counts the cuts; every
    request is told apart by the epoch in which it was sent.
    """

    ceiling: int
    size: float
    """The limit before it is rounded down: small limits grow by less than one at a time."""
    epoch: int = 0
    slow_start_until: float = math.inf
    """The limit doubles up to here; above, it grows slowly."""
    _seen: deque[str | None] = field(default_factory=deque)
    _cut_from: float = 0.0
    _cut_by: Counter[str | None] = field(default_factory=Counter)
    _answers: int = 0
    _troubles: int = 0
    _peak: int = 0

    is_fixed = False

    @classmethod
    def below(cls, ceiling: int) -> "AdaptiveLimit":
        """Start low, so that the first answers can tell of limits before they are passed."""
        return cls(ceiling, min(ceiling, FIRST_LIMIT))

    @property
    def limit(self) -> int:
        """The most requests in flight."""
        return max(1, math.floor(self.size + _ROUNDING))

    def overloaded_fraction(self, epoch: int) -> float:
        """What part of the last requests sent in `epoch` didn't get through; 0 where it is too few to tell."""
        seen = Counter(self._seen) if epoch == self.epoch else self._cut_by
        overloaded = seen.total() - seen[None]
        return overloaded / seen.total() if overloaded >= FEWEST_OVERLOADED else 0.0

    def answered(self, epoch: int, in_flight: int) -> str | None:
        """An answer came, of a request sent in `epoch`, while so many were in flight, itself among them.

        A round of them, well used and with no more than isolated failures, lets the limit grow; returns why it did.
        """
        self._see(epoch, None)
        if epoch != self.epoch:
            return None
        self._answers += 1
        self._peak = max(self._peak, in_flight)
        return self._end_of_round() if self._answers >= self.limit else None

    def overloaded(self, epoch: int, kind: str) -> str | None:
        """A request sent in `epoch` was turned away or timed out; returns why the limit is lower, if it is."""
        self._troubles += 1
        self._see(epoch, kind)
        before = self.limit
        if epoch == self.epoch and self.overloaded_fraction(epoch) > ISOLATED_FRACTION:
            self.epoch += 1
            self._cut_from, self._cut_by = self.size, Counter(self._seen)
            self._start_anew()
        elif epoch != self.epoch - 1 or not self._cut_by:
            return None
        # More of the same episode tells better how deep the cut has to be.
        seen = self._cut_by.total()
        through = self._cut_by[None] / seen
        self.size = max(1.0, min(self.size, self._cut_from * max(_DEEPEST_CUT, through)))
        self.slow_start_until = 0.0
        if self.limit == before:
            return None
        kinds = Counter({kind: count for kind, count in self._cut_by.items() if kind is not None})
        return f"{kinds.total()} of the last {seen} requests did not get through ({_kinds_in_words(kinds)})"

    def troubled(self) -> None:
        """The provider failed otherwise: too many of these and the round doesn't count, but nothing is cut."""
        self._troubles += 1

    def start_again(self, slow_start_until: float) -> None:
        """Begin with one request in flight, after nothing got through."""
        self.epoch += 1
        self.size = 1.0
        self.slow_start_until = slow_start_until
        self._cut_by = Counter()
        self._start_anew()

    def _see(self, epoch: int, kind: str | None) -> None:
        if epoch == self.epoch:
            self._seen.append(kind)
            while len(self._seen) > max(_FEWEST_LOOKED_AT, self.limit):
                self._seen.popleft()
        elif epoch == self.epoch - 1 and self._cut_by:
            self._cut_by[kind] += 1

    def _end_of_round(self) -> str | None:
        isolated = self._troubles <= ISOLATED_FRACTION * (self._answers + self._troubles)
        well_used = self._peak >= _SATURATED * self.limit
        before, without = self.limit, not self._troubles
        if isolated and well_used:
            slow = self.size < self.slow_start_until
            grown = min(self.size * 2, self.slow_start_until) if slow else self.size * _GROWTH
            self.size = min(float(self.ceiling), grown)
        self._answers = self._troubles = self._peak = 0
        if self.limit == before:
            return None
        return f"all slots were busy and {'nothing' if without else 'next to nothing'} failed"

    def _start_anew(self) -> None:
        self._seen.clear()
        self._answers = self._troubles = self._peak = 0


class FixedLimit(AdaptiveLimit):
    """A limit that is held whatever the provider answers."""

    is_fixed = True

    @classmethod
    def of(cls, limit: int) -> "FixedLimit":
        """So many requests in flight, no more and no fewer."""
        return cls(ceiling=limit, size=limit)

    def answered(self, epoch: int, in_flight: int) -> str | None:  # noqa: ARG002
        """Nothing grows."""
        return None

    def overloaded(self, epoch: int, kind: str) -> str | None:  # noqa: ARG002
        """Nothing is cut."""
        return None


def _kinds_in_words(kinds: Counter[str]) -> str:
    if len(kinds) == 1:
        return _IN_WORDS[next(iter(kinds))]
    return ", ".join(f"{count} × {_IN_WORDS[kind]}" for kind, count in kinds.most_common())
