"""The pace: when the next request may be sent, by all that has come of the others.

Decisions only: it is told the time and never waits, so that hours of it can be tried in a test.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from labelmill.job.model import Run
from labelmill.live.adaptive import AdaptiveLimit, SentRequest
from labelmill.live.limiter import NotYet
from labelmill.live.outage import LONGEST_PROBE_SECONDS, PROBE_SECONDS, Outage, duration
from labelmill.live.rate_limits import Bucket, RateHeaders, rate_headers_of
from labelmill.money.usage import Usage
from labelmill.question.failures import OVERLOAD_KINDS, Failure, Policy

FIRST_TOKENS_PER_BYTE = 0.4
"""Between English (about 0.25) and Chinese (about 0.35 to 0.6), until answers tell."""
_LEARNING_RATE = 0.05
_EPISODE_FRACTION = 0.5
"""From here on a wait that the provider asks one request for holds for all."""
_NEXT_TO_NOTHING = 2
_FEW = 20
"""Failures in a row beyond which it is an outage or the texts, and no longer most of the others."""
_LINES_PER_MINUTE = 1.0
_LINES_AT_ONCE = 5.0
_WORTH_A_LINE = 0.2
TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class Share:
    """A worker's part of a run's pace: requests in flight, and what fraction of each limit per minute."""

    max_concurrency: int
    fraction: float = 1.0

    @classmethod
    def among(cls, max_concurrency: int, workers: int) -> list[Self]:
        """The shares of several workers: all requests in flight, and no worker without one."""
        each, more = divmod(max_concurrency, workers)
        sizes = [each + (number < more) for number in range(workers)]
        return [cls(size, size / max_concurrency) for size in sizes]


@dataclass(eq=False, slots=True)
class Permit:
    """One request's leave to be sent.

    Its length in bytes, the tokens estimated for it, when it was sent and under which limit, and whether its text has
    failed before.
    """

    text_bytes: int
    estimate: float
    sent_at: float
    sent: SentRequest
    has_failed: bool


class Pace:
    """One for all chunks of a run. Times are seconds of any steady clock."""

    def __init__(self, run: Run, now: float, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._timeout_seconds = timeout_seconds
        self._began_at: float | None = None
        self._answers = 0
        self.limit = AdaptiveLimit.below(run.max_concurrency)
        self.outage = Outage(run.patience_minutes * 60)
        self.paused_until = -math.inf
        self.lines: list[tuple[int, str]] = []
        """What there is to tell people: log levels and sentences. Whoever tells it empties the list."""
        self._fraction = 1.0
        """What part of the limits per minute is this process's."""
        self._requests = Bucket.capped(run.max_requests_per_minute, now)
        self._tokens = Bucket.capped(run.max_tokens_per_minute, now)
        self._tokens_per_byte = FIRST_TOKENS_PER_BYTE
        self._in_flight: dict[Permit, None] = {}  # the oldest first
        self._probe: Permit | None = None
        self._first_epoch = 0
        self._recent = 0
        self._sent_at = -math.inf
        self._size_then = self.limit.size
        self._told_limit = self.limit.limit
        self._untold: str | None = None
        self._told_outage: float | None = None
        self._lines_left = Bucket(_LINES_PER_MINUTE, _LINES_AT_ONCE, _LINES_AT_ONCE, now)

    @property
    def is_out(self) -> bool:
        """Whether nothing gets through at this moment."""
        return self.outage.since is not None

    @property
    def takes_turns(self) -> bool:
        """Whether the next request should be of who has waited longest.

        Else one text that fails each time could be all that is sent while next to nothing is in flight.
        """
        return self.is_out or (self.limit.limit <= _NEXT_TO_NOTHING and not self.limit.is_fixed)

    def use(self, limit: AdaptiveLimit) -> None:
        """Go on with another limit of concurrency. What was learned of the provider's pace stays."""
        limit.epoch = self.limit.epoch + 1
        self.limit, self._size_then, self._told_limit = limit, limit.size, limit.limit
        self._untold, self.paused_until, self._told_outage = None, -math.inf, None
        self._began_at, self._answers = None, 0
        self.outage.got_through(-math.inf, len(self._in_flight))

    def take(self, share: Share, now: float) -> None:
        """Go on with another share of the run's limits."""
        factor, self._fraction = share.fraction / self._fraction, share.fraction
        self.limit.take(share.max_concurrency, factor)
        for bucket in (self._requests, self._tokens):
            bucket.scale(factor, now)

    def next_permit(
        self, text_bytes: int, max_tokens: int, now: float, *, has_failed: bool = False
    ) -> Permit | NotYet:
        """Let a request of such a length go, with so many tokens of answer at most, or say how long it has to wait."""
        wait = self._slot_wait(now)
        if math.isinf(wait):
            return NotYet(wait)
        estimate = text_bytes * self._tokens_per_byte + max_tokens
        wait = max(wait, self._requests.wait_for(1, now), self._tokens.wait_for(estimate, now))
        if wait > 0:
            return NotYet(wait)
        self._requests.take(1, now)
        self._tokens.take(estimate, now)
        permit = Permit(text_bytes, estimate, now, self.limit.sent(is_first=not has_failed), has_failed)
        self._in_flight[permit] = None
        self._recent += 1
        self._sent_at = now
        self._began_at = now if self._began_at is None else self._began_at
        if self.is_out:
            self._probe = permit
        return permit

    def _slot_wait(self, now: float) -> float:
        if self.is_out:
            return (
                math.inf
                if self._probe
                else max(0.0, self.outage.next_probe_at - now, self.paused_until - now)
            )
        # Those from before an outage may hang for as long as a request may take; they don't count as recent.
        if self._recent >= self.limit.limit or len(self._in_flight) >= self.limit.ceiling:
            return math.inf
        return max(0.0, max(self.paused_until, self._sent_at + self.limit.spacing_seconds) - now)

    def ended(self, permit: Permit) -> None:
        """A request is over, or was never sent. What came of it was told before."""
        del self._in_flight[permit]
        self.limit.forget(permit.sent)
        self._recent -= permit.sent.epoch >= self._first_epoch
        if self._probe is permit:
            self._probe = None

    def answered(self, permit: Permit, usage: Usage | None, headers: Mapping[str, str], now: float) -> None:
        """Take account of an answer: true up the estimate, learn the limits, let concurrency grow."""
        if usage is not None:
            self._tokens.take(usage.input_tokens + usage.output_tokens - permit.estimate, now)
            seen = usage.input_tokens / max(1, permit.text_bytes)
            self._tokens_per_byte += _LEARNING_RATE * (seen - self._tokens_per_byte)
        self._learn(rate_headers_of(headers).part(self._fraction), permit, now)
        self._got_through(permit, now)
        self._answers += 1
        reason = self.limit.answered(permit.sent, self._recent) or self.limit.open(self._safe_limit(now))
        self._size_then = self.limit.size
        self._tell_limit(reason, now)

    def _safe_limit(self, now: float) -> float:
        """So many in flight would be answered in time at the pace seen so far, though they queued behind one another.

        A server of one's own takes them all, and works on a few.
        """
        seconds = now - (now if self._began_at is None else self._began_at)
        return self._answers * self._timeout_seconds / seconds if seconds > 0 else math.inf

    def failed(self, permit: Permit, failure: Failure, headers: Mapping[str, str], now: float) -> bool:
        """Take account of a failed request that was sent, by what it says of how much the provider takes.

        Returns whether it counts against its text; not where nothing gets through, nor where most of the other texts
        are turned away as well.
        """
        announced = rate_headers_of(headers).part(self._fraction)
        self._learn(announced, permit, now)
        if failure.policy is not Policy.RETRY:
            self._got_through(permit, now)
            return True
        if self.limit.is_fixed:
            return True
        was_out = self.is_out
        is_overload = failure.kind in OVERLOAD_KINDS
        is_first = is_overload and not permit.has_failed
        # During an outage nothing is told of the limit; some texts time out each time, however few are in flight.
        if was_out:
            self.limit.forget(permit.sent)
        elif is_first or (is_overload and failure.kind != "timeout"):
            self._turned_away(permit, failure, announced, now)
        else:
            self.limit.errored(permit.sent)
        is_alls = (is_first and self.outage.goes_on_with(failure)) or (
            is_overload
            and self.limit.first_fraction >= _EPISODE_FRACTION
            and self.outage.in_a_row <= max(_FEW, 2 * self.limit.ceiling)
        )
        others = (other.sent_at for other in self._in_flight if other is not permit)
        is_probe, oldest = permit is self._probe, next(others, math.inf)
        if self.outage.failed(
            failure,
            sent_at=permit.sent_at,
            is_telling=is_first or is_alls,
            is_probe=is_probe,
            in_flight=len(self._in_flight) - 1,
            oldest_sent_at=oldest,
            now=now,
        ):
            self._pause(failure)
        self._tell_outage(now)
        return not (was_out or self.is_out or is_alls)

    def _turned_away(self, permit: Permit, failure: Failure, announced: RateHeaders, now: float) -> None:
        """Cut the limit if need be, and let all wait if most are turned away."""
        self._untold = self.limit.overloaded(permit.sent, failure.kind) or self._untold
        if self.limit.first_fraction >= _EPISODE_FRACTION:
            if failure.kind == "rate_limited" and not (announced.requests and announced.requests.remaining):
                self._requests.empty(now)
            wait = failure.retry_after_seconds or 0.0
            if wait <= self.outage.patience_seconds:
                self.paused_until = max(self.paused_until, now + wait)

    def _pause(self, failure: Failure) -> None:
        # A server that is gone says nothing of how much it takes once it is back.
        is_gone = failure.kind == "connection"
        held = self._size_then if is_gone else max(self.limit.size, self._size_then / 2)
        if held < self.limit.slow_start_until:
            held = min(self.limit.slow_start_until, self.limit.ceiling)
        if self.outage.goes_on_with(failure):
            held /= 2
        self.limit.start_again(max(1.0, held) if is_gone else held)
        self._first_epoch, self._recent, self._untold = self.limit.epoch, 0, None

    def _got_through(self, permit: Permit, now: float) -> None:
        if (
            self.outage.got_through(permit.sent_at, len(self._in_flight) - 1)
            and self._told_outage is not None
        ):
            lasted = duration(now - self._told_outage)
            self.lines.append((logging.INFO, f"The provider answers again after {lasted}; going on"))
            self._told_outage = None

    def _learn(self, announced: RateHeaders, permit: Permit, now: float) -> None:
        """Take over what is announced. It may not know of what is in flight; all of the rest, where nothing else is."""
        knows_all = len(self._in_flight) == 1 and permit.sent_at == self._sent_at
        if announced.requests:
            self._requests.learn(announced.requests, len(self._in_flight), now, knows_all=knows_all)
        if announced.tokens:
            outstanding = sum(other.estimate for other in self._in_flight)
            self._tokens.learn(announced.tokens, outstanding, now, knows_all=knows_all)

    def _tell_limit(self, grown: str | None, now: float) -> None:
        """Tell of a limit that is higher or lower by a fifth than was told; lower only once something gets through."""
        before, limit = self._told_limit, self.limit.limit
        reason = grown if limit > before else self._untold
        if reason and abs(limit - before) >= _WORTH_A_LINE * before and self._may_tell(now):
            told = (
                f"{'Raised' if limit > before else 'Lowered'} concurrency from {before} to {limit}: {reason}"
            )
            self.lines.append((logging.INFO, told))
            self._told_limit = limit
            self._untold = None

    def _tell_outage(self, now: float) -> None:
        """Tell of an outage once it has lasted beyond a probe, or is going to."""
        outage = self.outage
        if outage.since is None or outage.last is None or outage.ends_with or self._told_outage is not None:
            return
        wait = max(outage.next_probe_at, self.paused_until) - now
        if (outage.failed_probes or wait > PROBE_SECONDS) and self._may_tell(now):
            when = f"in {duration(wait)}" if wait > LONGEST_PROBE_SECONDS else "every few seconds"
            told = (
                f"Nothing gets through ({outage.last.message}); paused, trying again {when}, "
                f"for up to {duration(outage.patience_seconds)}"
            )
            self.lines.append((logging.WARNING, told))
            self._told_outage = outage.since

    def _may_tell(self, now: float) -> bool:
        """Whether there is room for another line: a night of them helps nobody."""
        if self._lines_left.wait_for(1, now) > 0:
            return False
        self._lines_left.take(1, now)
        return True
