"""The index of a compacted part: fewer rows are read, and what they tell of the texts asked about is the same."""

import tempfile
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelmill.store import compaction, digest_index
from labelmill.store.compaction import compact
from labelmill.store.digest_index import index_of, ranges_about
from labelmill.store.ledger import SCHEMA, Ledger, answers_to, write_part
from labelmill.store.row_key import key_digest, row_key_of

WORDS = [f"text {number}" for number in range(30)]
ROWS = st.tuples(st.sampled_from(WORDS), st.sampled_from(["sport", "money", None]), st.booleans())
PARTS = st.lists(st.lists(ROWS, max_size=6), min_size=8, max_size=12)
NOW = datetime(2026, 11, 30, tzinfo=UTC)


def _frame(rows, run_id):
    told = [
        {
            "row_key": row_key_of(text),
            "label": label,
            "error": None if label else "timeout",
            "final": label is not None or final,
            "ended": True,
            "run_id": run_id,
            "requests": 1,
            "unseen": 0,
            "cost_usd": Decimal("0.001"),
            "unseen_usd": Decimal(0),
            "answered_at_utc": NOW,
            "unpriced": 0,
        }
        for text, label, final in rows
    ]
    return pl.DataFrame(told, schema=SCHEMA)


def _digests(texts):
    keys = pl.DataFrame({"key": [row_key_of(text) for text in texts]}, schema={"key": pl.String})
    return keys.select(digest=key_digest(pl.col("key")))["digest"]


def _write(folder, parts):
    folder.mkdir()
    for number, rows in enumerate(parts):
        run_id = f"2026010{number % 9 + 1}-00000{number:02d}-0000"
        write_part(folder / f"{run_id}-00000.parquet", _frame(rows, run_id))


def _answers(ledger, digests, about):
    asked = digests.unique().to_frame("digest").lazy()
    found = answers_to(asked, pl.concat(ledger.pieces(about))).sort("digest").collect()
    known = ledger.known_digests(about).collect()["digest"].unique()
    return found.to_dicts(), sorted(set(known) & set(digests))


@settings(max_examples=40, deadline=None)
@given(
    parts=PARTS,
    asked=st.lists(st.sampled_from([*WORDS, "never asked"]), max_size=4),
    size=st.sampled_from([1, 3, 100]),
)
def test_what_is_told_of_the_texts_asked_about_is_the_same(parts, asked, size):
    """With an index of any fineness and without, before and after parts were put together."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(compaction, "FEWEST_ROWS", 1)
        patch.setattr(digest_index, "_ROWS_IN_A_RANGE", size)
        folder = Path(name) / "task"
        _write(folder, parts)
        ledger, digests = Ledger(folder), _digests(asked)
        expected = _answers(ledger, digests, None)
        compact(folder)
        assert _answers(ledger, digests, None) == expected
        assert _answers(ledger, digests, digests) == expected


@pytest.fixture
def compacted(tmp_path, monkeypatch):
    """A compacted part with its index."""
    monkeypatch.setattr(compaction, "FEWEST_ROWS", 1)
    monkeypatch.setattr(digest_index, "_ROWS_IN_A_RANGE", 2)
    _write(tmp_path / "task", [[(word, "sport", True)] for word in WORDS[:9]])
    compact(tmp_path / "task")
    (part,) = (tmp_path / "task").glob("*.parquet")
    return part


def test_only_the_ranges_with_the_texts_are_read(compacted):
    """Of a text that the part doesn't know none is."""
    assert ranges_about(compacted, _digests([WORDS[0], WORDS[5]])) == [(0, 2), (4, 2)]
    assert ranges_about(compacted, _digests(["never asked"])) == []


@pytest.mark.parametrize("damage", ["gone", "cut off", "of another part"])
def test_an_index_that_is_not_the_parts_tells_nothing(compacted, damage):
    """The part is read whole then."""
    index = index_of(compacted)
    if damage == "gone":
        index.unlink()
    elif damage == "cut off":
        index.write_bytes(index.read_bytes()[:-9])
    else:
        pl.read_parquet(compacted).head(3).write_parquet(compacted)
    assert ranges_about(compacted, _digests([WORDS[0]])) is None
    answers, _ = _answers(Ledger(compacted.parent), _digests([WORDS[0]]), _digests([WORDS[0]]))
    assert [row["label"] for row in answers] == ["sport"]


def test_an_index_goes_with_its_part(compacted):
    """A part that is put together with others leaves none behind."""
    folder = compacted.parent
    _write(folder.with_name("more"), [[(word, "money", True)] for word in WORDS[10:20]])
    for number, part in enumerate(sorted(folder.with_name("more").iterdir())):
        part.rename(folder / f"20270101-0000{number:02d}-0000-00000.parquet")
    compact(folder)
    (part,) = folder.glob("*.parquet")
    assert sorted(folder.iterdir()) == sorted([part, index_of(part)])
