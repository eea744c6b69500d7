"""Every source column comes out of labeling byte for byte."""

import math
import struct
from datetime import date, time
from decimal import Decimal

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from merging import Merger
from polars.testing import assert_frame_equal

from labelmill.dataset.merge import LABEL_COLUMNS
from labelmill.dataset.source import source_files
from labelmill.dataset.template import read_template

PAYLOAD_NAN = struct.unpack(">d", bytes.fromhex("7ff80000deadbeef"))[0]
NAMES = pa.struct([("first", pa.string()), ("ages", pa.list_(pa.int16()))])

COLUMNS = {
    "text": pa.array(["a", None, "b", "\0🙂\u202e", ""]),
    "list": pa.array([[1, None], [], None, [2**62], [0]], pa.list_(pa.int64())),
    "lists": pa.array([[[b"x"], None], [], None, [[]], [[None]]], pa.list_(pa.list_(pa.binary()))),
    "struct": pa.array([{"first": "x", "ages": [1]}, None, {"first": None, "ages": None}, {}, {"ages": []}], NAMES),
    "structs": pa.array([[{"first": "y"}], [None], None, [], [{}]], pa.list_(NAMES)),
    "map": pa.array([[("k", 1), ("l", None)], [], None, [("", 0)], [("中", -1)]], pa.map_(pa.string(), pa.int64())),
    "fixed_list": pa.array([[1, 2], None, [None, 4], [5, 6], [-0.0, math.nan]], pa.list_(pa.float32(), 2)),
    "decimal": pa.array([Decimal("1.10"), None, Decimal("-0.01"), Decimal(0), Decimal("9" * 36)], pa.decimal128(38, 2)),
    "small_decimal": pa.array([Decimal("1.1"), None, Decimal("-9.9"), Decimal(0), None], pa.decimal128(2, 1)),
    "date": pa.array([date(2026, 11, 1), None, date(1, 1, 1), date(9999, 12, 31), date(1969, 12, 31)]),
    "time_ms": pa.array([time(1, 2, 3), None, time(0), time(23, 59, 59, 999000), None], pa.time32("ms")),
    "time_us": pa.array([time(1, 2, 3, 4), None, time(0), time(23, 59, 59, 999999), None], pa.time64("us")),
    "zone_ns": pa.array([1, None, -1, 2**60, 0], pa.timestamp("ns", "Asia/Shanghai")),
    "zone_us": pa.array([1, None, -1, 2**55, 0], pa.timestamp("us", "America/New_York")),
    "zone_ms": pa.array([1, None, -1, 2**45, 0], pa.timestamp("ms", "UTC")),
    "local_ns": pa.array([1, None, -1, 2**60, 0], pa.timestamp("ns")),
    "local_us": pa.array([1, None, -1, 2**55, 0], pa.timestamp("us")),
    "duration_ns": pa.array([1, None, -1, 2**60, 0], pa.duration("ns")),
    "duration_ms": pa.array([1, None, -1, 2**45, 0], pa.duration("ms")),
    "category": pa.array(["x", None, "y", "x", "中"]).dictionary_encode(),
    "binary": pa.array([b"\0\xff", None, b"", b"\xed\xa0\x80", b"a" * 1000]),
    "fixed_binary": pa.array([b"ab", None, b"\0\0", b"\xff\xff", b"  "], pa.binary(2)),
    "nothing": pa.nulls(5),
    "nothings": pa.array([[None], [], None, [None, None], None], pa.list_(pa.null())),
    "bool": pa.array([True, None, False, True, False]),
    **{f"uint{bits}": pa.array([0, None, 2**bits - 1, 1, 2], getattr(pa, f"uint{bits}")()) for bits in (8, 16, 32, 64)},
    **{
        f"int{bits}": pa.array([0, None, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1, 1], getattr(pa, f"int{bits}")())
        for bits in (8, 16, 32, 64)
    },
    "float64": pa.array([math.nan, None, -0.0, -math.inf, PAYLOAD_NAN], pa.float64()),
    "float32": pa.array([math.nan, None, -0.0, math.inf, 1e-45], pa.float32()),
    "float16": pa.array([math.nan, None, -0.0, math.inf, 6e-8], pa.float16()),
    "large_text": pa.array(["a", None, "", "中", "\0"], pa.large_string()),
    "列 with *": pa.array([1, 2, 3, 4, 5]),
}  # fmt: skip
SOURCE = pa.table(COLUMNS)
ANSWERS = {
    "nothing is known": ({}, {}),
    "all is labeled": (dict.fromkeys(["a", "b", "\0🙂\u202e"], "sport"), {}),
    "all has failed": ({}, dict.fromkeys(["a", "b", "\0🙂\u202e"], "off_label")),
    "some of each": ({"a": "sport"}, {"b": "timeout"}),
}


def _meaning(dtype):
    """What a type means, without how wide its offsets and indices are; Polars has one width for each."""
    types = pa.types
    # Polars keeps time of day in nanoseconds and has no binary of fixed size: wider, and nothing is lost.
    plain = {
        "text": (types.is_string, types.is_large_string),
        "binary": (types.is_binary, types.is_large_binary, types.is_fixed_size_binary),
        "time": (types.is_time,),
    }
    for meaning, tests in plain.items():
        if any(test(dtype) for test in tests):
            return meaning
    if types.is_dictionary(dtype):
        return ("dictionary", _meaning(dtype.value_type))
    if types.is_map(dtype):
        return ("map", _meaning(dtype.key_type), _meaning(dtype.item_type))
    if types.is_nested(dtype):
        kind = "list" if types.is_list(dtype) or types.is_large_list(dtype) else str(dtype).partition("<")[0]
        fields = [dtype.field(index) for index in range(dtype.num_fields)]
        names = [field.name for field in fields] if types.is_struct(dtype) else []
        size = dtype.list_size if types.is_fixed_size_list(dtype) else None
        return (kind, size, names, [_meaning(field.type) for field in fields])
    return str(dtype)


def _values(column):
    """A column's values, with moments as whole numbers and floats as their bytes."""
    if pa.types.is_timestamp(column.type) or pa.types.is_duration(column.type):
        column = pc.cast(column, pa.int64())
    return _exact(column.to_pylist())


def _exact(value):
    match value:
        case float():
            return struct.pack(">d", value)
        case list() | tuple():
            return [_exact(item) for item in value]
        case dict():
            return {name: _exact(item) for name, item in value.items()}
        case _:
            return (type(value), value)


@pytest.mark.parametrize("answers", ANSWERS.values(), ids=ANSWERS)
def test_every_column_keeps_its_type_and_every_byte(tmp_path, record_answers, answers):
    """Nested, decimal, temporal, categorical, binary and null columns come out as they were, whatever was answered."""
    source, labeled = tmp_path / "source", tmp_path / "labeled"
    source.mkdir()
    tables = {
        "groups.parquet": pa.concat_tables([SOURCE] * 3),
        "one.parquet": SOURCE,
        "plain.parquet": SOURCE.slice(2, 3),
        "zero.parquet": SOURCE.slice(0, 0),
    }
    pq.write_table(tables["groups.parquet"], source / "groups.parquet", row_group_size=2)
    pq.write_table(tables["one.parquet"], source / "one.parquet", compression="zstd", version="2.6")
    pq.write_table(
        tables["plain.parquet"], source / "plain.parquet", compression="none", use_dictionary=False
    )
    pq.write_table(tables["zero.parquet"], source / "zero.parquet")
    files = source_files(str(source))

    merger = Merger(record_answers(tmp_path / "ledger", *answers), read_template("text"))
    merger.write_labeled(files, labeled)

    for file in files:
        before, after = pq.read_table(file.path), pq.read_table(labeled / file.relative)
        assert after.column_names == [*SOURCE.column_names, *LABEL_COLUMNS]
        for name in SOURCE.column_names:
            assert _meaning(after[name].type) == _meaning(before[name].type), name
            assert _values(after[name]) == _values(before[name]), name
        own = pl.read_parquet(labeled / file.relative).drop(LABEL_COLUMNS.names())
        assert own.schema == pl.read_parquet(file.path).schema
        assert_frame_equal(own, pl.read_parquet(file.path), check_exact=True)


def test_what_polars_writes_comes_out_as_it_was(tmp_path, record_answers):
    """Types that only Polars tells apart, such as enums and 128-bit integers, stay what they are."""
    frame = pl.DataFrame(
        {
            "text": ["a", None, "b"],
            "enum": pl.Series(["low", None, "high"], dtype=pl.Enum(["low", "middle", "high"])),
            "category": pl.Series(["x", None, "y"], dtype=pl.Categorical),
            "array": pl.Series([[[1, 2]], None, [[None, 4]]], dtype=pl.Array(pl.Int8, (1, 2))),
            "int128": pl.Series([2**100, None, -1], dtype=pl.Int128),
            "uint128": pl.Series([2**127, None, 0], dtype=pl.UInt128),
            "time": pl.Series([time(1, 2, 3, 4), None, time(0)]),
            "enums": pl.Series([["low"], None, []], dtype=pl.List(pl.Enum(["low"]))),
            "nothing": pl.Series([None, None, None], dtype=pl.Null),
        }
    )
    (tmp_path / "source").mkdir()
    frame.write_parquet(tmp_path / "source" / "a.parquet", row_group_size=1)
    merger = Merger(
        record_answers(tmp_path / "ledger", {"a": "sport"}, {"b": "timeout"}), read_template("text")
    )
    (path,) = merger.write_labeled(source_files(str(tmp_path / "source")), tmp_path / "labeled")
    own = pl.read_parquet(path).drop(LABEL_COLUMNS.names())
    assert own.schema == frame.schema
    assert_frame_equal(own, frame, check_exact=True)
