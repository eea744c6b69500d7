"""Planning: what is pending, each text once, and how it is cut."""

import functools
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelmill.dataset.digests import SourceDigests
from labelmill.dataset.plan import (
    MOST_CHUNKS,
    Chunk,
    chunks_of,
    read_chunk,
    read_tried,
    rows_per_chunk_of,
    write_pending,
    write_tried,
)
from labelmill.dataset.template import read_template
from labelmill.job.model import Run
from labelmill.money.usage import Usage
from labelmill.question.attempts import Attempt, Tried
from labelmill.store.journal import Journal
from labelmill.store.ledger import Ledger
from labelmill.store.row_key import row_key_of

TEMPLATE = read_template("text")
WORDS = ["a", "A", " a", "b", "é", "e\u0301", "中文", "🙂", "\u202eabc", "x\0y", "two\nlines", "0", "null"]
BLANKS = [None, "", " ", "\t\n", "\u3000"]
FILES = st.lists(st.lists(st.sampled_from([*WORDS, *BLANKS]), max_size=12), min_size=1, max_size=4)
KNOWN = st.dictionaries(
    st.sampled_from([*WORDS, "in no file"]), st.sampled_from(["label", "too_long", "off_label", "timeout"])
)
FINAL = {"label", "too_long", "off_label"}


def _column(texts):
    return pl.DataFrame({"text": texts}, schema={"text": pl.String})


def _digests(files, folder):
    return SourceDigests(files, TEMPLATE, folder / "digests")


def _pending(files, ledger, folder, *, retry_failed=False):
    path = folder / "run" / "pending.parquet"
    known = functools.partial(ledger.known_digests, retry_failed=retry_failed)
    count = write_pending(_digests(files, folder), range(len(files)), known, path)
    frame = pl.read_parquet(path, glob=False, hive_partitioning=False)
    assert count == frame.height
    assert [entry.name for entry in path.parent.iterdir()] == ["pending.parquet"]
    return frame


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(texts_of_files=FILES, known=KNOWN)
def test_pending_is_what_no_final_answer_is_known_for(record_answers, write_source, texts_of_files, known):
    """Distinct texts that aren't blank and not final in the ledger, each once, in the order they first appear."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_source(folder / "source", *map(_column, texts_of_files))
        ledger = record_answers(
            folder / "ledger",
            {text: "sport" for text, state in known.items() if state == "label"},
            {text: state for text, state in known.items() if state != "label"},
        )
        pending = _pending(files, ledger, folder)

        final = {text for text, state in known.items() if state in FINAL}
        in_order = dict.fromkeys(text for texts in texts_of_files for text in texts)
        expected = [text for text in in_order if text not in BLANKS and text not in final]
        assert pending["text"].to_list() == expected
        assert pending["row_key"].to_list() == [row_key_of(text) for text in expected]

        retried = _pending(files, ledger, folder, retry_failed=True)["text"].to_list()
        assert retried == [text for text in in_order if text not in BLANKS and known.get(text) != "label"]


@settings(max_examples=50, deadline=None)
@given(texts=st.integers(0, 100_000), rows_per_chunk=st.integers(1, 5000))
def test_chunks_partition_the_plan(texts, rows_per_chunk):
    """Chunks follow on each other without gap or overlap, and only the last is shorter."""
    chunks = chunks_of(texts, rows_per_chunk)
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    end = 0
    for chunk in chunks:
        assert chunk.offset == end
        assert 0 < chunk.texts <= rows_per_chunk
        end += chunk.texts
    assert end == texts
    assert all(chunk.texts == rows_per_chunk for chunk in chunks[:-1])


@settings(max_examples=50, deadline=None)
@given(
    texts=st.integers(0, 10**8),
    max_concurrency=st.integers(1, 1000),
    asked=st.one_of(st.just("auto"), st.integers(1, 10**7)),
)
def test_a_run_has_some_hundreds_of_chunks_at_most(texts, max_concurrency, asked):
    """Whatever the dataset's size and the job's wish, chunks stay few; the wish counts where it can."""
    size = rows_per_chunk_of(texts, max_concurrency, asked)
    assert size >= 1
    assert -(-texts // size) <= MOST_CHUNKS
    if asked != "auto" and asked * MOST_CHUNKS >= texts:
        assert size == asked


def test_automatic_chunks_fill_the_limiter():
    """`auto` gives a chunk several texts per request in flight, more in a large run, and never so few that task runs outweigh the work."""
    assert rows_per_chunk_of(3_000, 32, "auto") == 192
    assert rows_per_chunk_of(3_000, 1, "auto") == 150
    assert rows_per_chunk_of(20_000, 32, "auto") == 1_000
    assert rows_per_chunk_of(200_000, 32, "auto") == 2_000
    assert rows_per_chunk_of(10_000_000, 32, "auto") == 50_000
    assert rows_per_chunk_of(0, 32, "auto") == 192


@settings(max_examples=30, deadline=None)
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), unique=True, max_size=20)
)
def test_chunks_read_back_every_text_once(write_source, texts):
    """The chunks of a plan, read one by one, are its texts with their keys, unchanged to the code point."""
    asked = [f"a{text}" for text in texts]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_source(folder / "source", _column(asked))
        path = folder / "pending.parquet"
        known = Ledger(folder / "ledger").known_digests
        count = write_pending(_digests(files, folder), range(len(files)), known, path)
        read = [row for chunk in chunks_of(count, 3) for row in read_chunk(path, chunk)]
    assert read == [(row_key_of(text), text) for text in asked]


def test_a_source_without_rows_has_nothing_pending(tmp_path, write_source):
    """Empty files make an empty plan with its two columns, and no chunk."""
    files = write_source(tmp_path / "source", _column([]), _column([]))
    pending = _pending(files, Ledger(tmp_path / "ledger"), tmp_path)
    assert pending.schema == pl.Schema({"row_key": pl.String, "text": pl.String})
    assert chunks_of(pending.height, rows_per_chunk_of(pending.height, 32, "auto")) == ()


def test_a_plan_can_lie_in_any_folder(tmp_path, write_source):
    """Brackets and stars in the output's path are part of a name, not patterns."""
    files = write_source(tmp_path / "in[1]", _column(["a", "b", "a"]))
    folder = tmp_path / "out[1] *" / "date=2026"
    assert _pending(files, Ledger(folder / "ledger"), folder)["text"].to_list() == ["a", "b"]
    chunk = read_chunk(folder / "run" / "pending.parquet", Chunk(0, 0, 2))
    assert chunk == [(row_key_of("a"), "a"), (row_key_of("b"), "b")]


def test_one_text_in_several_files_is_asked_once(tmp_path, write_source):
    """A text is one text however many files, row groups and types of column have it."""
    categories = pl.DataFrame({"text": pl.Series(["a", "b", "c"], dtype=pl.Categorical)})
    files = write_source(tmp_path / "source", _column(["c", "a"] * 100), categories, _column(["b", "d"]))
    pending = _pending(files, Ledger(tmp_path / "ledger"), tmp_path)
    assert pending["text"].to_list() == ["c", "a", "b", "d"]


def test_what_went_wrong_leaves_no_plan_behind(tmp_path, write_source):
    """Nothing stands where the plan would, where planning breaks off."""
    files = write_source(tmp_path / "source", _column(["a"]))
    broken = pl.LazyFrame({"digest": ["not a digest"]})
    with pytest.raises(pl.exceptions.PolarsError):
        write_pending(_digests(files, tmp_path), [0], lambda _: broken, tmp_path / "run" / "pending.parquet")
    assert list((tmp_path / "run").iterdir()) == []


def test_many_texts_keep_their_order(tmp_path, write_source):
    """The order holds also where files are large enough to be read by several threads at once."""
    texts = [f"text {number * 7919 % 60_000}" for number in range(100_000)]
    frames = [_column(texts[start : start + 25_000]) for start in range(0, 100_000, 25_000)]
    files = write_source(tmp_path / "source", *frames)
    pending = _pending(files, Ledger(tmp_path / "ledger"), tmp_path)
    assert pending["text"].to_list() == list(dict.fromkeys(texts))


def test_what_was_tried_of_a_text_goes_with_the_plan(tmp_path, write_source):
    """Answers, requests that may have been paid, refusals: of each text that has any, and of those that are asked alone."""
    files = write_source(tmp_path / "source", _column(["a", "b", "c", "new"]))
    ledger = Ledger(tmp_path / "ledger")
    now = datetime(2026, 1, 1, tzinfo=UTC)

    def attempt(text, kind, **more):
        return Attempt(row_key_of(text), now, failure=kind, message="m", **more)

    made = [
        attempt("a", "off_label", answered=True, usage=Usage(9, 0, 1)),
        attempt("b", "timeout"),
        attempt("b", "timeout"),
        attempt("c", "denied", usage=Usage(), gave_up=True),
        attempt("in no file", "timeout"),
    ]
    with Journal(ledger.journal_path("run", 0)) as journal:
        for one in made:
            journal.append(one)
        ledger.add(journal, Run(max_attempts=5, max_answers=3))
    pending = _pending(files, ledger, tmp_path)
    path = tmp_path / "run" / "pending.parquet"
    write_tried(path, ledger.tries("run"))
    keys = pending["row_key"].to_list()
    assert read_tried(path, keys) == {
        row_key_of("a"): Tried(answers=1, problem="off_label"),
        row_key_of("b"): Tried(paid_attempts=2, attempts=2),
        row_key_of("c"): Tried(refusals=1, attempts=1),
    }
    assert read_tried(path, keys[:1]).keys() == {row_key_of("a")}
    assert read_tried(path, []) == {}


def test_a_plan_of_texts_that_were_never_tried_says_nothing_of_them(tmp_path, write_source):
    """And leaves no file."""
    files = write_source(tmp_path / "source", _column(["a"]))
    ledger = Ledger(tmp_path / "ledger")
    keys = _pending(files, ledger, tmp_path)["row_key"].to_list()
    path = tmp_path / "run" / "pending.parquet"
    write_tried(path, ledger.tries("run"))
    assert read_tried(path, keys) == {}
    assert list(path.parent.iterdir()) == [path]
