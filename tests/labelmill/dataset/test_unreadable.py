"""Files that only reading tells are broken: named with their column, without harm to others."""

from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelmill.dataset.source import SourceFile
from labelmill.dataset.template import read_template
from labelmill.dataset.unreadable import Fault, fault_of, faults_in

TABLE = pa.table(
    {
        "text": ["a first text", "a second text"],
        "note": ["a first note", "a second note"],
        "tags": [["a first tag"], ["a second tag", "a third tag"]],
        "n": [1, 2],
    }
)


@pytest.fixture
def broken(tmp_path):
    """Write a file in which some bytes are no UTF-8, or a page is no page: `broken("a second text")`."""

    def write(*values, page=None, name="0.parquet"):
        path = tmp_path / name
        pq.write_table(TABLE, path, use_dictionary=False, compression="none", row_group_size=1)
        content = path.read_bytes()
        for value in values:
            content = content.replace(value.encode(), b"\xff" * len(value))
        path.write_bytes(content)
        if page is not None:
            told = pq.ParquetFile(path).metadata.row_group(1).column(TABLE.column_names.index(page))
            assert told.path_in_schema.split(".")[0] == page
            begin = told.data_page_offset
            path.write_bytes(content[:begin] + b"\xff" * 8 + content[begin + 8 :])
        return SourceFile(path, Path(name))

    return write


def read_texts(file, template):
    """A file's texts, or why they can't be had."""
    try:
        return file.scan_texts(template).collect()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        return fault_of(file, template, error)


@pytest.mark.parametrize("how", [{"values": ("a second text",)}, {"page": "text"}])
def test_a_text_column_that_can_not_be_read_is_a_fault(broken, how):
    """It has the column, a reader's words on one line, and how many rows the footer promises."""
    file = broken(*how.get("values", ()), page=how.get("page"))
    fault = read_texts(file, read_template("{n}: {text}"))
    assert isinstance(fault, Fault)
    assert (fault.column, fault.rows) == ("text", 2)
    assert fault.reason
    assert "\n" not in fault.reason
    assert (
        fault.sentence(file.path) == f"the column 'text' of {str(file.path)!r} can't be read ({fault.reason})"
    )


def test_other_columns_do_not_matter_for_the_texts(broken):
    """Nobody reads them for that."""
    file = broken("a second note", page="tags")
    texts = read_texts(file, read_template("text"))
    assert texts["text"].to_list() == TABLE["text"].to_pylist()
    assert texts.columns == ["text", "digest"]


def test_a_file_that_is_gone_or_cut_off_has_no_column_to_blame(broken):
    """Nor is it known how many rows it has."""
    gone, cut = broken(), broken(name="1.parquet")
    gone.path.unlink()
    cut.path.write_bytes(cut.path.read_bytes()[:-20])
    for file in (gone, cut):
        fault = read_texts(file, read_template("text"))
        assert (fault.column, fault.rows) == (None, None)
        assert fault.sentence(file.path).startswith(f"{str(file.path)!r} can't be read (")


def test_a_mistake_of_ours_is_no_fault_of_a_file(broken, monkeypatch):
    """Nor is a process that has no memory left, or is to end."""
    for error in (TypeError("no"), MemoryError(), KeyboardInterrupt()):

        def raising(*_, error=error):
            raise error

        monkeypatch.setattr(SourceFile, "scan_texts", raising)
        with pytest.raises(type(error)):
            read_texts(broken(), read_template("text"))


def test_all_columns_that_can_not_be_read_are_found(broken):
    """Each once, in the file's order, whatever is wrong with it; nested ones by their outer name."""
    file = broken("a second text", "a third tag", page="n")
    faults = faults_in(file.path)
    assert [fault.column for fault in faults] == ["text", "tags", "n"]
    assert {fault.rows for fault in faults} == {2}
    assert faults_in(broken(name="1.parquet").path) == []


def test_a_file_that_can_not_be_opened_is_one_fault(broken, tmp_path):
    """Of no column."""
    file = broken()
    file.path.write_bytes(b"PAR1 and no more")
    for path in (file.path, tmp_path / "gone.parquet", tmp_path):
        (fault,) = faults_in(path)
        assert (fault.column, bool(fault.reason)) == (None, True)
