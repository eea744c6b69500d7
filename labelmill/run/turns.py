"""Turns: chunks begin one after the other, each while the one before it still has texts to send."""

import threading


class Turns:
    """In which order the chunks of a run begin. Threads share it.

    The earliest begins first, and the next one once few of its texts are left: early enough that no slot stays empty, and so
    late that their requests go out in order. So many chunks send at most, since each has threads of its own.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._first: int | None = None
        self._sending: set[int] = set()
        self._waiting: set[int] = set()
        self._changed = threading.Condition()

    def begin(self, number: int) -> None:
        """Wait until a chunk may begin."""
        with self._changed:
            self._waiting.add(number)
            try:
                self._changed.wait_for(lambda: self._may_begin(number))
                self._first = number
                self._sending.add(number)
            finally:
                self._waiting.discard(number)
                self._changed.notify_all()

    def pass_on(self, number: int) -> None:
        """Let the next chunk begin: few texts of this one are left."""
        with self._changed:
            if self._first == number:
                self._first = None
                self._changed.notify_all()

    def end(self, number: int) -> None:
        """All texts of a chunk were asked; it may be said more than once."""
        self.pass_on(number)
        with self._changed:
            self._sending.discard(number)
            self._changed.notify_all()

    def _may_begin(self, number: int) -> bool:
        return self._first is None and len(self._sending) < self._most and number == min(self._waiting)
