"""`failed/`: the rows that got no label, with all their columns and what went wrong.

They are copied by PyArrow from the types that the source's files have. Two files whose columns differ in type are never made
to agree by widening one: their rows go into files of their own.
"""

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from labelmill.dataset.columns import FAILURE_COLUMNS, failure_columns
from labelmill.dataset.source import SourceFile
from labelmill.store.files import FileStamp, shown_path, stamp_of, written_whole
from labelmill.store.reading import at_hand

_FAILURES = pa.schema(
    [
        ("failure_kind", pa.string()),
        ("failure_message", pa.string()),
        ("failure_requests", pa.int64()),
        ("failure_cost_usd", pa.float64()),
    ]
)
_TEXTS = {pa.string(), pa.large_string(), pa.string_view()}
_BYTES = {pa.binary(), pa.large_binary(), pa.binary_view()}
_READ_BYTES = 32 * 2**20
"""About what is decoded of a file at once."""
_WRITTEN_BYTES = 64 * 2**20
_WRITTEN_ROWS = 100_000
"""What a row group of `failed/` has at most, or a little more."""
_NAMED = 5


@dataclass(frozen=True)
class FailedRows:
    """The rows of one file that have no label.

    Args:
        file: the file.
        rows: `row` (its number in the file, from 0) and `FAILURE_COLUMNS`, in any order.
        stamp: the file's before its texts were read for this; a file that was replaced since is left out.
    """

    file: SourceFile
    rows: pl.DataFrame
    stamp: FileStamp | None = None


@dataclass(frozen=True)
class FailedFiles:
    """What was written: the files, how many rows are in them, and what is to be said of columns and files that are not."""

    paths: tuple[Path, ...] = ()
    rows: int = 0
    sentences: tuple[str, ...] = ()


def write_failed(failed: Iterable[FailedRows], path: Path, prefix: str = "") -> FailedFiles:
    """Write rows without a label: their columns and partitions, then `FAILURE_COLUMNS` under a prefix.

    Those of files that go together without losing anything stand in one file, `path`; the others in files beside it, whose
    names end in `-2`, `-3`, and so on. Where a file has such columns itself, they give way to the new ones. A column that
    can't be read, or not be written again, is left out.

    Of the source one file at a time is held open, and of its rows those in about 32 MB.

    Raises:
        OSError: the disk is full or read-only. No file is left then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The file has no name, so that nothing is left of it whatever happens.
    with tempfile.TemporaryFile(dir=path.parent) as handle:
        failures = pa.schema(
            [one.with_name(name) for one, name in zip(_FAILURES, failure_columns(prefix), strict=True)]
        )
        copies = _Copies(handle, failures)
        for one in failed:
            if one.rows.height:
                copies.add(one)
        groups = groups_of([copy.schema for copy in copies.kept])
        paths = [path, *(path.with_stem(f"{path.stem}-{number}") for number in range(2, len(groups) + 1))]
        with ExitStack() as written:
            for target, (schema, members) in zip(paths, groups, strict=False):
                written.callback(target.unlink, missing_ok=True)
                rows = copies.batches([copies.kept[number] for number in members])
                _write(rows, pa.schema([*schema, *failures]), target)
            written.pop_all()
        return FailedFiles(
            tuple(paths[: len(groups)]), sum(copy.rows for copy in copies.kept), tuple(copies.sentences())
        )


def groups_of(schemas: Sequence[pa.Schema]) -> list[tuple[pa.Schema, list[int]]]:
    """Which schemas go together, each group with the schema of all its members.

    They do where columns of the same name have the same type, in all its details; a column that is missing in one is null
    there. A column of type null goes with every type, and text with text, however long it may be.
    """
    groups: list[_Group] = []
    known: dict[bytes, _Group] = {}
    for number, schema in enumerate(schemas):
        key = schema.serialize().to_pybytes()
        if key not in known:
            known[key] = next((group for group in groups if group.takes(schema)), None) or _Group()
            known[key].add(schema)
            if len(known[key].schemas) == 1:
                groups.append(known[key])
        known[key].members.append(number)
    return [(group.schema(), group.members) for group in groups]


@dataclass
class _Group:
    """Schemas that go together: their columns, the different ones among them, and whose they are."""

    fields: dict[str, pa.Field] = field(default_factory=dict)
    schemas: list[pa.Schema] = field(default_factory=list)
    members: list[int] = field(default_factory=list)

    def takes(self, schema: pa.Schema) -> bool:
        return all(
            one.name not in self.fields or _joined(self.fields[one.name], one) is not None for one in schema
        )

    def add(self, schema: pa.Schema) -> None:
        self.schemas.append(schema)
        for one in schema:
            self.fields[one.name] = _joined(self.fields.get(one.name, one), one) or one

    def schema(self) -> pa.Schema:
        """The columns of all; one that some lack may be null."""
        has = Counter(name for schema in self.schemas for name in schema.names)
        return pa.schema(
            [
                one.with_nullable(one.nullable or has[name] < len(self.schemas))
                for name, one in self.fields.items()
            ]
        )


def _joined(one: pa.Field, other: pa.Field) -> pa.Field | None:
    """The column that has the values of both, exactly; None where there is none."""
    if (one.metadata or {}) != (other.metadata or {}):
        return None
    nullable = one.nullable or other.nullable
    if one.type.equals(other.type, check_metadata=True) or pa.types.is_null(other.type):
        return one.with_nullable(nullable)
    if pa.types.is_null(one.type):
        return other.with_nullable(nullable)
    for alike, largest in ((_TEXTS, pa.large_string()), (_BYTES, pa.large_binary())):
        if one.type in alike and other.type in alike:
            return one.with_type(largest).with_nullable(nullable)
    return None


@dataclass(frozen=True)
class _Copy:
    """Rows that were copied aside: where, how many, and the columns that are the source's."""

    offset: int
    rows: int
    schema: pa.Schema


class _Copies:
    """Failed rows copied aside, so that each file is read once, and all schemas are known before the first row is written."""

    def __init__(self, handle: IO[bytes], failures: pa.Schema) -> None:
        self._failures = failures
        self.kept: list[_Copy] = []
        self._handle = handle
        self._sink = pa.PythonFile(handle, mode="w")
        self._left_out: list[str] = []
        self._unwritable: dict[bytes, dict[str, str]] = {}

    def add(self, failed: FailedRows) -> None:
        """Copy the failed rows of a file; what of it can't be read is left out."""
        name = shown_path(failed.file.path)
        try:
            with closing(_Reader(failed, self._failures)) as reader:
                left_out = self._unwritable_of(reader.schema)
                try:
                    copy = self._copy(reader, left_out)
                except _Unreadable:
                    left_out = {**left_out, **reader.faults()}
                    copy = self._copy(reader, left_out)
        except _Unreadable as fault:
            self._left_out.append(f"{name!r} can't be read ({fault}); its failed rows are not in failed/")
            return
        if copy.rows != failed.rows.height or _has_changed(failed):
            self._left_out.append(f"{name!r} was replaced meanwhile; its failed rows are not in failed/")
            return
        self.kept.append(copy)
        self._left_out += [
            f"The column {column!r} of {name!r} {words}; its failed rows are in failed/ without it"
            for column, words in left_out.items()
        ]

    def _copy(self, reader: "_Reader", left_out: Iterable[str]) -> _Copy:
        schema = reader.schema_without(left_out)
        whole = pa.schema([*schema, *self._failures])
        offset, rows = self._sink.tell(), 0
        with pa.ipc.new_stream(
            self._sink, whole, options=pa.ipc.IpcWriteOptions(compression="zstd")
        ) as stream:
            for batch in reader.batches(schema):
                stream.write_batch(batch)
                rows += batch.num_rows
        return _Copy(offset, rows, schema)

    def _unwritable_of(self, schema: pa.Schema) -> dict[str, str]:
        """Columns that can be read but not be written again, with why."""
        key = schema.serialize().to_pybytes()
        if key not in self._unwritable:
            self._unwritable[key] = (
                {}
                if _write_fault(schema) is None
                else {
                    one.name: f"can't be written ({fault})"
                    for one in schema
                    if (fault := _write_fault(pa.schema([one]))) is not None
                }
            )
        return self._unwritable[key]

    def batches(self, copies: Iterable[_Copy]) -> Iterator[pa.RecordBatch]:
        """The rows that were copied, in order."""
        self._handle.flush()
        source = pa.PythonFile(self._handle, mode="r")
        for copy in copies:
            source.seek(copy.offset)
            yield from pa.ipc.open_stream(source)

    def sentences(self) -> list[str]:
        """What was left out; of very much the first."""
        more = len(self._left_out) - _NAMED
        rest = [f"And {more:,} more columns or files like these are not in failed/"] if more > 0 else []
        return [*self._left_out[:_NAMED], *rest]


def _has_changed(failed: FailedRows) -> bool:
    return failed.stamp is not None and stamp_of(failed.file.path) != failed.stamp


class _Unreadable(Exception):  # noqa: N818  (what it is)
    """Something in a file can't be read; its words say what."""


_READ_ERRORS = (pa.ArrowException, OSError, ValueError)


class _Reader:
    """Reads some rows of a Parquet file, row group by row group."""

    def __init__(self, failed: FailedRows, failures: pa.Schema) -> None:
        self._failed = failed
        rows = failed.rows.sort("row")
        self._rows = rows["row"]
        self._failures = pa.Table.from_arrays(
            [
                rows[name].to_arrow().cast(one.type)
                for name, one in zip(FAILURE_COLUMNS, failures, strict=True)
            ],
            schema=failures,
        )
        self._open = ExitStack()
        try:
            file, _ = self._open.enter_context(at_hand(self._failed.file.path))
            self._file = pq.ParquetFile(
                file, pre_buffer=False, buffer_size=2**20, coerce_int96_timestamp_unit="us"
            )
            self._columns = _columns_of(self._file.schema_arrow, failures.names)
        except _READ_ERRORS as error:
            self._open.close()
            raise _Unreadable(_first_line(error)) from error
        own = {name: one.with_type(_plain(one.type)) for name, (one, _) in self._columns.items()}
        partitions = {
            name: pa.field(name, pa.string())
            for name in self._failed.file.partitions
            if name not in own and name not in failures.names
        }
        self.schema = pa.schema([*own.values(), *partitions.values()])

    def close(self) -> None:
        """The file is read no more."""
        self._file.close()
        self._open.close()

    def schema_without(self, left_out: Iterable[str]) -> pa.Schema:
        """The file's columns, without failure columns and some others, then its partitions."""
        without = set(left_out)
        return pa.schema([one for one in self.schema if one.name not in without])

    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The rows, in the file's order, with the columns of a schema and what went wrong.

        Raises:
            _Unreadable: a column can't be read.
        """
        own = [name for name in schema.names if name in self._columns]
        partitions = self._failed.file.partitions
        done = 0
        for columns, count in self._read(own):
            arrays = [
                columns[one.name]
                if one.name in columns
                else pa.array([partitions[one.name]] * count, pa.string())
                for one in schema
            ]
            failures = self._failures.slice(done, count).combine_chunks().columns
            arrays += [
                column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
                for column in failures
            ]
            yield pa.record_batch(arrays, schema=pa.schema([*schema, *self._failures.schema]))
            done += count

    def faults(self) -> dict[str, str]:
        """The columns that can't be read where the rows are, with why.

        Raises:
            _Unreadable: all can be read one by one, or none can.
        """
        found = {}
        for name in self._columns:
            try:
                for _ in self._read([name]):
                    pass
            except _Unreadable as fault:
                found[name] = f"can't be read ({fault})"
                last = fault
        if not found:
            raise _Unreadable("its columns can't be read together")
        if len(found) == len(self._columns):
            raise last
        return found

    def _read(self, names: Sequence[str]) -> Iterator[tuple[dict[str, pa.Array], int]]:
        """The columns of some names, of the rows in a piece of the file, and how many rows these are."""
        indices = sorted(index for name in names for index in self._columns[name][1])
        begin = 0
        for group in range(self._file.num_row_groups):
            told = self._file.metadata.row_group(group)
            mine = _between(self._rows, begin, told.num_rows)
            begin += told.num_rows
            if not len(mine):
                continue
            if not names:
                yield {}, len(mine)
                continue
            size = max(1, min(_WRITTEN_ROWS, _READ_BYTES * told.num_rows // max(1, told.total_byte_size)))
            first = 0
            try:
                for batch in self._file.reader.iter_batches(size, [group], indices):
                    here = _between(mine, first, batch.num_rows)
                    first += batch.num_rows
                    if len(here):
                        yield _taken(batch, here), len(here)
            except _READ_ERRORS as error:
                raise _Unreadable(_first_line(error)) from error


def _between(rows: pl.Series, begin: int, count: int) -> pl.Series:
    """Those of some sorted rows that are among so many from one on, numbered from that one."""
    first, last = (rows.search_sorted(row) for row in (begin, begin + count))
    return rows[first:last] - begin


def _taken(batch: pa.RecordBatch, rows: pl.Series) -> dict[str, pa.Array]:
    arrays = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        plain = column if column.type == _plain(column.type) else column.cast(_plain(column.type))
        arrays[name] = plain.take(rows.to_arrow())
        arrays[name].validate(full=True)
    return arrays


def _plain(dtype: pa.DataType) -> pa.DataType:
    """A type that rows can be taken from; its values are the same."""
    return {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}.get(dtype, dtype)


def _columns_of(schema: pa.Schema, failures: Sequence[str]) -> dict[str, tuple[pa.Field, list[int]]]:
    """A file's columns but for failure columns, each with the numbers of its leaves: those are what Parquet stores."""
    columns, first = {}, 0
    for one in schema:
        leaves = _leaves(one.type)
        if one.name not in failures:
            columns[one.name] = (one, list(range(first, first + leaves)))
        first += leaves
    return columns


def _leaves(dtype: pa.DataType) -> int:
    if isinstance(dtype, pa.BaseExtensionType):
        return _leaves(dtype.storage_type)
    if pa.types.is_dictionary(dtype):
        return 1
    return (
        sum(_leaves(dtype.field(number).type) for number in range(dtype.num_fields))
        if dtype.num_fields
        else 1
    )


def _write_fault(schema: pa.Schema) -> str | None:
    """Why columns can't be written to Parquet; None where they can."""
    try:
        pq.write_table(schema.empty_table(), pa.BufferOutputStream())
    except _READ_ERRORS as error:
        return _first_line(error)
    return None


def _write(batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path) -> None:
    """Write one file of failed rows."""
    with written_whole(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        waiting, rows, size = list[pa.RecordBatch](), 0, 0
        for batch in batches:
            waiting.append(_conformed(batch, schema))
            rows, size = rows + batch.num_rows, size + batch.nbytes
            if rows >= _WRITTEN_ROWS or size >= _WRITTEN_BYTES:
                writer.write_table(pa.Table.from_batches(waiting, schema))
                waiting, rows, size = [], 0, 0
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting, schema))


def _conformed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The same rows with all columns of a schema; those that they lack are null."""
    names = set(batch.schema.names)
    return pa.record_batch(
        [
            batch.column(one.name).cast(one.type)
            if one.name in names and batch.schema.field(one.name).type != one.type
            else batch.column(one.name)
            if one.name in names
            else pa.nulls(batch.num_rows, one.type)
            for one in schema
        ],
        schema=schema,
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(". ")
