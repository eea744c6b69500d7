"""The limiter: the one queue in which every request of a run waits."""

import heapq
import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from labelmill.stop import StopSignal, sleep_on

T = TypeVar("T")

_SOONER_SECONDS = 0.001
"""Whoever is first is woken to ask again where its time comes sooner than it thought by more than this."""


@dataclass(frozen=True)
class NotYet:
    """Not yet: seconds after which to ask again. Infinite: when something has changed."""

    seconds: float


@dataclass(order=True, slots=True)
class _Turn(Generic[T]):
    """One request in the queue; its thread sleeps on `wake`."""

    order: int
    arrival: int
    enter: Callable[[], T | NotYet] = field(compare=False)
    wake: SimpleQueue[None] = field(compare=False, default_factory=SimpleQueue)
    granted: T | None = field(compare=False, default=None)
    asks_at: float = field(compare=False, default=math.inf)


class PriorityLimiter:
    """The earliest chunk's request first; none once the run has stopped.

    When the first in the queue may go is not the limiter's to say: it asks, and asks again when its time has come or
    something has changed. Chunks in flight share the queue. Letting the earlier chunk go first, rather than taking turns,
    lets chunks end one after the other, so that while one waits for its slowest answer the next ones still have enough
    to keep every slot busy.
    """

    def __init__(self, stop_signal: StopSignal | None = None) -> None:
        self.stop_signal = stop_signal or StopSignal()
        self._lock = threading.Lock()
        self._queue: list[_Turn[Any]] = []
        self._arrival = itertools.count()
        self.takes_turns = False
        """Whether who has waited longest goes first instead, so that no one text is tried again and again."""

    @contextmanager
    def admit(self, order: int, enter: Callable[[], T | NotYet], leave: Callable[[T], None]) -> Iterator[T]:
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
            with self.stop_signal.waking(turn.wake):
                granted = self._granted(turn)
            yield granted
        finally:
            with self._lock:
                if turn.granted is None:
                    self._take_out(turn)
                else:
                    leave(turn.granted)
                self._let_in()

    def recheck(self) -> None:
        """Something has changed: let in whoever may go now."""
        with self._lock:
            self._let_in()

    def _granted(self, turn: _Turn[T]) -> T:
        """What the turn is granted, once it is; the thread whose turn is first keeps the time for it."""
        while True:
            self.stop_signal.raise_if_stopped()
            if turn.granted is not None:
                return turn.granted
            sleep_on(turn.wake, turn.asks_at - time.monotonic())
            with self._lock:
                if turn.granted is None and turn.asks_at <= time.monotonic():
                    turn.asks_at = math.inf
                self._let_in()

    def _take_out(self, turn: _Turn[Any]) -> None:
        if turn is self._queue[0]:
            heapq.heappop(self._queue)
        else:
            self._queue.remove(turn)
            heapq.heapify(self._queue)

    def _let_in(self) -> None:
        while self._queue and self.stop_signal.stopped is None:
            first = min(self._queue, key=_arrival) if self.takes_turns else self._queue[0]
            granted = first.enter()
            if isinstance(granted, NotYet):
                asks_at = time.monotonic() + granted.seconds
                sooner = asks_at < first.asks_at - _SOONER_SECONDS
                first.asks_at = min(first.asks_at, asks_at)
                if sooner:
                    first.wake.put(None)
                return
            first.granted = granted
            self._take_out(first)
            first.wake.put(None)


def _arrival(turn: _Turn[Any]) -> int:
    return turn.arrival
