"""What is said of a source before anything is spent."""

import os
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelmill.check.dataset import source_mistakes
from labelmill.check.job import checked_job
from labelmill.dataset.columns import FAILURE_COLUMNS, LABEL_COLUMNS
from labelmill.dataset.source import source_files
from labelmill.dataset.template import read_template
from labelmill.job.file import draft_of_file
from labelmill.job.model import Output, Source


def _source(path, text="text"):
    return source_mistakes(Source(path=str(path), text=text))[1]


@pytest.fixture
def folder(tmp_path):
    """A folder with one good file in it."""
    (tmp_path / "in").mkdir()
    pl.DataFrame({"text": ["a"], "n": [1]}).write_parquet(tmp_path / "in" / "good.parquet")
    return tmp_path / "in"


def test_a_good_dataset_has_no_mistake(folder):
    """File, folder and glob are all fine, with a column and with a template."""
    for path in (folder, folder / "good.parquet", folder / "*.parquet", folder / "**/*"):
        assert _source(path) == []
        assert _source(path, "{text} {n}") == []


def test_no_such_path(tmp_path):
    """A path at which there is nothing is named whole."""
    assert _source(tmp_path / "x.parquet") == [
        ("source.path", f"there is no file or folder '{tmp_path}/x.parquet'")
    ]


def test_no_file_matches(tmp_path):
    """A glob without a match is named, with the folder it looked in."""
    assert _source(tmp_path / "x/*.parquet") == [
        ("source.path", f"no file matches '{tmp_path}/x/*.parquet'; looked in '{tmp_path}/x'")
    ]


def test_a_folder_without_parquet(tmp_path):
    """A folder with other files only is said so."""
    (tmp_path / "a.csv").touch()
    assert _source(tmp_path) == [("source.path", f"there is no *.parquet file in the folder '{tmp_path}'")]


def test_nothing_but_what_is_passed_over(tmp_path):
    """Where there is no file, what looks like one is named: most likely it was meant."""
    (tmp_path / "a.parquet").mkdir()
    pl.DataFrame({"text": ["a"]}).write_parquet(tmp_path / "a.parquet" / "_x.parquet")
    looked = f"no file matches '{tmp_path}/*.parquet'; looked in '{tmp_path}'"
    passed_over = "folders, which the pattern doesn't look into: 1 ('a.parquet')"
    ((_, sentence),) = _source(tmp_path / "*.parquet")
    assert sentence == f"{looked}. Not labeled from '{tmp_path}/*.parquet': {passed_over}"
    ((_, sentence),) = _source(tmp_path)
    assert sentence.startswith(f"there is no *.parquet file in the folder '{tmp_path}'. Not labeled from ")


def test_a_pipe_is_no_source(tmp_path):
    """What is neither file nor folder is said to be so."""
    os.mkfifo(tmp_path / "x.parquet")
    assert _source(tmp_path / "x.parquet") == [
        ("source.path", f"'{tmp_path}/x.parquet' is not a regular file")
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_folder_that_cannot_be_read_is_named(folder):
    """Its rows would be left out without a word."""
    (folder / "sub").mkdir(mode=0)
    assert _source(folder) == [("source.path", f"'{folder}/sub' can't be read: Permission denied")]


def test_a_path_that_no_system_takes(tmp_path):
    """A name too long for the file system is a sentence and not a traceback."""
    name = "x" * 300
    assert _source(tmp_path / name) == [
        ("source.path", f"'{tmp_path}/{name}' can't be read: File name too long")
    ]


@pytest.mark.parametrize("url", ["https://host/x.parquet", "ftp://host/x.parquet"])
def test_addresses_of_no_store_are_refused(url):
    """An address that is no object store's is refused in so many words."""
    assert _source(url) == [("source.path", f"found '{url}', expected a folder, s3://, gs:// or az://")]


def test_files_that_are_not_parquet_are_named(folder):
    """Empty, foreign and truncated files are named one by one, and good ones are not."""
    whole = (folder / "good.parquet").read_bytes()
    contents = {"empty": b"", "text": b"a,b\n1,2\n" * 10, "cut": whole[:-5], "half": whole[: len(whole) // 2]}
    for name, content in contents.items():
        (folder / f"{name}.parquet").write_bytes(content)
    found = _source(folder)
    assert [place for place, _ in found] == ["source.path"] * 4
    for name in contents:
        why = {"empty": "it is empty", "text": "it is not a Parquet file"}.get(name, "it was cut off")
        said = f"'{folder}/{name}.parquet' can't be labeled: {why}"
        assert sum(sentence.startswith(said) for _, sentence in found) == 1
    assert not any("good.parquet" in sentence for _, sentence in found)


def test_a_whole_file_that_cannot_be_read_is_not_called_truncated(tmp_path):
    """Two columns of one name are said to be so."""
    table = pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    pq.write_table(table, tmp_path / "a.parquet")
    ((_, sentence),) = _source(tmp_path)
    assert sentence == (
        f"'{tmp_path}/a.parquet' can't be labeled: it has two columns 'text'; rename one of them"
    )


def test_many_broken_files_are_counted(folder):
    """Of a thousand mistakes of one kind, a few are shown and the rest counted."""
    for number in range(12):
        (folder / f"{number:02}.parquet").touch()
    found = [sentence for _, sentence in _source(folder)]
    assert len(found) == 6
    assert found[-1] == "and 7 more files like these"


def test_a_missing_column_shows_those_there_are(folder):
    """The file, its columns, and the one whose name comes near."""
    assert _source(folder, "Text") == [
        (
            "source.text",
            f"'{folder}/good.parquet' has no column 'Text'; its columns are 'text', 'n'; did you mean 'text'?",
        )
    ]
    assert _source(folder, "{text} {zzz}") == [
        ("source.text", f"'{folder}/good.parquet' has no column 'zzz'; its columns are 'text', 'n'")
    ]


def test_a_wide_file_shows_some_of_its_columns(tmp_path):
    """A file with hundreds of columns makes no page of a sentence, and the near name is still found."""
    pl.DataFrame({f"column {number}": [1] for number in range(300)} | {"headline": ["a"]}).write_parquet(
        tmp_path / "a.parquet"
    )
    ((_, sentence),) = _source(tmp_path, "headlines")
    assert sentence.endswith("'column 29' and 271 more; did you mean 'headline'?")


def test_partitions_count_as_columns(tmp_path):
    """A folder's partition can be the text, stand in a template, and is offered where a name is wrong."""
    path = tmp_path / "topic=科技" / "a.parquet"
    path.parent.mkdir()
    pl.DataFrame({"text": ["a"]}).write_parquet(path)
    assert _source(tmp_path, "topic") == []
    assert _source(tmp_path, "{topic}: {text}") == []
    ((_, sentence),) = _source(tmp_path, "{topics}")
    assert sentence.endswith("did you mean 'topic'?")


def test_a_column_missing_in_one_file_names_that_file(folder):
    """Of several files, the ones that lack the column are named."""
    pl.DataFrame({"body": ["a"]}).write_parquet(folder / "other.parquet")
    ((_, sentence),) = _source(folder)
    assert sentence.startswith(f"'{folder}/other.parquet' has no column 'text'; its columns are 'body'")


NOT_TEXT = {
    "Int64": [1],
    "Boolean": [True],
    "List(String)": [["a"]],
    "Struct": [{"a": 1}],
    "Null": [None],
    "Datetime": [datetime(2026, 1, 1, tzinfo=UTC)],
}


@pytest.mark.parametrize("dtype", NOT_TEXT)
def test_a_text_column_that_is_not_text(tmp_path, dtype):
    """A column of another type is named with its type."""
    pl.DataFrame({"x": NOT_TEXT[dtype]}).write_parquet(tmp_path / "a.parquet")
    ((place, sentence),) = _source(tmp_path, "x")
    assert place == "source.text"
    assert sentence.startswith(f"the column 'x' of '{tmp_path}/a.parquet' is {dtype}")
    assert sentence.endswith(", not text")


@pytest.mark.parametrize(
    ("value", "allowed"),
    [
        (1, True),
        (1.5, True),
        (True, True),
        (Decimal("1.5"), True),
        (datetime(2026, 1, 1, tzinfo=UTC), True),
        (datetime(2026, 1, 1, tzinfo=UTC).date(), True),
        (datetime(2026, 1, 1, tzinfo=UTC).time(), True),
        (timedelta(1), False),
        ([1], False),
        ({"a": 1}, False),
        (b"a", True),
        (b"\xff", False),
        (None, False),
    ],
)
def test_what_a_template_can_hold_is_what_can_be_written_out(tmp_path, value, allowed):
    """A template takes every column that has one way of being written, and planning then reads it."""
    pl.DataFrame({"text": ["a"], "x": [value]}).write_parquet(tmp_path / "a.parquet")
    found = _source(tmp_path, "{text} {x}")
    assert (found == []) == allowed
    assert all("the column 'x'" in sentence for _, sentence in found)


def test_a_column_that_is_null_in_one_file_is_no_mistake(folder):
    """Writers give an all-null column the type Null: a day without texts stops nobody."""
    pl.DataFrame({"text": [None, None], "n": [1, 2]}).write_parquet(folder / "empty-day.parquet")
    assert _source(folder) == []
    assert _source(folder, "{n}: {text}") == []


PAYLOADS = ['{"a": "é"}', None, "[]"]
UNNAMED_TEXTS = {
    "json, as Arrow writes it": (pa.array(PAYLOADS, pa.json_()), True),
    "json, as others write it": (pa.array(PAYLOADS, pa.json_()), False),
    "binary": (pa.array(["é".encode(), None, b""]), True),
    "large binary": (pa.array(["é".encode(), None, b""], pa.large_binary()), True),
    "binary of one size": (pa.array([b"abcd", None, b"efgh"], pa.binary(4)), False),
}


@pytest.mark.parametrize("kind", UNNAMED_TEXTS)
def test_text_that_is_not_called_text_is_text(tmp_path, kind):
    """JSON, and the strings of old writers that know no UTF-8: each is read as the text that PyArrow reads."""
    values, store_schema = UNNAMED_TEXTS[kind]
    pq.write_table(pa.table({"x": values}), tmp_path / "a.parquet", store_schema=store_schema)
    assert _source(tmp_path, "x") == []
    assert _source(tmp_path, "{x}!") == []
    (file,) = source_files(str(tmp_path))
    storage = values.storage if isinstance(values, pa.ExtensionArray) else values
    expected = [value.decode() if isinstance(value, bytes) else value for value in storage.to_pylist()]
    texts = file.scan_texts(read_template("x")).collect()["text"].to_list()
    assert texts == [text or None for text in expected]


def test_bytes_that_are_no_text_are_refused(tmp_path):
    """The first row is named: pictures and digests are no text, and one of them tells."""
    for number in range(100):
        pl.DataFrame({"x": [b"a", None, b"caf\xe9"]}).write_parquet(tmp_path / f"{number:02}.parquet")
    assert _source(tmp_path, "x") == [
        (
            "source.text",
            f"the column 'x' of '{tmp_path}/00.parquet' is Binary, and row 3 of it is not UTF-8 text",
        )
    ]


def test_categorical_text_is_text(tmp_path):
    """Dictionary-encoded strings, as pandas and Arrow write them, are text."""
    pq.write_table(pa.table({"text": pa.array(["a", "b"]).dictionary_encode()}), tmp_path / "a.parquet")
    assert _source(tmp_path) == []


@pytest.mark.parametrize("text", ["{text", "{}", "text}", "{{text}}"])
def test_a_template_that_cannot_be_read(folder, text):
    """A template's syntax is a mistake of its own, and doesn't hide the others."""
    assert [place for place, _ in _source(folder, text)] == ["source.text"]
    assert [place for place, _ in _source(folder / "nowhere", text)] == ["source.text", "source.path"]


WAY_OUT = 'rename it, or have ours begin with another prefix: column_prefix = "lm_" under [output]'


@pytest.mark.parametrize("name", [*LABEL_COLUMNS, "failure_kind"])
def test_a_column_of_ours_in_the_source(tmp_path, name):
    """A source column with the name of one of ours is refused, in any case; so is such a partition."""
    pl.DataFrame({"text": ["a"], name: ["x"]}).write_parquet(tmp_path / "a.parquet")
    partitioned = tmp_path / "folder" / f"{name.upper()}=x" / "b.parquet"
    partitioned.parent.mkdir(parents=True)
    pl.DataFrame({"text": ["a"]}).write_parquet(partitioned)
    words = f"has a column '{name}', which is the name of a column that Labelmill adds; {WAY_OUT}"
    assert _source(tmp_path / "a.parquet") == [("source.path", f"'{tmp_path}/a.parquet' {words}")]
    words = (
        f"has a column '{name.upper()}', which many programs take for '{name}', the name of a column that Labelmill adds; "
        + WAY_OUT
    )
    assert _source(tmp_path / "folder") == [("source.path", f"'{partitioned}' {words}")]


def test_a_prefix_lets_a_dataset_with_a_label_be_labeled(tmp_path):
    """The prefix that the sentence offers is free; one that is taken too is refused with another."""
    pl.DataFrame({"text": ["a"], "label": ["x"], "LM_Label": ["x"]}).write_parquet(tmp_path / "a.parquet")

    def found(prefix):
        output = Output(path=str(tmp_path / "out"), column_prefix=prefix)
        return source_mistakes(Source(path=str(tmp_path / "a.parquet"), text="text"), output)[1]

    ((place, sentence),) = found("")
    assert place == "source.path"
    assert sentence.endswith('column_prefix = "lm2_" under [output]')
    ((_, sentence),) = found("lm_")
    assert "has a column 'LM_Label', which many programs take for 'lm_label', the name of" in sentence
    assert found("lm2_") == []


def test_failed_rows_are_a_source(tmp_path):
    """A file of `failed/` has all our failure columns, which give way; a column of that name alone is a person's."""
    pl.DataFrame({"text": ["a"], **dict.fromkeys(FAILURE_COLUMNS, "x")}).write_parquet(tmp_path / "a.parquet")
    assert _source(tmp_path) == []
    pl.DataFrame({"text": ["a"], "Failure_Message": ["x"]}).write_parquet(tmp_path / "a.parquet")
    ((_, sentence),) = _source(tmp_path)
    assert "'Failure_Message', which many programs take for 'failure_message'" in sentence


@pytest.mark.parametrize("prefix", ["lm", "lm_", "_", "Q7_"])
def test_a_sane_prefix(job_file, prefix):
    """Letters, digits and underscores, which every engine takes without quotes."""
    path = job_file(('/out"', f'/out"\ncolumn_prefix = "{prefix}"'))
    assert checked_job(draft_of_file(path)).output.column_prefix == prefix


@pytest.mark.parametrize("prefix", ["1", "a-", "a b", "标", "a.", "`"])
def test_a_prefix_that_needs_quotes_is_refused(job_file, mistakes_in, prefix):
    """The sentence says what was expected."""
    path = job_file(('/out"', f'/out"\ncolumn_prefix = "{prefix}"'))
    assert mistakes_in(path) == {
        "output.column_prefix": (
            f'found {prefix!r}, expected a prefix such as "lm_": letters, digits and _, and no digit first'
        )
    }


def test_labeled_files_are_not_labeled_again_unawares(tmp_path):
    """Pointing a job at an earlier job's `labeled/` is refused with the columns in question."""
    pl.DataFrame({"text": ["a"], **dict.fromkeys(LABEL_COLUMNS, "x")}).write_parquet(tmp_path / "a.parquet")
    assert len(_source(tmp_path)) == len(LABEL_COLUMNS)


def test_a_column_that_polars_cannot_read_is_refused(tmp_path):
    """A time zone without a name, which Polars gives up on, is a sentence."""
    table = pa.table({"text": ["a"], "at": pa.array([1], pa.timestamp("us", "+05:30"))})
    pq.write_table(table, tmp_path / "a.parquet")
    ((place, sentence),) = _source(tmp_path)
    assert place == "source.path"
    assert sentence.startswith(f"'{tmp_path}/a.parquet' has a column that Polars can't read (")
    assert "+05:30" in sentence


def test_columns_that_do_not_go_together_are_fine(folder):
    """Each file keeps its own columns: what is a number in one may be a list, wide or null in another."""
    pl.DataFrame({"text": ["a"], "n": [[1]]}).write_parquet(folder / "list.parquet")
    wide = pa.table({"text": ["a"], "n": pa.array([None], pa.decimal256(50, 2))})
    pq.write_table(wide, folder / "wide.parquet")
    pl.DataFrame({"text": ["a"], "n": [1.5], "more": [b"x"]}).write_parquet(folder / "float.parquet")
    pl.DataFrame({"text": pl.Series(["a"], dtype=pl.Categorical), "n": [None]}).write_parquet(
        folder / "z.parquet"
    )
    assert _source(folder) == []


def test_checking_writes_nothing(folder):
    """The check leaves no folder and no file behind."""
    before = sorted(folder.parent.rglob("*"))
    _source(folder)
    assert sorted(folder.parent.rglob("*")) == before


def test_mistakes_of_a_dataset_reach_the_job_files_reader(job_file, mistakes_in, tmp_path):
    """Through a job file, each sentence stands at its field."""
    path = job_file(("/source.parquet", "/nowhere/*.parquet"))
    assert mistakes_in(path) == {
        "source.path": f"no file matches '{tmp_path}/nowhere/*.parquet'; looked in '{tmp_path}/nowhere'"
    }
    assert mistakes_in(job_file(('text = "text"', 'text = "n"'))) == {
        "source.text": f"the column 'n' of '{tmp_path}/source.parquet' is Int64, not text"
    }
    assert mistakes_in(job_file(("/out", ""))) == {
        "output.path": f"'{tmp_path}' is the source's own folder; choose a folder outside"
    }
    assert checked_job(draft_of_file(job_file(('text = "text"', 'text = "{n}: {text}"'))))
