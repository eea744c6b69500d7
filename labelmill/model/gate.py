"""The gate: the one place through which every request of a process goes."""

import heapq
import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from labelmill.errors import RunStopped


class Gate:
    """At most `limit` requests in flight; the earliest chunk's first; none once the run has stopped.

    Chunks in flight share it. Letting the earlier chunk go first, rather than taking turns, lets chunks end one after
    the other, so that while one waits for its slowest answer the next ones still have enough to fill the gate.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._free = limit
        self._lock = threading.Lock()
        self._queue: list[tuple[int, int, threading.Event]] = []
        self._arrival = itertools.count()
        self._stopped: RunStopped | None = None
        self._stop_signal = threading.Event()

    @contextmanager
    def admit(self, order: int) -> Iterator[None]:
        """Hold one of the places for the length of a request.

        Args:
            order: the lower goes first; a chunk's number.

        Raises:
            RunStopped: the run has stopped; nothing is sent.
        """
        self._enter(order)
        try:
            yield
        finally:
            self._leave()

    @property
    def stopped(self) -> RunStopped | None:
        """Why the run has stopped; None while it goes on."""
        return self._stopped

    def stop(self, stopped: RunStopped) -> None:
        """Let nothing more through. What is in flight finishes; the first reason counts."""
        with self._lock:
            self._stopped = self._stopped or stopped
            self._stop_signal.set()
            for _, _, turn in self._queue:
                turn.set()
            self._queue.clear()

    def wait_unless_stopped(self, seconds: float) -> None:
        """Sleep, but no longer than until the run is stopped."""
        self._stop_signal.wait(seconds)

    def _enter(self, order: int) -> None:
        turn = threading.Event()
        with self._lock:
            if self._stopped is None and self._free:
                self._free -= 1
                return
            if self._stopped is None:
                heapq.heappush(self._queue, (order, next(self._arrival), turn))
        if self._stopped is None:
            turn.wait()
        if self._stopped is not None:
            raise self._stopped

    def _leave(self) -> None:
        with self._lock:
            if self._queue:
                heapq.heappop(self._queue)[2].set()
            else:
                self._free += 1
