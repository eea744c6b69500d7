"""Lake tables are known for what they are, from wherever one looks, and nothing else is taken for one."""

import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelmill.check.dataset import source_mistakes
from labelmill.dataset.lake import LakeTables
from labelmill.dataset.source import list_source
from labelmill.job.model import Source

A_UUID = "0196ff31-8d7f-7b3c-9d5f-1a2b3c4d5e6f"
FRAME = pl.DataFrame({"text": ["live", "deleted"]})
MARKS = {
    "Delta": ["_delta_log/00000000000000000000.json"],
    "Hudi": [".hoodie/hoodie.properties"],
    "Iceberg": ["metadata/v1.metadata.json", "metadata/version-hint.text"],
}
ICEBERG_NAMES = [
    "v1.metadata.json",
    "v12.gz.metadata.json",
    f"00003-{A_UUID}.metadata.json",
    f"00003-{A_UUID}.metadata.json.gz",
    f"snap-4871624871-1-{A_UUID}.avro",
    "version-hint.text",
]


@pytest.fixture
def write_table(tmp_path):
    """Write a table of some kind into a folder, with a file in a partition, and return the folder."""

    def write(kind, folder="lake/table"):
        table = tmp_path / folder
        data = table / "data" / "day=1"
        data.mkdir(parents=True)
        FRAME.write_parquet(data / "part-0.parquet")
        FRAME.write_parquet(table / "data" / "part-1.parquet")
        FRAME.write_parquet(table / "part-2.parquet")
        for mark in MARKS[kind]:
            (table / mark).parent.mkdir(exist_ok=True)
            (table / mark).write_text("{}")
        return table

    return write


WAYS = [
    "lake/table",
    "lake/table/",
    "lake/table/data",
    "lake/table/data/day=1",
    "lake/table/data/day=1/part-0.parquet",
    "lake/table/part-2.parquet",
    "lake/table/*.parquet",
    "lake/table/data/*/*.parquet",
    "lake/table/data/day=1/*",
    "lake/table/**/*.parquet",
    "lake",
    "lake/*/data/*.parquet",
    "lake/*/*.parquet",
    "lake/**/day=*/*",
    "",
    "**/part-0.parquet",
    "link",
    "link/data/day=1",
    "link/*.parquet",
    "links",
    "links/file.parquet",
    "links/*.parquet",
    "*/file.parquet",
    "chain",
    "deep/around",
]


@pytest.mark.parametrize("kind", MARKS)
@pytest.mark.parametrize("way", WAYS)
def test_a_lake_table_is_refused_from_wherever_it_is_reached(tmp_path, write_table, kind, way, monkeypatch):
    """Root, folder, file or glob, from above, from below or by links: the table is named, and no file of it is handed out."""
    table = write_table(kind)
    (tmp_path / "link").symlink_to(table)
    (tmp_path / "links").mkdir()
    (tmp_path / "links/file.parquet").symlink_to(table / "data/day=1/part-0.parquet")
    (tmp_path / "chain").symlink_to(tmp_path / "chain2")
    (tmp_path / "chain2").symlink_to("lake/table/data")
    (tmp_path / "deep/around").mkdir(parents=True)
    (tmp_path / "deep/around/further").symlink_to("../../lake/table/data")
    monkeypatch.chdir(tmp_path)
    for path in (f"{tmp_path}/{way}", way or "."):
        listing = list_source(path)
        assert listing.files == ()
        # The table's own path, or the one by which it was reached.
        assert listing.mistakes
        assert all(f" is a {kind} table: only its log (" in sentence for sentence in listing.mistakes)


@pytest.mark.parametrize("kind", MARKS)
def test_the_sentence_says_which_table_why_and_what_to_do(write_table, kind):
    """A line that can be copied exports a snapshot."""
    table = write_table(kind)
    _, ((place, sentence),) = source_mistakes(Source(path=str(table), text="text"))
    log = MARKS[kind][0].split("/")[0]
    assert place == "source.path"
    assert sentence.startswith(
        f"'{table}' is a {kind} table: only its log ({log}/) tells which rows are live, and its files also hold rows "
        "that were deleted or replaced; export a snapshot and label that, for example in "
    )
    assert f"('{table}')" in sentence
    assert "snapshot" in sentence.rsplit("for example", 1)[1]


def test_a_data_folder_that_is_a_link_belongs_to_its_table(tmp_path, write_table):
    """Where a table's data lies on another disk, the way that leads through the table tells."""
    table = write_table("Delta")
    (tmp_path / "disk").mkdir()
    FRAME.write_parquet(tmp_path / "disk" / "a.parquet")
    (table / "day=2").symlink_to(tmp_path / "disk")
    (tmp_path / "way").symlink_to(table / "day=2")
    for path in (table / "day=2", tmp_path / "way", tmp_path / "way" / "*.parquet"):
        assert list_source(str(path)).files == ()
    assert len(list_source(str(tmp_path / "disk")).files) == 1


@pytest.mark.parametrize("end", ["table", "table/*.parquet", "table/data/day=1/part-0.parquet"])
def test_a_way_back_from_a_link_leads_where_the_system_says(tmp_path, write_table, end):
    """A .. behind a link is the folder around what it leads to, whatever the words look like."""
    write_table("Delta")
    (tmp_path / "lake/other").mkdir()
    (tmp_path / "jump").symlink_to("lake/other")
    listing = list_source(f"{tmp_path}/jump/../{end}")
    assert (listing.files, len(listing.mistakes)) == ((), 1)


def test_other_files_beside_a_table_are_found_and_the_table_refused(tmp_path, write_table):
    """A folder that holds a table somewhere below is refused for it, and each table is named once."""
    table, other = write_table("Delta"), write_table("Iceberg", "lake/deep/er")
    FRAME.write_parquet(tmp_path / "lake" / "plain.parquet")
    listing = list_source(str(tmp_path / "lake"))
    assert [str(file.relative) for file in listing.files] == ["plain.parquet"]
    assert sorted(sentence.split(" is a ")[0] for sentence in listing.mistakes) == sorted(
        map(repr, map(str, (table, other)))
    )


@pytest.mark.parametrize("name", ICEBERG_NAMES)
def test_iceberg_is_known_by_the_names_of_its_metadata(tmp_path, name):
    """Each kind of file that its writers leave there will do, whatever is in it."""
    (tmp_path / "t/metadata").mkdir(parents=True)
    (tmp_path / "t/metadata" / name).write_bytes(b"\x1f\x8b")
    assert LakeTables().table_of(str(tmp_path / "t")).kind == "Iceberg"


def test_iceberg_under_another_name_is_known_by_what_it_says(tmp_path):
    """A catalog may name the metadata as it likes; the version of the format stands in it."""
    (tmp_path / "metadata").mkdir()
    told = {"format-version": 2, "table-uuid": A_UUID, "location": "s3://b/t"}
    (tmp_path / "metadata/current.metadata.json").write_text(json.dumps(told))
    assert LakeTables().table_of(str(tmp_path)).kind == "Iceberg"


@given(
    names=st.sets(
        st.sampled_from(
            [
                "readme.md",
                "2024.metadata.json",
                "train.metadata.json",
                "metadata.json",
                "v1.json",
                "croissant.json",
                "x.avro",
                "part-0.parquet",
            ]
        ),
        max_size=4,
    ),
    folders=st.sets(st.sampled_from(["data", "_delta", "delta_log", "hoodie", "snapshots"])),
)
def test_a_folder_that_is_merely_called_metadata_is_none(tmp_path_factory, names, folders):
    """Other people's metadata, and names that only come near, are no table."""
    folder = tmp_path_factory.mktemp("plain")
    (folder / "metadata").mkdir()
    for name in names:
        (folder / "metadata" / name).write_text('{"name": "a dataset"}')
    (folder / "metadata" / "v1.metadata.json.d").mkdir()
    for name in folders:
        (folder / name).mkdir()
    (folder / "_delta_log").write_text("a file of this name is no log")
    assert LakeTables().table_of(str(folder / "data" / "x.parquet")) is None


def test_ducklakes_files_are_known_by_their_names(tmp_path):
    """Its log is a database that stands elsewhere."""
    for name in (f"ducklake-{A_UUID}.parquet", f"ducklake-{A_UUID}-delete.parquet", "ducklake-notes.parquet"):
        FRAME.write_parquet(tmp_path / name)
    listing = list_source(str(tmp_path))
    assert [str(file.relative) for file in listing.files] == ["ducklake-notes.parquet"]
    (sentence,) = listing.mistakes
    assert sentence.startswith(f"'{tmp_path}' is a DuckLake table: only its log (a database)")


def test_links_in_a_circle_are_no_table(tmp_path):
    """Looking for a table ends, whatever the links."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "here").symlink_to(".")
    tables = LakeTables()
    assert tables.table_of(str(tmp_path / "a" / "x.parquet")) is None
    assert tables.table_of(str(tmp_path / "here/here/here/x.parquet")) is None
