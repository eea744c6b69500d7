"""Progress: what a run has done so far, counted as answers arrive."""

import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from decimal import Decimal


@dataclass(frozen=True)
class BatchSeen:
    """A batch that is out, as the provider last spoke of it. `status` is in words; `done` of its `texts` are finished."""

    name: str
    status: str
    done: int
    texts: int


@dataclass(frozen=True)
class Snapshot:
    """A run's progress at one moment. `texts` is None until the plan is known; `batches` are those that are out.

    `pause` says why nothing is sent at this moment, and until when; None while requests go out.
    """

    phase: str = "starting"
    texts: int | None = None
    done: int = 0
    labeled: int = 0
    failed: int = 0
    cost_usd: Decimal | None = Decimal(0)
    started_at: float | None = field(default=None)
    batches: tuple[BatchSeen, ...] = ()
    pause: str | None = None

    @property
    def seconds(self) -> float:
        """Seconds since the first text was asked."""
        return 0.0 if self.started_at is None else time.monotonic() - self.started_at

    @property
    def texts_per_second(self) -> float:
        """The mean rate since the first text was asked."""
        return self.done / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """The time left at the mean rate; None while there is none."""
        rate = self.texts_per_second
        return (self.texts - self.done) / rate if self.texts is not None and rate else None


viewer: ContextVar[Callable[["Progress"], None] | None] = ContextVar("viewer", default=None)
"""Who wants to see the runs that are begun in this context, such as a terminal; handed the progress of each."""


class Progress:
    """A run's progress, shared by its threads and whoever shows it.

    Args:
        pause: says why nothing is sent, as the throttle does.
    """

    def __init__(self, pause: Callable[[], str | None] = lambda: None) -> None:
        self._pause = pause
        self._lock = threading.Lock()
        self._now = Snapshot()
        self.elsewhere: Callable[[], str | None] = lambda: None
        """Says why nothing is sent, where others than this process send."""
        self.told_at = 0.0
        """When a log last had a line of it, in monotonic seconds: whoever shows it in lines too need not say the same."""

    def now(self) -> Snapshot:
        """Where the run stands."""
        return replace(self._now, pause=self._pause() or self.elsewhere())

    def enter(self, phase: str, texts: int | None = None) -> None:
        """Begin a phase; the one that asks says how many texts there are."""
        with self._lock:
            started = time.monotonic() if texts is not None else self._now.started_at
            known = self._now.texts if texts is None else texts
            self._now = replace(self._now, phase=phase, texts=known, started_at=started)

    def reopen(self, texts: int) -> None:
        """Go on with texts that had failed."""
        with self._lock:
            now = self._now
            again = min(texts, now.failed)
            self._now = replace(now, phase="asking again", done=now.done - again, failed=now.failed - again)

    def go_on(self, phase: str, more_texts: int) -> None:
        """Begin a phase that adds texts to those that are done or out, or is the first to know of any."""
        with self._lock:
            now = self._now
            started = now.started_at if now.started_at is not None else time.monotonic()
            self._now = replace(now, phase=phase, texts=now.done + more_texts, started_at=started)

    def show_batches(self, phase: str, batches: tuple[BatchSeen, ...]) -> None:
        """Say which batches are out, and how far they are."""
        with self._lock:
            self._now = replace(self._now, phase=phase, batches=batches)

    def add(self, *, labeled: int = 0, failed: int = 0) -> None:
        """Count texts that are done."""
        with self._lock:
            now = self._now
            self._now = replace(
                now,
                done=now.done + labeled + failed,
                labeled=now.labeled + labeled,
                failed=now.failed + failed,
            )

    def pay(self, cost_usd: Decimal | None) -> None:
        """Count the cost of an answer; one unknown cost makes the sum unknown."""
        with self._lock:
            total = self._now.cost_usd
            self._now = replace(
                self._now, cost_usd=None if total is None or cost_usd is None else total + cost_usd
            )
