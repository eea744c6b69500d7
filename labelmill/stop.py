"""Stopping a run: one signal that all of its parts see."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue

from labelmill.errors import RunStopped


class StopSignal:
    """Whether a run has stopped, and why. Set once; whoever waits is woken."""

    def __init__(self) -> None:
        self._stopped: RunStopped | None = None
        self._sleepers: set[SimpleQueue[None]] = set()

    @property
    def stopped(self) -> RunStopped | None:
        """Why the run has stopped; None while it goes on."""
        return self._stopped

    def stop(self, stopped: RunStopped) -> None:
        """Stop the run, and wake all who wait. What is in flight finishes; the first reason counts.

        Safe in a signal handler: it takes no lock, and `SimpleQueue.put` may interrupt even its own `get`.
        """
        self._stopped = self._stopped or stopped
        for sleeper in list(self._sleepers):
            sleeper.put(None)

    def raise_if_stopped(self) -> None:
        """Raise what the run was stopped with, if it was."""
        if self._stopped is not None:
            raise self._stopped

    @contextmanager
    def waking(self, sleeper: SimpleQueue[None]) -> Iterator[None]:
        """For the length of the block, wake who sleeps on a queue (`sleep_on`) when the run is stopped."""
        self._sleepers.add(sleeper)
        try:
            yield
        finally:
            self._sleepers.discard(sleeper)

    def wait_unless_stopped(self, seconds: float) -> None:
        """Sleep, but no longer than until the run is stopped."""
        sleeper: SimpleQueue[None] = SimpleQueue()
        with self.waking(sleeper):
            if self._stopped is None:
                sleep_on(sleeper, seconds)


def sleep_on(wake: SimpleQueue[None], seconds: float) -> None:
    """Sleep until something is put into a queue, but no longer than so many seconds, which may be infinite."""
    try:
        if seconds >= threading.TIMEOUT_MAX:
            wake.get()
        else:
            wake.get(timeout=max(0.0, seconds))
    except Empty:
        pass
