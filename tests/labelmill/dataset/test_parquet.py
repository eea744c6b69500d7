"""A file with more columns is the file it was, to each of its readers; a file that can't have them is refused in a sentence."""

import os
import shutil
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch
from uuid import UUID

import datafusion
import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from labelmill.dataset import parquet
from labelmill.dataset.parquet import (
    ParquetError,
    append_columns,
    read_footer,
    undecodable,
    what_is_lost,
)

LABELS = ["label", "label_confidence"]
DUCKDB = duckdb.connect()


def _labels(rows):
    """A label column and one of numbers, as Polars hands them over, with nulls in both."""
    return pl.DataFrame(
        {
            "label": [("体育", None, "money")[row % 3] for row in range(rows)],
            "label_confidence": [(0.5, None, 1.0, -0.0)[row % 4] for row in range(rows)],
        },
        schema={"label": pl.String, "label_confidence": pl.Float64},
    ).to_arrow()


def _add_labels(source):
    """Append labels to a file, and return the new file."""
    footer = read_footer(source)
    target = source.with_name("target.parquet")
    append_columns(source, footer, _labels(footer.rows), target)
    return target


# What each reader sees of a file: a type and values of each column, in their order, as words.


def _by_pyarrow(path):
    table = pq.read_table(path)
    return [
        (field.name, f"{field.type!r} {field.nullable} {field.metadata}", repr(column.to_pylist()))
        for field, column in zip(table.schema, table.columns, strict=True)
    ]


def _by_polars(path):
    frame = pl.read_parquet(path, glob=False, hive_partitioning=False)
    return [(name, repr(frame[name].dtype), repr(frame[name].to_list())) for name in frame.columns]


def _by_pandas(path):
    frame = pd.read_parquet(path)
    return [
        (name, f"{frame[name].dtype!r} {frame.index!r}", repr(frame[name].tolist())) for name in frame.columns
    ]


def _by_datafusion(path):
    """The one that goes by the page index, as Spark does."""
    found = datafusion.SessionContext().read_parquet(path)
    table = pa.Table.from_batches(found.collect(), found.schema())
    return [
        (f.name, f"{f.type}", repr(c.to_pylist())) for f, c in zip(table.schema, table.columns, strict=True)
    ]


def _by_duckdb(path):
    read = DUCKDB.execute("from read_parquet(?)", [str(path)])
    rows = read.fetchall()
    return [
        (column[0], str(column[1]), repr([row[index] for row in rows]))
        for index, column in enumerate(read.description)
    ]


READERS = [_by_pyarrow, _by_polars, _by_pandas, _by_duckdb, _by_datafusion]


def _read_by(reader, path):
    """What a reader sees, None where it can't read the file."""
    try:
        return reader(path)
    except (Exception, pl.exceptions.PanicException):  # noqa: BLE001  (each has errors of its own)
        return None


def _footer_of(path):
    with path.open("rb") as file:
        return parquet._read(*parquet.ranges_of(file), path)


def _own_chunks(path, columns):
    """Whether columns of a file are there, with all that the footer says of each: pages, statistics, indexes, filters."""
    groups = _footer_of(path)[1].structs(4)
    return [[chunk.encoded() for chunk in group.structs(1)[:columns]] for group in groups]


def _assert_kept(source, target):
    """The target is the source and the labels, byte for byte, and to all readers that can read the source."""
    footer, document = _footer_of(source)
    assert target.read_bytes()[: footer.data_bytes] == source.read_bytes()[: footer.data_bytes]
    before, after = pq.read_metadata(source), pq.read_metadata(target)
    columns = before.num_columns
    assert _own_chunks(target, columns) == _own_chunks(source, columns)
    elements = [element.encoded() for element in document.structs(2)]
    assert [e.encoded() for e in _footer_of(target)[1].structs(2)][1 : len(elements)] == elements[1:]
    groups = range(before.num_row_groups)
    assert [after.row_group(group).sorting_columns for group in groups] == [
        before.row_group(group).sorting_columns for group in groups
    ]
    assert read_footer(target).rows_per_group == footer.rows_per_group
    assert (before.created_by, before.format_version) == (after.created_by, after.format_version)
    labels = _labels(footer.rows).to_pydict()
    readers = 0
    for reader in READERS:
        if (seen := _read_by(reader, source)) is not None:
            found = reader(target)
            assert found[:-2] == seen
            assert [name for name, _, _ in found[-2:]] == LABELS
            assert [values.replace("nan", "None") for _, _, values in found[-2:]] == [
                repr(labels[name]) for name in LABELS
            ]
            readers += 1
    return readers


TEXTS = ["", "a", "中 \0🙂", "x" * 300]
DAYS = [date(1, 1, 1), date(1969, 12, 31), date(2026, 11, 30), date(9999, 12, 31)]
MOMENTS = [0, 1, -1, 86_400_000, -(2**40)]
TIMES = [time(0), time(1, 2, 3), time(23, 59, 59)]
LEAVES = [
    (pa.bool_(), [True, False]),
    *(
        (getattr(pa, f"int{bits}")(), [0, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1])
        for bits in (8, 16, 32, 64)
    ),
    *((getattr(pa, f"uint{bits}")(), [0, 2**bits - 1]) for bits in (8, 16, 32, 64)),
    *(
        (kind, [0.0, -0.0, 1.5, float("inf"), float("nan")])
        for kind in (pa.float16(), pa.float32(), pa.float64())
    ),
    *((kind, TEXTS) for kind in (pa.string(), pa.large_string(), pa.string_view())),
    *((kind, [b"", b"\0\xff", b"abc"]) for kind in (pa.binary(), pa.large_binary(), pa.binary_view())),
    (pa.binary(3), [b"abc", b"\0\xff\xed"]),
    (pa.date32(), DAYS),
    (pa.date64(), DAYS),
    *((kind, TIMES) for kind in (pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns"))),
    *(
        (pa.timestamp(unit, zone), MOMENTS)
        for unit in ("s", "ms", "us", "ns")
        for zone in (None, "UTC", "Asia/Tokyo")
    ),
    *((pa.duration(unit), MOMENTS) for unit in ("s", "ms", "us", "ns")),
    *((pa.decimal128(*size), [Decimal(0), Decimal("-1.1")]) for size in ((2, 1), (9, 2), (18, 4), (38, 10))),
    (pa.decimal32(9, 1), [Decimal("99999999.9")]),
    (pa.decimal64(18, 1), [Decimal("-1.1")]),
    (pa.decimal256(76, 5), [Decimal("9" * 71 + ".00001"), Decimal("-0.00001")]),
    (pa.null(), [None]),
    (pa.dictionary(pa.int8(), pa.string()), TEXTS),
    (pa.dictionary(pa.int32(), pa.string(), ordered=True), TEXTS),
    (pa.uuid(), [UUID(int=1).bytes, UUID(int=2**128 - 1).bytes]),
    (pa.json_(), ['{"a": 1}', "[]"]),
    (pa.bool8(), [0, 1]),
    (pa.opaque(pa.int32(), "money", "acme"), [1, 2]),
]


def _lists(inner):
    kind, values = inner
    kinds = st.sampled_from(
        [pa.list_(kind), pa.large_list(kind), pa.list_(pa.field("item", kind, metadata={"k": "v"}))]
    )
    return st.tuples(kinds, st.just(st.lists(values, max_size=2)))


def _structs(inners):
    kind = pa.struct([pa.field(name, kind) for name, (kind, _) in inners.items()])
    return kind, st.fixed_dictionaries({name: values for name, (_, values) in inners.items()})


def _maps(inner):
    kind, values = inner
    return pa.map_(pa.string(), kind), st.dictionaries(st.sampled_from(TEXTS), values, max_size=2).map(
        lambda found: list(found.items())
    )


TYPES = st.recursive(
    st.sampled_from([(kind, st.none() | st.sampled_from(values)) for kind, values in LEAVES]),
    lambda inner: (
        inner.flatmap(_lists)
        | st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=2).map(_structs)
        | inner.map(_maps)
    ),
    max_leaves=3,
)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=4) | st.sampled_from(["a.b", "列"])
METADATA = st.sampled_from([None, {"PARQUET:field_id": "7"}, {"comment": "c"}])


@st.composite
def _tables(draw):
    """A table of up to four columns of anything that Parquet has, and how PyArrow is to write it."""
    rows = draw(st.integers(0, 5))
    fields, arrays = [], []
    for name in draw(st.lists(NAMES, max_size=4, unique=True)):
        kind, values = draw(TYPES)
        required = kind != pa.null() and draw(st.integers(0, 4)) == 0
        chosen = [
            draw(values.filter(lambda value: value is not None) if required else st.none() | values)
        ] * rows
        for row in range(1, rows, 2):
            chosen[row] = draw(values.filter(lambda value: value is not None) if required else values)
        try:
            arrays.append(pa.array(chosen, kind))
        except pa.ArrowException:  # PyArrow makes no such array
            assume(False)
        fields.append(pa.field(name, kind, nullable=not required, metadata=draw(METADATA)))
    table = pa.Table.from_arrays(
        arrays, schema=pa.schema(fields, draw(st.sampled_from([None, {"geo": "{}"}])))
    )
    options = {
        "row_group_size": draw(st.integers(1, 6)),
        "compression": draw(st.sampled_from(["none", "snappy", "gzip", "zstd", "brotli", "lz4"])),
        "data_page_version": draw(st.sampled_from(["1.0", "2.0"])),
        "version": draw(st.sampled_from(["1.0", "2.4", "2.6"])),
        **{
            name: draw(st.booleans())
            for name in (
                "use_dictionary",
                "write_statistics",
                "write_page_index",
                "write_page_checksum",
                "store_schema",
                "store_decimal_as_integer",
                "use_deprecated_int96_timestamps",
            )
        },
    }
    if fields and not pa.types.is_nested(table.schema.types[0]):
        options["sorting_columns"] = [pq.SortingColumn(0, descending=True)]
    return table, options


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(_tables())
def test_all_that_pyarrow_writes_is_kept(written):
    """Whatever PyArrow can write, all readers find as it was, and the labels beside it."""
    table, options = written
    with TemporaryDirectory() as folder:
        source = Path(folder) / "source.parquet"
        try:
            pq.write_table(table, source, **options)
        except (pa.ArrowException, OSError):
            assume(False)
        _assert_kept(source, _add_labels(source))


@pytest.fixture
def source(tmp_path):
    """Where a source's file is to be."""
    return tmp_path / "source.parquet"


@pytest.mark.slow
def test_all_that_duckdb_writes_is_kept(source):
    """DuckDB's own types, field ids, row groups, page versions and bloom filters are kept."""
    columns = (
        "range::INTEGER AS id, uuid() AS u, '{\"a\": 1}'::JSON AS j, 'x'::ENUM('x', 'y') AS e, 'a'::BLOB AS b, "
        "1::HUGEINT AS h, 1::UHUGEINT AS uh, INTERVAL 1 DAY AS i, TIME '01:02:03' AS t, TIMETZ '01:02:03+01' AS tz, "
        "TIMESTAMPTZ '2026-11-30' AS at, TIMESTAMP_S '0001-01-01' AS s, '9999-12-31'::TIMESTAMP_NS::VARCHAR AS ns, "
        "1.5::DECIMAL(38, 10) AS d, {'x': [1, NULL], 'y': MAP {'k': 1}} AS nested, [1.5, NULL]::FLOAT[2] AS a, "
        "NULL AS nothing, '101'::BIT AS bits"
    ).replace("'9999-12-31'::TIMESTAMP_NS", "'2200-12-31'::TIMESTAMP_NS")
    for version in ("V1", "V2"):
        DUCKDB.execute(
            f"COPY (SELECT {columns} FROM range(2100)) TO '{source}' (FORMAT parquet, ROW_GROUP_SIZE 2048, "  # noqa: S608
            f"PARQUET_VERSION {version}, CODEC zstd, FIELD_IDS {{id: 42}}, KV_METADATA {{k: 'v'}})"
        )
        assert _assert_kept(source, _add_labels(source)) >= 2
        assert len(read_footer(source).rows_per_group) > 1


def test_all_that_polars_writes_is_kept(source):
    """Polars' own types, and what it writes of them beside Parquet's, are kept."""
    frame = pl.DataFrame(
        {
            "cat": pl.Series(["x", None, "y"], dtype=pl.Categorical),
            "enum": pl.Series(["x", None, "y"], dtype=pl.Enum(["y", "x"])),
            "decimal": pl.Series([Decimal("1.10"), None, Decimal(0)], dtype=pl.Decimal(38, 2)),
            "array": pl.Series([[1, 2], None, [None, 3]], dtype=pl.Array(pl.Int8, 2)),
            "time": [time(1, 2, 3, 4), None, time(0)],
            "duration": [timedelta(1), None, timedelta(0)],
            "zone": pl.Series([datetime(1, 1, 1, tzinfo=UTC), None, datetime(9999, 1, 1, tzinfo=UTC)]),
            "null": pl.Series([None, None, None]),
            "struct": [{"a": [1], "b": None}, None, {"a": [], "b": "x"}],
        }
    )
    for options in ({"row_group_size": 1, "compression": "lz4"}, {"data_page_size": 1, "statistics": "full"}):
        frame.write_parquet(source, **options)
        assert _assert_kept(source, _add_labels(source)) >= 3


@pytest.mark.parametrize(
    ("columns", "kind"),
    [
        (pd.to_datetime(["2026-11-30", "2026-12-01"]), "datetime64[us]"),
        ([b"a", b"b"], "bytes"),
        ([True, False], "bool"),
    ],
)
def test_what_is_lost_is_told_before(source, columns, kind):
    """Names of pandas' columns that can't stand beside text become text, which the footer tells; nothing else is lost."""
    pd.DataFrame([[1, 2]], columns=columns).to_parquet(source)
    assert what_is_lost(read_footer(source)) == (
        f"pandas will read the names of its columns as text; they are of type {kind} now"
    )
    assert list(pd.read_parquet(_add_labels(source)).columns) == [*read_footer(source).columns, *LABELS]
    pd.DataFrame([[1, 2]], columns=["a", "b"]).to_parquet(source)
    assert what_is_lost(read_footer(source)) is None
    pl.DataFrame({"a": [1]}).write_parquet(source)
    assert what_is_lost(read_footer(source)) is None


def test_types_that_arrow_has_no_name_for_are_kept(source):
    """Polars' 128-bit integers keep PyArrow from reading the file; whoever could read it still can, and sees the labels."""
    frame = pl.DataFrame({"n": pl.Series([1, None, -(2**100)], dtype=pl.Int128)})
    frame.write_parquet(source)
    labeled = pl.read_parquet(_add_labels(source))
    assert labeled.equals(pl.concat([frame, pl.from_arrow(_labels(3))], how="horizontal"))
    assert labeled.schema["n"] == pl.Int128
    assert undecodable(source) == []


@pytest.mark.parametrize(
    "index",
    [
        pd.RangeIndex(3, 9, 2, name="r"),
        pd.Index(["x", "y", "z"]),
        pd.MultiIndex.from_tuples([("a", 1), ("b", 2), ("c", 3)], names=["p", None]),
        pd.date_range("2026-11-30", periods=3, tz="Asia/Tokyo"),
    ],
    ids=["range", "text", "levels", "moments"],
)
@pytest.mark.parametrize(
    "columns",
    [
        ["a", "b"],
        [0, 1],
        [0.5, 1.5],
        pd.Index(["a", "b"], name="named"),
        pd.MultiIndex.from_tuples([("a", "x"), ("b", "y")], names=["p", "q"]),
        pd.MultiIndex.from_tuples([(1, "x"), (2, "y")]),
    ],
    ids=["text", "integers", "floats", "named", "levels", "mixed"],
)
def test_a_frame_of_pandas_is_kept(source, index, columns):
    """A frame keeps its index, its columns' names and their types, attributes too, and the labels are columns beside them."""
    frame = pd.DataFrame([[1, "a"], [2, None], [3, "c"]], index=index, columns=columns)
    frame.iloc[:, 1] = frame.iloc[:, 1].astype("category")
    frame.attrs = {"made": "by hand"}
    frame.to_parquet(source)
    labeled = pd.read_parquet(_add_labels(source))
    before = pd.read_parquet(source)
    pd.testing.assert_frame_equal(labeled.iloc[:, :2], before, check_column_type=False)
    assert labeled.attrs == before.attrs
    assert list(labeled.columns[:2]) == list(frame.columns)
    own = [
        name
        if isinstance(columns, list | pd.Index) and not isinstance(columns, pd.MultiIndex)
        else (name, "")
        for name in LABELS
    ]
    assert list(labeled.columns[2:]) == own
    assert labeled[own[0]].tolist()[0] == "体育"


def test_moments_beyond_nanoseconds_are_kept(source):
    """INT96 holds 12 bytes, and no reader's unit decides what becomes of them."""
    moments = [datetime(2024, 1, 1), datetime(9999, 12, 31), datetime(1, 1, 1)]  # noqa: DTZ001
    table = pa.table({"id": [1, 2, 3], "valid_to": pa.array(moments, pa.timestamp("us"))})
    pq.write_table(table, source, use_deprecated_int96_timestamps=True, store_schema=False)
    target = _add_labels(source)
    assert _assert_kept(source, target) == len(READERS)
    assert pq.read_table(target, coerce_int96_timestamp_unit="us").select(["id", "valid_to"]).equals(table)
    assert [row[0] for row in DUCKDB.execute(f"SELECT valid_to FROM '{target}'").fetchall()] == moments  # noqa: S608


@pytest.mark.parametrize(
    ("column", "encoding"),
    [
        (pa.array(["a", "ab", None] * 9), "DELTA_BYTE_ARRAY"),
        (pa.array(["a", "ab", None] * 9), "DELTA_LENGTH_BYTE_ARRAY"),
        (pa.array(range(27)), "DELTA_BINARY_PACKED"),
        (pa.array([1.5] * 27), "BYTE_STREAM_SPLIT"),
        (pa.array([Decimal("1.50")] * 27, pa.decimal128(38, 2)), "DELTA_BYTE_ARRAY"),
        (pa.array([True, None, False] * 9), "RLE"),
    ],
)
def test_every_encoding_is_kept(source, column, encoding):
    """A column is kept however it is encoded, with its bloom filter, whether or not each reader can decode it."""
    bloom = {"column": {"ndv": 9}} if encoding.startswith("DELTA") else None
    pq.write_table(
        pa.table({"column": column}),
        source,
        use_dictionary=False,
        column_encoding={"column": encoding},
        data_page_version="2.0",
        row_group_size=10,
        bloom_filter_options=bloom,
        write_page_index=True,
    )
    target = _add_labels(source)
    assert _assert_kept(source, target) >= 2
    group = pq.read_metadata(target).row_group(1)
    assert (group.column(0).bloom_filter_offset is not None) == (bloom is not None)
    # Readers of page indexes want one of each column, or of none.
    assert all(group.column(index).has_offset_index for index in range(3))


def test_pages_are_found_by_their_index(source):
    """A reader that skips pages by the index finds the labels of the very rows it asks for, in each row group."""
    rows = 5000
    table = pa.table({"id": range(rows), "text": [f"text {row}" for row in range(rows)]})
    pq.write_table(table, source, row_group_size=2000, write_page_index=True, data_page_size=500)
    target = source.with_name("target.parquet")
    labels = pa.table({"label": [f"label {row} {'x' * 200}" for row in range(rows)]})
    with patch.object(
        pq, "ParquetWriter", partial(pq.ParquetWriter, data_page_size=1000, write_batch_size=10)
    ):
        append_columns(source, read_footer(source), labels, target)
    context = datafusion.SessionContext()
    context.register_parquet("labeled", target)
    for first in (0, 1999, 2500, 4990):
        asked = f"SELECT label FROM labeled WHERE id BETWEEN {first} AND {first + 4} ORDER BY id"  # noqa: S608
        (found,) = context.sql(asked).to_pydict().values()
        assert found == labels["label"].slice(first, 5).to_pylist()


@pytest.mark.parametrize("sizes", [[], [0], [0, 2, 0, 1, 0]])
@pytest.mark.parametrize("names", [[], ["a"]])
def test_what_is_empty_can_be_labeled(source, sizes, names):
    """Row groups without rows, files without any, and files without columns get the columns too."""
    table = pa.table({"a": ["x", None]}).select(names)
    with pq.ParquetWriter(source, table.schema) as writer:
        for size in sizes:
            writer.write_table(table.slice(0, size))
    target = _add_labels(source)
    _assert_kept(source, target)
    groups = read_footer(source).rows_per_group
    assert len(groups) == len(sizes)
    assert [len(pl.read_parquet(target)), pq.read_table(target).num_columns] == [sum(groups), len(names) + 2]


def test_thousands_of_columns_can_be_labeled(source):
    """A footer of a megabyte is a footer."""
    pq.write_table(pa.table({f"column {number}": [number] for number in range(5000)}), source)
    footer = read_footer(source)
    assert (footer.rows, len(footer.columns), footer.columns[-1]) == (1, 5000, "column 4999")
    assert pq.read_schema(_add_labels(source)).names[-3:] == ["column 4999", *LABELS]


def test_a_footer_says_what_the_file_is(source):
    """Rows, row groups, columns as they are written, metadata and writer are those that PyArrow finds."""
    table = pa.table({"b": [1, 2, 3], "A.b": [{"x": 1}] * 3, "列": ["a"] * 3})
    pq.write_table(table.replace_schema_metadata({"k": "v"}), source, row_group_size=2)
    footer, found = read_footer(source), pq.read_metadata(source)
    assert (footer.rows, footer.rows_per_group, footer.columns) == (3, (2, 1), ("b", "A.b", "列"))
    assert (footer.metadata, footer.writer) == (found.metadata, found.created_by)


def _rewritten(path, change):
    """Change a file's footer, by a function of what stands there."""
    footer, document = _footer_of(path)
    change(document)
    ending = document.encoded()
    path.write_bytes(
        path.read_bytes()[: footer.data_bytes] + ending + len(ending).to_bytes(4, "little") + b"PAR1"
    )


def test_fields_of_later_versions_are_kept(source):
    """What a footer holds that nobody has heard of yet is kept, but for a second footer, without the new columns, in it."""
    pq.write_table(pa.table({"a": [1, 2]}), source)

    def add(document):
        document.set_binary(1000, b"of the file")
        document.set_binary(32767, b"another footer")
        document.structs(2)[1].set_binary(1000, b"of the column's schema")
        document.structs(4)[0].set_binary(1000, b"of the row group")
        document.structs(4)[0].structs(1)[0].set_binary(1000, b"of the chunk")

    _rewritten(source, add)
    target = _add_labels(source)
    assert _assert_kept(source, target) == len(READERS)
    _, document = _footer_of(target)
    assert (document.binary(1000), document.binary(32767)) == (b"of the file", None)
    assert document.structs(2)[1].binary(1000) == b"of the column's schema"
    assert document.structs(4)[0].binary(1000) == b"of the row group"
    assert document.structs(4)[0].structs(1)[0].binary(1000) == b"of the chunk"


def test_statistics_that_would_mean_nothing_are_not_written(source):
    """Without the order that columns are in, minima and maxima are undefined: the new columns have none, the file's stay."""
    pq.write_table(pa.table({"a": [1, 2]}), source)
    _rewritten(source, lambda document: document.fields.pop(7))
    target = _add_labels(source)
    assert _assert_kept(source, target) == len(READERS)
    group = pq.read_metadata(target).row_group(0)
    assert [group.column(index).is_stats_set for index in range(3)] == [True, False, False]


def test_a_damaged_page_of_another_column_does_not_matter(source):
    """What can't be decoded is handed on as it is: its column can be read no more than before, all others can."""
    table = pa.table({"text": ["a", "b"] * 500, "price": [str(number) for number in range(1000)]})
    pq.write_table(table, source, use_dictionary=False)
    price = pq.read_metadata(source).row_group(0).column(1)
    damaged = bytearray(source.read_bytes())
    middle = price.data_page_offset + price.total_compressed_size // 2
    damaged[middle : middle + 8] = b"\xff" * 8
    source.write_bytes(damaged)
    target = _add_labels(source)
    ((name, _),) = undecodable(source)
    assert name == "price"
    assert [name for name, _ in undecodable(target)] == ["price"]
    assert pq.read_table(target, columns=["text", *LABELS]).to_pydict() == {
        "text": ["a", "b"] * 500,
        **_labels(1000).to_pydict(),
    }


@settings(max_examples=30)
@given(st.lists(st.integers(0, 7), max_size=5), st.lists(st.integers(1, 5), max_size=9))
def test_labels_may_come_a_few_at_a_time(sizes, cuts):
    """However the rows of the labels are cut into batches, each row group gets its own; one too few or too many is refused."""
    rows = sum(sizes)
    labels = _labels(rows + 1).combine_chunks()
    with TemporaryDirectory() as folder:
        source, target = Path(folder) / "source", Path(folder) / "target"
        table = pa.table({"a": list(range(rows))}, schema=pa.schema([("a", pa.int64())]))
        with pq.ParquetWriter(source, table.schema) as writer:
            for index, size in enumerate(sizes):
                writer.write_table(table.slice(sum(sizes[:index]), size), row_group_size=max(1, size))
        footer = read_footer(source)

        def batches(count):
            at = 0
            for cut in [*cuts, count]:
                yield from labels.slice(at, max(0, min(cut, count - at))).to_batches()
                at += cut

        for count in (rows, rows - 1, rows + 1):
            reader = pa.RecordBatchReader.from_batches(labels.schema, batches(count))
            if count == rows:
                append_columns(source, footer, reader, target)
                assert pq.read_table(target).to_pydict() == {
                    **table.to_pydict(),
                    **labels.slice(0, rows).to_pydict(),
                }
            elif count >= 0:
                with pytest.raises(ParquetError, match="not as many labels"):
                    append_columns(source, footer, reader, target)
                with pytest.raises(ParquetError, match="not as many labels"):
                    append_columns(source, footer, labels.slice(0, count), target)


def test_a_file_that_changed_meanwhile_is_refused(source):
    """Labels that were made for a file are not put beside the rows of another one under its name."""
    pq.write_table(pa.table({"text": ["a", "b"]}), source)
    footer = read_footer(source)
    pq.write_table(pa.table({"text": ["b", "aa"]}), source)
    with pytest.raises(ParquetError) as refused:
        append_columns(source, footer, _labels(2), source.with_name("target"))
    assert str(refused.value) == f"'{source}' can't be labeled: it was replaced or written to meanwhile"


def test_a_name_that_is_taken_is_refused(source):
    """A file with a column of a label's name is named, with the column."""
    pq.write_table(pa.table({"label": ["a"]}), source)
    with pytest.raises(ParquetError) as refused:
        append_columns(source, read_footer(source), _labels(1), source.with_name("target"))
    assert str(refused.value) == f"'{source}' can't be labeled: it has a column 'label' already; rename it"


@pytest.mark.parametrize("size", [0, 1, 3 << 20])
def test_files_are_copied_where_the_kernel_can_not(source, monkeypatch, size):
    """Between file systems, and on systems, that know no copying within the kernel, the bytes are the same."""
    pq.write_table(pa.table({"a": [os.urandom(size)]}), source, compression="none")
    target = _add_labels(source)
    expected = target.read_bytes()

    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    assert _add_labels(source).read_bytes() == expected
    monkeypatch.delattr(os, "copy_file_range")
    assert _add_labels(source).read_bytes() == expected


class _KeyStore(pe.KmsClient):
    """Keeps keys by leaving them as they are."""

    def wrap_key(self, key_bytes, master_key_identifier):  # noqa: ARG002
        """Hide nothing."""
        return key_bytes

    def unwrap_key(self, wrapped_key, master_key_identifier):  # noqa: ARG002
        """Find nothing hidden."""
        return wrapped_key


def _write_encrypted(path, **options):
    factory = pe.CryptoFactory(lambda _: _KeyStore())
    settings = pe.EncryptionConfiguration(footer_key="k", column_keys={"k": ["a"]}, **options)
    properties = factory.file_encryption_properties(pe.KmsConnectionConfig(), settings)
    pq.write_table(pa.table({"a": [1], "b": [2]}), path, encryption_properties=properties)


def _write_summary(path):
    collected = []
    pq.write_table(pa.table({"a": [1]}), path, metadata_collector=collected)
    collected[0].set_file_path("part-0.parquet")
    pq.write_metadata(pa.schema([("a", pa.int64())]), path, metadata_collector=collected)


def _cut(path):
    pq.write_table(pa.table({"a": [1]}), path)
    path.write_bytes(path.read_bytes()[:-20])


def _damage(path):
    pq.write_table(pa.table({"a": [1]}), path)
    _rewritten(path, lambda document: document.set_integer(3, 2))


def _misname(path):
    pq.write_table(pa.table({"a": [1]}), path)
    _rewritten(path, lambda document: document.structs(2)[1].set_binary(4, b"caf\xe9"))


def _declare_large(path):
    def change(document):
        for struct in (document, *document.structs(4)):
            struct.set_integer(3, 10**8)

    pq.write_table(pa.table({"a": [1]}), path)
    _rewritten(path, change)


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda path: path.write_bytes(b""), "it is empty"),
        (lambda path: path.write_bytes(b"id,text\n1,a\n"), "it is not a Parquet file"),
        (_cut, "it was cut off: it does not end as a Parquet file does"),
        (_damage, "its footer is damaged (it says that there are 2 rows, and 1 in its row groups)"),
        (_misname, "its footer is damaged (a column's name is not UTF-8)"),
        (_write_encrypted, "it is encrypted; write it without encryption"),
        (
            lambda path: _write_encrypted(path, plaintext_footer=True),
            "columns of it are encrypted; write it without encryption",
        ),
        (
            lambda path: pq.write_table(pa.Table.from_arrays([pa.array([1])] * 2, ["a", "a"]), path),
            "it has two columns 'a'; rename one of them",
        ),
        (
            _write_summary,
            "it only tells of columns in other files, such as 'part-0.parquet'; leave it out of the source",
        ),
        (
            _declare_large,
            "one of its row groups has 100,000,000 rows; write it with row groups of at most 67,108,864",
        ),
    ],
    ids=["empty", "csv", "cut", "damaged", "misnamed", "encrypted", "columns", "twice", "summary", "large"],
)
def test_a_file_that_can_not_be_labeled_is_told_why(source, write, reason):
    """Each kind of file that can't have labels is told by its ends, before anything is spent, in a sentence of its own."""
    write(source)
    with pytest.raises(ParquetError) as refused:
        read_footer(source)
    assert str(refused.value) == f"'{source}' can't be labeled: {reason}"
    assert (refused.value.path, refused.value.reason) == (source, reason)
    assert undecodable(source) == [(None, refused.value.reason)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A file with a little of everything in its footer, and the columns that PyArrow finds there."""
    path = tmp_path_factory.mktemp("whole") / "whole.parquet"
    table = pa.table(
        {
            "id": [1, 2, 3],
            "text": ["a", None, "c"],
            "list": [[1], [], None],
            "struct": [{"x": 1.5, "y": "q"}, None, {"x": None, "y": ""}],
            "kind": pa.array(["k", "k", "j"]).dictionary_encode(),
        },
        metadata={"k": "v", "huggingface": '{"info": {"features": {}}}'},
    )
    sorting = [pq.SortingColumn(0)]
    pq.write_table(table, path, row_group_size=2, write_page_index=True, sorting_columns=sorting)
    return path


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_no_damage_makes_a_wrong_file(whole, data):
    """A footer with a byte that isn't what it was is refused in our words, or what can still be read of it stays so."""
    raw, footer = bytearray(whole.read_bytes()), read_footer(whole)
    place = data.draw(st.integers(footer.data_bytes, len(raw) - 1), label="place")
    raw[place] ^= data.draw(
        st.sampled_from([1 << bit for bit in range(8)]) | st.integers(1, 255), label="bits"
    )
    damaged, target = whole.with_name("damaged"), whole.with_name("target")
    damaged.write_bytes(raw)
    try:
        found = read_footer(damaged)
    except ParquetError:
        return
    append_columns(damaged, found, _labels(found.rows), target)
    seen = _read_by(_by_pyarrow, damaged)
    if seen is not None:
        labels = _labels(found.rows).to_pydict()
        after = _by_pyarrow(target)
        assert after[:-2] == seen
        assert [values for _, _, values in after[-2:]] == [repr(labels[name]) for name in LABELS]


@given(st.data())
def test_a_part_of_a_file_is_no_file(whole, data):
    """A file that ends anywhere before its end is refused in our words."""
    raw = whole.read_bytes()
    cut = whole.with_name("cut")
    cut.write_bytes(raw[: data.draw(st.integers(0, len(raw) - 1))])
    with pytest.raises(ParquetError):
        read_footer(cut)


def test_what_can_be_decoded_has_no_fault(whole, source):
    """A file whose columns can all be decoded has no fault, whatever their names; nor has one without rows or columns."""
    assert undecodable(whole) == []
    pq.write_table(pa.table({"a.b": [1], "a": [{"b": "x"}], "": ["中"]}), source)
    assert undecodable(source) == []
    pq.write_table(pa.table({}), source)
    assert undecodable(source) == []


LATIN = pa.StringArray.from_buffers(2, pa.array([0, 4, 4], pa.int32()).buffers()[1], pa.py_buffer(b"caf\xe9"))


@pytest.mark.parametrize(
    "column",
    [
        LATIN,
        pa.StructArray.from_arrays([LATIN], ["inner"]),
        pa.ListArray.from_arrays([0, 2, 2], LATIN),
        LATIN.cast(pa.large_string()),
        pa.DictionaryArray.from_arrays(pa.array([0, 1]), LATIN),
        pa.ExtensionArray.from_storage(pa.json_(), LATIN),
    ],
    ids=["text", "struct", "list", "large", "dictionary", "json"],
)
@pytest.mark.parametrize("use_dictionary", [True, False])
def test_text_that_is_not_utf8_is_a_fault(source, column, use_dictionary):
    """Bytes that aren't the text that the column says they are make other readers fail: the column is named."""
    table = pa.table({"id": [1, 2], "name": column})
    pq.write_table(table, source, use_dictionary=use_dictionary, row_group_size=1)
    ((name, reason),) = undecodable(source)
    assert name == "name"
    assert "Invalid UTF8" in reason


def test_a_checksum_that_does_not_match_is_a_fault(source):
    """A bit that turned within a page is found where the writer left a checksum, also where it can be decoded."""
    pq.write_table(pa.table({"a": [1, 2], "b": [3, 4]}), source, compression="none", use_dictionary=False)
    shutil.copy(source, plain := source.with_name("plain"))
    pq.write_table(
        pq.read_table(plain), source, compression="none", use_dictionary=False, write_page_checksum=True
    )
    column = pq.read_metadata(source).row_group(0).column(1)
    raw = bytearray(source.read_bytes())
    raw[column.data_page_offset + column.total_compressed_size - 1] ^= 1
    source.write_bytes(raw)
    ((name, reason),) = undecodable(source)
    assert name == "b"
    assert "CRC checksum verification failed" in reason


def test_a_codec_that_nobody_has_is_a_fault(source):
    """A column that PyArrow has no codec or encoding for is named; the labels are written in a codec that it has."""
    pq.write_table(pa.table({"a": [1, 2], "b": [3, 4]}), source)

    def change(document):
        for chunk in document.structs(4)[0].structs(1):
            column = chunk.struct(3, {})
            column.set_integer(4, 3)
            chunk.fields[3] = (12, column.encoded())

    _rewritten(source, change)
    assert [(name, "LZO" in reason.upper()) for name, reason in undecodable(source)] == [
        ("a", True),
        ("b", True),
    ]
    assert pq.read_table(_add_labels(source), columns=LABELS).to_pydict() == _labels(2).to_pydict()
