"""The breaker: a run in which most requests fail is stopped before it has paid for all of them."""

import threading
from collections import Counter, deque

WINDOW = 100
"""Requests looked back on; fewer decide nothing, but for an endpoint that is not there."""
UNREACHED = 20
"""Requests without a single answer after which nobody seems to be there."""


class Breaker:
    """Watches the last `WINDOW` requests. Rate limits don't count: waiting mends them. Threads may share it."""

    def __init__(self, most_failed_fraction: float) -> None:
        self._most = most_failed_fraction * WINDOW
        self._failures: deque[str | None] = deque(maxlen=WINDOW)
        self._lock = threading.Lock()

    def add(self, failure: str | None) -> str | None:
        """Count a request by its failure's kind, None for a label; returns a sentence when it is time to stop."""
        if failure == "rate_limited":
            return None
        with self._lock:
            self._failures.append(failure)
            looked_at = list(self._failures)
        kinds = Counter(kind for kind in looked_at if kind is not None)
        if kinds["connection"] == len(looked_at) == UNREACHED:
            return f"nothing answers: {UNREACHED} requests could not connect, and none could"
        if len(looked_at) < WINDOW or kinds.total() <= self._most:
            return None
        named = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        return f"{kinds.total()} of the last {WINDOW} requests failed ({named}); the rest was not asked"
