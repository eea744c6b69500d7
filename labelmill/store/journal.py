"""The journal: every request of a chunk before it is sent, and every attempt appended the moment it is known.

A killed process loses what the requests in flight were answered and no more: the kernel keeps what was written, and the
notes of those requests tell that they were sent. A journal is locked while its run lives, so that another run can tell it
from one that a dead run left.

Each line is JSON: a note (`sent`, a row key; `at_utc`; `worst_usd`, what it may cost at most) or an attempt, which closes
the latest note of its text. Zeros at the end are room that a living run has set aside, so that the answers to what it has
sent find place on a disk that others fill.
"""

import fcntl
import json
import os
import re
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from labelmill import __version__
from labelmill.question.attempts import Attempt, read_moment, storable_usd
from labelmill.store.files import follower_of, remove, rename
from labelmill.store.row_key import VERSION

LINE_BYTES = 8192
"""More than an attempt's line takes: a provider's words are cut to some hundred characters, of twelve bytes at most."""
_ROOM_BYTES = 65536
"""How much room is set aside at once: enough for a hundred lines, so that this costs next to nothing."""
_UNREAD = ".unread-"
_ROW_KEY = re.compile(re.escape(VERSION) + "[0-9a-f]{1,32}")
_JSON = json.JSONEncoder(separators=(",", ":"))
INTERRUPTED = "it was sent, and the process ended before an answer came"


@dataclass(frozen=True)
class Sent:
    """A request that was sent, or was about to be: `worst_usd` is what it may cost at most, None without a price."""

    row_key: str
    at_utc: datetime
    worst_usd: Decimal | None

    def to_line(self) -> bytes:
        """The note as a line of the journal. Every request waits for it, so that it is put together by hand."""
        worst = "" if self.worst_usd is None else f',"worst_usd":"{self.worst_usd}"'
        return (
            f'{{"sent":{_JSON.encode(self.row_key)},"at_utc":"{self.at_utc.isoformat()}"{worst}}}\n'.encode()
        )

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """Read a note's JSON.

        Raises:
            (KeyError, TypeError, ValueError, ArithmeticError): it is none.
        """
        return cls(values["sent"], read_moment(values["at_utc"]), storable_usd(values.get("worst_usd")))

    def interrupted(self) -> Attempt:
        """The attempt that it counts as where nothing is known of an answer."""
        return Attempt(
            self.row_key, self.at_utc, failure="interrupted", message=INTERRUPTED, unseen_usd=self.worst_usd
        )


class Entries:
    """What a journal holds, in its order: attempts, and the notes of requests that no attempt has closed."""

    def __init__(self) -> None:
        self.unread = 0
        self._entries: dict[int, Attempt | Sent] = {}
        self._open: dict[str, list[int]] = {}
        self._next = 0
        self.open = 0

    @classmethod
    def read(cls, content: bytes) -> Self:
        """What stands in a journal. `unread` counts whole lines that say nothing to this version; a torn one is dropped."""
        entries = cls()
        *whole, last = (line.strip(b"\0 \t\r") for line in content.split(b"\n"))
        for line in filter(None, whole):
            entry = _entry_of(line)
            entries.unread += entry is None
            if entry is not None:
                entries.add(entry)
        if (entry := _entry_of(last)) is not None:
            entries.add(entry)
        return entries

    def add(self, entry: Attempt | Sent) -> None:
        """Add a note, or an attempt, which closes the latest open note of its text."""
        if isinstance(entry, Sent):
            self._open.setdefault(entry.row_key, []).append(self._next)
            self.open += 1
        elif notes := self._open.get(entry.row_key):
            del self._entries[notes.pop()]
            self.open -= 1
        self._entries[self._next] = entry
        self._next += 1

    @property
    def attempts(self) -> list[Attempt]:
        """The attempts alone."""
        return [entry for entry in self._entries.values() if isinstance(entry, Attempt)]

    @property
    def settled(self) -> list[Attempt]:
        """All attempts once nobody waits for answers any more: what was sent and not heard of is one, `interrupted`."""
        return [entry.interrupted() if isinstance(entry, Sent) else entry for entry in self._entries.values()]


class Journal:
    """One chunk's attempts, in memory and on disk. Threads may share it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lock = threading.Lock()
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(self._handle, fcntl.LOCK_EX)
        content = path.read_bytes()
        self._entries = Entries.read(content)
        self._end = self._room_end = len(content)
        self._end_last_line(content)
        if (follower := follower_of(path)) is not None:
            follower.opened(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            os.ftruncate(self._handle, self._end)
        os.close(self._handle)
        if (follower := follower_of(self.path)) is not None and self.path.exists():
            follower.written(self.path)

    @property
    def attempts(self) -> list[Attempt]:
        """What was recorded, also what the disk had no place for."""
        return self._entries.attempts

    @property
    def settled(self) -> list[Attempt]:
        """What was recorded, and each request that was sent and never heard of as `interrupted`."""
        return self._entries.settled

    @property
    def unread_lines(self) -> int:
        """Whole lines that another version wrote and that say nothing to this one."""
        return self._entries.unread

    def note_sent(self, row_key: str, worst_usd: Decimal | None) -> None:
        """Note a request before it is sent, and set aside the room that its attempt will take.

        Raises:
            OSError: there is no room: the request must not be sent, since its answer could not be kept.
        """
        sent = Sent(row_key, datetime.now(UTC), storable_usd(worst_usd))
        line = sent.to_line()
        with self._lock:
            self._set_room_aside(len(line) + (self._entries.open + 1) * LINE_BYTES)
            self._write(line)
            self._entries.add(sent)

    def append(self, attempt: Attempt) -> None:
        """Write one attempt, which closes the note of its request; it survives the process once this returns.

        Raises:
            OSError: it could not be written whole (a full disk); the file is as before, and the attempt is kept in memory.
        """
        line = _JSON.encode(attempt.to_json()).encode() + b"\n"
        with self._lock:
            self._entries.add(attempt)
            self._write(line)

    def remove(self) -> None:
        """Take the journal away, once a ledger part holds what it held."""
        remove(self.path)

    def set_aside(self) -> Path:
        """Keep the journal under a name at which this version looks no more; another one will."""
        return rename(self.path, f"{self.path.name}{_UNREAD}{__version__}")

    def _write(self, line: bytes) -> None:
        written = 0
        try:
            while written < len(line):
                written += os.pwrite(self._handle, line[written:], self._end + written)
        except OSError:
            room = bytes(min(written, self._room_end - self._end))
            os.pwrite(self._handle, room, self._end)
            os.ftruncate(self._handle, self._room_end)
            raise
        self._end += len(line)
        self._room_end = max(self._room_end, self._end)

    def _set_room_aside(self, needed: int) -> None:
        """Fill the file with zeros beyond its end: what has its place on the disk can be written over on a full one."""
        missing = self._end + needed - self._room_end
        if missing <= 0:
            return
        if not self._fill(_ROOM_BYTES) or self._end + needed > self._room_end:
            # A disk that is all but full may still have what is needed now.
            self._fill(self._end + needed - self._room_end, must=True)

    def _fill(self, size: int, *, must: bool = False) -> bool:
        """Write so many zeros; returns whether there was place for them.

        Raises:
            OSError: there was none, and they `must` have it; the file is as before.
        """
        room, end, written = bytes(size), self._room_end, 0
        try:
            while written < size:
                written += os.pwrite(self._handle, room[written:], end + written)
        except OSError:
            os.ftruncate(self._handle, end)
            if must:
                raise
            return False
        self._room_end = end + size
        return True

    def _end_last_line(self, content: bytes) -> None:
        """Take away a dead run's room, and the torn line that a crash may leave, so that what comes next stands apart."""
        kept = content.rstrip(b"\0")
        torn = kept[kept.rfind(b"\n") + 1 :]
        if _entry_of(torn) is not None:
            os.ftruncate(self._handle, len(kept))
            self._end = self._room_end = len(kept)
            self._write(b"\n")
        elif len(kept) - len(torn) < len(content):
            self._end = self._room_end = len(kept) - len(torn)
            os.ftruncate(self._handle, self._end)


def read_attempts(path: Path) -> list[Attempt]:
    """Read the attempts of a journal; what was sent and not answered yet is none."""
    return Entries.read(path.read_bytes()).attempts


def read_settled(path: Path) -> list[Attempt]:
    """Read all that a journal tells was asked: of one that a dead run left, requests without an attempt count too."""
    was_left = is_abandoned(path)
    entries = Entries.read(path.read_bytes())
    return entries.settled if was_left else entries.attempts


def is_abandoned(path: Path) -> bool:
    """Whether no living process holds the journal."""
    with path.open("rb") as handle:
        try:
            # Shared: two that look at once don't take each other for its run.
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def bring_back(folder: Path) -> None:
    """Give the journals that another version set aside their names again: this one may be able to read them."""
    for aside in folder.glob(f"*.jsonl{_UNREAD}*"):
        name, version = aside.name.split(_UNREAD, 1)
        journal = aside.with_name(name)
        if version != __version__ and not journal.exists():
            rename(aside, journal.name)


def _entry_of(line: bytes) -> Attempt | Sent | None:
    """What a line says; None where that is nothing that this version knows."""
    try:
        values = json.loads(line)
        entry = (Sent if isinstance(values, dict) and "sent" in values else Attempt).from_json(values)
        # Of another key the ledger could make no digest.
        return entry if _ROW_KEY.fullmatch(entry.row_key) else None
    except (KeyError, TypeError, ValueError, ArithmeticError, RecursionError):
        return None
