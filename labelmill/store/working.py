"""The working folder of an output in a bucket: a folder of this machine in which a run works as in any, written through.

What is written whole into it is in the bucket before whoever writes goes on, and what is taken away is taken away there. A journal
is written to the bucket every few seconds while it is open: what the death of a machine costs beyond the requests in flight is what
was answered since (`FLUSH_SECONDS`). The bucket is the truth. The folder is brought up to it before anything is read, and may vanish
with its machine.

Labeled files are kept in the bucket alone, each under the run that has written it, and `_manifest.json` says which of them count. It is
swapped last, under the fence of the run's hold: whoever takes over puts its own fence into it first, so that a run that wakes up
late can publish nothing. What a manifest names stays for a day after the next one does not, for those who are reading.
"""

import json
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from errno import EEXIST, EIO
from pathlib import Path
from typing import Any, NamedTuple

from labelmill.job.model import Output
from labelmill.store.address import StoreAddress, is_url
from labelmill.store.files import FileStamp, folder_for, follow, follower_of, stamp_of
from labelmill.store.hold import NAME as HOLD
from labelmill.store.hold import Hold, HoldLost, held
from labelmill.store.lock import LockedError, locked
from labelmill.store.objects import (
    BucketStore,
    Entry,
    FolderStore,
    Patience,
    Store,
    StoreError,
    nonce,
    stamp_of_tag,
)
from labelmill.store.parts import are_holding, name_of_journal_part, parts_in

log = logging.getLogger(__name__)

FLUSH_SECONDS = 3.0
"""How often an open journal is written to the bucket."""
KEPT_SECONDS = 86_400.0
"""How long labeled files outlive the manifest that named them, by the store's own clock."""
MANIFEST = "_manifest.json"
"""The file beside `labeled/` that says what is there."""
MERGE_STATE = "_merge_state.json"
"""The file beside `labeled/` that says what each file there was made from."""
_LABELED = "labeled"
_AT_HAND = ("ledger/", "batches/", "runs/")
_NEEDED_OF_RUNS = ("run.json", "compare.json", "preview.json")
_LISTED = "failed/"
_ROOTS = ("", "practice/")
_LARGE_BYTES = 64 * 2**20
_AT_ONCE = 16
_MEMORY = ".objects.json"
_HASTE = Patience(answer_seconds=5.0, retries=1, total_seconds=9.0)
"""Of the hold: a heartbeat that waits longer than it may be old is none."""


class _Published(NamedTuple):
    """A labeled file as the bucket has it: its object, by its name below the output, and what tells it from any other."""

    stored_as: str
    tag: str
    size: int


class WorkingFolder:
    """A folder of this machine that is written through to a bucket. Threads share it.

    Args:
        address: the output.
        folder: where it is worked on; by its address, so that it is the same in each process of this machine.
    """

    def __init__(self, address: StoreAddress, folder: Path) -> None:
        self.address = address
        self.folder = folder
        self.store: Store = BucketStore(address)
        self._hold: Hold | None = None
        self._version = ""
        self.on_lost: Callable[[str], object] = _ignored
        """Told, maybe more than once, why a run's hold is lost; nothing can be written from then on."""
        self._lock = threading.RLock()
        self._listed: dict[str, Entry] = {}
        self._published: dict[str, _Published] = {}
        self._manifests: dict[str, tuple[str | None, dict[str, Any]]] = {}
        self._journals: dict[Path, bytes] = {}
        self._ended = threading.Event()
        self._flusher: threading.Thread | None = None

    def written(self, path: Path) -> None:
        """Keep a file that was written whole.

        Raises:
            HoldLost: another run has taken over.
            StoreError: the bucket can't be written, or holds what another run has written there.
        """
        name = self._name(path)
        if name is None:
            return
        if self._hold is not None:
            self._hold.check()
        if path.suffix == ".jsonl":
            with self._lock:
                self._journals.pop(path, None)
            self.store.put(name, path.read_bytes().rstrip(b"\0"))
        elif path.name == MANIFEST:
            self._publish(name, path)
        elif _is_labeled(name):
            root, _, relative = name.partition(f"{_LABELED}/")
            stored_as = f"{root}{_LABELED}/{self._version}/{relative}"
            entry = self.store.put(stored_as, path)
            with self._lock:
                self._published[name] = _Published(stored_as, entry.tag, entry.size)
            path.unlink()
        elif _is_created(name) and path.stat().st_size <= _LARGE_BYTES:
            if not self.store.create(name, path.read_bytes()):
                raise StoreError(EEXIST, "another run has written it", str(self.address.child(name)))
        else:
            entry = self.store.put(name, path)
            with self._lock:
                self._listed[name] = entry

    def removed(self, path: Path) -> None:
        """Take away what is kept of a file. What a manifest names goes when it is named no more, and a manifest stays."""
        name = self._name(path)
        if name is None or path.name == MANIFEST:
            return
        with self._lock:
            self._published.pop(name, None)
            self._listed.pop(name, None)
            self._journals.pop(path, None)
        if not _is_labeled(name):
            self.store.remove(name)

    def stamp(self, path: Path) -> FileStamp | None:
        """The stamp of a labeled file."""
        name = self._name(path)
        found = self._published.get(name) if name else None
        return None if found is None else stamp_of_tag(found.tag, found.size)

    def stored_as(self, path: Path) -> StoreAddress:
        """Where the bucket has what stands at a path."""
        name = self._name(path) or path.relative_to(self.folder).as_posix()
        found = self._published.get(name)
        return self.address.child(found.stored_as if found else name)

    def place(self, path: Path) -> str:
        """Where something is below the output's address."""
        return str(
            self.address
            if path == self.folder
            else self.address.child(path.relative_to(self.folder).as_posix())
        )

    def names(self, folder: Path) -> list[str]:
        """The names of what a folder has in the bucket and this machine need not have."""
        prefix = f"{folder.relative_to(self.folder).as_posix()}/"
        return [name.removeprefix(prefix) for name in list(self._listed) if name.startswith(prefix)]

    def bring(self, path: Path) -> None:
        """Have a file at hand that may be in the bucket alone."""
        name = self._name(path)
        if name is not None and not path.exists():
            found = self._published.get(name)
            self.store.fetch(found.stored_as if found else name, path)

    def opened(self, path: Path) -> None:
        """Write a journal to the bucket now and then, until it is closed or taken away."""
        with self._lock:
            self._journals[path] = b""
            self._start_flushing()

    def flush(self) -> None:
        """Write what has come to open journals.

        Raises:
            OSError: the bucket can't be written.
        """
        for path in tuple(self._journals):
            with suppress(FileNotFoundError):
                content = path.read_bytes().rstrip(b"\0")
                if content != self._journals.get(path, content) and (name := self._name(path)):
                    self.store.put(name, content)
                    with self._lock:
                        if path in self._journals:
                            self._journals[path] = content
                            continue
                    # It was taken away meanwhile.
                    self.store.remove(name)

    @contextmanager
    def held(self, holder: str, version: str) -> Iterator[None]:
        """Hold the output for a run for the length of the block, and begin it where the bucket is.

        To be called under this machine's lock on the folder.

        Args:
            holder: who, for people.
            version: the run's name, under which labeled files are written.

        Raises:
            LockedError: another run holds it, on whatever machine.
            StoreError: the bucket can't be reached, or refuses.
        """
        with ExitStack() as stack:
            hold = stack.enter_context(held(BucketStore(self.address, _HASTE), holder))
            self._hold, self._version, self.on_lost = hold, version, _ignored
            try:
                self.pull()
                self._fence()
                self._remove_texts()
                with self._lock:
                    self._start_flushing()
                yield
                self._remember()
            finally:
                self._ended.set()
                if self._flusher is not None:
                    self._flusher.join()
                    self._flusher = None
                self._ended.clear()
                self._hold = None
                self._journals.clear()

    def is_new(self) -> bool:
        """Whether no run has ever held it.

        Raises:
            StoreError: the bucket can't be reached, or refuses.
        """
        return self.store.read(HOLD) is None

    def pull(self) -> None:
        """Bring the folder up to what the bucket has. To be called under this machine's lock on the folder.

        Raises:
            StoreError: the bucket can't be reached, or refuses.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        entries = {entry.name: entry for prefix in (*_AT_HAND, _LISTED) for entry in self.store.list(prefix)}
        known = self._remembered()
        self._take_away(entries)
        wanted = [entry for name, entry in entries.items() if _is_needed(name) and self._is_new(entry, known)]
        tops = [f"{root}{name}" for root in _ROOTS for name in (MANIFEST, MERGE_STATE)]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda entry: self.store.fetch(entry.name, self.folder / entry.name), wanted))
            found = dict(zip(tops, pool.map(self.store.read, tops), strict=True))
        with self._lock:
            self._listed = dict(entries)
            self._published, self._manifests = {}, {}
        for name, held_now in found.items():
            path = self.folder / name
            if held_now is None:
                path.unlink(missing_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.read_bytes() != held_now.content:
                _write(path, held_now.content)
            if path.name == MANIFEST:
                self._read_manifest(name, held_now.content, held_now.token)
        self._drop_folded_journals(entries)
        self._remember()

    def pull_if_idle(self) -> None:
        """Bring the folder up to what the bucket has, unless a run of this machine works in it, which knows best.

        Raises:
            StoreError: the bucket can't be reached, or refuses.
        """
        with suppress(LockedError), locked(self.folder / ".lock", f"process {os.getpid()}"):
            self.pull()

    def _start_flushing(self) -> None:
        if self._flusher is None:
            self._flusher = threading.Thread(target=self._flush_on, name="labelmill-flush", daemon=True)
            self._flusher.start()

    def _flush_on(self) -> None:
        while not self._ended.wait(FLUSH_SECONDS):
            hold = self._hold
            if hold is not None and (why := hold.lost) is not None:
                self.on_lost(why)
                continue
            try:
                self.flush()
            except OSError as error:
                log.warning("What was answered lately is on this machine alone: %s", error.strerror or error)

    def _publish(self, name: str, path: Path) -> None:
        """Swap a manifest for a new one, and let go what neither names."""
        root = name.removesuffix(MANIFEST)
        token, before = self._manifests.get(name, (None, {}))
        values = json.loads(path.read_bytes())
        for file in values["files"]:
            found = self._published.get(f"{root}{_LABELED}/{file['path']}")
            if found is None:
                raise StoreError(
                    EIO, f"{file['path']!r} is in no version of it", str(self.address.child(name))
                )
            file |= {"stored_as": found.stored_as.removeprefix(root), "tag": found.tag}
        self._swap(name, values, token)
        self._let_go(root, [before, values])

    def _swap(self, name: str, values: dict[str, Any], token: str | None) -> None:
        fence = self._hold.fence if self._hold is not None else 0
        values = {**values, "fence": fence, "nonce": nonce()}
        content = (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()
        written = self.store.swap(name, content, token)
        if written is None:
            raise HoldLost(EIO, "another run has published meanwhile", str(self.address.child(name)))
        self._manifests[name] = (written, values)
        _write(self.folder / name, content)

    def _fence(self) -> None:
        """Let no run that held the output before publish any more."""
        for root in _ROOTS:
            name = f"{root}{MANIFEST}"
            if not root or name in self._manifests:
                token, values = self._manifests.get(name, (None, {"files": []}))
                self._swap(name, values, token)

    def _remove_texts(self) -> None:
        """Take away what dead runs had laid out for their machines: it holds texts."""
        for name in list(self._listed):
            parts = name.split("/")
            if parts[0] == "runs" and any(part.startswith("pending") for part in parts[2:]):
                self.store.remove(name)
                self._listed.pop(name, None)

    def _let_go(self, root: str, manifests: Iterable[dict[str, Any]]) -> None:
        """Take away the labeled files that no manifest has named for a while. What can't be taken away now is by the next run."""
        named = {f"{root}{file.get('stored_as')}" for values in manifests for file in values.get("files", ())}
        try:
            entries = list(self.store.list(f"{root}{_LABELED}/"))
            newest = max((entry.modified_at_utc for entry in entries), default=None)
            for entry in entries:
                is_old = newest is not None and newest - entry.modified_at_utc > timedelta(
                    seconds=KEPT_SECONDS
                )
                if is_old and entry.name not in named:
                    self.store.remove(entry.name)
        except OSError as error:
            log.warning("Old labeled files were not taken away: %s", error.strerror or error)

    def _read_manifest(self, name: str, content: bytes, token: str) -> None:
        try:
            values = json.loads(content)
            root = name.removesuffix(MANIFEST)
            for file in values["files"]:
                published = _Published(f"{root}{file['stored_as']}", str(file["tag"]), int(file["bytes"]))
                self._published[f"{root}{_LABELED}/{file['path']}"] = published
        except (ValueError, TypeError, KeyError):
            values = {"files": []}
        self._manifests[name] = (token, values)

    def _take_away(self, entries: dict[str, Entry]) -> None:
        """Take away what the bucket has no more; journals are looked at later."""
        for prefix in _AT_HAND:
            for path in (self.folder / prefix).rglob("*"):
                name = self._name(path)
                is_ours = name is not None and path.suffix in {".parquet", ".digests", ".json"}
                if is_ours and path.is_file() and name not in entries and not path.name.startswith("pending"):
                    path.unlink()

    def _is_new(self, entry: Entry, known: dict[str, str]) -> bool:
        path = self.folder / entry.name
        stamp = stamp_of(path)
        if stamp is None:
            return True
        if entry.name.endswith(".jsonl"):
            # This machine's own has all that was ever written of it, and maybe more.
            return len(path.read_bytes().rstrip(b"\0")) < entry.size
        return stamp.size != entry.size or (
            not _is_created(entry.name) and known.get(entry.name) != entry.tag
        )

    def _drop_folded_journals(self, entries: dict[str, Entry]) -> None:
        """Take away the journals whose part is in the ledger: whoever made it had no time to, or was on another machine."""
        for folder in (self.folder / "ledger").glob("*/"):
            parts = parts_in(folder)
            for journal in folder.glob("*.jsonl"):
                if are_holding(parts, name_of_journal_part(journal)):
                    journal.unlink()
                    name = journal.relative_to(self.folder).as_posix()
                    if name in entries and self._hold is not None:
                        self.store.remove(name)

    def _remembered(self) -> dict[str, str]:
        try:
            told = json.loads((self.folder / _MEMORY).read_bytes())
        except (OSError, ValueError):
            return {}
        return told if isinstance(told, dict) else {}

    def _remember(self) -> None:
        """Note which version of each object is at hand."""
        here = {name: entry.tag for name, entry in self._listed.items() if (self.folder / name).exists()}
        _write(self.folder / _MEMORY, json.dumps(here).encode())

    def _name(self, path: Path) -> str | None:
        """The name of a file below the output; None where it is this machine's alone."""
        relative = path.relative_to(self.folder)
        is_own = any(part.startswith(".") for part in relative.parts) or relative.parts[0] == "frame"
        return None if is_own else relative.as_posix()


_known: dict[StoreAddress, WorkingFolder] = {}
_making = threading.Lock()


def folder_of(output: Output) -> Path:
    """The folder of this machine that a job's output is worked on in: its own, unless it is in a bucket.

    Raises:
        AddressError: its address can't be used.
    """
    if not is_url(output.path):
        return Path(output.path)
    address = StoreAddress.of(output.path, output.storage)
    with _making:
        if address not in _known:
            folder = folder_for(address, "outputs")
            _known[address] = WorkingFolder(address, folder)
            follow(folder, _known[address])
        return _known[address].folder


def working_folder_of(path: Path) -> WorkingFolder | None:
    """The working folder that a path is in; None where it is in a folder that is nobody's but this machine's."""
    found = follower_of(path)
    return found if isinstance(found, WorkingFolder) else None


def store_of(folder: Path) -> Store:
    """The objects of an output, by its folder."""
    working = working_folder_of(folder)
    return FolderStore(folder) if working is None else working.store


def path_at(place: str) -> Path:
    """The path of this machine at which a `place_of` is worked on."""
    if is_url(place):
        for address, working in _known.items():
            if place == str(address) or place.startswith(f"{address}/"):
                return working.folder / place.removeprefix(str(address)).lstrip("/")
    return Path(place)


def files_matching(folder: Path, pattern: str) -> list[Path]:
    """The files of a folder that match, also those that the bucket alone has."""
    found = set(folder.glob(pattern))
    if (working := working_folder_of(folder)) is not None:
        found |= {folder / name for name in working.names(folder) if Path(name).match(pattern)}
    return sorted(found)


def bring(path: Path) -> Path:
    """Have a file of an output at hand, and return its path."""
    if (working := working_folder_of(path)) is not None:
        working.bring(path)
    return path


def _ignored(_: str) -> None:
    """For whom nobody waits."""


def _is_labeled(name: str) -> bool:
    return any(name.startswith(f"{root}{_LABELED}/") for root in _ROOTS)


def _is_created(name: str) -> bool:
    """Whether nobody ever writes a file of that name again with another content."""
    return name.startswith("ledger/") and name.endswith(".parquet")


def _is_needed(name: str) -> bool:
    if name.startswith("runs/"):
        return name.endswith(_NEEDED_OF_RUNS)
    return name.startswith(_AT_HAND)


def _write(path: Path, content: bytes) -> None:
    """Write a file of this machine's alone, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
