"""The lock that lets one run of this machine at a time into an output folder. The kernel holds it: a dead process holds nothing."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class LockedError(Exception):
    """Another process holds the lock; `holder` is what it wrote about itself."""

    def __init__(self, holder: str) -> None:
        self.holder = holder
        super().__init__(holder)


@contextmanager
def locked(path: Path, holder: str) -> Iterator[int]:
    """Hold a lock file for the length of the block; yields its descriptor. A child that is handed it holds the lock too.

    Raises:
        LockedError: someone holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Between taking the lock and writing its name, a holder has none.
            raise LockedError(os.read(handle, 1000).decode(errors="replace") or "another process") from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, holder.encode(), 0)
        yield handle
    finally:
        os.close(handle)
