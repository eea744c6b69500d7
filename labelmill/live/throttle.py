"""The throttle: everything between a request and the provider that is about speed.

A queue, and the pace at which it moves: requests in flight, requests and tokens per minute, pauses. It sees every attempt
and every answer, since nothing below it retries.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from functools import partial

from labelmill.errors import RunStopped
from labelmill.job.model import Run
from labelmill.live.adaptive import AdaptiveLimit
from labelmill.live.limiter import NotYet, PriorityLimiter
from labelmill.live.outage import LONGEST_PROBE_SECONDS, PROBE_SECONDS
from labelmill.live.pace import TIMEOUT_SECONDS, Pace, Permit, Share
from labelmill.money.usage import Usage
from labelmill.question.failures import Failure
from labelmill.stop import StopSignal

log = logging.getLogger(__name__)


class Throttle:
    """One for all chunks of a run.

    Args:
        run: the job's own limits, and its patience.
        clock: seconds of a steady clock.
        stop_signal: the run's; it is set where nothing gets through beyond the job's patience.
        timeout_seconds: how long a request may take.
    """

    def __init__(
        self,
        run: Run,
        clock: Callable[[], float] = time.monotonic,
        stop_signal: StopSignal | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self.stop_signal = stop_signal or StopSignal()
        self._limiter = PriorityLimiter(self.stop_signal)
        self._clock = clock
        self._pace = Pace(run, clock(), timeout_seconds)
        self._lock = threading.Lock()

    def admit(
        self, order: int, text_bytes: int, max_tokens: int, *, has_failed: bool = False
    ) -> AbstractContextManager[Permit]:
        """Hold back a request until it may go, then hold its slot until the block ends.

        Args:
            order: the lower goes first; a chunk's number.
            text_bytes: the length of its messages in UTF-8.
            max_tokens: the longest answer, in tokens.
            has_failed: whether a request for the same text has failed before that counted against it. Such
                failures don't tell of an outage: where a few texts are left on which the provider breaks, it isn't out.

        Raises:
            RunStopped: the run has stopped; nothing is sent.
        """
        enter = partial(self._next_permit, text_bytes, max_tokens, has_failed=has_failed)
        return self._limiter.admit(order, enter, self._ended)

    def _next_permit(self, text_bytes: int, max_tokens: int, *, has_failed: bool) -> Permit | NotYet:
        with self._lock:
            return self._pace.next_permit(text_bytes, max_tokens, self._clock(), has_failed=has_failed)

    def _ended(self, permit: Permit) -> None:
        with self._lock:
            self._pace.ended(permit)

    def answered(self, permit: Permit, usage: Usage | None, headers: Mapping[str, str]) -> None:
        """Take account of an answer, whatever it says: something gets through."""
        with self._changing():
            self._pace.answered(permit, usage, headers, self._clock())

    def failed(self, permit: Permit, failure: Failure, headers: Mapping[str, str]) -> bool:
        """Take account of any other end of a request that was sent; returns whether it counts against its text.

        What says "too much" counts towards fewer requests in flight, other errors of the provider against more of them;
        a failure that is the text's own, or a refusal, says that the provider is there. Where nothing gets through beyond
        the job's patience, the run is stopped. A failure doesn't count against its text while nothing gets through, nor
        while most of the other texts are turned away as well.
        """
        with self._changing():
            return self._pace.failed(permit, failure, headers, self._clock())

    def use(self, limit: AdaptiveLimit) -> None:
        """Go on with another limit of concurrency. What was learned of the provider's pace stays."""
        with self._changing():
            self._pace.use(limit)

    def take(self, share: Share) -> None:
        """Go on with another share of the run's requests in flight and of its limits per minute."""
        with self._changing():
            self._pace.take(share, self._clock())

    @property
    def limit(self) -> int:
        """The most requests in flight as things stand."""
        return self._pace.limit.limit

    @property
    def is_out(self) -> bool:
        """Whether nothing gets through at this moment, and all is paused but for a probe every few seconds."""
        return self._pace.is_out

    def pause(self) -> str | None:
        """What to show while everything is paused: since when, and what for; None while all goes on."""
        with self._lock:
            now, outage, paused_until = self._clock(), self._pace.outage, self._pace.paused_until
        if outage.since is not None and now - outage.since >= PROBE_SECONDS:
            next_try = max(outage.next_probe_at, paused_until)
            soon = next_try - now <= LONGEST_PROBE_SECONDS
            when = "trying every few seconds" if soon else f"next try at {_time_of_day(next_try - now)}"
            return f"paused: nothing has got through since {_time_of_day(outage.since - now)}, {when}"
        if paused_until - now >= PROBE_SECONDS:
            return f"paused until {_time_of_day(paused_until - now)}, as the provider asks"
        return None

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with self._lock:
            yield
            lines, self._pace.lines = self._pace.lines, []
            ends_with = self._pace.outage.ends_with
        for level, line in lines:
            log.log(level, "%s", line)
        if ends_with:
            self.stop_signal.stop(RunStopped("failed", ends_with))
        self._limiter.takes_turns = self._pace.takes_turns
        self._limiter.recheck()


def _time_of_day(seconds_from_now: float) -> str:
    """The local time, as `14:05`."""
    return f"{datetime.now().astimezone() + timedelta(seconds=seconds_from_now):%H:%M}"
