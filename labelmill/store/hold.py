"""The hold on an output in a bucket: one run at a time, by an object that says who, with a fence and a heartbeat.

No two machines' clocks are compared: a hold has expired once its object has stayed the same for `ttl_seconds` by the clock of
whoever waits for it. A holder that can't renew it in two thirds of that time takes itself for dead. Whoever takes over gets a
larger fence. That alone keeps no sleeper from publishing: what is published is swapped under the fence (`store/working.py`).

In a folder the kernel's lock is the hold (`store/lock.py`): a dead process holds nothing there.
"""

import errno
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelmill.store.lock import LockedError
from labelmill.store.objects import Held, Store, StoreError, nonce

log = logging.getLogger(__name__)

NAME = ".hold.json"
TTL_SECONDS = 30.0
_BEATS = 6
"""Heartbeats within a `ttl_seconds`."""


class HoldLost(OSError):  # noqa: N818  (the name is the sentence)
    """Another run has taken over, or the hold could not be renewed in time: nothing more may be written."""


@dataclass(frozen=True)
class _Owner:
    """Who holds: in words, and the process, told so that it can be looked for where it runs.

    Args:
        words: for people.
        kernel: the boot of the kernel, and the namespace of process numbers, that the process is one of.
        pid: its number there.
        started: when it began, in the kernel's ticks.
    """

    words: str
    kernel: str
    pid: int
    started: str

    @classmethod
    def me(cls, words: str) -> "_Owner":
        return cls(f"{words} on {socket.gethostname()}", _kernel(), os.getpid(), _started(os.getpid()))

    @property
    def is_dead(self) -> bool:
        """Whether the process is known to be dead; one that runs elsewhere is not."""
        return bool(self.kernel) and self.kernel == _kernel() and _started(self.pid) != self.started


class Hold:
    """One run's hold on an output. Threads share it.

    Args:
        store: the output.
        fence: larger than that of anyone who has held it before.
    """

    def __init__(self, store: Store, fence: int, owner: _Owner, token: str, ttl_seconds: float) -> None:
        self.fence = fence
        self._store = store
        self._owner = owner
        self._token = token
        self._ttl_seconds = ttl_seconds
        self._renewed = time.monotonic()
        self._taken_by: str | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="labelmill-hold", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> str | None:
        """Why it is lost, in a sentence; None while it is held."""
        if self._taken_by is not None:
            return f"{self._taken_by} has taken over {self._store.place}"
        if time.monotonic() - self._renewed > self._ttl_seconds * 2 / 3:
            return (
                f"the hold on {self._store.place} could not be renewed for {self._ttl_seconds * 2 / 3:.0f} s"
            )
        return None

    def check(self) -> None:
        """See that it is still held, before something is written.

        Raises:
            HoldLost: it isn't.
        """
        if (why := self.lost) is not None:
            raise HoldLost(0, why, self._store.place)

    def release(self) -> None:
        """Let it go, so that the next run need not wait."""
        self._ended.set()
        self._thread.join()
        if self.lost is None:
            with suppress(OSError):
                self._store.swap(NAME, _content(self.fence, None, self._ttl_seconds), self._token)

    def _beat(self) -> None:
        while not self._ended.wait(self._ttl_seconds / _BEATS):
            if self._taken_by is not None:
                return
            begun = time.monotonic()
            try:
                token = self._store.swap(
                    NAME, _content(self.fence, self._owner, self._ttl_seconds), self._token
                )
                if token is None:
                    found = self._store.read(NAME)
                    values = _values_of(found)
                    if found is None or (values.get("fence"), _owner_of(values)) != (self.fence, self._owner):
                        self._taken_by = (_words_of(found) if found else None) or "another run"
                        return
                    # A heartbeat of our own of which nothing was heard.
                    self._token = found.token
                    continue
            except OSError as error:
                log.warning("The hold on %s was not renewed: %s", self._store.place, error.strerror or error)
                continue
            # From before the request: the object is not younger than that.
            self._token, self._renewed = token, begun


@contextmanager
def held(store: Store, holder: str, ttl_seconds: float = TTL_SECONDS) -> Iterator[Hold]:
    """Hold an output for the length of the block. A dead run's hold is taken over once it has not beaten for its whole time.

    Args:
        store: the output, through a store that does not wait long for answers.
        holder: who, for people.
        ttl_seconds: how long a hold outlives its last heartbeat.

    Raises:
        LockedError: a run that lives holds it.
        StoreError: the store can't be reached, or refuses.
    """
    hold = _taken(store, _Owner.me(holder), ttl_seconds)
    try:
        yield hold
    finally:
        hold.release()


def _taken(store: Store, owner: _Owner, ttl_seconds: float) -> Hold:
    seen: str | None = None
    since = time.monotonic()
    while True:
        found = store.read(NAME)
        values = _values_of(found)
        other = _owner_of(values)
        waited = time.monotonic() - since
        if found is not None and other is not None and not other.is_dead:
            if seen is not None and found.token != seen:
                raise LockedError(other.words)
            if seen is None:
                log.info("%s holds %s; waiting for a sign of life", other.words, store.place)
                seen, since, waited = found.token, time.monotonic(), 0.0
            if waited < float(values.get("ttl_seconds") or ttl_seconds):
                time.sleep(min(ttl_seconds / _BEATS, 1.0))
                continue
        fence = int(values.get("fence") or 0) + 1
        token = store.swap(NAME, _content(fence, owner, ttl_seconds), found.token if found else None)
        if token is not None:
            return Hold(store, fence, owner, token, ttl_seconds)
        # Another was faster: it lives.
        winner = store.read(NAME)
        raise LockedError((_words_of(winner) if winner else None) or "another run")


def _content(fence: int, owner: _Owner | None, ttl_seconds: float) -> bytes:
    told = {
        "fence": fence,
        "owner": vars(owner) if owner else None,
        "ttl_seconds": ttl_seconds,
        "nonce": nonce(),
    }
    return json.dumps(told).encode()


def _values_of(found: Held | None) -> dict[str, Any]:
    """What a hold says; nothing where there is none.

    Raises:
        StoreError: it is none that this version knows: somebody may hold it in a way that can't be told.
    """
    if found is None:
        return {}
    try:
        values = json.loads(found.content)
        owner = values["owner"]
        if owner is not None:
            _Owner(**owner)
        told = {**values, "fence": int(values["fence"]), "ttl_seconds": float(values["ttl_seconds"])}
    except (ValueError, TypeError, KeyError):
        told = {}
    if told.keys() != {"fence", "owner", "ttl_seconds", "nonce"}:
        said = f"{NAME} is none that this version of Labelmill knows; take it away if no run writes there"
        raise StoreError(errno.EEXIST, said, NAME)
    return told


def _owner_of(values: dict[str, Any]) -> _Owner | None:
    told = values.get("owner")
    return None if told is None else _Owner(**told)


def _words_of(found: Held) -> str | None:
    owner = _owner_of(_values_of(found))
    return owner.words if owner else None


def _kernel() -> str:
    """Tells this kernel, since its start, and this namespace of process numbers from any other; empty where that can't be told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process began, in ticks since the kernel's start; empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
