"""The journal: every attempt of a chunk, appended the moment it is known.

A killed process loses the requests in flight and no more: the kernel keeps what was written. A journal is locked while
its run lives, so that another run can tell it from one that a dead run left.
"""

import fcntl
import json
import os
import threading
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Self

from labelmill.store.attempts import Attempt


class Journal:
    """One chunk's attempts, in memory and on disk. Threads may share it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lock = threading.Lock()
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        fcntl.flock(self._handle, fcntl.LOCK_EX)
        self.attempts = read_attempts(path)
        self._end_torn_line()
        self._size = os.fstat(self._handle).st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._handle)

    def append(self, attempt: Attempt) -> None:
        """Write one attempt; it survives the process once this returns.

        Raises:
            OSError: it could not be written whole (a full disk); the journal is as before.
        """
        line = json.dumps(attempt.to_json(), ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            written = 0
            try:
                while written < len(line):
                    written += os.write(self._handle, line[written:])
            except OSError:
                os.ftruncate(self._handle, self._size)
                raise
            self._size += len(line)
            self.attempts.append(attempt)

    def note_sent(self, row_key: str, worst_usd: Decimal | None) -> None:
        """Note that a request goes out."""

    def _end_torn_line(self) -> None:
        """Keep what a crash left half-written apart from what comes next."""
        content = self.path.read_bytes()
        if content and not content.endswith(b"\n"):
            os.write(self._handle, b"\n")

    def remove(self) -> None:
        """Take the journal away, once a ledger part holds what it held."""
        self.path.unlink(missing_ok=True)


def read_attempts(path: Path) -> list[Attempt]:
    """Read a journal's whole lines; a torn one, as a crash may leave at the end, is dropped."""
    attempts = []
    for line in path.read_bytes().split(b"\n"):
        try:
            attempts.append(Attempt.from_json(json.loads(line)))
        except (KeyError, TypeError, ValueError, ArithmeticError, RecursionError):
            continue
    return attempts


def is_abandoned(path: Path) -> bool:
    """Whether no living process holds the journal."""
    with path.open("rb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
