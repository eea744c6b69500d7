"""Files that are whole or not there: written under a temporary name, synced, renamed."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from polars.exceptions import PolarsError

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
    temporary = (scratch / path.name if scratch else path).with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with disk_errors():
            yield temporary
        _sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)


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


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
