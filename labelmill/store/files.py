"""Files that are whole or not there: written under a temporary name, synced, renamed."""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from polars.exceptions import PolarsError

from labelmill.store.address import StoreAddress

_PARQUET = b"PAR1"
_SYNCS_AT_ONCE = 32
_SECOND_NS = 1_000_000_000
_LONGEST_NAME = 100
"""Bytes. The shortest limit in use is 143, where names are encrypted."""
_SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)")


class FileStamp(NamedTuple):
    """What tells a file from the one that takes its place, and from what is written into it.

    `size` is in bytes; the times are in nanoseconds. The kernel sets `changed_ns` itself: no program can set it back.
    """

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    def is_older_than(self, moment_ns: int) -> bool:
        """Whether a file has stood as it is for so long before a moment that no later write can bear the same times."""
        latest = max(self.modified_ns, self.changed_ns)
        is_coarse = not (self.modified_ns % _SECOND_NS or self.changed_ns % _SECOND_NS)
        return latest < moment_ns - (2 * _SECOND_NS if is_coarse else _SECOND_NS // 20)


class Follower(Protocol):
    """Who keeps elsewhere what is written into a folder of this machine, as long as all is written by what stands here."""

    def written(self, path: Path) -> None:
        """A file was written whole.

        Raises:
            OSError: it can't be kept there.
        """

    def opened(self, path: Path) -> None:
        """A file was opened that grows, until it is written or taken away."""

    def removed(self, path: Path) -> None:
        """A file was taken away."""

    def stamp(self, path: Path) -> FileStamp | None:
        """The stamp of what is kept there alone; None where that is not so of the file."""

    def stored_as(self, path: Path) -> StoreAddress:
        """Where the bytes are that stand at a path."""

    def place(self, path: Path) -> str:
        """What the path stands for, for people."""


_followers: dict[Path, Follower] = {}


def follow(folder: Path, follower: Follower) -> None:
    """Let someone keep elsewhere what is written into a folder from now on."""
    _followers[folder] = follower


def follower_of(path: Path) -> Follower | None:
    """Who keeps elsewhere what stands at a path; None where nobody does."""
    return next((one for folder, one in _followers.items() if path.is_relative_to(folder)), None)


def place_of(path: Path) -> str:
    """Where something is, for people and for programs elsewhere: a URL, or an absolute path."""
    follower = follower_of(path)
    return str(path.absolute()) if follower is None else follower.place(path)


def shown_path(path: Path) -> str:
    """A path as it was told, in a sentence; a URL where it stands for something in a bucket."""
    follower = follower_of(path)
    return str(path) if follower is None else follower.place(path)


def folder_for(address: StoreAddress, kind: str) -> Path:
    """The folder of this machine that stands for a place in a store, where it keeps what can be had again."""
    told = os.environ.get("XDG_CACHE_HOME")
    try:
        cache = Path(told) if told else Path.home() / ".cache"
    except RuntimeError:  # no home, as in some containers
        cache = Path(tempfile.gettempdir())
    return (
        cache / "labelmill" / kind / hashlib.sha256(f"{address.endpoint} {address}".encode()).hexdigest()[:16]
    )


def is_there(path: Path) -> bool:
    """Whether there is a file, also one that is kept elsewhere alone. A link that leads nowhere is one."""
    follower = follower_of(path)
    return os.path.lexists(path) or (follower is not None and follower.stamp(path) is not None)


def remove(path: Path) -> None:
    """Take a file away, if there is one."""
    path.unlink(missing_ok=True)
    if (follower := follower_of(path)) is not None:
        follower.removed(path)


def rename(path: Path, name: str) -> Path:
    """Give a file another name in its folder."""
    renamed = path.rename(path.with_name(name))
    if (follower := follower_of(path)) is not None:
        follower.written(renamed)
        follower.removed(path)
    return renamed


def stamp_of(path: Path) -> FileStamp | None:
    """A file's stamp; None where there is no such file."""
    if (follower := follower_of(path)) is not None and (stamp := follower.stamp(path)) is not None:
        return stamp
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return FileStamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


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
    if (follower := follower_of(path)) is not None:
        follower.written(path)


class WholeFiles:
    """Files that are written under temporary names in a folder on the same file system, and put in place together."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._made = 0
        self._temporaries: dict[Path, Path] = {}

    def temporary_of(self, path: Path) -> Path:
        """Where to write what is to become `path`."""
        self._made += 1
        self._temporaries[path] = self._scratch / f".{self._made}.{os.getpid()}.tmp"
        return self._temporaries[path]

    def leave_out(self, path: Path) -> None:
        """Let `path` stay what it is."""
        self._temporaries.pop(path).unlink(missing_ok=True)

    def put_in_place(self) -> None:
        """Sync all of them to disk, at once rather than one by one, and give each its name."""
        with ThreadPoolExecutor(_SYNCS_AT_ONCE) as pool:
            list(pool.map(_sync, self._temporaries.values()))
        folders = {path.parent for path in self._temporaries}
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        for path, temporary in self._temporaries.items():
            temporary.replace(path)
        for folder in folders:
            _sync(folder)
        followed = [(follower, path) for path in self._temporaries if (follower := follower_of(path))]
        if followed:
            with ThreadPoolExecutor(_SYNCS_AT_ONCE) as pool:
                list(pool.map(lambda one: one[0].written(one[1]), followed))
        self._temporaries.clear()

    def drop(self) -> None:
        """Take away what was written and not put in place."""
        for path in list(self._temporaries):
            self.leave_out(path)


@contextmanager
def written_together(scratch: Path) -> Iterator[WholeFiles]:
    """Let some files be written and put in place together; when the block raises, none is.

    A file's sync takes milliseconds alone, and a fraction of that beside others.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    files = WholeFiles(scratch)
    try:
        with disk_errors():
            yield files
        files.put_in_place()
    finally:
        files.drop()


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
        return "it is not a Parquet file"
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
