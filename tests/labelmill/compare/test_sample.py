"""The sample of a comparison."""

import random
import tempfile
from pathlib import Path

import polars as pl
import pytest

from labelmill.compare.sample import draw_sample, write_sample
from labelmill.dataset.digests import SourceDigests
from labelmill.dataset.source import source_files
from labelmill.dataset.template import read_template
from labelmill.store.row_key import row_key_of

TEMPLATE = read_template("text")
TEXTS = [f"text {number}" for number in range(500)]


@pytest.fixture
def draw(tmp_path):
    """Draw from texts written as files of a source, a list each."""

    def draw_from(*files, rows=50):
        folder = tmp_path / "source"
        folder.mkdir(exist_ok=True)
        for number, texts in enumerate(files):
            frame = pl.DataFrame({"text": texts}, schema={"text": pl.String})
            frame.write_parquet(folder / f"{number}.parquet")
        with tempfile.TemporaryDirectory() as scratch:
            return draw_sample(SourceDigests(source_files(str(folder)), TEMPLATE, Path(scratch)), rows)

    return draw_from


def test_a_sample_is_the_same_however_the_source_is_sorted_and_cut(draw):
    """The same distinct texts are chosen from a shuffled source in two files, with repetitions, and stand in its order."""
    shuffled = [*TEXTS, *TEXTS[:100]]
    random.Random(1).shuffle(shuffled)
    first, other = draw(TEXTS), draw(shuffled[:250], shuffled[250:])
    assert first.height == first["row_key"].n_unique() == 50
    assert set(first["text"]) == set(other["text"])
    places = [shuffled.index(text) for text in other["text"]]
    assert places == sorted(places)
    assert first["row_key"].to_list() == [row_key_of(text) for text in first["text"]]


def test_a_sample_is_spread_over_the_source(draw):
    """Each fifth of a source of 500 has some of a sample of 50."""
    fifths = {TEXTS.index(text) // 100 for text in draw(TEXTS)["text"]}
    assert fifths == {0, 1, 2, 3, 4}


def test_new_texts_leave_most_of_a_sample_in_place(draw):
    """Ten new texts among 500 take no more than ten places of the sample."""
    before = set(draw(TEXTS)["text"])
    after = set(draw([*(f"new {number}" for number in range(10)), *TEXTS])["text"])
    assert len(before - after) <= 10


def test_rows_without_a_text_are_left_out_and_a_small_source_is_asked_whole(draw, tmp_path):
    """Null and blank texts are no part of a sample, which holds fewer texts than asked for where there are no more."""
    drawn = draw([None, "b", "  ", "a", "b"])
    assert drawn["text"].to_list() == ["b", "a"]
    sample = write_sample(drawn, tmp_path / "run")
    assert [question.text for question in sample.questions()] == ["b", "a"]
    assert sample.rows == 2
    assert draw([None, ""]).is_empty()
