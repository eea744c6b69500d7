"""Files that are whole or not there: written under a temporary name, synced, renamed."""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from polars.exceptions import PolarsError

_PARQUET = b"PAR1"
_LONGEST_NAME = 100
"""Bytes. The shortest limit in use is 143, where names are encrypted."""
_SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)")


@contextmanager
def written_whole(path: Path, scratch: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path; when the block ends well it becomes `path`, synced to disk.

    Readers see the old file or the new one, never half of one. When the block raises, nothing changes. The temporary
    file stands beside `path`, or in the folder `scratch` on the same file system.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if scratch is not None:
        scratch.mkdir(parents=True, exist_ok=True)
    temporary = (scratch or path.parent) / f".{_short(path.name)}.{os.getpid()}.tmp"
    try:
        with disk_errors():
            yield temporary
        _sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)


def _short(name: str) -> str:
    """A name with room for more in it: what stands around a temporary name must fit where the file's own name does."""
    raw = os.fsencode(name)
    return name if len(raw) <= _LONGEST_NAME else hashlib.sha256(raw).hexdigest()


@contextmanager
def disk_errors() -> Iterator[None]:
    """Let what Polars raises of a full or broken disk be the OSError that it is."""
    try:
        yield
    except PolarsError as error:
        found = _SYSTEM_ERROR.search(str(error))
        if found is None:
            raise
        number = int(found[1])
        raise OSError(number, os.strerror(number)) from error


def write_text_whole(path: Path, text: str) -> None:
    """Write a small text file so that it is whole or not there. Lone surrogates become replacement marks."""
    with written_whole(path) as temporary:
        temporary.write_bytes(text.encode(errors="replace"))


def temporaries_in(folder: Path, name: str = ".+") -> list[Path]:
    """The temporary files that `written_whole` has left in a folder: those of files whose name the pattern `name` matches.

    They are those of killed processes, where nobody else writes there. What others call temporary is not among them.
    """
    ours = re.compile(rf"\.(?:{name})\.\d+\.tmp")
    return sorted(path for path in folder.glob(".*.tmp") if ours.fullmatch(path.name))


def fault_of_parquet(path: Path) -> str | None:
    """Why a file can't be a whole Parquet file, told by its ends; None where it may be one."""
    with path.open("rb") as handle:
        size = os.fstat(handle.fileno()).st_size
        if not size:
            return "it is empty"
        begin, end = os.pread(handle.fileno(), 4, 0), os.pread(handle.fileno(), 8, max(0, size - 8))
    if begin != _PARQUET:
        return "it is no Parquet file"
    footer_bytes = int.from_bytes(end[:4], "little")
    if end[4:] != _PARQUET or size < len(_PARQUET) + footer_bytes + len(end):
        return "it was cut off"
    return None


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
