"""The source: which Parquet files a job labels, and their rows' texts."""

import errno
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from urllib.parse import unquote

import polars as pl
import polars.selectors as cs

from labelmill.dataset.lake import LakeTable, LakeTables, tables_among, tables_around
from labelmill.dataset.template import TextTemplate, text_of
from labelmill.dataset.walk import ANY_FOLDERS, Entry, Kind, entries_named, walk
from labelmill.job.model import Storage
from labelmill.store.address import StoreAddress, is_url
from labelmill.store.reading import SourceFolder, folders_around, scan_parquet, source_folder
from labelmill.store.row_key import text_digest

_WILDCARD = re.compile(r"[*?\[]")
_PARTITION = re.compile(r"^([^=/]+)=(.*)$")
_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_ENDING = ".parquet"
_LIKE_PARQUET = re.compile(
    r"\.(parquet|pq|parq)(\.(gz|gzip|snappy|zst|zstd|br|lz4|_copying_))?$", re.IGNORECASE
)
_STRAY_BYTE = re.compile(r"\\udc([89a-f][0-9a-f])")
"""How a byte that is not UTF-8 stands in the `repr` of a name."""
_NAMED_ENTRIES = 3


@dataclass(frozen=True)
class SourceFile:
    """One Parquet file of the source: where it is, and where it belongs in `labeled/`."""

    path: Path
    relative: Path

    @property
    def partitions(self) -> dict[str, str | None]:
        """Hive partition values from the file's folders, as text: `date=2026-11-01/` gives `{"date": "2026-11-01"}`."""
        found = (_PARTITION.match(part) for part in self.relative.parent.parts)
        return {
            unquote(match[1]): None if match[2] == _NULL_PARTITION else unquote(match[2])
            for match in found
            if match
        }

    def scan(self) -> pl.LazyFrame:
        """The file's own rows and columns, in order."""
        return scan_parquet(self.path)

    def schema(self) -> pl.Schema:
        """The file's own columns.

        Raises:
            polars.exceptions.PolarsError: it is not Parquet, or truncated.
        """
        return self.scan().collect_schema()

    def scan_with_partitions(self) -> pl.LazyFrame:
        """The file's rows and columns, then its partition values as String columns; the file's own columns win."""
        return with_partitions(self.scan(), self.partitions)

    def scan_texts(self, template: TextTemplate) -> pl.LazyFrame:
        """One row per row of the file, in order: its `text` (null where there is none) and its `digest` (UInt128)."""
        texts = self.scan_with_partitions().select(text=text_of(template))
        return texts.with_columns(digest=text_digest(pl.col("text")))

    def first_not_utf8(self, column: str, rows: int) -> int | None:
        """The first row, counted from 1, whose bytes in a Binary column are not UTF-8; None where the first `rows` are."""
        values = self.scan().select(cs.by_name(column)).head(rows).collect()[column]
        return next((number for number, value in enumerate(values, 1) if value and not _is_utf8(value)), None)

    def count(self) -> int:
        """How many rows the file has, from its footer."""
        return int(self.scan().select(pl.len()).collect().item())


def with_partitions(rows: pl.LazyFrame, partitions: Mapping[str, str | None]) -> pl.LazyFrame:
    """The rows of a file, and its partition values as String columns; the file's own columns win."""
    if not partitions:
        return rows  # without a look at the footer
    own = rows.collect_schema()
    return rows.with_columns(
        pl.lit(value, dtype=pl.String).alias(name) for name, value in partitions.items() if name not in own
    )


def root_of(path: str) -> Path:
    """The folder that a source's relative names start from: a folder itself, a file's or a glob's fixed part."""
    if _WILDCARD.search(path) and not Path(path).exists():
        parts = Path(path).parts
        first = next(index for index, part in enumerate(parts) if _WILDCARD.search(part))
        return Path(*parts[:first])
    return Path(path) if Path(path).is_dir() else Path(path).parent


class PassedOver(Enum):
    """Why something that looks like a file of the source is none."""

    HIDDEN = "hidden by a name that begins with . or _"
    OTHER_ENDING = "not named *.parquet"
    FOLDER = "folders, which the pattern doesn't look into"
    AGAIN = "links to what is already in the source"
    DANGLING = "links that lead nowhere"
    SPECIAL = "no regular files"


@dataclass(frozen=True)
class SourceListing:
    """What a source's path names.

    Attributes:
        path: the path.
        files: the files to label, sorted by name. None of a lake table is among them.
        passed_over: what looks like a file of it and is none, by why: names from the root.
        mistakes: why the source can't be labeled as it is, in sentences.
    """

    path: str
    files: tuple[SourceFile, ...] = ()
    passed_over: Mapping[PassedOver, Sequence[str]] = field(default_factory=dict)
    mistakes: tuple[str, ...] = ()

    def notice(self) -> str | None:
        """What was passed over, in a sentence; None where nothing was."""
        if not self.passed_over:
            return None
        said = (f"{why.value}: {_some_of(names)}" for why, names in self.passed_over.items())
        return f"Not labeled from {self.path!r}: {'; '.join(said)}"


def _some_of(names: Sequence[str]) -> str:
    more = len(names) - _NAMED_ENTRIES
    shown = ", ".join(map(quoted, names[:_NAMED_ENTRIES]))
    return f"{len(names):,} ({shown}{f' and {more:,} more' if more > 0 else ''})"


def quoted(name: str) -> str:
    """A file's name for people, in quotes; bytes of it that are not UTF-8 are written out."""
    return _STRAY_BYTE.sub(r"\\x\1", repr(name))


def list_source(path: str, storage: Storage | None = None) -> SourceListing:
    """Find the files that a path names.

    At `s3://`, `gs://` or `az://` names are keys, of which the store is asked a thousand at a time; `storage` says how it is
    reached.

    - A file is itself, whatever it is called.
    - A folder means every file below it that is named `*.parquet` in any case, but for hidden ones by Spark's rule (see
      `is_hidden`). A folder called `x.parquet` is a folder.
    - A glob means the files that it matches, but for hidden ones that it doesn't spell.
    - Links are followed, to files and to folders. A link to what is in the source under its own name is passed over; two
      links to one file elsewhere are two files, as in a store of files by their content.
    - Files of a lake table are left out, and the table is a mistake.

    Raises:
        OSError: a folder can't be read.
        AddressError: it is no address of a store.
    """
    if is_url(path):
        return _list_stored(path, storage)
    root = root_of(path)
    if Path(path).is_file():
        entry = Entry(Path(path).name, Kind.FILE, is_hidden=False, is_linked=Path(path).is_symlink())
        return _listing(path, root, [entry], takes_any_ending=True)
    if Path(path).is_dir():
        return _listing(path, root, walk(str(root), [ANY_FOLDERS, "*"]), takes_any_ending=False)
    pattern = Path(path).parts[len(root.parts) :]
    if ".." in pattern:
        sentence = f"{path!r} has a .. behind a wildcard, which leads out of the folder {str(root)!r}; write it without"
        return SourceListing(path, mistakes=(sentence,))
    if not root.is_dir():
        return SourceListing(path)
    return _listing(path, root, walk(str(root), pattern), takes_any_ending=True)


def source_files(path: str, storage: Storage | None = None) -> list[SourceFile]:
    """The files of `list_source` alone."""
    return list(list_source(path, storage).files)


def _list_stored(path: str, storage: Storage | None) -> SourceListing:
    """The same of a store: what is no wildcard in the address is where the names start from."""
    fixed, pattern = path, ""
    if (wildcard := _WILDCARD.search(path)) is not None:
        cut = path.rfind("/", 0, wildcard.start())
        fixed, pattern = path[:cut], path[cut + 1 :]
    StoreAddress.of(fixed, storage)
    refused = None
    try:
        if (found := _stored_file(path, storage)) is not None:
            return found
    except OSError as error:
        # Keys that may only see a folder are refused what isn't there: only the listing tells whether it is a folder.
        if error.errno != errno.EACCES:
            raise
        refused = error
    source = source_folder(fixed, storage)
    names = [entry.name for entry in source.list()]
    if refused is not None and not names:
        raise refused
    parts = pattern.split("/") if pattern else [ANY_FOLDERS, "*"]
    if ".." in parts:
        return SourceListing(path, mistakes=(f"{path!r} has a .. in it, which means nothing in a store",))
    found = _stored_listing(path, source, entries_named(names, parts), takes_any_ending=bool(pattern))
    return _without_tables(found, source, names, are_all=True)


def _stored_file(path: str, storage: Storage | None) -> SourceListing | None:
    """The same of an object of this very name, whatever is in the name; None where there is none."""
    around, _, name = path.rpartition("/")
    if (
        not name or around.endswith("/") or "?" in path
    ):  # an address with a ? is one with settings in it, or a glob
        return None
    source = source_folder(around, storage)
    if not source.only(name):
        return None
    one = Entry(name, Kind.FILE, is_hidden=False, is_linked=False)
    return _without_tables(_stored_listing(path, source, [one]), source, [name], are_all=False)


def _taken_of(
    entries: Iterable[Entry], *, takes_any_ending: bool
) -> tuple[list[Entry], dict[PassedOver, list[str]]]:
    """The entries that are files of a source, and the names of what someone may have meant to be one, by why it is none."""
    taken: list[Entry] = []
    passed: dict[PassedOver, list[str]] = {}
    for entry in entries:
        why = _why_not(entry, takes_any_ending=takes_any_ending)
        if why is None:
            taken.append(entry)
        elif _is_worth_a_word(entry, why, takes_any_ending=takes_any_ending):
            passed.setdefault(why, []).append(entry.relative)
    return taken, passed


def _listed(
    path: str,
    files: Iterable[SourceFile],
    passed: Mapping[PassedOver, Iterable[str]],
    mistakes: Iterable[str],
) -> SourceListing:
    return SourceListing(
        path,
        tuple(sorted(files, key=lambda file: file.relative)),
        {why: sorted(passed[why]) for why in PassedOver if why in passed},
        tuple(mistakes),
    )


def _stored_listing(
    path: str, source: SourceFolder, entries: Iterable[Entry], *, takes_any_ending: bool = True
) -> SourceListing:
    taken, passed = _taken_of(entries, takes_any_ending=takes_any_ending)
    files: list[SourceFile] = []
    mistakes = []
    for entry in taken:
        if set(entry.relative.split("/")) & {"", ".", ".."}:
            mistakes.append(f"the key {entry.relative!r} is no path that a file can have; rename it")
        else:
            files.append(SourceFile(source.folder / entry.relative, Path(entry.relative)))
    names = {file.relative.as_posix() for file in files}
    both = {folder for name in names for folder in folders_around(name)} & names
    mistakes += [
        f"there is an object {name!r}, and there are objects below it: no folder can have both; rename one of them"
        for name in sorted(both)
    ]
    return _listed(path, files, passed, mistakes)


def _without_tables(
    found: SourceListing, source: SourceFolder, names: Sequence[str], *, are_all: bool
) -> SourceListing:
    """What was found, without the files of lake tables, each of which is a mistake; `are_all` where there are no other names."""
    tables = {table.folder: table for table in tables_among(names, str(source.address), source.begins)}
    tables |= {table.folder: table for table in _tables_around(source.address, is_known=are_all)}
    table_of: dict[SourceFile, LakeTable] = {}
    for file in found.files if tables else ():
        place = f"{source.address}/{file.relative.as_posix()}"
        holding = [table for folder, table in tables.items() if place.startswith(f"{folder}/")]
        if holding:
            table_of[file] = max(holding, key=lambda table: len(table.folder))
    files = tuple(file for file in found.files if file not in table_of)
    sentences = dict.fromkeys(table.sentence() for table in table_of.values())
    return replace(found, files=files, mistakes=(*found.mistakes, *sentences))


def _tables_around(address: StoreAddress, *, is_known: bool) -> Iterator[LakeTable]:
    """The lake tables that a place in a store lies in or, unless its names are known, is; as far as that may be looked for."""
    parts = address.key.split("/") if address.key else []
    for count in range(len(parts) + (0 if is_known else 1)):
        around = source_folder(str(replace(address, key="/".join(parts[:count]))), address.storage)
        yield from tables_around(around.some_below, str(around.address), around.begins)


def _listing(path: str, root: Path, entries: Iterable[Entry], *, takes_any_ending: bool) -> SourceListing:
    taken, passed = _taken_of(entries, takes_any_ending=takes_any_ending)
    taken, again = _told_from_links(root, taken)
    if again:
        passed.setdefault(PassedOver.AGAIN, []).extend(again)
    files: list[SourceFile] = []
    mistakes: dict[str, None] = {}
    lakes = LakeTables()
    for entry in taken:
        file = root / entry.relative
        if (table := lakes.table_of(str(file))) is not None:
            mistakes[table.sentence()] = None
        elif not _is_utf8(os.fsencode(entry.relative)):
            mistakes[
                f"the name {quoted(str(file))} is not UTF-8, so that few programs can read it; rename it"
            ] = None
        else:
            files.append(SourceFile(file, Path(entry.relative)))
    return _listed(path, files, passed, mistakes)


_WHY_NOT_OF_KIND = {
    Kind.FOLDER: PassedOver.FOLDER,
    Kind.AGAIN: PassedOver.AGAIN,
    Kind.DANGLING: PassedOver.DANGLING,
    Kind.SPECIAL: PassedOver.SPECIAL,
}


def _why_not(entry: Entry, *, takes_any_ending: bool) -> PassedOver | None:
    """Why an entry is no file of the source; None where it is one."""
    if entry.is_hidden:
        return PassedOver.HIDDEN
    if entry.kind is Kind.FILE:
        named_so = takes_any_ending or entry.relative.lower().endswith(_ENDING)
        return None if named_so else PassedOver.OTHER_ENDING
    return _WHY_NOT_OF_KIND[entry.kind]


def _is_worth_a_word(entry: Entry, why: PassedOver, *, takes_any_ending: bool) -> bool:
    """Whether someone may have meant an entry that is passed over to be labeled."""
    if why is PassedOver.AGAIN:
        return True
    if why is PassedOver.HIDDEN and entry.kind is not Kind.FILE:
        return False
    if why is PassedOver.FOLDER:
        # A folder is gone through where the whole of its parent is.
        return takes_any_ending and entry.relative.lower().endswith(_ENDING)
    return bool(_LIKE_PARQUET.search(entry.relative))


def _told_from_links(root: Path, taken: Sequence[Entry]) -> tuple[list[Entry], list[str]]:
    """The entries without links to what is among them under its own name, and the names of those links."""
    own, real_root = {entry.relative for entry in taken if not entry.is_linked}, os.path.realpath(root)
    own_files = {f"{real_root}/{name}" for name in own}
    kept, again = [], []
    for entry in taken:
        if entry.is_linked and os.path.realpath(root / entry.relative) in own_files:
            again.append(entry.relative)
        else:
            kept.append(entry)
    return kept, again


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True
