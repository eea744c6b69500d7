"""Outages: nothing gets through, so everything pauses, and one request at a time finds out whether it does again."""

import math
from dataclasses import dataclass

from labelmill.question.failures import OVERLOAD_KINDS, Failure

FEWEST_FAILURES = 3
"""In a row, with nothing answered in between; more where more requests were in flight."""
PROBE_SECONDS = 2.0
LONGEST_PROBE_SECONDS = 15.0
_PROBE_GROWTH = 1.5
_BACK_FOR_GOOD = 4
"""Requests that come back after an outage; before, fewer failures tell that it goes on."""
_FEWEST_FAILURES_AGAIN = 2


@dataclass
class Outage:
    """Whether anything gets through, and when the next request finds out. Times are seconds of any steady clock.

    Nothing gets through where, since something last did, as many requests failed as were in flight then, and none is
    left that was sent before the first of them failed: a server that takes four at once and turns the others away is not
    out. Where all of them found no connection that last part isn't waited for: what is left then hangs.

    At least three of the failures have to be telling, or else a few texts on which the provider breaks would look like an
    outage once they alone are left: of a text that hasn't failed before, sent after all that got through.
    """

    patience_seconds: float
    since: float | None = None
    """When the first of the requests failed that tell of it; None while something gets through."""
    next_probe_at: float = math.inf
    last: Failure | None = None
    """The last failure: what the provider says."""
    ends_with: str | None = None
    """Why the run ends, once patience is over; None before."""
    failed_probes: int = 0
    _ends_at: float = math.inf
    _probe_seconds: float = PROBE_SECONDS
    _came_back: int = _BACK_FOR_GOOD
    _newest_through: float = -math.inf
    in_a_row: int = 0
    """Failures since something last got through."""
    _telling: int = 0
    _first_failed_at: float = math.inf
    _only_connections: bool = True
    _in_flight_then: int = 0

    def got_through(self, sent_at: float, in_flight: int) -> bool:
        """The provider has spoken to a request as such, whatever it said; returns whether that ends an outage.

        `in_flight` counts the others that are on their way.
        """
        was_out, self.since = self.since is not None, None
        self._newest_through = max(self._newest_through, sent_at)
        self.in_a_row = self._telling = 0
        self._only_connections, self._in_flight_then = True, in_flight
        self.failed_probes = 0
        self._came_back = 1 if was_out else self._came_back + 1
        if self._came_back >= _BACK_FOR_GOOD:
            self._probe_seconds = PROBE_SECONDS
        return was_out

    def failed(  # noqa: PLR0913  (all that a failure is judged by)
        self,
        failure: Failure,
        *,
        sent_at: float,
        is_telling: bool,
        is_probe: bool,
        in_flight: int,
        oldest_sent_at: float,
        now: float,
    ) -> bool:
        """The provider has failed; returns whether that begins an outage.

        `is_telling` says that it is not put down to the text. `in_flight` counts the others that are on their way, and
        `oldest_sent_at` is when the oldest of them was sent; infinite without any.
        """
        if self.since is not None:
            self.last = failure
            self._probe_again(failure, now, is_probe=is_probe)
            return False
        if failure.kind not in OVERLOAD_KINDS:
            return False
        self.last = failure
        fewest = _FEWEST_FAILURES_AGAIN if self.goes_on_with(failure) else FEWEST_FAILURES
        self._came_back += 1
        if self.in_a_row == 0:
            self._first_failed_at = now
        self.in_a_row += 1
        self._telling += is_telling and sent_at > self._newest_through
        self._only_connections &= failure.kind == "connection"
        if self._telling < fewest or self.in_a_row + in_flight < self._in_flight_then:
            return False
        if not self._only_connections and oldest_sent_at < self._first_failed_at:
            return False
        self.since, self._ends_at = self._first_failed_at, now + self.patience_seconds
        self.next_probe_at = min(now + self._probe_seconds, self._ends_at)
        self._ask_patience(failure, now)
        return True

    def goes_on_with(self, failure: Failure) -> bool:
        """Whether a request was turned away so soon after an outage that the outage isn't over."""
        return self._came_back < _BACK_FOR_GOOD and failure.kind in {"rate_limited", "overloaded"}

    def _probe_again(self, failure: Failure, now: float, *, is_probe: bool) -> None:
        if is_probe:
            self.failed_probes += 1
            self._probe_seconds = min(LONGEST_PROBE_SECONDS, self._probe_seconds * _PROBE_GROWTH)
            self.next_probe_at = min(now + self._probe_seconds, max(now, self._ends_at))
        self._ask_patience(failure, now)

    def _ask_patience(self, failure: Failure, now: float) -> None:
        """Wait as long as the provider asks for, but not beyond patience."""
        wait = failure.retry_after_seconds or 0.0
        if wait > self.patience_seconds:
            self.ends_with = (
                f"nothing gets through, and the provider asks to wait {duration(wait)}, longer than "
                f"run.patience_minutes allows ({duration(self.patience_seconds)}): {failure.message}"
            )
        elif now >= self._ends_at:
            self.ends_with = (
                f"nothing got through for {duration(now - (self.since or now))}; {last_words(failure)}"
            )
        else:
            self.next_probe_at = max(self.next_probe_at, min(now + wait, self._ends_at))


def last_words(failure: Failure) -> str:
    """What is known of why nothing gets through."""
    speaks = failure.kind not in {"timeout", "connection"}
    source = "the provider's last words" if speaks else "the last request"
    return f"{source}: {failure.message}"


def duration(seconds: float) -> str:
    """A duration for people: `45 s`, `10 min`, `23 h`."""
    for unit, name in ((3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"
