"""The gate: the one queue in which every request of a process waits, and where a run is stopped."""

import heapq
import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from labelmill.errors import RunStopped

T = TypeVar("T")

_SOONER_SECONDS = 0.001
"""Whoever is first is woken to look again where its time comes sooner than it thought by more than this."""


@dataclass(frozen=True)
class Wait:
    """Not yet: seconds after which to ask again. Infinite: when something has changed."""

    seconds: float


@dataclass(order=True, slots=True)
class _Turn(Generic[T]):
    """One request in the queue; its thread sleeps on `wake`."""

    order: int
    arrival: int
    enter: Callable[[], T | Wait] = field(compare=False)
    wake: SimpleQueue[None] = field(compare=False, default_factory=SimpleQueue)
    granted: T | None = field(compare=False, default=None)
    looks_at: float = field(compare=False, default=math.inf)


class PriorityLimiter:
    """The earliest chunk's request first; none once the run has stopped.

    When the first in the queue may go is not the gate's to say: it asks, and asks again when its time has come or
    something has changed. Chunks in flight share the gate. Letting the earlier chunk go first, rather than taking turns,
    lets chunks end one after the other, so that while one waits for its slowest answer the next ones still have enough
    to keep every slot busy.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: list[_Turn[Any]] = []
        self._arrival = itertools.count()
        self._stopped: RunStopped | None = None
        self._sleepers: list[SimpleQueue[None]] = []
        self.takes_turns = False
        """Whether who has waited longest goes first instead, so that no one text is tried again and again."""

    @contextmanager
    def admit(self, order: int, enter: Callable[[], T | Wait], leave: Callable[[T], None]) -> Iterator[T]:
        """Wait for one's turn, then hold what it grants for the length of the block.

        Args:
            order: the lower goes first; a chunk's number.
            enter: asked on behalf of whoever is first, by any thread: what lets it go, or how long to wait.
            leave: takes back what was granted.

        Raises:
            RunStopped: the run has stopped; nothing is sent.
        """
        turn = _Turn(order, next(self._arrival), enter)
        with self._lock:
            heapq.heappush(self._queue, turn)
            self._let_in()
        try:
            yield self._granted(turn)
        finally:
            with self._lock:
                if turn.granted is None:
                    self._take_out(turn)
                else:
                    leave(turn.granted)
                self._let_in()

    def look_again(self) -> None:
        """Something has changed: let in whoever may go now."""
        with self._lock:
            self._let_in()

    @property
    def stopped(self) -> RunStopped | None:
        """Why the run has stopped; None while it goes on."""
        return self._stopped

    def stop(self, stopped: RunStopped) -> None:
        """Let nothing more through, and wake all who wait. What is in flight finishes; the first reason counts.

        Safe in a signal handler: it takes no lock, and `SimpleQueue.put` may interrupt even its own `get`.
        """
        self._stopped = self._stopped or stopped
        for turn in list(self._queue):
            turn.wake.put(None)
        for sleeper in list(self._sleepers):
            sleeper.put(None)

    def raise_if_stopped(self) -> None:
        """Raise what the run was stopped with, if it was."""
        if self._stopped is not None:
            raise self._stopped

    def wait_unless_stopped(self, seconds: float) -> None:
        """Sleep, but no longer than until the run is stopped."""
        sleeper: SimpleQueue[None] = SimpleQueue()
        self._sleepers.append(sleeper)
        try:
            if self._stopped is None:
                _sleep(sleeper, seconds)
        finally:
            self._sleepers.remove(sleeper)

    def _granted(self, turn: _Turn[T]) -> T:
        """What the turn is granted, once it is; the thread whose turn is first keeps the time for it."""
        while True:
            self.raise_if_stopped()
            if turn.granted is not None:
                return turn.granted
            _sleep(turn.wake, turn.looks_at - time.monotonic())
            with self._lock:
                if turn.granted is None and turn.looks_at <= time.monotonic():
                    turn.looks_at = math.inf
                self._let_in()

    def _take_out(self, turn: _Turn[Any]) -> None:
        if turn is self._queue[0]:
            heapq.heappop(self._queue)
        else:
            self._queue.remove(turn)
            heapq.heapify(self._queue)

    def _let_in(self) -> None:
        while self._queue and self._stopped is None:
            first = min(self._queue, key=_arrival) if self.takes_turns else self._queue[0]
            granted = first.enter()
            if isinstance(granted, Wait):
                looks_at = time.monotonic() + granted.seconds
                sooner = looks_at < first.looks_at - _SOONER_SECONDS
                first.looks_at = min(first.looks_at, looks_at)
                if sooner:
                    first.wake.put(None)
                return
            first.granted = granted
            self._take_out(first)
            first.wake.put(None)


def _arrival(turn: _Turn[Any]) -> int:
    return turn.arrival


def _sleep(wake: SimpleQueue[None], seconds: float) -> None:
    try:
        if seconds >= threading.TIMEOUT_MAX:
            wake.get()
        else:
            wake.get(timeout=max(0.0, seconds))
    except Empty:
        pass
