"""Lake tables: folders of Parquet files of which only a log tells which rows are live."""

import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

_ICEBERG_METADATA = re.compile(
    r"(v\d+|\d+-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})(\.gz)?\.metadata\.json(\.gz)?"
    r"|snap-\d+-.*\.avro|version-hint\.text"
)
_ANY_METADATA = ".metadata.json"
_ICEBERG_FIELD = b'"format-version"'
_HEAD_BYTES = 65_536
_MOST_METADATA = 1000
"""Names that are looked at around a source in a store: what one listing tells."""
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
_DUCKLAKE_FILE = re.compile(r"ducklake-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(-deletes?)?\.parquet")
_EXPORTS = {
    "Delta": "in DuckDB: COPY (FROM delta_scan('{folder}')) TO 'snapshot.parquet'",
    "Iceberg": "in DuckDB: COPY (FROM iceberg_scan('{folder}')) TO 'snapshot.parquet'",
    "Hudi": "in Spark: spark.read.format('hudi').load('{folder}').write.parquet('snapshot')",
    "DuckLake": "in DuckDB, with the catalog attached: COPY (FROM lake.my_table) TO 'snapshot.parquet'",
}


@dataclass(frozen=True)
class LakeTable:
    """A table of a lake format: which one, its folder, and what in it keeps the log."""

    kind: str
    folder: str
    log: str

    def sentence(self) -> str:
        """Why it isn't read as a folder, and what to do."""
        return (
            f"{self.folder!r} is a {self.kind} table: only its log ({self.log}) tells which rows are live, and its files "
            "also hold rows that were deleted or replaced; export a snapshot and label that, for example "
            + _EXPORTS[self.kind].format(folder=self.folder)
        )


class LakeTables:
    """Tells which table a file or a folder belongs to, also by way of links. Each folder is looked at once."""

    def __init__(self) -> None:
        self._asked: dict[str, LakeTable | None] = {}
        self._known: dict[str, LakeTable | None] = {}

    def table_of(self, path: str) -> LakeTable | None:
        """The table that a path is, or that it is in; None where it is in none.

        Raises:
            OSError: a folder that may be a table's can't be looked at.
        """
        folder, name = os.path.split(path)
        if _DUCKLAKE_FILE.fullmatch(name):
            return LakeTable("DuckLake", os.path.abspath(folder), "a database")
        asked = path if os.path.islink(path) or os.path.isdir(path) else folder
        if asked not in self._asked:
            # The latter too: a .. behind a link leads elsewhere than its words do.
            self._asked[asked] = self._around(os.path.abspath(asked)) or self._around(os.path.realpath(asked))
        return self._asked[asked]

    def _around(self, path: str) -> LakeTable | None:
        if path not in self._known:
            # Before the others are asked: links may lead back here.
            self._known[path] = None
            self._known[path] = _table_at(path) or self._beyond(path)
        return self._known[path]

    def _beyond(self, path: str) -> LakeTable | None:
        """The table of the folder around it, or of what it is a link to: each link in a chain may lead into one."""
        folder = os.path.dirname(path)
        ways = [] if folder == path else [folder]
        if os.path.islink(path):
            target = os.path.join(folder, os.readlink(path))
            ways += [os.path.normpath(target), os.path.realpath(path)]
        return next((table for way in ways if (table := self._around(way))), None)


def tables_among(names: Iterable[str], root: str, begins: Callable[[str, int], bytes]) -> Iterator[LakeTable]:
    """The tables of which some objects below a root in a store are, by their names.

    `begins` gives the first bytes of an object: what may be an Iceberg table's metadata under a name of a catalog's own is
    looked into.
    """
    found: set[LakeTable] = set()
    for name in names:
        folders = name.split("/")
        for depth, folder in enumerate(folders[:-1]):
            place = "/".join([root, *folders[:depth]])
            if folder == "_delta_log":
                found.add(LakeTable("Delta", place, "_delta_log/"))
            elif folder == ".hoodie":
                found.add(LakeTable("Hudi", place, ".hoodie/"))
            elif folder == "metadata" and depth == len(folders) - 2:
                table = LakeTable("Iceberg", place, "metadata/")
                if table not in found and _is_metadata(name, begins):
                    found.add(table)
        if _DUCKLAKE_FILE.fullmatch(folders[-1]):
            found.add(LakeTable("DuckLake", "/".join([root, *folders[:-1]]), "a database"))
    yield from sorted(found, key=lambda table: (table.folder, table.kind))


def tables_around(
    names_below: Callable[[str, int], Sequence[str]], root: str, begins: Callable[[str, int], bytes]
) -> Iterator[LakeTable]:
    """The table whose root a place in a store is, found by the names of what lies below its logs alone."""
    names = [name for log in ("_delta_log/", ".hoodie/") for name in names_below(log, 1)]
    metadata = [name for name in names_below("metadata/", _MOST_METADATA) if name.count("/") == 1]
    yield from tables_among([*names, *metadata], root, begins)


def _is_metadata(name: str, begins: Callable[[str, int], bytes]) -> bool:
    file = name.rpartition("/")[2]
    if _ICEBERG_METADATA.fullmatch(file):
        return True
    return file.endswith(_ANY_METADATA) and _ICEBERG_FIELD in begins(name, _HEAD_BYTES)


def _table_at(folder: str) -> LakeTable | None:
    """The table whose root a folder is."""
    if os.path.isdir(f"{folder}/_delta_log"):
        return LakeTable("Delta", folder, "_delta_log/")
    if os.path.isdir(f"{folder}/.hoodie"):
        return LakeTable("Hudi", folder, ".hoodie/")
    if _is_icebergs(f"{folder}/metadata"):
        return LakeTable("Iceberg", folder, "metadata/")
    return None


def _is_icebergs(metadata: str) -> bool:
    """Whether a folder holds the metadata of an Iceberg table, rather than just being called so."""
    try:
        with os.scandir(metadata) as entries:
            return any(_tells_of_iceberg(entry) for entry in entries)
    except OSError as error:
        # One that can't be looked into is no table's, unless a table's data stands beside it.
        if error.errno in _NOT_THERE or not os.path.isdir(f"{os.path.dirname(metadata)}/data"):
            return False
        raise


def _tells_of_iceberg(entry: os.DirEntry[str]) -> bool:
    if _ICEBERG_METADATA.fullmatch(entry.name):
        return True
    # Catalogs may name it as they like.
    if not (entry.name.endswith(_ANY_METADATA) and entry.is_file()):
        return False
    with open(entry.path, "rb") as handle:
        return _ICEBERG_FIELD in handle.read(_HEAD_BYTES)
