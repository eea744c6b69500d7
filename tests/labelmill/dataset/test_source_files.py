"""Which files a source names, and what it knows of each."""

import os
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelmill.dataset.source import PassedOver, SourceFile, list_source, root_of, source_files
from labelmill.dataset.template import read_template
from labelmill.store.address import is_url

FRAME = pl.DataFrame({"text": ["a", "b"]})


@pytest.fixture
def touch(tmp_path):
    """Write the same two rows under each relative name, and return the folder."""

    def write(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            FRAME.write_parquet(path)
        return tmp_path

    return write


def _names(path):
    return [str(file.relative) for file in source_files(str(path))]


def test_a_file_is_its_own_source(touch):
    """A file by itself keeps its name, whatever its suffix."""
    folder = touch("a.parquet", "b.parquet", "c.pq")
    assert _names(folder / "b.parquet") == ["b.parquet"]
    assert _names(folder / "c.pq") == ["c.pq"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.parquet", ["a.parquet", "b.parquet", "ü.parquet"]),
        ("?.parquet", ["a.parquet", "b.parquet", "ü.parquet"]),
        ("[ab].parquet", ["a.parquet", "b.parquet"]),
        ("[!ab].parquet", ["ü.parquet"]),
        ("*/*.parquet", ["x/a.parquet", "y/a.parquet"]),
        (
            "**/*.parquet",
            ["a.parquet", "b.parquet", "x/a.parquet", "x/z/c.parquet", "y/a.parquet", "ü.parquet"],
        ),
        ("**/**/c.parquet", ["x/z/c.parquet"]),
        ("x/**/*.parquet", ["a.parquet", "z/c.parquet"]),
        ("*/z/*", ["x/z/c.parquet"]),
        ("[xy]", []),
        ("nothing*", []),
    ],
)
def test_a_glob_names_files_relative_to_its_fixed_part(touch, pattern, names):
    """A glob finds its files once each, sorted, under names that start where its first wildcard stands."""
    folder = touch("a.parquet", "b.parquet", "ü.parquet", "x/a.parquet", "x/z/c.parquet", "y/a.parquet")
    assert _names(folder / pattern) == names


def test_a_folder_means_every_parquet_file_below(touch):
    """A folder is read to its depths, and other files in it are left alone."""
    folder = touch("b.parquet", "a/z.parquet", "a/b/y.parquet", "spark.parquet/part-0.parquet")
    (folder / "README.md").write_text("hello")
    assert _names(folder) == ["a/b/y.parquet", "a/z.parquet", "b.parquet", "spark.parquet/part-0.parquet"]
    assert _names(f"{folder}/") == _names(folder)


@pytest.mark.parametrize("path", ["", "**/*.parquet", "*/*"])
def test_hidden_files_are_left_out(touch, path):
    """Names that begin with a dot or an underscore are bookkeeping of other programs."""
    folder = touch("x/a.parquet", "x/.b.parquet", "x/_c.parquet", ".git/d.parquet", "_temporary/e.parquet")
    assert _names(folder / path) == ["x/a.parquet"]


def test_hidden_files_can_be_named(touch):
    """A path or a glob that spells the dot or the underscore gets what it names."""
    folder = touch("_c.parquet", "_new/a.parquet", "b.parquet")
    assert _names(folder / "_*.parquet") == ["_c.parquet"]
    assert _names(folder / "_c.parquet") == ["_c.parquet"]
    assert _names(folder / "_new") == ["a.parquet"]
    assert _names(folder / "_new/*.parquet") == ["a.parquet"]


def test_a_name_with_wildcards_in_it_is_a_name(touch):
    """A file or a folder that exists is taken by its name, brackets and stars included."""
    folder = touch("a[1].parquet", "a1.parquet", "[x]/b*.parquet")
    assert _names(folder / "a[1].parquet") == ["a[1].parquet"]
    assert _names(folder / "[x]") == ["b*.parquet"]
    for file in [*source_files(str(folder / "a[1].parquet")), *source_files(str(folder / "[x]"))]:
        assert file.count() == 2
        assert file.scan_texts(read_template("text")).collect()["text"].to_list() == ["a", "b"]


def test_relative_paths_start_at_the_current_folder(touch, monkeypatch):
    """A relative path gives the same names as the absolute one."""
    folder = touch("data/a.parquet", "data/x/b.parquet")
    monkeypatch.chdir(folder)
    assert _names("data") == ["a.parquet", "x/b.parquet"]
    assert _names("./data/**/*.parquet") == ["a.parquet", "x/b.parquet"]
    monkeypatch.chdir(folder / "data")
    assert _names("*.parquet") == ["a.parquet"]
    assert _names("a.parquet") == ["a.parquet"]
    assert _names(".") == ["a.parquet", "x/b.parquet"]


@pytest.mark.parametrize("path", ["nowhere", "nowhere/*.parquet", "nowhere.parquet", "a.parquet/b", "["])
def test_nothing_is_an_empty_list(touch, path):
    """A path at which there is nothing names no file."""
    assert source_files(str(touch("a.parquet") / path)) == []


def test_any_case_of_the_ending_is_parquet(touch):
    """A folder's `A.PARQUET` is a file of it; a glob takes what it says."""
    folder = touch("A.PARQUET", "b.Parquet", "c.parquet")
    assert _names(folder) == ["A.PARQUET", "b.Parquet", "c.parquet"]
    assert _names(folder / "*.parquet") == ["c.parquet"]
    assert _names(folder / "*.PARQUET") == ["A.PARQUET"]


def test_a_partition_may_begin_with_an_underscore(touch):
    """`_year=2026/` is a partition, by Spark's rule, and is read as one; `._year=2026/` is hidden."""
    folder = touch("_year=2026/a.parquet", "_year/b.parquet", "._year=2026/c.parquet")
    for path in (folder, folder / "*/*.parquet", folder / "**/*.parquet"):
        (file,) = source_files(str(path))
        assert str(file.relative) == "_year=2026/a.parquet"
        assert file.partitions == {"_year": "2026"}


def test_a_link_is_followed(touch):
    """A link to a file is a file, a link to a folder a folder, and a link that leads nowhere is none."""
    folder = touch("real/a.parquet", "more/x/b.parquet")
    (folder / "links").mkdir()
    (folder / "links/b.parquet").symlink_to(folder / "real/a.parquet")
    (folder / "links/c.parquet").symlink_to(folder / "real/gone.parquet")
    (folder / "links/day=1").symlink_to(folder / "more")
    listing = list_source(str(folder / "links"))
    assert [str(file.relative) for file in listing.files] == ["b.parquet", "day=1/x/b.parquet"]
    assert listing.passed_over == {PassedOver.DANGLING: ["c.parquet"]}
    assert _names(folder / "links/*/*/*.parquet") == ["day=1/x/b.parquet"]


def test_a_link_to_a_file_of_the_source_is_no_second_file(touch):
    """`latest` is another name of what is there under its own; it is passed over, for files and folders, and said."""
    folder = touch("day=1/a.parquet", "day=2/a.parquet")
    (folder / "latest").symlink_to("day=2")
    (folder / "a-link.parquet").symlink_to("day=1/a.parquet")
    (folder / "day=1/round").symlink_to("..")
    for path in (folder, folder / "**/*.parquet"):
        listing = list_source(str(path))
        assert [str(file.relative) for file in listing.files] == ["day=1/a.parquet", "day=2/a.parquet"]
        passed = {name for names in listing.passed_over.values() for name in names}
        assert passed == {"a-link.parquet", "latest", "day=1/round"}
    # Reached by the link alone, it is a file.
    assert _names(folder / "latest/*.parquet") == ["a.parquet"]
    assert _names(folder / "lat*/*.parquet") == ["latest/a.parquet"]


def test_files_of_one_content_are_files_each(touch):
    """A store that keeps files by their content links two files that are the same to one: no row of either is lost."""
    folder = touch("blobs/0f3a")
    (folder / "data/b").mkdir(parents=True)
    for name in ("data/a.parquet", "data/b/a.parquet"):
        (folder / name).symlink_to(folder / "blobs/0f3a")
    assert _names(folder / "data") == ["a.parquet", "b/a.parquet"]


def test_a_folder_that_is_named_like_a_file_is_a_folder(touch):
    """It is gone through; a glob that matches it and not its files says so."""
    folder = touch("spark.parquet/part-0.parquet", "spark.parquet/_SUCCESS", "b.parquet")
    assert _names(folder) == ["b.parquet", "spark.parquet/part-0.parquet"]
    listing = list_source(str(folder / "*.parquet"))
    assert [str(file.relative) for file in listing.files] == ["b.parquet"]
    assert listing.notice() == (
        f"Not labeled from '{folder}/*.parquet': folders, which the pattern doesn't look into: 1 ('spark.parquet')"
    )


def test_a_glob_does_not_lead_out_of_its_folder(touch):
    """A .. behind a wildcard is a mistake; in the fixed part it is a way like any other."""
    folder = touch("src/a/0.parquet", "src/b/0.parquet", "x.parquet")
    listing = list_source(str(folder / "src/*/../../x.parquet"))
    assert listing.files == ()
    assert listing.mistakes == (
        (
            f"'{folder}/src/*/../../x.parquet' has a .. behind a wildcard, which leads out of the folder '{folder}/src'; "
            "write it without"
        ),
    )
    assert _names(folder / "src/a/../*.parquet") == []
    assert _names(folder / "src/a/../*/*.parquet") == ["a/0.parquet", "b/0.parquet"]


def test_a_name_that_is_not_utf8_is_a_sentence(touch):
    """It is named with its bytes written out, and the other files are found."""
    folder = touch("主题/a.parquet")
    raw = os.fsencode(folder) + b"/\xe4\xb8\xbb/caf\xe9.parquet"
    os.makedirs(os.path.dirname(raw))  # noqa: PTH103, PTH120
    os.link(folder / "主题/a.parquet", raw)
    listing = list_source(str(folder))
    assert [str(file.relative) for file in listing.files] == ["主题/a.parquet"]
    assert listing.mistakes == (
        rf"the name '{folder}/主/caf\xe9.parquet' is not UTF-8, so that few programs can read it; rename it",
    )


def test_what_was_passed_over_is_said_in_one_sentence(touch):
    """How many, why, and a few names; what other programs leave beside their files needs no word."""
    folder = touch(
        "a.parquet",
        "b.pq",
        "c.parquet.gz",
        *(f"_old/{number}.parquet" for number in range(1000)),
        "x/.hidden.parquet",
        "x/_SUCCESS",
        "x/_metadata",
        "x/_common_metadata",
        "x/.a.parquet.crc",
        "x/a.parquet.dvc",
        ".git/index",
        "notes.txt",
    )
    (folder / "gone.parquet").symlink_to("nowhere")
    listing = list_source(str(folder))
    assert [str(file.relative) for file in listing.files] == ["a.parquet"]
    assert listing.notice() == (
        f"Not labeled from '{folder}': hidden by a name that begins with . or _: 1,001 ('_old/0.parquet', "
        "'_old/1.parquet', '_old/10.parquet' and 998 more); not named *.parquet: 2 ('b.pq', 'c.parquet.gz'); "
        "links that lead nowhere: 1 ('gone.parquet')"
    )
    assert list_source(str(folder / "*.parquet")).notice() == (
        f"Not labeled from '{folder}/*.parquet': links that lead nowhere: 1 ('gone.parquet')"
    )
    assert list_source(str(folder / "a.parquet")).notice() is None


PIECES = st.sampled_from(
    ["a", "_a", ".a", "_k=v", "k=1", "x.parquet", "y.PARQUET", "_z.parquet", "w.pq", "n.txt"]
)
TREES = st.sets(st.lists(PIECES, min_size=1, max_size=4).map("/".join), max_size=12)


@given(names=TREES)
def test_no_parquet_file_is_left_out_without_a_word(tmp_path_factory, names):
    """Each file below a folder that is named like Parquet is labeled or said to be passed over, and no other is."""
    folder = tmp_path_factory.mktemp("tree")
    for name in sorted(names):
        try:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
        except OSError:  # a file stands where a folder would be
            continue
    listing = list_source(str(folder))
    labeled = [str(file.relative) for file in listing.files]
    passed = [name for names in listing.passed_over.values() for name in names]
    expected = [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and path.suffix.lower() in {".parquet", ".pq"}
    ]
    assert sorted(labeled + passed) == sorted(expected)
    assert labeled == [str(path) for path in sorted(map(Path, labeled))]
    assert (listing.notice() is None) == (not passed)


@pytest.mark.parametrize(
    ("path", "root"),
    [
        ("data/news/*.parquet", "data/news"),
        ("data/*/x.parquet", "data"),
        ("*.parquet", "."),
        ("/a/b?/c/*", "/a"),
        ("nowhere/x.parquet", "nowhere"),
    ],
)
def test_the_root_is_the_fixed_part(path, root):
    """Relative names start at the folder in front of the first wildcard."""
    assert root_of(path) == Path(root)


def test_urls_are_told_from_paths():
    """An address has a scheme and two slashes."""
    assert all(map(is_url, ["s3://bucket/x.parquet", "gs://b/*", "az://c/d", "https://host/x", "file:///x"]))
    assert not any(map(is_url, ["data/x.parquet", "/data/a:b", "C:/data", "date=2026-01-01/x", "://"]))


def test_partitions_are_read_from_folder_names():
    """Hive partitions come decoded and as text; folders that are none are passed over."""
    relative = Path(
        "year=2026/x/主题=科技/city=S%C3%A3o%20Paulo/empty=/ratio=a=b/gone=__HIVE_DEFAULT_PARTITION__/0.parquet"
    )
    assert SourceFile(Path("/data") / relative, relative).partitions == {
        "year": "2026",
        "主题": "科技",
        "city": "São Paulo",
        "empty": "",
        "ratio": "a=b",
        "gone": None,
    }


def test_partitions_stand_in_texts(touch):
    """A template may name a partition column, decoded or not, as if it were in the file."""
    folder = touch("主题=科技/date=2026-11-01/0.parquet", "主题=%E5%95%86%E4%B8%9A/date=2026-11-02/0.parquet")
    files = source_files(str(folder))
    template = read_template("{主题}|{date}|{text}")
    texts = [text for file in files for text in file.scan_texts(template).collect()["text"]]
    assert sorted(texts) == [
        "商业|2026-11-02|a",
        "商业|2026-11-02|b",
        "科技|2026-11-01|a",
        "科技|2026-11-01|b",
    ]


def test_a_null_partition_is_null(touch):
    """The partition that Hive writes for null counts as null, not as a word."""
    (file,) = source_files(str(touch("topic=__HIVE_DEFAULT_PARTITION__/0.parquet")))
    assert file.scan_texts(read_template("[{topic}] {text}")).collect()["text"].to_list() == ["[] a", "[] b"]
    assert file.scan_texts(read_template("topic")).collect()["text"].to_list() == [None, None]


def test_the_files_own_column_goes_before_the_partition(tmp_path):
    """Where a column stands both in the file and in the folder's name, the file's values count."""
    path = tmp_path / "topic=folder" / "0.parquet"
    path.parent.mkdir()
    pl.DataFrame({"topic": ["own", None]}).write_parquet(path)
    (file,) = source_files(str(tmp_path))
    assert file.scan_texts(read_template("topic")).collect()["text"].to_list() == ["own", None]
    assert file.scan().collect().columns == ["topic"]


def test_partitions_are_not_columns_of_the_file(touch):
    """The file's own columns are what is in it: `labeled/` has the same folders and needs no second copy."""
    (file,) = source_files(str(touch("date=2026-11-01/0.parquet")))
    assert file.schema() == pl.Schema({"text": pl.String})
    assert file.scan_with_partitions().collect().columns == ["text", "date"]


def test_rows_are_counted_and_numbered_in_order(tmp_path):
    """Texts come one per row in the file's order, across row groups, with a digest where there is a text."""
    texts = [None if number % 7 == 0 else f"text {number}" for number in range(1000)]
    pl.DataFrame({"text": texts}).write_parquet(tmp_path / "a.parquet", row_group_size=64)
    (file,) = source_files(str(tmp_path))
    rows = file.scan_texts(read_template("text")).collect()
    assert file.count() == 1000
    assert rows["text"].to_list() == texts
    assert rows["digest"].is_null().to_list() == [text is None for text in texts]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_what_is_no_file_is_passed_over(tmp_path):
    """A named pipe that ends in .parquet is no file, and is never opened."""
    os.mkfifo(tmp_path / "pipe.parquet")
    for path in (tmp_path, tmp_path / "*"):
        listing = list_source(str(path))
        assert listing.files == ()
        assert listing.passed_over == {PassedOver.SPECIAL: ["pipe.parquet"]}
    assert source_files(str(tmp_path / "pipe.parquet")) == []
