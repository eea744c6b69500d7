"""Concurrency that adapts: a start that the first answers end, one cut per episode of overload, growth only when it is used.

After inspect_ai's adaptive concurrency (its design note of that name), with the same reasons: a burst of 429s is one
event and is answered by one cut, and a limit that was not reached says nothing about whether a higher one would hold.
Two things differ. An episode is not a span of time but the requests that were sent before its cut: what they come to
tells nothing of the lower limit, and a provider that asks for long waits can't hold the limit up (inspect_ai's issue
5137). And what counts is the fraction of requests in the order they were sent, not of responses in the order they
came: who is turned away comes back at once and who times out comes back late, so that bursts of either look like all.
A third is how it starts: who is turned away is turned away at once, so that a first answer without trouble opens the limit
as far as the provider's pace allows. Where that was too much, it falls back to what had held, and doubles from there.
"""

import math
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

FIRST_LIMIT = 16
MOST_FIRST = 48
"""Fewer than the 60 requests a minute that small accounts have, whatever a job asks for."""
_FIRST_FRACTION = 0.25
FEWEST_OVERLOADED = 3
"""Fewer never cut: whoever is alone in being turned away waits alone."""
ISOLATED_FRACTION = 0.1
"""Up to here, what fails is the failed request's own matter: no cut, and no loss of the round's growth."""
SPACING_SECONDS = 0.5
"""Between two requests where the limit is a half; 1.5 s where it is a quarter."""
SMALLEST = 0.125
_FEWEST_LOOKED_AT = 10
_MOST = 0.75
"""So many tell by themselves, though fewer were looked at than there are to be."""
_DEEPEST_CUT = 0.5
_HELPLESS = 0.75
"""A cut that has helped less than a quarter of what it should have was no cure."""
_TOLERANCE = 1.25
_SCATTERED = 0.6
_FEW = 4.0
"""So few in flight are not cut for what looks like chance."""
_GROWTH = 1.05
_GROWTH_NEAR_A_CUT = 1.02
"""Between 0.8 of the limit that was too much and itself."""
_NEAR = 0.8
_SATURATED = 0.8
_ROUNDING = 1e-9
_ON_ITS_WAY, _ANSWERED, _SAYS_NOTHING = "on its way", "answered", "says nothing"
_IN_WORDS = {
    "rate_limited": "429",
    "overloaded": "overloaded",
    "timeout": "timed out",
    "connection": "no connection",
}


@dataclass(eq=False, slots=True)
class SentRequest:
    """A request under a limit: its number since the last cut, whether it is its text's first, and what came of it."""

    epoch: int
    number: int
    is_first: bool
    outcome: str = _ON_ITS_WAY


@dataclass
class AdaptiveLimit:
    """How many requests may be in flight, between 1 and `ceiling`.

    At each overload it looks at what came of that request and of the `limit` (10 at least) that were sent before it;
    those still on their way get through so far. Where overload is more than isolated among them, the limit is cut by
    the fraction that didn't get through, to a half at most, and below one request in flight by a time between them.
    A cut that doesn't help was no cure: it is taken back, and that much is put up with from then on.
    """

    ceiling: int
    size: float
    """The limit before it is rounded down: small limits grow by less than one at a time."""
    epoch: int = 0
    """Counts the cuts; a request belongs to the epoch in which it was sent."""
    slow_start_until: float = math.inf
    """The limit doubles up to here; above, it grows slowly."""
    tolerated_fraction: float = ISOLATED_FRACTION
    """Up to here, what fails neither cuts the limit nor keeps it from growing."""
    episode_fraction: float = 1.0
    """What part of the requests didn't get through that the last cut was for."""
    first_fraction: float = 0.0
    """What part didn't get through, lately, of the requests for texts that hadn't failed before."""
    _sent: deque[SentRequest] = field(default_factory=deque)
    _over: int = 0
    _sent_before: list[SentRequest] = field(default_factory=list)
    _cut_from: float = 0.0
    _has_grown: bool = True
    _answers: int = 0
    _errors: int = 0
    _peak: int = 0

    _opened_from: float = 0.0
    """The limit that held before it was opened; 0 once the higher one has held as well."""
    _may_open: bool = False

    is_fixed = False

    @classmethod
    def below(cls, ceiling: int) -> "AdaptiveLimit":
        """Start low, so that the first answers can tell of limits before they are passed.

        Who asks for many in flight has an account for it: the more, the more go first.
        """
        first = max(FIRST_LIMIT, min(MOST_FIRST, math.floor(_FIRST_FRACTION * ceiling)))
        return cls(ceiling, min(ceiling, first), _may_open=True)

    def take(self, ceiling: int, factor: float) -> None:
        """Go on below another ceiling, which is so many times the one before; what goes first is shared out alike."""
        if not self._sent:
            self.size = max(1.0, math.floor(self.size * factor))
        self.ceiling, self.size = ceiling, min(self.size, float(ceiling))

    @property
    def limit(self) -> int:
        """The most requests in flight."""
        return max(1, math.floor(self.size + _ROUNDING))

    @property
    def spacing_seconds(self) -> float:
        """The least time between two requests; 0 unless even one in flight at a time is too much."""
        return SPACING_SECONDS * (1 / self.size - 1) if self.size < 1 else 0.0

    def sent(self, *, is_first: bool = True) -> SentRequest:
        """A request goes out; `is_first` says that its text hasn't failed before."""
        sent = SentRequest(self.epoch, self._sent[-1].number + 1 if self._sent else 0, is_first)
        self._sent.append(sent)
        self._drop_what_nobody_looks_back_on()
        return sent

    def answered(self, sent: SentRequest, in_flight: int) -> str | None:
        """An answer came, while so many were in flight, itself among them.

        A round of them, well used and with no more than isolated failures, lets the limit grow; returns why it did.
        """
        sent.outcome = _ANSWERED
        if sent.epoch != self.epoch:
            return None
        self._answers += 1
        self._peak = max(self._peak, in_flight)
        return self._end_of_round() if self._answers >= self.limit else None

    def open(self, most: float) -> str | None:
        """End the start as far as `most` requests in flight, where something was answered and hardly anything failed.

        Returns why the limit is higher, if it is.
        """
        so_far = self._sent[-1].number + 1 if self._sent else 0
        if not self._may_open or self._errors > self.tolerated_fraction * so_far:
            return None
        before, opened = self.limit, min(float(self.ceiling), most)
        if opened > self.size:
            self._opened_from = self._opened_from or self.size
            self.size = opened
            self._has_grown = True
            self._answers = self._errors = self._peak = 0
        return "the first answers came without trouble" if self.limit > before else None

    def overloaded(self, sent: SentRequest, kind: str) -> str | None:
        """A request was turned away or timed out; returns why the limit is lower, if it is."""
        sent.outcome = kind
        self._errors += 1
        before = self.limit
        if sent.epoch == self.epoch:
            looked_at = self._before(sent, (*self._sent_before, *self._sent))
            self._see_first_ones(looked_at)
            fraction = _overloaded_fraction(looked_at)
            if not self._is_too_much(fraction, looked_at) or not self._begins_episode(fraction, looked_at):
                return None
        elif sent.epoch == self.epoch - 1 and self._sent_before:
            # More of the same episode tells better how deep the cut has to be.
            looked_at = self._before(sent, self._sent_before)
            self._see_first_ones(looked_at)
            self.episode_fraction = max(self.episode_fraction, _overloaded_fraction(looked_at))
        else:
            return None
        cut = min(self._deepest_cut, self.episode_fraction)
        least = min(1.0, self.size) if kind == "timeout" else SMALLEST
        self.size = max(least, min(self.size, self._cut_from * (1 - cut)))
        # That the limit was opened too far says nothing against growing as far as it had before: it doubles.
        self.slow_start_until = math.inf if self._opened_from else 0.0
        return None if self.limit == before else _in_words(looked_at)

    def errored(self, sent: SentRequest) -> None:
        """The provider failed otherwise: too many of these and the round doesn't count, but nothing is cut."""
        sent.outcome = _SAYS_NOTHING
        self._errors += 1

    def forget(self, sent: SentRequest) -> None:
        """A request was never sent, or says nothing of how much the provider takes."""
        if sent.outcome == _ON_ITS_WAY:
            sent.outcome = _SAYS_NOTHING

    def start_again(self, slow_start_until: float) -> None:
        """Begin with one request in flight, after nothing got through."""
        self.epoch += 1
        self.size = max(SMALLEST, min(1.0, slow_start_until))
        self.slow_start_until = slow_start_until
        self._has_grown = True
        self.first_fraction = 0.0
        self._sent_before = []
        self._opened_from, self._may_open = 0.0, False
        self._start_anew()

    @property
    def _deepest_cut(self) -> float:
        """By how much a cut lowers the limit at most; back to what had held where it was opened too far."""
        return (
            max(_DEEPEST_CUT, 1 - self._opened_from / self._cut_from) if self._opened_from else _DEEPEST_CUT
        )

    @property
    def _looked_at(self) -> int:
        return max(_FEWEST_LOOKED_AT, self.limit)

    def _before(self, sent: SentRequest, among: Iterable[SentRequest]) -> list[SentRequest]:
        """The request, those sent before it as far as is looked back, and the older ones that are still on their way."""
        first = (sent.epoch, sent.number - max(self._looked_at, math.floor(self._cut_from)))
        last = (sent.epoch, sent.number)
        return [
            other
            for other in among
            if (first < (other.epoch, other.number) or other.outcome == _ON_ITS_WAY)
            and (other.epoch, other.number) <= last
            and other.outcome != _SAYS_NOTHING
        ]

    def _see_first_ones(self, looked_at: list[SentRequest]) -> None:
        first_ones = [sent for sent in looked_at if sent.is_first]
        if len(first_ones) >= FEWEST_OVERLOADED:
            self.first_fraction = _overloaded_fraction(first_ones)

    def _drop_what_nobody_looks_back_on(self) -> None:
        """Keep all from the oldest that is on its way, and before it as many as are looked at."""
        while self._sent[self._over].outcome != _ON_ITS_WAY:
            self._over += 1
        while self._over > max(self._looked_at, math.floor(self._cut_from)):
            self._sent.popleft()
            self._over -= 1

    def _is_too_much(self, fraction: float, looked_at: list[SentRequest]) -> bool:
        enough = _FEWEST_LOOKED_AT if fraction >= _MOST else self._looked_at
        return fraction > self.tolerated_fraction and len(looked_at) >= enough

    def _begins_episode(self, fraction: float, looked_at: list[SentRequest]) -> bool:
        """Whether a cut is due; not where the last one has changed nothing, and what fails is anyone at random."""
        before, self.episode_fraction = self.episode_fraction, fraction
        self.epoch += 1
        if not self._may_open:
            self._opened_from = 0.0
        self._may_open = False
        hoped_for = 1 - (1 - before) / (1 - min(_DEEPEST_CUT, before))
        has_not_helped = not self._has_grown and fraction > hoped_for + _HELPLESS * (before - hoped_for)
        if (has_not_helped or 1 <= self.size <= _FEW) and _is_scattered(looked_at, fraction):
            self.tolerated_fraction = _TOLERANCE * max(fraction, min(_DEEPEST_CUT, before))
            self.size, self._sent_before, self._has_grown = max(self.size, self._cut_from), [], True
            self._start_anew()
            return False
        self.tolerated_fraction = ISOLATED_FRACTION
        self._cut_from, self._sent_before, self._has_grown = self.size, list(self._sent), False
        self._start_anew()
        return True

    def _end_of_round(self) -> str | None:
        isolated = self._errors <= self.tolerated_fraction * (self._answers + self._errors)
        well_used = self._peak >= _SATURATED * self.limit
        before, without = self.limit, not self._errors
        if isolated and well_used:
            slow = self.size < self.slow_start_until
            near = _NEAR * self._cut_from < self.size <= self._cut_from
            growth = _GROWTH_NEAR_A_CUT if near else _GROWTH
            grown = min(self.size * 2, self.slow_start_until) if slow else self.size * growth
            self.size = min(float(self.ceiling), grown)
            self._has_grown, self._opened_from = True, 0.0
        if isolated:
            self.first_fraction = 0.0
        self._answers = self._errors = self._peak = 0
        if self.limit == before:
            return None
        return f"all slots were busy and {'nothing' if without else 'hardly anything'} failed"

    def _start_anew(self) -> None:
        self._sent.clear()
        self._over = 0
        self._answers = self._errors = self._peak = 0


class FixedLimit(AdaptiveLimit):
    """A limit that is held whatever the provider answers."""

    is_fixed = True

    @classmethod
    def of(cls, limit: int) -> "FixedLimit":
        """So many requests in flight, no more and no fewer."""
        return cls(ceiling=limit, size=limit)

    def sent(self, *, is_first: bool = True) -> SentRequest:
        """Nothing is looked back on."""
        return SentRequest(self.epoch, 0, is_first)

    def answered(self, sent: SentRequest, in_flight: int) -> str | None:  # noqa: ARG002
        """Nothing grows."""
        return None

    def overloaded(self, sent: SentRequest, kind: str) -> str | None:  # noqa: ARG002
        """Nothing is cut."""
        return None


def _overloaded_fraction(looked_at: list[SentRequest]) -> float:
    """What part didn't get through; 0 where it is too few to tell."""
    overloaded = sum(sent.outcome in _IN_WORDS for sent in looked_at)
    return overloaded / len(looked_at) if overloaded >= FEWEST_OVERLOADED else 0.0


def _is_scattered(looked_at: list[SentRequest], fraction: float) -> bool:
    """Whether those that were turned away stand among the others as by chance.

    Where slots or an allowance are used up, they stand in a row. Time-outs tell nothing: they are of another time.
    """
    pairs = [pair for pair in pairwise(looked_at) if pair[0].outcome in _IN_WORDS]
    followed = sum(after.outcome not in _IN_WORDS for _, after in pairs)
    timed_out = any(sent.outcome == "timeout" for sent, _ in pairs)
    by_chance = (1 - fraction) * len(pairs)
    return not timed_out and fraction <= _DEEPEST_CUT and followed >= max(2.0, _SCATTERED * by_chance)


def _in_words(looked_at: list[SentRequest]) -> str:
    kinds = Counter(sent.outcome for sent in looked_at if sent.outcome in _IN_WORDS)
    named = [f"{count} × {_IN_WORDS[kind]}" for kind, count in kinds.most_common()]
    why = ", ".join(named) if len(kinds) > 1 else _IN_WORDS[next(iter(kinds))]
    return f"{kinds.total()} of the last {len(looked_at)} requests did not get through ({why})"
