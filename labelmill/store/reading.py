"""Reading files that may lie in a bucket: by a path of this machine, which stands for a place there.

A source in a bucket is a folder of this machine in which there is nothing: what is to be read of a file is asked of the bucket, the
columns that a plan needs by Polars' own reader, and a whole file into a copy that goes again.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from errno import EACCES, EIO, ENOENT
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import polars as pl

from labelmill.errors import reader_words, tells_of_a_store
from labelmill.job.model import Storage
from labelmill.store.address import StoreAddress
from labelmill.store.files import FileStamp, folder_for, follow, follower_of
from labelmill.store.objects import BucketStore, Entry, StoreError

ReadRange = Callable[[int, int], bytes]
"""Reads bytes: from where, and how many at most."""


class SourceError(StoreError):
    """A source in a bucket can't be read."""

    deed = "read"


@contextmanager
def source_errors(place: str) -> Iterator[None]:
    """Let what is raised where a source in a bucket is read be a SourceError, in our words. That there is no such object stays as it is.

    Args:
        place: what is read, for people.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except StoreError as error:
        raise SourceError(error.errno, error.strerror, error.filename) from None
    except (pl.exceptions.PolarsError, OSError) as error:
        if not tells_of_a_store(error):
            raise
        raise SourceError(EIO, reader_words(error), place) from None


class SourceFolder:
    """A source in a bucket, by a folder that stands for it. Nothing is ever written there. Threads may share it.

    Args:
        address: what the names of its files are relative to.
    """

    def __init__(self, address: StoreAddress) -> None:
        self.address = address
        self.store = BucketStore(address)
        self.folder = folder_for(address, "sources")
        self._entries: dict[str, Entry] = {}
        self._some: dict[str, Sequence[str]] = {}
        follow(self.folder, self)

    def list(self) -> list[Entry]:
        """What the bucket has there now, but for marks of folders.

        Raises:
            StoreError: the bucket can't be read.
        """
        found = [
            entry for entry in self.store.list() if entry.name and not entry.name.endswith(("/", "_$folder$"))
        ]
        # A mark of a folder comes back without its slash. What is empty is no Parquet, but may be what has become of one.
        folders = {parent for entry in found for parent in folders_around(entry.name)}
        found = [
            entry
            for entry in found
            if entry.size or (entry.name not in folders and entry.name.lower().endswith(".parquet"))
        ]
        self._entries = {entry.name: entry for entry in found}
        return found

    def only(self, name: str) -> bool:
        """Whether there is an object of this very name, which is not the mark of a folder."""
        entry = self.store.head(name)
        if entry is not None and not entry.size and self.some_below(f"{name}/", 1):
            return False
        if entry is not None:
            self._entries[name] = entry
        return entry is not None

    def some_below(self, prefix: str, most: int) -> Sequence[str]:
        """The first names that begin so, which are asked for once; none where that may not be looked for."""
        if prefix not in self._some:
            try:
                self._some[prefix] = [entry.name for entry in islice(self.store.list(prefix), most)]
            except OSError as error:
                if error.errno != EACCES:
                    raise
                self._some[prefix] = []
        return self._some[prefix]

    def begins(self, name: str, length: int) -> bytes:
        """The first bytes of an object."""
        return self.store.read_range(name, 0, length)

    def stamp(self, path: Path) -> FileStamp | None:
        """The stamp of a file as it was when it was last looked at: by a listing, or by a copy of it."""
        entry = self._entries.get(self._name(path))
        return entry.stamp if entry else None

    def stored_as(self, path: Path) -> StoreAddress:
        """Where a file is."""
        return self.address.child(self._name(path))

    def place(self, path: Path) -> str:
        """The same for people."""
        return str(self.stored_as(path))

    def copy(self, path: Path, target: Path) -> FileStamp | None:
        """Copy a file as it is now; returns its stamp, None where there is none any more.

        Raises:
            StoreError: the bucket can't be read.
        """
        name = self._name(path)
        with source_errors(self.place(path)):
            entry = self.store.fetch(name, target)
        if entry is None:
            self._entries.pop(name, None)
            return None
        self._entries[name] = entry
        return entry.stamp

    def size(self, path: Path) -> int:
        """The bytes of a file.

        Raises:
            FileNotFoundError: there is none.
        """
        entry = self._entries.get(self._name(path)) or self.store.head(self._name(path))
        if entry is None:
            raise FileNotFoundError(ENOENT, "there is no such object", self.place(path))
        return entry.size

    def read_range(self, path: Path, start: int, length: int) -> bytes:
        """Some bytes of a file."""
        with source_errors(self.place(path)):
            return self.store.read_range(self._name(path), start, length)

    def written(self, path: Path) -> None:
        """Nothing is written here.

        Raises:
            OSError: always.
        """
        raise OSError(ENOENT, "a source is read only", str(path))

    opened = removed = written

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


def folders_around(name: str) -> Iterator[str]:
    """The folders that a name lies in, the outermost first."""
    parts = name.split("/")
    return ("/".join(parts[:count]) for count in range(1, len(parts)))


_known: dict[StoreAddress, SourceFolder] = {}


def source_folder(url: str, storage: Storage | None) -> SourceFolder:
    """The folder that stands for a place in a bucket.

    Raises:
        AddressError: it is no address of a bucket that can be reached.
    """
    address = StoreAddress.of(url, storage)
    if address not in _known:
        _known[address] = SourceFolder(address)
    return _known[address]


def source_folder_of(path: Path) -> SourceFolder | None:
    """What stands for a bucket at a path; None where it is a path of this machine's own."""
    found = follower_of(path)
    return found if isinstance(found, SourceFolder) else None


def scan_parquet(path: Path) -> pl.LazyFrame:
    """The rows and columns of a Parquet file's own, in order, wherever it lies."""
    follower = follower_of(path)
    if follower is None or path.exists():
        return pl.scan_parquet(path, hive_partitioning=False, glob=False)
    address = follower.stored_as(path)
    return pl.scan_parquet(
        str(address), hive_partitioning=False, glob=False, storage_options=address.polars_options()
    )


def ranges_of(file: BinaryIO) -> tuple[int, ReadRange]:
    """An open file's size, and what reads some of its bytes."""
    return os.fstat(file.fileno()).st_size, lambda start, length: os.pread(file.fileno(), length, start)


@contextmanager
def range_reader(path: Path) -> Iterator[tuple[int, ReadRange]]:
    """The size of a file, and what reads some of its bytes, wherever it lies.

    Raises:
        OSError: it can't be read.
    """
    source = source_folder_of(path)
    if source is not None:
        yield source.size(path), lambda start, length: source.read_range(path, start, length)
        return
    with path.open("rb", buffering=0) as file:
        yield ranges_of(file)


@contextmanager
def at_hand(path: Path) -> Iterator[tuple[Path, FileStamp | None]]:
    """A file of this machine that is read in the place of one that may lie in a bucket; and, for a copy, the stamp of what was copied.

    Raises:
        OSError: it can't be read.
    """
    source = source_folder_of(path)
    if source is None:
        yield path, None
        return
    with tempfile.TemporaryDirectory(prefix="labelmill-") as scratch:
        copy = Path(scratch) / "copy.parquet"
        stamp = source.copy(path, copy)
        if stamp is None:
            raise FileNotFoundError(ENOENT, "there is no such object any more", source.place(path))
        yield copy, stamp
