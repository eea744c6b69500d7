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
        self._in_use = 0
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
        turn = threading.Event()
        with self._lock:
            heapq.heappush(self._queue, (order, next(self._arrival), turn))
            self._let_in()
        try:
            turn.wait()
            self.raise_if_stopped()
            yield
        finally:
            with self._lock:
                self._leave(turn)

    def resize(self, limit: int) -> None:
        """Change how many may be in flight. Those that are finish; a smaller limit fills up again from below."""
        with self._lock:
            self.limit = limit
            self._let_in()

    @property
    def stopped(self) -> RunStopped | None:
        """Why the run has stopped; None while it goes on."""
        return self._stopped

    def stop(self, stopped: RunStopped) -> None:
        """Let nothing more through. What is in flight finishes; the first reason counts.

        Safe in a signal handler: it takes no lock that the interrupted thread may hold.
        """
        self._stopped = self._stopped or stopped
        self._stop_signal.set()

    def raise_if_stopped(self) -> None:
        """Raise what the run was stopped with, if it was."""
        if self._stopped is not None:
            raise self._stopped

    def wait_unless_stopped(self, seconds: float) -> None:
        """Sleep, but no longer than until the run is stopped."""
        self._stop_signal.wait(seconds)

    def _leave(self, turn: threading.Event) -> None:
        if turn.is_set():
            self._in_use -= 1
            self._let_in()
        else:  # interrupted while waiting
            self._queue = [waiting for waiting in self._queue if waiting[2] is not turn]
            heapq.heapify(self._queue)

    def _let_in(self) -> None:
        while self._queue and self._in_use < self.limit:
            self._in_use += 1
            heapq.heappop(self._queue)[2].set()
