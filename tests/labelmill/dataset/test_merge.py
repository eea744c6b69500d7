"""Merging: labels beside their rows, and failed rows by themselves."""

import tempfile
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from merging import Merger
from polars.testing import assert_frame_equal

from labelmill.dataset.merge import FAILURE_COLUMNS, LABEL_COLUMNS
from labelmill.dataset.source import source_files
from labelmill.dataset.template import read_template
from labelmill.store.ledger import Ledger

TEXT = read_template("text")
WORDS = ["a", "A", "b", "é", "中文", "🙂", "7", "?", "\u202eabc", "x\0y", "two\nlines"]
BLANKS = [None, "", " ", "\u3000", "\u200b\ufeff", "\0"]
FILES = st.lists(st.lists(st.sampled_from([*WORDS, *BLANKS]), max_size=12), min_size=1, max_size=4)
KINDS = ["too_long", "off_label", "timeout"]
KNOWN = st.dictionaries(st.sampled_from(WORDS), st.sampled_from(["sport", "money", *KINDS]))
TYPED = pl.Schema({"id": pl.Int32, "text": pl.String, "tags": pl.List(pl.String)})


def _frame(texts):
    rows = [{"id": number, "text": text, "tags": [str(text)]} for number, text in enumerate(texts)]
    return pl.DataFrame(rows, schema=TYPED)


def _labeled(files, merger, folder):
    paths = merger.write_labeled(files, folder)
    return [pl.read_parquet(path, hive_partitioning=False, glob=False) for path in paths]


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(texts_of_files=FILES, known=KNOWN)
def test_every_row_has_the_status_that_the_ledger_knows(record_answers, write_source, texts_of_files, known):
    """Same rows, order and columns; statuses follow the ledger and add up; failed rows stand in their own file."""
    labels = {text: state for text, state in known.items() if state not in KINDS}
    failures = {text: state for text, state in known.items() if state in KINDS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_source(folder / "source", *map(_frame, texts_of_files))
        merger = Merger(record_answers(folder / "ledger", labels, failures), TEXT)
        labeled = _labeled(files, merger, folder / "labeled")
        count = merger.write_failed(files, folder / "failed.parquet")
        failed = pl.read_parquet(folder / "failed.parquet") if count else None

    for texts, frame in zip(texts_of_files, labeled, strict=True):
        assert frame.schema == pl.Schema({**TYPED, **LABEL_COLUMNS})
        assert_frame_equal(frame.select(TYPED.names()), _frame(texts))
        for row in frame.iter_rows(named=True):
            assert _facts_of(row) == _expected_facts(row["text"], labels, failures)
    statuses = Counter(status for frame in labeled for status in frame["label_status"])
    assert statuses.total() == sum(map(len, texts_of_files))
    assert count == statuses["failed"]
    if failed is not None:
        assert failed.schema == pl.Schema({**TYPED, **FAILURE_COLUMNS})
        together = pl.concat(labeled).filter(pl.col("label_status") == "failed")
        assert_frame_equal(failed.select(TYPED.names()), together.select(TYPED.names()))
        assert failed["failure_kind"].to_list() == together["label_error"].to_list()


def _facts_of(row):
    facts = ("label_status", "label", "label_error", "label_confidence", "label_model", "label_run_id")
    return tuple(row[name] for name in facts)


def _expected_facts(text, labels, failures):
    answered = ("gpt-4o-mini-2024", "20260101-000000-aaaa")
    if text in BLANKS:
        return ("empty", None, None, None, None, None)
    if text in labels:
        return ("ok", labels[text], None, 0.5, *answered)
    if text in failures:
        return ("failed", None, failures[text], None, *answered)
    return ("pending", None, None, None, None, None)


@pytest.mark.parametrize(
    ("labels", "failures", "statuses"),
    [
        ({}, {}, ["pending", "pending"]),
        ({"a": "sport", "b": "money"}, {}, ["ok", "ok"]),
        ({}, {"a": "off_label", "b": "timeout"}, ["failed", "failed"]),
    ],
)
def test_the_schema_is_the_same_whatever_happened(
    tmp_path, record_answers, write_source, labels, failures, statuses
):
    """Nothing asked, all labeled or all failed: the label columns are there, typed alike, in one order, and last."""
    files = write_source(tmp_path / "source", {"text": ["a", "b"], "n": [1, 2]})
    merger = Merger(record_answers(tmp_path / "ledger", labels, failures), TEXT)
    (frame,) = _labeled(files, merger, tmp_path / "labeled")
    assert frame.schema == pl.Schema(
        {
            "text": pl.String,
            "n": pl.Int64,
            "label": pl.String,
            "label_status": pl.String,
            "label_error": pl.String,
            "label_confidence": pl.Float64,
            "label_model": pl.String,
            "label_run_id": pl.String,
        }
    )
    assert frame["label_status"].to_list() == statuses


def test_a_label_outlives_every_failure(tmp_path, record_answers, write_source):
    """A text that failed before and after it got its label is `ok`, with nothing of the failure, and not in `failed/`."""
    files = write_source(tmp_path / "source", {"text": ["a"]})
    for number, (labels, failures) in enumerate(
        [({}, {"a": "timeout"}), ({"a": "sport"}, {}), ({}, {"a": "timeout"})]
    ):
        ledger = record_answers(tmp_path / "ledger", labels, failures, run_id=f"run-{number}")
    merger = Merger(ledger, TEXT)
    (frame,) = _labeled(files, merger, tmp_path / "labeled")
    assert _facts_of(frame.row(0, named=True)) == ("ok", "sport", None, 0.5, "gpt-4o-mini-2024", "run-1")
    assert merger.write_failed(files, tmp_path / "failed.parquet") == 0
    assert not (tmp_path / "failed.parquet").exists()


def test_source_columns_may_have_any_name(tmp_path, record_answers, write_source):
    """Names that Labelmill uses on its way, and names that look like patterns, are the source's own and stay."""
    names = ["digest", "row", "row_key", "error", "message", "final", "model", "run_id", "requests", "cost_usd",
             "confidence", "_label", "_digest", "_error", "failed_model", "literal", "len", "*", "^.*$", "", "a b.c", "列"]  # fmt: skip
    source = pl.DataFrame({"text": ["a", "b", None], **{name: [f"{name}1", None, "3"] for name in names}})
    files = write_source(tmp_path / "source", source)
    merger = Merger(record_answers(tmp_path / "ledger", {"a": "sport"}, {"b": "off_label"}), TEXT)
    (frame,) = _labeled(files, merger, tmp_path / "labeled")
    assert frame.columns == [*source.columns, *LABEL_COLUMNS]
    assert_frame_equal(frame.drop(LABEL_COLUMNS.names()), source)
    assert frame["label_status"].to_list() == ["ok", "failed", "empty"]
    assert merger.write_failed(files, tmp_path / "failed.parquet") == 1
    failed = pl.read_parquet(tmp_path / "failed.parquet")
    assert_frame_equal(failed.drop(FAILURE_COLUMNS.names()), source[1:2])


def test_failed_rows_say_what_happened_and_what_it_cost(tmp_path, record_answers, write_source):
    """Kind, message, requests and cost stand beside the failed row's own columns, added up over all runs."""
    files = write_source(tmp_path / "source", {"text": ["a", "b", " "], "n": [1, 2, 3]})
    record_answers(tmp_path / "ledger", failures={"b": "timeout"}, run_id="first")
    ledger = record_answers(tmp_path / "ledger", {"a": "sport"}, {"b": "off_label"}, run_id="second")
    assert Merger(ledger, TEXT).write_failed(files, tmp_path / "failed.parquet") == 1
    assert pl.read_parquet(tmp_path / "failed.parquet").rows() == [
        ("b", 2, "off_label", "off_label!", 2, 0.00002)
    ]


def test_failed_rows_are_a_source(tmp_path, record_answers, write_source):
    """The file of failed rows can be labeled by the same template, also when its rows fail again."""
    source = tmp_path / "source"
    write_source(source / "topic=科技", {"text": ["a", "b"], "n": [1, 2]})
    write_source(source / "topic=%E5%95%86", {"text": ["c", "d"], "n": [3, 4]})
    template = read_template("{topic}: {text}")
    kinds = {"科技: b": "off_label", "商: c": "timeout"}
    merger = Merger(
        record_answers(tmp_path / "ledger", {"科技: a": "sport", "商: d": "money"}, kinds), template
    )
    first, second = tmp_path / "first.parquet", tmp_path / "second.parquet"
    assert merger.write_failed(source_files(str(source)), first) == 2

    again = source_files(str(first))
    assert [file.scan_texts(template).collect()["text"].to_list() for file in again] == [["商: c", "科技: b"]]
    record_answers(tmp_path / "ledger", {"商: c": "money"}, run_id="second")
    assert merger.write_failed(again, second) == 1
    frame = pl.read_parquet(second)
    assert frame.columns == ["text", "n", "topic", *FAILURE_COLUMNS]
    assert frame.row(0) == ("b", 2, "科技", "off_label", "off_label!", 1, 0.00001)


def test_failed_rows_of_files_with_other_columns_stand_together(tmp_path, record_answers, write_source):
    """Columns that only some files have are null for the others; where types differ, none is widened for another."""
    files = write_source(
        tmp_path / "source",
        {"text": ["a"], "n": [1.0]},
        {"text": ["b"], "n": [2.5], "extra": [[1, 2]]},
        {"text": ["c"], "n": [None]},
        {"text": ["d"], "n": pl.Series([2**53 + 1], dtype=pl.Int64)},
    )
    merger = Merger(record_answers(tmp_path / "ledger", failures=dict.fromkeys("abcd", "off_label")), TEXT)
    assert merger.write_failed(files, tmp_path / "failed.parquet") == 4
    assert pl.read_parquet(tmp_path / "failed-2.parquet").select("text", "n").rows() == [("d", 2**53 + 1)]
    frame = pl.read_parquet(tmp_path / "failed.parquet")
    assert frame.select("text", "n", "extra").rows() == [
        ("a", 1.0, None),
        ("b", 2.5, [1, 2]),
        ("c", None, None),
    ]


def test_nothing_is_known_before_the_first_run(tmp_path, write_source):
    """A row that no run has asked about is pending: its confidence is null, not 0, and it is no failure."""
    files = write_source(tmp_path / "source", {"text": ["a"]})
    merger = Merger(Ledger(tmp_path / "ledger"), TEXT)
    (frame,) = _labeled(files, merger, tmp_path / "labeled")
    assert _facts_of(frame.row(0, named=True)) == _expected_facts("a", {}, {})
    assert merger.write_failed(files, tmp_path / "failed.parquet") == 0


def test_large_files_keep_their_order(tmp_path, record_answers, write_source):
    """Rows stay with their labels where a file is large enough to be read by several threads at once."""
    texts = [f"text {number * 7919 % 50_000}" for number in range(200_000)]
    frame = pl.DataFrame({"id": range(len(texts)), "text": texts})
    files = write_source(tmp_path / "source", frame)
    labels = {f"text {number}": f"label {number}" for number in range(500)}
    (labeled,) = _labeled(
        files, Merger(record_answers(tmp_path / "ledger", labels), TEXT), tmp_path / "labeled"
    )
    assert_frame_equal(labeled.select("id", "text"), frame)
    assert labeled["label"].to_list() == [labels.get(text) for text in texts]
