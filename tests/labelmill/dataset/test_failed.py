"""`failed/`: rows of files of any schemas, exactly as they were."""

import tempfile
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelmill.dataset import failed as module
from labelmill.dataset.failed import FailedRows, groups_of, write_failed
from labelmill.dataset.merge import FAILURE_COLUMNS
from labelmill.dataset.source import SourceFile, source_files
from labelmill.dataset.template import read_template
from labelmill.store.files import stamp_of

BIG = 2**53 + 1
FIRST, SOME, LAST = (
    moment.replace(tzinfo=None)
    for moment in (
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(2026, 1, 1, 12, tzinfo=UTC),
        datetime(9999, 12, 31, tzinfo=UTC),
    )
)
VALUES = {
    pa.int8(): [1, None, -1],
    pa.int64(): [BIG, None, -BIG],
    pa.uint64(): [2**64 - 1, None, 0],
    pa.float64(): [0.1, None, -1e300],
    pa.float16(): [0.5, None, 1.0],
    pa.bool_(): [True, None, False],
    pa.string(): ["é", None, ""],
    pa.large_string(): ["中文", None, "x"],
    pa.binary(): [b"\xff\x00", None, b""],
    pa.binary(3): [b"abc", None, b"\xff\xfe\xfd"],
    pa.decimal128(10, 2): [Decimal("1.25"), None, Decimal("-1.00")],
    pa.decimal128(38, 10): [Decimal("1.0000000001"), None, Decimal(0)],
    pa.decimal256(60, 3): [Decimal("1e50"), None, Decimal("0.001")],
    pa.date32(): [date(9999, 12, 31), None, date(1, 1, 1)],
    pa.time64("us"): [time(1, 2, 3, 4), None, time(0)],
    pa.timestamp("us"): [LAST, None, FIRST],
    pa.timestamp("us", "UTC"): [datetime(2026, 1, 1, tzinfo=UTC), None, datetime(1, 1, 2, tzinfo=UTC)],
    pa.timestamp("ms"): [SOME, None, FIRST],
    pa.null(): [None, None, None],
    pa.list_(pa.int32()): [[1, None], None, []],
    pa.large_list(pa.string()): [["a"], None, []],
    pa.map_(pa.string(), pa.int32()): [[("a", 1)], None, []],
    pa.struct([("x", pa.int32()), ("y", pa.list_(pa.string()))]): [
        {"x": 1, "y": ["a"]},
        None,
        {"x": None, "y": None},
    ],
    pa.dictionary(pa.int8(), pa.string()): ["a", None, "b"],
    pa.uuid(): [b"0123456789abcdef", None, b"\x00" * 16],
    pa.json_(): ['{"a": 1}', None, "[]"],
    pa.bool8(): [1, None, 0],
}
"""Types that Parquet has, with three values of each."""
SCHEMAS = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.sampled_from(list(VALUES)), max_size=3)
RESULTS = {
    "failure_kind": "off_label",
    "failure_message": "no",
    "failure_requests": 2,
    "failure_cost_usd": 0.5,
}


def column_of(dtype):
    """The three values of a type as an array."""
    values = VALUES[dtype]
    if isinstance(dtype, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(dtype, pa.array(values, dtype.storage_type))
    if pa.types.is_dictionary(dtype):
        return pa.array(values, dtype.value_type).cast(dtype)
    return pa.array(values, dtype)


def table_of(columns):
    """Three rows with a `text` and columns of some types."""
    return pa.table({"text": ["x", "y", "z"], **{name: column_of(dtype) for name, dtype in columns.items()}})


def rows_of(numbers):
    """What is known of the failed rows with these numbers."""
    known = {name: [value] * len(numbers) for name, value in RESULTS.items()}
    return pl.DataFrame({"row": numbers, **known}, schema={"row": pl.Int64, **FAILURE_COLUMNS})


@pytest.fixture
def write(tmp_path):
    """Write a table as a file of the source: `write("a.parquet", table, row_group_size=1)`."""

    def write_table(name, table, **options):
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, **options)
        return SourceFile(path, Path(name))

    return write_table


@pytest.fixture
def target(tmp_path):
    """Where the failed rows go."""
    return tmp_path / "failed" / "r1.parquet"


@pytest.mark.slow
@settings(max_examples=30)
@given(schemas=st.lists(SCHEMAS, min_size=1, max_size=4), failing=st.sets(st.integers(0, 2), min_size=1))
def test_every_failed_row_is_there_exactly_as_it_was(schemas, failing):
    """Whatever the types: each value is what it was, of the type that it had, once, in the source's order."""
    numbers = sorted(failing)
    with tempfile.TemporaryDirectory() as name:
        folder, found = Path(name), []
        tables = [table_of(columns) for columns in schemas]
        for index, table in enumerate(tables):
            path = folder / f"{index}.parquet"
            pq.write_table(table, path, row_group_size=2)
            found.append(FailedRows(SourceFile(path, Path(path.name)), rows_of(numbers), stamp_of(path)))
        written = write_failed(found, folder / "failed" / "r1.parquet")
        as_written = [pq.ParquetFile(folder / f"{index}.parquet").read() for index in range(len(tables))]
        results = [pq.ParquetFile(path).read() for path in written.paths]
        counts = [
            duckdb.read_parquet(str(path)).aggregate("count(*)").fetchall()[0][0] for path in written.paths
        ]
        for path in written.paths:
            if not any(pa.types.is_decimal256(one.type) for one in pq.ParquetFile(path).schema_arrow):
                pl.read_parquet(path)  # it doesn't read those
    assert (written.rows, written.sentences) == (len(tables) * len(numbers), ())
    assert [result.num_rows for result in results] == counts
    rows = [row for result in results for row in result.to_pylist()]
    expected = [
        {**{name: table[name][number].as_py() for name in table.column_names}, **RESULTS}
        for table in as_written
        for number in numbers
    ]
    assert sorted(map(_comparable, rows)) == sorted(map(_comparable, expected))
    for table in as_written:
        assert any(_has_all_of(result.schema, table.schema) for result in results)


def _comparable(row):
    return repr(sorted((name, value) for name, value in row.items() if value is not None))


def _has_all_of(schema, wanted):
    text = {pa.string(), pa.large_string()}
    return all(
        one.name in schema.names
        and (
            schema.field(one.name).type == one.type
            or pa.types.is_null(one.type)
            or {schema.field(one.name).type, one.type} <= text
        )
        for one in wanted
    )


@given(schemas=st.lists(SCHEMAS, max_size=8))
def test_schemas_go_together_where_nothing_is_lost(schemas):
    """Each is in one group, whose columns hold all of its columns; one group is enough where no name has two types."""
    arrow = [pa.schema(list(columns.items())) for columns in schemas]
    groups = groups_of(arrow)
    assert sorted(number for _, members in groups for number in members) == list(range(len(arrow)))
    for schema, members in groups:
        for number in members:
            assert _has_all_of(schema, arrow[number])
    types = {}
    for columns in schemas:
        for name, dtype in columns.items():
            if dtype not in {pa.null(), pa.string(), pa.large_string()}:
                types.setdefault(name, set()).add(dtype)
            elif dtype != pa.null():
                types.setdefault(name, set()).add("text")
    if schemas and all(len(found) == 1 for found in types.values()):
        assert len(groups) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.int64(), pa.float64()),
        (pa.decimal128(10, 2), pa.decimal128(10, 3)),
        (pa.timestamp("us"), pa.timestamp("us", "UTC")),
        (pa.timestamp("us"), pa.timestamp("ns")),
        (pa.string(), pa.list_(pa.string())),
        (pa.string(), pa.binary()),
        (pa.string(), pa.dictionary(pa.int8(), pa.string())),
        (pa.int8(), pa.int16()),
        (pa.json_(), pa.string()),
        (
            pa.field("a", pa.int64(), metadata={"PARQUET:field_id": "1"}),
            pa.field("a", pa.int64(), metadata={"PARQUET:field_id": "2"}),
        ),
    ],
)
def test_no_type_is_widened(one, other):
    """Two types that are nearly alike stand in two files: an id above 2^53 is no float, and a naive time no UTC's."""
    fields = [
        one if isinstance(one, pa.Field) else pa.field("a", one),
        other if isinstance(other, pa.Field) else pa.field("a", other),
    ]
    groups = groups_of([pa.schema([field]) for field in fields])
    assert [schema.field("a").type for schema, _ in groups] == [field.type for field in fields]


def test_files_that_do_not_go_together_stand_side_by_side(write, target):
    """The first has the plain name, the next -2; the ids are exact in both."""
    files = [
        write("0.parquet", pa.table({"text": ["x"], "id": [BIG]})),
        write("1.parquet", pa.table({"text": ["y"], "id": [0.5]})),
        write("2.parquet", pa.table({"text": ["z"], "id": [BIG + 2], "more": [1]})),
    ]
    written = write_failed([FailedRows(file, rows_of([0])) for file in files], target)
    assert [path.name for path in written.paths] == ["r1.parquet", "r1-2.parquet"]
    assert [pl.read_parquet(path)["id"].to_list() for path in written.paths] == [[BIG, BIG + 2], [0.5]]
    assert sorted(path.name for path in target.parent.iterdir()) == ["r1-2.parquet", "r1.parquet"]


def test_moments_beyond_nanoseconds_come_back(write, target):
    """INT96 is read in microseconds, which reach from year 1 to year 9999."""
    moments = [SOME, LAST, FIRST]
    table = pa.table({"text": ["x", "y", "z"], "valid_to": pa.array(moments, pa.timestamp("us"))})
    file = write("0.parquet", table, use_deprecated_int96_timestamps=True, store_schema=False)
    (path,) = write_failed([FailedRows(file, rows_of([0, 1, 2]))], target).paths
    assert pl.read_parquet(path)["valid_to"].to_list() == moments


def test_logical_types_and_field_metadata_are_kept(write, target):
    """UUID and JSON are what they were for every reader, and a field's own metadata stands beside it."""
    ids = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0123456789abcdef"], pa.binary(16)))
    payload = pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a": 7}']))
    schema = pa.schema(
        [
            pa.field(
                "text", pa.string(), nullable=False, metadata={"PARQUET:field_id": "3", "unit": "words"}
            ),
            pa.field("id", pa.uuid()),
            pa.field("payload", pa.json_()),
        ]
    )
    file = write("0.parquet", pa.table([pa.array(["x"]), ids, payload], schema=schema))
    (path,) = write_failed([FailedRows(file, rows_of([0]))], target).paths
    rows = duckdb.read_parquet(str(path)).project("typeof(id), payload->>'a'").fetchall()
    assert rows == [("UUID", "7")]
    field = pq.ParquetFile(path).schema_arrow.field("text")
    assert (field.nullable, field.metadata) == (False, {b"PARQUET:field_id": b"3", b"unit": b"words"})


def test_categories_of_many_files_stay_categories(write, target):
    """Enums and categoricals of Polars are read as such again; those with other categories have a file of their own."""
    files = []
    for number, names in enumerate((["a", "b"], ["a", "b"], ["b", "c"])):
        frame = pl.DataFrame(
            {
                "text": ["x", "y"],
                "kind": pl.Series(names, dtype=pl.Enum(names)),
                "topic": pl.Series(names, dtype=pl.Categorical),
            }
        )
        path = write(f"{number}.parquet", pa.table({"text": ["x"]})).path
        frame.write_parquet(path)
        files.append(SourceFile(path, Path(path.name)))
    written = write_failed([FailedRows(file, rows_of([1])) for file in files], target)
    frames = [pl.read_parquet(path) for path in written.paths]
    assert [frame["kind"].to_list() for frame in frames] == [["b", "b"], ["c"]]
    assert [frame["topic"].to_list() for frame in frames] == [["b", "b"], ["c"]]
    assert [frame.schema["kind"] for frame in frames] == [pl.Enum(["a", "b"]), pl.Enum(["b", "c"])]


def test_only_row_groups_with_failed_rows_are_read(write, target):
    """What is damaged elsewhere in the file doesn't matter."""
    texts = pa.array([f"text number {number}" for number in range(4)])
    file = write(
        "0.parquet",
        pa.table({"text": texts, "n": [1, 2, 3, 4]}),
        row_group_size=2,
        use_dictionary=False,
        compression="none",
    )
    _damage(file.path, b"text number 3")
    written = write_failed([FailedRows(file, rows_of([1]))], target)
    assert written.sentences == ()
    assert pl.read_parquet(written.paths[0]).select("text", "n").rows() == [("text number 1", 2)]


def _damage(path, value):
    """Make bytes that are no UTF-8 of a value in a file that is neither compressed nor encoded."""
    content = path.read_bytes()
    assert content.count(value) >= 1
    path.write_bytes(content.replace(value, b"\xff" * len(value)))


def test_a_column_that_can_not_be_read_is_left_out(write, target):
    """The rows are there with their other columns, and a sentence names file and column."""
    table = pa.table({"text": ["x", "y"], "note": ["an old note", "more of it"], "n": [1, 2]})
    broken = write("0.parquet", table, use_dictionary=False, compression="none")
    _damage(broken.path, b"more of it")
    whole = write("1.parquet", table)
    written = write_failed([FailedRows(broken, rows_of([0, 1])), FailedRows(whole, rows_of([0]))], target)
    (path,) = written.paths
    assert pl.read_parquet(path).select("text", "n", "note").rows() == [
        ("x", 1, None),
        ("y", 2, None),
        ("x", 1, "an old note"),
    ]
    (sentence,) = written.sentences
    assert sentence.startswith(f"The column 'note' of {str(broken.path)!r} can't be read (")
    assert sentence.endswith("its failed rows are in failed/ without it")


def test_a_file_that_can_not_be_read_costs_its_own_rows(write, target):
    """And those of a file that is gone or was replaced meanwhile: the others are there."""
    whole = write("0.parquet", pa.table({"text": ["x", "y"]}))
    cut, gone, replaced = (write(f"{name}.parquet", pa.table({"text": ["x", "y"]})) for name in "123")
    state = stamp_of(replaced.path)
    write("3.parquet", pa.table({"text": ["other", "rows", "here"]}))
    cut.path.write_bytes(cut.path.read_bytes()[:-10])
    gone.path.unlink()
    failed = [FailedRows(file, rows_of([1])) for file in (whole, cut, gone)]
    written = write_failed([*failed, FailedRows(replaced, rows_of([1]), state)], target)
    assert pl.read_parquet(written.paths[0])["text"].to_list() == ["y"]
    assert (written.rows, len(written.sentences)) == (1, 3)
    for file, sentence in zip((cut, gone, replaced), written.sentences, strict=True):
        assert str(file.path) in sentence
    assert "was replaced meanwhile" in written.sentences[2]


def test_of_many_faults_the_first_are_named(write, target):
    """And how many more there are."""
    files = [write(f"{number}.parquet", pa.table({"text": ["x"]})) for number in range(9)]
    for file in files:
        file.path.unlink()
    written = write_failed([FailedRows(file, rows_of([0])) for file in files], target)
    assert (written.paths, written.rows, len(written.sentences)) == ((), 0, 6)
    assert written.sentences[5].startswith("And 4 more")


def test_where_nothing_failed_there_is_no_file(write, target):
    """Nor any that is empty."""
    file = write("0.parquet", pa.table({"text": ["x"]}))
    assert write_failed([FailedRows(file, rows_of([]))], target).paths == ()
    assert list(target.parent.iterdir()) == []


def test_a_full_disk_leaves_no_file(write, target, monkeypatch):
    """Not even those that were whole by then: the record names either all of them or none."""
    files = [write("0.parquet", pa.table({"a": [1]})), write("1.parquet", pa.table({"a": ["x"]}))]
    whole, written = module._write, []

    def full(batches, schema, path):
        if written:
            raise OSError(28, "No space left on device")
        written.append(path)
        whole(batches, schema, path)

    monkeypatch.setattr(module, "_write", full)
    with pytest.raises(OSError, match="No space left"):
        write_failed([FailedRows(file, rows_of([0])) for file in files], target)
    assert written == [target]
    assert list(target.parent.iterdir()) == []


def test_partitions_are_columns_of_the_failed_rows(write, target):
    """After the file's own, as text; a null partition is null, and the file's own column of that name wins."""
    files = [
        write("topic=%E5%95%86/day=1/0.parquet", pa.table({"text": ["x"], "n": [1]})),
        write("topic=__HIVE_DEFAULT_PARTITION__/day=2/0.parquet", pa.table({"text": ["y"], "n": [2]})),
        write("topic=z/day=3/0.parquet", pa.table({"text": ["z"], "topic": ["own"], "n": [3]})),
    ]
    (path,) = write_failed([FailedRows(file, rows_of([0])) for file in files], target).paths
    frame = pl.read_parquet(path)
    assert frame.columns == ["text", "n", "topic", "day", *FAILURE_COLUMNS]
    assert frame.select("text", "topic", "day").rows() == [
        ("x", "商", "1"),
        ("y", None, "2"),
        ("z", "own", "3"),
    ]


def test_failed_rows_are_a_source(write, target):
    """Also of several files by a glob; when such rows fail again, their old reasons give way to the new ones."""
    files = [
        write("topic=a/0.parquet", pa.table({"text": ["x", "y"], "id": [1, 2]})),
        write("topic=b/0.parquet", pa.table({"text": ["z"], "id": [0.5]})),
    ]
    write_failed([FailedRows(files[0], rows_of([0, 1])), FailedRows(files[1], rows_of([0]))], target)
    again = source_files(str(target.with_name("r1*.parquet")))
    template = read_template("{topic}: {text}")
    texts = [text for file in again for text in file.scan_texts(template).collect()["text"]]
    assert sorted(texts) == ["a: x", "a: y", "b: z"]
    other = rows_of([0]).with_columns(failure_kind=pl.lit("too_long"))
    written = write_failed([FailedRows(file, other) for file in again], target.with_name("r2.parquet"))
    frames = [pl.read_parquet(path) for path in written.paths]
    assert {tuple(frame.columns) for frame in frames} == {("text", "id", "topic", *FAILURE_COLUMNS)}
    assert [frame["failure_kind"].to_list() for frame in frames] == [["too_long"], ["too_long"]]


def test_many_rows_are_written_in_order_in_bounded_pieces(write, target, monkeypatch):
    """Whatever is read or written at once, and in whatever order the rows are named."""
    monkeypatch.setattr(module, "_READ_BYTES", 1000)
    monkeypatch.setattr(module, "_WRITTEN_ROWS", 64)
    file = write("0.parquet", pa.table({"text": [f"{number}" for number in range(1000)]}), row_group_size=300)
    numbers = list(range(999, -1, -3))
    (path,) = write_failed([FailedRows(file, rows_of(numbers))], target).paths
    assert pl.read_parquet(path)["text"].to_list() == [str(number) for number in sorted(numbers)]
    assert pq.ParquetFile(path).num_row_groups > 4


def test_dotted_and_equal_prefixed_names_are_columns_of_their_own(write, target):
    """A column `a.b` beside a struct `a` with a field `b`: leaving one out leaves the other."""
    table = pa.table({"text": ["x"], "a.b": ["some words"], "a": [{"b": 1, "c": [1, 2]}]})
    file = write("0.parquet", table, use_dictionary=False, compression="none")
    _damage(file.path, b"some words")
    written = write_failed([FailedRows(file, rows_of([0]))], target)
    assert pq.read_table(written.paths[0]).select(["text", "a"]).to_pylist() == [
        {"text": "x", "a": {"b": 1, "c": [1, 2]}}
    ]
    assert "The column 'a.b'" in written.sentences[0]
