"""Digests of a source: every row at its place, in the bucket of its text."""

import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelmill.dataset import digests as module
from labelmill.dataset.digests import SourceDigests, first_place
from labelmill.dataset.source import SourceFile
from labelmill.dataset.template import read_template
from labelmill.store.row_key import key_digest, row_key_of

TEMPLATE = read_template("text")
WORDS = ["a", "b", "c", "é", "中文", "🙂", None, "", " "]
FILES = st.lists(st.lists(st.sampled_from(WORDS), max_size=9), min_size=1, max_size=5)
LIMITS = st.fixed_dictionaries(
    {
        "_ROWS_IN_A_BUCKET": st.sampled_from([1, 3]),
        "_ROWS_IN_ONE_BUCKET": st.sampled_from([0, 3, 2_000_000]),
        "_FILES_AT_ONCE": st.sampled_from([1, 2, 200]),
        "_BYTES_AT_ONCE": st.sampled_from([1, 2**24]),
        "_ROWS_AT_ONCE": st.sampled_from([1, 1_000_000]),
    }
)


def _frame(texts):
    return pl.DataFrame({"text": texts}, schema={"text": pl.String})


def _rows_of(digests, numbers):
    """Each row's digest by its place, over all buckets."""
    found = pl.concat(digests.scan(bucket, numbers).collect() for bucket in digests.buckets)
    assert found["place"].is_unique().all()
    return dict(found.sort("place").iter_rows())


def _expected(texts_of_files, numbers):
    rows = {
        first_place(number) + row: text if text and text.strip() else None
        for number in numbers
        for row, text in enumerate(texts_of_files[number])
    }
    keys = {text: row_key_of(text) for text in rows.values() if text}
    made = pl.DataFrame({"key": list(keys.values())}, schema={"key": pl.String})
    by_key = dict(zip(keys, made.select(key_digest(pl.col("key")))["key"], strict=True))
    return {place: by_key.get(text) for place, text in rows.items()}


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(texts_of_files=FILES, limits=LIMITS, data=st.data())
def test_every_row_has_its_digest_at_its_place(write_source, texts_of_files, limits, data):
    """However files are grouped, cut and parted, and also of some of them, of files that changed, and read twice."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        for limit, value in limits.items():
            patch.setattr(module, limit, value)
        folder = Path(name)
        files = write_source(folder / "source", *map(_frame, texts_of_files))
        digests = SourceDigests(files, TEMPLATE, folder / "digests")
        every = range(len(files))
        some = data.draw(st.sets(st.sampled_from(every), min_size=1))
        assert digests.read(some) == sorted(some)
        assert digests.read(every) == list(every)
        assert _rows_of(digests, every) == _expected(texts_of_files, every)
        assert _rows_of(digests, some) == _expected(texts_of_files, some)
        assert digests.rows == {number: len(texts) for number, texts in enumerate(texts_of_files)}

        changed = data.draw(st.sampled_from(every))
        texts_of_files[changed] = ["new", None, "a"]
        _frame(texts_of_files[changed]).write_parquet(folder / "new")
        (folder / "new").replace(files[changed].path)
        assert digests.read(every) == list(every)
        assert _rows_of(digests, every) == _expected(texts_of_files, every)


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(texts_of_files=FILES, limits=LIMITS)
def test_equal_texts_share_a_bucket_and_texts_come_back_by_place(write_source, texts_of_files, limits):
    """So that each text is found once, with the first place that has it, and fetched from there in the source's order."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        for limit, value in limits.items():
            patch.setattr(module, limit, value)
        folder = Path(name)
        files = write_source(folder / "source", *map(_frame, texts_of_files))
        digests = SourceDigests(files, TEMPLATE, folder / "digests")
        first = digests.first_places(digests.read(range(len(files))), lambda rows, _: rows)
        pieces = list(digests.texts_at(first["place"]))
        texts = [text for piece in pieces for text in piece["text"]]
    in_order = dict.fromkeys(text for texts in texts_of_files for text in texts if text and text.strip())
    assert texts == list(in_order)
    assert [key for piece in pieces for key in piece["row_key"]] == [row_key_of(text) for text in in_order]


@pytest.mark.parametrize("at_once", [1, 200])
def test_a_file_that_cannot_be_read_is_a_fault_and_the_others_are_read(
    tmp_path, write_source, monkeypatch, at_once
):
    """Damaged pages, bytes that are no text, no Parquet at all, gone: each is left out, alone, until it has changed."""
    monkeypatch.setattr(module, "_FILES_AT_ONCE", at_once)
    files = write_source(tmp_path / "source", *(_frame([text] * 50) for text in "abcd"))
    whole = files[1].path.read_bytes()
    files[1].path.write_bytes(whole[:4] + bytes(len(whole) // 3) + whole[4 + len(whole) // 3 :])
    files[2].path.write_bytes(b"no Parquet")
    files.append(SourceFile(tmp_path / "gone", Path("gone")))
    digests = SourceDigests(files, TEMPLATE, tmp_path / "digests")
    assert digests.read(range(5)) == [0, 3]
    assert digests.faults.keys() == {1, 2, 4}
    assert len(_rows_of(digests, [0, 3])) == 100
    files[1].path.write_bytes(whole)
    assert digests.read(range(5)) == [0, 1, 3]
    assert len(_rows_of(digests, [0, 1, 3])) == 150


def test_only_what_is_needed_is_held(tmp_path, write_source):
    """The same rows are not written twice, and nothing is written for files that nobody asked for."""
    files = write_source(tmp_path / "source", _frame(["a"]), _frame(["b"]))
    digests = SourceDigests(files, TEMPLATE, tmp_path / "digests")
    assert digests.read([]) == []
    assert not (tmp_path / "digests").exists()
    digests.read([0])
    written = sorted((tmp_path / "digests").iterdir())
    digests.read([0])
    assert sorted((tmp_path / "digests").iterdir()) == written
