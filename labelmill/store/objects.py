"""Stores of objects: bytes under names, whole or not there. One interface, for a folder and for a bucket.

An object is created by the first alone, and swapped by whoever has seen what was there.
A lost reply looks like a defeat, and a 409 like a success: after each write that was refused, what is there is read, and it is
ours, absent, or another's. What is swapped must therefore be told apart from all that was there before: it holds a nonce.
"""

import errno
import fcntl
import hashlib
import json
import os
import random
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from uuid import uuid4

from labelmill.store.address import StoreAddress
from labelmill.store.files import FileStamp, temporaries_in, written_whole

_TRIES = 6
_FIRST_PAUSE_SECONDS = 0.1
_PART_BYTES = 8 * 2**20
_PARTS_AT_ONCE = 8
_SWAP_LOCK = ".swap.lock"
_STATUS = re.compile(r"status(?: code)?:? (\d{3})", re.IGNORECASE)
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_NO_BUCKET = "there is no such bucket"
_ABSENT = (errno.ENOENT, "there is no such object, or no such bucket")
_NO_PATH = re.compile(r"[Pp]ath (\"(?:[^\"\\\n]|\\.)*\")")
"""The key that the library can't list, in its words."""
_MOST_CHARACTERS = 200
_REFUSED = ("401", "403")
_KNOWN_KINDS = {
    "FileNotFoundError": _ABSENT,
    "NotFoundError": _ABSENT,
    "PermissionDeniedError": (errno.EACCES, "the store refuses access (403): these keys may not do that"),
    "UnauthenticatedError": (errno.EACCES, "the store does not accept these keys (401)"),
}
"""What the library raises by the name of its class: the number of the error, and what to say of it."""
_NO_KEYS = "no keys were found, neither in the environment nor in a profile nor as the machine's role"
_WAYS_TO_FAIL = {
    "kind: Timeout": "it did not answer in time",
    "timed out": "it did not answer in time",
    "Connection refused": "the connection was refused",
    "kind: Connect": "no connection could be made",
    "dns error": "its name could not be looked up",
    "certificate": "its certificate is not trusted",
}
"""What the library says of a request that got no answer, and what to say of it."""


class StoreError(OSError):
    """A store did not do what it was asked for; `strerror` says why in a clause, `filename` where."""

    deed = "written"
    """What can't be done, for a sentence."""


class AbsentError(StoreError, FileNotFoundError):
    """There is no such object, or no such bucket."""


class Held(NamedTuple):
    """What is under a name, and the token by which it is swapped."""

    content: bytes
    token: str


class Entry(NamedTuple):
    """An object as a listing tells of it. `tag` is what tells its content from any other's under the same name."""

    name: str
    size: int
    tag: str
    modified_at_utc: datetime

    @property
    def stamp(self) -> FileStamp:
        """The same in the form of a file's stamp."""
        return stamp_of_tag(self.tag, self.size)


def stamp_of_tag(tag: str, size: int) -> FileStamp:
    """An object in the form of a file's stamp. It changes as a whole, so that it has always settled."""
    return FileStamp(0, int(hashlib.sha256(tag.encode()).hexdigest()[:15], 16), size, 0, 0)


class Store(Protocol):
    """Objects by their names, which are relative, with `/` between their parts. Threads may share it.

    All methods raise a `StoreError` (an OSError) where the store can't be reached, or refuses what it is asked for.
    """

    @property
    def place(self) -> str:
        """Where it is, for people."""

    def read(self, name: str) -> Held | None:
        """What is under a name; None where there is nothing."""

    def head(self, name: str) -> Entry | None:
        """What there is to know of an object without reading it; None where there is none."""

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """Some bytes of an object.

        Raises:
            FileNotFoundError: there is none.
        """

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """All objects whose names begin so, in no order that means anything."""

    def put(self, name: str, content: bytes | Path) -> Entry:
        """Write an object, whatever is there. A file is written in parts where it is large."""

    def create(self, name: str, content: bytes) -> bool:
        """Write an object where there is none; returns whether what is there now is this content, ours or alike."""

    def swap(self, name: str, content: bytes, token: str | None) -> str | None:
        """Write an object where what a token tells of is still there (None: nothing is).

        Returns:
            the token of what was written; None where another's is there. That does not prove that ours never was: another may have
            swapped it for his before it was read back.
        """

    def fetch(self, name: str, target: Path) -> Entry | None:
        """Copy an object to a file, which is whole or not there; None where there is none."""

    def remove(self, name: str) -> None:
        """Take an object away, if there is one."""


def nonce() -> str:
    """What makes the content of an object that is swapped different from any other's."""
    return uuid4().hex


class FolderStore:
    """Objects in a folder: for those that share its file system. Tokens are hashes of contents, compared under a lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def place(self) -> str:
        """Where it is."""
        return str(self.folder)

    def read(self, name: str) -> Held | None:
        """What is under a name."""
        try:
            content = (self.folder / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Held(content, hashlib.sha256(content).hexdigest())

    def head(self, name: str) -> Entry | None:
        """What there is to know of an object."""
        path = self.folder / name
        try:
            return self._entry(path) if path.is_file() else None
        except FileNotFoundError:
            return None

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """Some bytes of an object."""
        with (self.folder / name).open("rb") as file:
            file.seek(start)
            return file.read(length)

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """All objects whose names begin so."""
        folder = self.folder / prefix.rpartition("/")[0]
        for root, _, names in os.walk(folder):
            passed_over = {*temporaries_in(Path(root)), self.folder / _SWAP_LOCK}
            for name in names:
                path = Path(root) / name
                if path in passed_over or not path.relative_to(self.folder).as_posix().startswith(prefix):
                    continue
                with suppress(FileNotFoundError):
                    yield self._entry(path)

    def put(self, name: str, content: bytes | Path) -> Entry:
        """Write an object, whatever is there."""
        path = self.folder / name
        with written_whole(path) as temporary:
            temporary.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
        return self._entry(path)

    def create(self, name: str, content: bytes) -> bool:
        """Write an object where there is none."""
        with self._alone():
            found = self.read(name)
            if found is None:
                self.put(name, content)
            return found is None or found.content == content

    def swap(self, name: str, content: bytes, token: str | None) -> str | None:
        """Write an object where what a token tells of is still there."""
        with self._alone():
            found = self.read(name)
            if (found.token if found else None) != token:
                return None
            self.put(name, content)
        return hashlib.sha256(content).hexdigest()

    def fetch(self, name: str, target: Path) -> Entry | None:
        """Copy an object to a file."""
        found = self.read(name)
        if found is None:
            return None
        with written_whole(target) as temporary:
            temporary.write_bytes(found.content)
        return self.head(name)

    def remove(self, name: str) -> None:
        """Take an object away."""
        (self.folder / name).unlink(missing_ok=True)

    def _entry(self, path: Path) -> Entry:
        found = path.stat()
        tag = f"{found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"
        modified = datetime.fromtimestamp(found.st_mtime, UTC)
        return Entry(path.relative_to(self.folder).as_posix(), found.st_size, tag, modified)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.folder / _SWAP_LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


@dataclass(frozen=True)
class Patience:
    """How long a store is waited for.

    Args:
        answer_seconds: for the answer to one request; what is large goes in parts.
        retries: times that a request is sent again where that is safe, and the store asks for it or does not answer.
        total_seconds: for all of them.
    """

    answer_seconds: float = 30.0
    retries: int = 4
    total_seconds: float = 60.0


class BucketStore:
    """Objects in S3, GCS or Azure, or in what speaks as they do, below an address.

    Args:
        address: what all names are relative to.
        patience: how long it is waited for.
    """

    def __init__(self, address: StoreAddress, patience: Patience | None = None) -> None:
        self.address = address
        self._patience = patience or Patience()

    @property
    def place(self) -> str:
        """Where it is."""
        return str(self.address)

    @cached_property
    def _library(self) -> Any:
        # An extra: a job on a local folder does without.
        return import_module("obstore")

    @cached_property
    def _store(self) -> Any:
        made = getattr(
            import_module("obstore.store"),
            {"s3": "S3Store", "gs": "GCSStore", "az": "AzureStore"}[self.address.scheme],
        )
        options = {
            "allow_http": self.address.allows_http,
            "timeout": f"{self._patience.answer_seconds * 1000:.0f}ms",
            "connect_timeout": f"{min(5.0, self._patience.answer_seconds) * 1000:.0f}ms",
        }
        retries = {
            "max_retries": self._patience.retries,
            "retry_timeout": timedelta(seconds=self._patience.total_seconds),
            "backoff": {
                "init_backoff": timedelta(seconds=_FIRST_PAUSE_SECONDS),
                "max_backoff": timedelta(seconds=5),
                "base": 2,
            },
        }
        try:
            return made(
                self.address.bucket,
                config=self.address.config(),
                client_options=options,
                retry_config=retries,
            )
        except Exception as error:  # noqa: BLE001  (of the library's kinds)
            raise self._error(error, self.place) from None

    def read(self, name: str) -> Held | None:
        """What is under a name."""
        try:
            with self._failing(name):
                found = self._library.get(self._store, self._key(name))
                content = bytes(found.bytes())
        except FileNotFoundError:
            return None
        return Held(content, _token_of(found.meta))

    def head(self, name: str) -> Entry | None:
        """What there is to know of an object."""
        try:
            with self._failing(name):
                return self._entry(self._library.head(self._store, self._key(name)))
        except FileNotFoundError:
            return None

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """Some bytes of an object."""
        if not length:
            return b""
        with self._failing(name):
            return bytes(self._library.get_range(self._store, self._key(name), start=start, length=length))

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """All objects whose names begin so."""
        # The library lists whole parts of names, and says nothing of an empty prefix's slash.
        whole = prefix.rpartition("/")[0]
        below = self._key(whole) if whole else self.address.key
        with self._failing(prefix):
            for found in self._library.list(self._store, prefix=f"{below}/" if below else None):
                for meta in found:
                    if below and not meta["path"].startswith(f"{below}/"):
                        continue  # a mark of the folder itself, without its slash
                    entry = self._entry(meta)
                    if entry.name.startswith(prefix):
                        yield entry

    def put(self, name: str, content: bytes | Path) -> Entry:
        """Write an object, whatever is there."""
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        with self._failing(name):
            done = self._library.put(
                self._store,
                self._key(name),
                content,
                use_multipart=size > _PART_BYTES,
                chunk_size=_PART_BYTES,
            )
        return Entry(name, size, _tag_of(done), datetime.now(UTC))

    def create(self, name: str, content: bytes) -> bool:
        """Write an object where there is none."""
        return self._write(name, content, None) is not None

    def swap(self, name: str, content: bytes, token: str | None) -> str | None:
        """Write an object where what a token tells of is still there."""
        return self._write(name, content, token)

    def fetch(self, name: str, target: Path) -> Entry | None:
        """Copy an object to a file, in parts where it is large; parts of one that is replaced meanwhile are never mixed."""
        for _ in range(_TRIES):
            entry = self.head(name)
            if entry is None:
                return None
            with suppress(FileNotFoundError), written_whole(target) as temporary:
                self._fetch_parts(name, entry.size, temporary)
                after = self.head(name)
                if after is not None and after.tag == entry.tag:
                    return entry
                raise FileNotFoundError(
                    errno.ENOENT, "it was replaced meanwhile", str(self.address.child(name))
                )
        raise StoreError(errno.EIO, "it kept changing while it was read", str(self.address.child(name)))

    def remove(self, name: str) -> None:
        """Take an object away."""
        with suppress(FileNotFoundError), self._failing(name):
            self._library.delete(self._store, self._key(name))

    def _fetch_parts(self, name: str, size: int, target: Path) -> None:
        with target.open("wb") as file, ThreadPoolExecutor(_PARTS_AT_ONCE) as pool:
            handle = file.fileno()

            def fetch(start: int) -> None:
                part = self.read_range(name, start, min(_PART_BYTES, size - start))
                written = 0
                while written < len(part):
                    written += os.pwrite(handle, part[written:], start + written)

            list(pool.map(fetch, range(0, size, _PART_BYTES)))

    def _write(self, name: str, content: bytes, token: str | None) -> str | None:
        """Write where a token holds; returns the new one, or None where another's object is there."""
        mode = "create" if token is None else json.loads(token)
        last: BaseException | None = None
        for attempt in range(_TRIES):
            try:
                done = self._library.put(
                    self._store, self._key(name), content, mode=mode, use_multipart=False
                )
                return _token_of(done)
            except Exception as error:  # noqa: BLE001  (whatever it is, what is there tells)
                last = error
                is_absent = isinstance(error, FileNotFoundError) and token is None
                if is_absent or _kind_of(error) in {"PermissionDeniedError", "UnauthenticatedError"}:
                    # Nothing can be created where there is no bucket.
                    break
            found = self.read(name)
            if found is not None:
                if found.content == content:
                    return found.token
                if found.token != token:
                    return None
            elif token is not None:
                # Someone has taken it away.
                return None
            time.sleep(_FIRST_PAUSE_SECONDS * 2**attempt * random.uniform(0.5, 1))
        raise self._error(last, str(self.address.child(name))) from None

    def _key(self, name: str) -> str:
        return f"{self.address.key}/{name}" if self.address.key else name

    def _entry(self, meta: Any) -> Entry:
        name = meta["path"].removeprefix(f"{self.address.key}/") if self.address.key else meta["path"]
        return Entry(name, int(meta["size"]), _tag_of(meta), meta["last_modified"])

    @contextmanager
    def _failing(self, name: str) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001  (of the library's kinds)
            raise self._error(error, str(self.address.child(name) if name else self.address)) from None

    def _error(self, error: BaseException | None, where: str) -> StoreError:
        """Our own words for what the library says, which holds addresses, bodies and a debug dump."""
        number, said = self._why(_kind_of(error), str(error))
        return (AbsentError if number == errno.ENOENT else StoreError)(number, said, where)

    def _why(self, kind: str, words: str) -> tuple[int, str]:
        code, status = _CODE.search(words), _STATUS.search(words)
        if kind == "InvalidPathError":
            named = _NO_PATH.search(words)
            key = f" {named[1][:_MOST_CHARACTERS]}" if named else ""
            why = "a part of it is empty, . or .., or has a control character in it"
            return errno.EINVAL, f"the key{key} there can be no file's: {why}; rename it or take it away"
        if (known := _KNOWN_KINDS.get(kind)) is not None:
            is_bucket = any(name in words for name in ("NoSuchBucket", "ContainerNotFound"))
            return (errno.ENOENT, _NO_BUCKET) if is_bucket else known
        if "/latest/" in words:
            return errno.EACCES, _NO_KEYS
        if code and code[1] == "NoSuchBucket":
            return errno.ENOENT, _NO_BUCKET
        if code or status:
            number = errno.EACCES if status and status[1] in _REFUSED else errno.EIO
            return number, f"the store answered {' '.join(found[1] for found in (status, code) if found)}"
        found = next((said for sign, said in _WAYS_TO_FAIL.items() if sign in words), None)
        host = f" at {self.address.endpoint}" if self.address.endpoint else ""
        return errno.EIO, f"the store{host} can't be reached: {found or kind}"


def _kind_of(error: BaseException | None) -> str:
    return type(error).__name__


def _token_of(told: Any) -> str:
    """What the store wants to be told where this is to be replaced: what it said, without what it did not say."""
    return json.dumps({name: told[name] for name in ("e_tag", "version") if told.get(name) is not None})


def _tag_of(told: Any) -> str:
    """Listings of Azure lack the quotes that all else has."""
    return str(told.get("e_tag") or told.get("version") or "").strip('"')


def broken_promise(store: Store) -> str | None:
    """Why a store can't be used: it ignores the conditions under which objects are written. None where it can.

    Found out on a fresh name: it is created twice, and swapped by a token that holds no more.

    Raises:
        OSError: the store can't be reached, or refuses to be written.
    """
    name = f".probe-{nonce()}"
    try:
        first = f"first {nonce()}".encode()
        if not store.create(name, first):
            return "it says that a new name was taken"
        if store.create(name, f"second {nonce()}".encode()):
            return "it lets an object be created that is there already"
        held = store.read(name)
        if held is None or held.content != first:
            return "it does not keep what it has taken"
        if store.swap(name, f"third {nonce()}".encode(), held.token) is None:
            return "it does not replace an object by the token that it gave"
        if store.swap(name, f"fourth {nonce()}".encode(), held.token) is not None:
            return "it replaces an object by a token that holds no more"
        return None
    finally:
        store.remove(name)
