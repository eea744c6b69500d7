"""Parquet files: what a footer says, columns put beside those of a file, and what of a file can't be decoded.

A file with more columns is the file's own bytes up to its footer, the new columns' bytes, and the footer, told of them.
Nothing of the file is decoded, so nothing of it can change. The numbers of fields are those of the Parquet format's
`parquet.thrift`; docs/decisions/0025-a-labeled-file-is-spliced.md says why.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from labelmill.dataset.embedded_schemas import ARROW_SCHEMA, plain_type, type_of_names_lost, with_columns
from labelmill.dataset.thrift import Struct, ThriftError, i32_field
from labelmill.errors import LabelmillError
from labelmill.store.files import shown_path
from labelmill.store.reading import ReadRange, range_reader, ranges_of

_MAGIC, _ENCRYPTED = b"PAR1", b"PARE"
_TAIL_BYTES = 8
"""A footer's length, and the magic."""
_GUESSED_FOOTER_BYTES = 1 << 16
_MOST_ROWS_PER_GROUP = 64 << 20
"""PyArrow writes no larger row groups."""
_COPIED_BYTES = 1 << 20
_MOST_COPIED_BYTES = 1 << 30
_DECODED_ROWS = 1 << 16
_DECODED_BYTES = 1 << 26
"""What is decoded at once, at most: rows, and bytes as far as a row group's size tells."""


class _File:
    """Fields of FileMetaData."""

    SCHEMA, ROWS, ROW_GROUPS, METADATA, WRITER, ORDERS, ENCRYPTION, EXTENSION = 2, 3, 4, 5, 6, 7, 8, 32767


class _Element:
    """Fields of SchemaElement."""

    TYPE, NAME, CHILDREN = 1, 4, 5


class _RowGroup:
    """Fields of RowGroup."""

    CHUNKS, BYTES, ROWS, COMPRESSED_BYTES = 1, 2, 3, 6


class _Chunk:
    """Fields of ColumnChunk."""

    FILE, OFFSET, METADATA, ENCRYPTION, ENCRYPTED_METADATA = 1, 2, 3, 8, 9
    OFFSET_INDEX, OFFSET_INDEX_BYTES, COLUMN_INDEX, COLUMN_INDEX_BYTES = 4, 5, 6, 7


class _Column:
    """Fields of ColumnMetaData."""

    CODEC, DATA, INDEX, DICTIONARY, BLOOM_FILTER = 4, 9, 10, 11, 14


class _OffsetIndex:
    """Fields of OffsetIndex, and of the PageLocation in it."""

    PAGES = 1
    OFFSET = 1


class _KeyValue:
    """Fields of KeyValue."""

    KEY, VALUE = 1, 2


_SHAPE: dict[int, Any] = {
    _File.SCHEMA: {},
    _File.ROW_GROUPS: {_RowGroup.CHUNKS: {}},
    _File.METADATA: {},
    _File.ORDERS: {},
}
_NEW_SHAPE = {**_SHAPE, _File.ROW_GROUPS: {_RowGroup.CHUNKS: {_Chunk.METADATA: {}}}}
_CODEC_NAMES: dict[int | None, str] = {0: "none", 1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4"}
"""The codecs that PyArrow writes, by their numbers in the format."""


class ParquetError(LabelmillError):
    """A file that can't be read as Parquet, or that no columns can be put beside; `reason` says why.

    Args:
        path: the file.
        reason: a clause without the file's name, such as "it was cut off".
    """

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(path, reason)

    def __str__(self) -> str:
        return f"{shown_path(self.path)!r} can't be labeled: {self.reason}"


@dataclass(frozen=True)
class ParquetFooter:
    """What a file says of itself at its end.

    Args:
        rows_per_group: of each row group, in their order; a group may have none.
        columns: the names of the top-level columns as they are written, no two of them alike.
        metadata: the key-value metadata; a key without a value is left out.
        writer: the program that wrote it, where that is said.
        data_bytes: where the footer begins.
    """

    rows_per_group: tuple[int, ...]
    columns: tuple[str, ...]
    metadata: Mapping[bytes, bytes]
    writer: str | None
    data_bytes: int

    @property
    def rows(self) -> int:
        """All of the file's rows."""
        return sum(self.rows_per_group)


def read_footer(path: Path) -> ParquetFooter:
    """What a Parquet file says of itself. Only its ends are read.

    Raises:
        ParquetError: it is none, or none that columns can be put beside.
        OSError: it can't be read.
    """
    with range_reader(path) as (size, read):
        return _read(size, read, path)[0]


def append_columns(
    source: Path, footer: ParquetFooter, columns: pa.Table | pa.RecordBatchReader, target: Path
) -> None:
    """Write a file that has all that the source has, and further columns after its own.

    In memory are the footer and, of the new columns, one row group. Whoever calls takes care that the target, which is
    written where it is, becomes visible only when it is whole.

    Args:
        source: the file.
        footer: what `read_footer` said of it.
        columns: text, float64, int64 or bool, a row for each of the file's. They are optional in Parquet's sense.
        target: where to write.

    Raises:
        ParquetError: the file has changed since the footer was read, has other rows than the columns, or a column of
            that name.
        TypeError: a column has another type.
        OSError: something can't be read or written.
    """
    schema = pa.schema([(field.name, plain_type(field.type)) for field in columns.schema])
    taken = [name for name in schema.names if name in set(footer.columns)]
    if taken:
        raise ParquetError(source, f"it has a column {taken[0]!r} already; rename it")
    if isinstance(columns, pa.Table):
        if columns.num_rows != footer.rows:
            raise _other_rows(source, footer.rows)
        columns = columns.to_reader()
    with source.open("rb", buffering=0) as original, target.open("wb") as copy:
        found, document = _read(*ranges_of(original), source)
        if found != footer:
            raise ParquetError(source, "it was replaced or written to meanwhile")
        new = _NewColumns(columns.schema, document)
        _copy(original, copy, footer.data_bytes, source)
        tables = _row_groups(columns, footer, source)
        for group, table in zip(document.structs(_File.ROW_GROUPS), tables, strict=True):
            _append_chunks(group, table, new, copy)
        _append_to_schema(document, new.encode()[1], schema, len(footer.columns))
        copy.write(_ending(document))


def what_is_lost(footer: ParquetFooter) -> str | None:
    """A clause about the one thing of a file that `append_columns` can't keep, None where it is all kept."""
    kind = type_of_names_lost(footer.metadata)
    return (
        None
        if kind is None
        else f"pandas will read the names of its columns as text; they are of type {kind} now"
    )


def undecodable(path: Path) -> list[tuple[str | None, str]]:
    """The columns of a file that can't be decoded, in its order, each with why; of no column (None) what ails all of it.

    Each is decoded by PyArrow, a part of a row group at a time: its pages, their checksums where they have some, and
    whether text is UTF-8.
    """
    try:
        with path.open("rb", buffering=0) as opened:
            footer, document = _read(*ranges_of(opened), path)
        metadata = pq.read_metadata(pa.py_buffer(_without_arrow_schema(document)))
        with pq.ParquetFile(path, metadata=metadata, page_checksum_verification=True) as file:
            reasons = {name: _undecodable_column(file, name) for name in footer.columns}
            return [(name, reason) for name, reason in reasons.items() if reason is not None]
    except ParquetError as error:
        return [(None, error.reason)]
    except (pa.ArrowException, OSError, ValueError) as error:
        return [(None, _first_line(error))]


def _without_arrow_schema(document: Struct) -> bytes:
    """A footer as a file of its own, by which columns are decoded as what they are in Parquet.

    Types that a writer told Arrow of, and that PyArrow doesn't know, are no fault of the file's.
    """
    entries = document.structs(_File.METADATA)
    entries[:] = [entry for entry in entries if entry.binary(_KeyValue.KEY) != ARROW_SCHEMA]
    return _MAGIC + _ending(document)


def _ending(document: Struct) -> bytes:
    encoded = document.encoded()
    return encoded + len(encoded).to_bytes(4, "little") + _MAGIC


def _undecodable_column(file: pq.ParquetFile, name: str) -> str | None:
    try:
        for group in range(file.num_row_groups):
            size = file.metadata.row_group(group)
            rows = max(1, min(_DECODED_ROWS, _DECODED_BYTES * size.num_rows // max(1, size.total_byte_size)))
            for batch in file.iter_batches(rows, row_groups=[group], columns=[name]):
                for column in batch.columns:
                    column.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        return _first_line(error)
    return None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def _read(size: int, read: ReadRange, path: Path) -> tuple[ParquetFooter, Struct]:
    """What a file says of itself, in short and whole."""
    raw, data_bytes = _footer_bytes(size, read, path)
    try:
        document, _ = Struct.read(raw, _SHAPE)
        _check_encryption(document, path)
        return _footer_of(document, data_bytes, path), document
    except ThriftError as error:
        raise ParquetError(path, f"its footer is damaged ({error})") from None


def _footer_bytes(size: int, read: ReadRange, path: Path) -> tuple[bytes, int]:
    """A file's footer, and where it begins."""
    if not size:
        raise ParquetError(path, "it is empty")
    magic = read(0, len(_MAGIC))
    if magic not in {_MAGIC, _ENCRYPTED}:
        raise ParquetError(path, "it is not a Parquet file")
    guessed = min(size, _GUESSED_FOOTER_BYTES)
    ending = read(size - guessed, guessed)
    footer_bytes = int.from_bytes(ending[-_TAIL_BYTES : -len(_MAGIC)], "little")
    data_bytes = size - _TAIL_BYTES - footer_bytes
    if ending[-len(_MAGIC) :] != magic or data_bytes < len(_MAGIC):
        raise ParquetError(path, "it was cut off: it does not end as a Parquet file does")
    if magic == _ENCRYPTED:
        raise ParquetError(path, "it is encrypted; write it without encryption")
    if footer_bytes > guessed - _TAIL_BYTES:
        return read(data_bytes, footer_bytes), data_bytes
    return ending[-_TAIL_BYTES - footer_bytes : -_TAIL_BYTES], data_bytes


def _check_encryption(document: Struct, path: Path) -> None:
    """Refuse a file that is encrypted in part: the key that its footer is signed by, or its columns lack, isn't here."""
    chunks = (
        chunk for group in document.structs(_File.ROW_GROUPS) for chunk in group.structs(_RowGroup.CHUNKS)
    )
    secret = {_Chunk.ENCRYPTION, _Chunk.ENCRYPTED_METADATA}
    if _File.ENCRYPTION in document.fields or any(secret & chunk.fields.keys() for chunk in chunks):
        raise ParquetError(path, "columns of it are encrypted; write it without encryption")


def _footer_of(document: Struct, data_bytes: int, path: Path) -> ParquetFooter:
    columns, leaves = _columns_of(document.structs(_File.SCHEMA))
    _check_names(path, columns)
    groups = document.structs(_File.ROW_GROUPS)
    sizes = [group.integer(_RowGroup.ROWS) for group in groups]
    rows = [size for size in sizes if size is not None and size >= 0]
    total = document.integer(_File.ROWS)
    if len(rows) != len(groups) or sum(rows) != total:
        # Readers differ in which of the two they believe.
        raise ThriftError(f"it says that there are {total} rows, and {sum(rows)} in its row groups")
    for group in groups:
        _sizes_of(group)
        chunks = group.structs(_RowGroup.CHUNKS)
        elsewhere = next((file for chunk in chunks if (file := chunk.binary(_Chunk.FILE))), None)
        if elsewhere:
            raise ParquetError(
                path,
                f"it only tells of columns in other files, such as {elsewhere.decode(errors='replace')!r}; "
                "leave it out of the source",
            )
        if len(chunks) != leaves or not all(chunk.is_struct(_Chunk.METADATA) for chunk in chunks):
            raise ThriftError("a row group has other columns than the file")
    if max(rows, default=0) > _MOST_ROWS_PER_GROUP:
        raise ParquetError(
            path,
            f"one of its row groups has {max(rows):,} rows; write it with row groups of at most {_MOST_ROWS_PER_GROUP:,}",
        )
    if _File.ORDERS in document.fields and len(document.structs(_File.ORDERS)) != leaves:
        raise ThriftError("it orders other columns than it has")
    entries = [
        (entry.binary(_KeyValue.KEY), entry.binary(_KeyValue.VALUE))
        for entry in document.structs(_File.METADATA)
    ]
    writer = document.binary(_File.WRITER)
    return ParquetFooter(
        rows_per_group=tuple(rows),
        columns=tuple(columns),
        metadata={key: value for key, value in entries if key is not None and value is not None},
        writer=None if writer is None else writer.decode(errors="replace"),
        data_bytes=data_bytes,
    )


def _columns_of(elements: Sequence[Struct]) -> tuple[list[str], int]:
    """The names of the top-level columns, and how many columns there are at the ends of all branches."""
    if not elements:
        raise ThriftError("it has no schema")
    names, leaves = [], 0
    expected = [_children_of(elements[0])]
    for element in elements[1:]:
        while expected and not expected[-1]:
            expected.pop()
        if not expected:
            break
        name = element.binary(_Element.NAME)
        if name is None:
            raise ThriftError("a column has no name")
        if len(expected) == 1:
            names.append(_utf8(name))
        expected[-1] -= 1
        children = _children_of(element)
        if children or _Element.TYPE not in element.fields:
            expected.append(children)
        else:
            leaves += 1
    if not expected or any(expected):
        raise ThriftError("its schema is no tree")
    return names, leaves


def _children_of(element: Struct) -> int:
    count = element.integer(_Element.CHILDREN) or 0
    if count < 0:
        raise ThriftError("its schema is no tree")
    return count


def _utf8(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise ThriftError("a column's name is not UTF-8") from None


def _check_names(path: Path, names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ParquetError(path, f"it has two columns {name!r}; rename one of them")
        seen.add(name)


def _other_rows(path: Path, rows: int) -> ParquetError:
    return ParquetError(
        path, f"it has {rows} rows, and not as many labels: it was replaced or written to meanwhile"
    )


def _row_groups(reader: pa.RecordBatchReader, footer: ParquetFooter, path: Path) -> Iterator[pa.Table]:
    """The rows of a reader, in tables of as many as each row group has."""
    held: pa.RecordBatch | None = (
        None  # PyArrow makes an empty one with the help of pandas, whose import takes its time
    )
    for rows in footer.rows_per_group:
        parts, missing = [], rows
        while missing:
            while held is None or not held.num_rows:
                try:
                    held = reader.read_next_batch()
                except StopIteration:
                    raise _other_rows(path, footer.rows) from None
            parts.append(held.slice(0, missing))
            held = held.slice(parts[-1].num_rows)
            missing -= parts[-1].num_rows
        yield pa.Table.from_batches(parts, reader.schema)
    if (held is not None and held.num_rows) or any(batch.num_rows for batch in reader):
        raise _other_rows(path, footer.rows)


class _NewColumns:
    """Writes new columns, in what other readers of a file need anyway: its codec, and statistics where they mean something."""

    def __init__(self, schema: pa.Schema, document: Struct) -> None:
        has_orders = _File.ORDERS in document.fields
        chunks = [
            chunk
            for group in document.structs(_File.ROW_GROUPS)
            for chunk in group.structs(_RowGroup.CHUNKS)[:1]
        ]
        self._schema = schema
        self._options = {
            "compression": _codec_of(chunks[0]) if chunks else "snappy",
            # Without the order that they are in, the format leaves undefined what minima and maxima mean.
            "write_statistics": has_orders,
            "write_page_index": has_orders and any(_Chunk.OFFSET_INDEX in chunk.fields for chunk in chunks),
            "store_schema": False,
        }

    def encode(self, *row_group: pa.Table) -> tuple[memoryview, Struct]:
        """The bytes of a row group's columns, which lie 4 bytes further in a file of their own, and that file's footer."""
        buffer = pa.BufferOutputStream()
        # Of no rows, a dictionary would be written all the same.
        use_dictionary = any(table.num_rows for table in row_group)
        with pq.ParquetWriter(buffer, self._schema, use_dictionary=use_dictionary, **self._options) as writer:
            for table in row_group:
                writer.write_table(table, row_group_size=max(1, table.num_rows))
        written = memoryview(buffer.getvalue())
        data_bytes = (
            len(written) - _TAIL_BYTES - int.from_bytes(written[-_TAIL_BYTES : -len(_MAGIC)], "little")
        )
        footer, _ = Struct.read(bytes(written[data_bytes:-_TAIL_BYTES]), _NEW_SHAPE)
        return written[len(_MAGIC) : data_bytes], footer


def _codec_of(chunk: Struct) -> str:
    """A column's codec by PyArrow's name; snappy where PyArrow does not write it."""
    try:
        number = chunk.struct(_Chunk.METADATA, {}).integer(_Column.CODEC)
    except ThriftError:  # damaged, which matters to whoever reads that column
        number = None
    name = _CODEC_NAMES.get(number, "snappy")
    return name if name == "none" or pa.Codec.is_available(name) else "snappy"


def _append_chunks(group: Struct, table: pa.Table, new: _NewColumns, copy: BinaryIO) -> None:
    """Write a row group's new columns, and tell it of them."""
    shift = copy.tell() - len(_MAGIC)
    written, footer = new.encode(table)
    (new_group,) = footer.structs(_File.ROW_GROUPS)
    chunks = new_group.structs(_RowGroup.CHUNKS)
    indexes = [_page_index_of(chunk, written) for chunk in chunks]
    # The pages come first, and their indexes after all of them.
    copy.write(written[: min((start for start, _, _ in indexes), default=len(written))])
    for chunk, (_, column_index, offset_index) in zip(chunks, indexes, strict=True):
        _shift(chunk, shift)
        _write_index(chunk, _Chunk.COLUMN_INDEX, _Chunk.COLUMN_INDEX_BYTES, column_index, copy)
        _write_index(
            chunk, _Chunk.OFFSET_INDEX, _Chunk.OFFSET_INDEX_BYTES, _shifted(offset_index, shift), copy
        )
    group.structs(_RowGroup.CHUNKS).extend(chunks)
    more = _sizes_of(new_group)
    for field, size in _sizes_of(group).items():
        group.set_integer(field, size + more[field])


def _page_index_of(chunk: Struct, written: memoryview) -> tuple[int, bytes, bytes]:
    """Where a column's indexes of its pages begin among the bytes of `encode`, its column index and its offset index.

    They are empty where it has none.
    """
    start, found = len(written), []
    for place, size in (
        (_Chunk.COLUMN_INDEX, _Chunk.COLUMN_INDEX_BYTES),
        (_Chunk.OFFSET_INDEX, _Chunk.OFFSET_INDEX_BYTES),
    ):
        at, length = chunk.integer(place), chunk.integer(size) or 0
        first = len(written) if at is None else at - len(_MAGIC)
        start = min(start, first)
        found.append(bytes(written[first : first + length]))
    return start, found[0], found[1]


def _write_index(chunk: Struct, place: int, size: int, index: bytes, copy: BinaryIO) -> None:
    if index:
        chunk.set_integer(place, copy.tell())
        chunk.set_integer(size, len(index))
        copy.write(index)


def _shifted(offset_index: bytes, shift: int) -> bytes:
    """An offset index, which says where in the file each page begins, for pages that lie further on."""
    if not offset_index:
        return b""
    index, _ = Struct.read(offset_index, {_OffsetIndex.PAGES: {}})
    for page in index.structs(_OffsetIndex.PAGES):
        page.set_integer(_OffsetIndex.OFFSET, (page.integer(_OffsetIndex.OFFSET) or 0) + shift)
    return index.encoded()


def _sizes_of(group: Struct) -> dict[int, int]:
    """The sizes that a row group says it has, in bytes, by their fields."""
    sizes = {field: group.integer(field) for field in (_RowGroup.BYTES, _RowGroup.COMPRESSED_BYTES)}
    return {field: size for field, size in sizes.items() if size is not None}


def _shift(chunk: Struct, shift: int) -> None:
    """Let a column that was written elsewhere be found where it is now."""
    column: Struct = chunk.fields[_Chunk.METADATA][1]
    # A column of no rows has no data, and says 0: it lies where its data would.
    column.set_integer(_Column.DATA, (column.integer(_Column.DATA) or len(_MAGIC)) + shift)
    for struct, fields in (
        (chunk, (_Chunk.OFFSET,)),
        (column, (_Column.INDEX, _Column.DICTIONARY, _Column.BLOOM_FILTER)),
    ):
        for field in fields:
            if offset := struct.integer(field):
                struct.set_integer(field, offset + shift)


def _append_to_schema(document: Struct, new: Struct, columns: pa.Schema, columns_before: int) -> None:
    """Tell a footer of new columns, all but its row groups, which know them already."""
    elements = document.structs(_File.SCHEMA)
    elements[0].fields[_Element.CHILDREN] = i32_field(columns_before + len(columns))
    elements.extend(new.structs(_File.SCHEMA)[1:])
    if _File.ORDERS in document.fields:
        document.structs(_File.ORDERS).extend(new.structs(_File.ORDERS))
    for entry in document.structs(_File.METADATA):
        key, value = entry.binary(_KeyValue.KEY), entry.binary(_KeyValue.VALUE)
        if key is not None and value is not None:
            told = with_columns(key, value, columns)
            if told != value:
                entry.set_binary(_KeyValue.VALUE, told)
    # A second footer within the footer, in another encoding, which would not know the new columns. It may be absent.
    document.fields.pop(_File.EXTENSION, None)


def _copy(source: BinaryIO, target: BinaryIO, size: int, path: Path) -> None:
    """Copy a file's first bytes within the kernel, which on some file systems copies nothing; by hand where it can't."""
    copied = 0
    # Other file systems, and other systems than Linux; what a disk has against it is met again below.
    with suppress(OSError, AttributeError):
        while copied < size:
            sent = os.copy_file_range(
                source.fileno(), target.fileno(), min(size - copied, _MOST_COPIED_BYTES), copied, copied
            )
            if not sent:
                break
            copied += sent
    target.seek(copied)
    while copied < size:
        part = os.pread(source.fileno(), min(size - copied, _COPIED_BYTES), copied)
        if not part:
            raise ParquetError(path, "it was replaced or written to meanwhile")
        target.write(part)
        copied += len(part)
