"""Lots: each text of a plan in exactly one, by the way it has to be asked."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelmill.batch.groups import write_groups
from labelmill.store.row_key import key_digest, row_key_of

TRIES = {
    "digest": pl.UInt128,
    "attempts": pl.Int64,
    "answers": pl.Int64,
    "problem": pl.String,
    "schema_refused": pl.Boolean,
}


def tries_of(known):
    """What the ledger knows, from (attempts, answers, problem, schema_refused) by text."""
    keys = pl.DataFrame({"key": [row_key_of(text) for text in known]}, schema={"key": pl.String})
    facts = pl.DataFrame(list(known.values()), schema=dict(list(TRIES.items())[1:]), orient="row")
    return keys.select(digest=key_digest(pl.col("key"))).hstack(facts).lazy()


def plan_of(folder, texts):
    """A plan's file."""
    path = folder / "pending-batches-0.parquet"
    keys = [row_key_of(text) for text in texts]
    frame = pl.DataFrame({"row_key": keys, "text": texts}, schema={"row_key": pl.String, "text": pl.String})
    frame.write_parquet(path)
    return path


def texts_in(group):
    """The texts of a group, in order."""
    return pl.read_parquet(group.path)["text"].to_list()


def test_texts_are_parted_by_how_they_are_asked(tmp_path):
    """Corrections under the schema first, then those whose endpoint refuses schemas, then plain questions."""
    known = {
        "lost": (2, 0, None, False),
        "wrong": (0, 1, "off_label", False),
        "cut": (3, 1, "truncated", True),
        "refused schema, never answered": (0, 0, None, True),
        "of another plan": (0, 1, "off_label", False),
    }
    plan = plan_of(tmp_path, ["new", "cut", "lost", "wrong", "refused schema, never answered"])
    groups = write_groups(plan, tries_of(known))
    assert [(group.is_correction, group.under_schema, group.texts, texts_in(group)) for group in groups] == [
        (True, True, 1, ["wrong"]),
        (True, False, 1, ["cut"]),
        (False, False, 3, ["new", "lost", "refused schema, never answered"]),
    ]
    rows = {row["text"]: row for group in groups for row in pl.read_parquet(group.path).iter_rows(named=True)}
    assert {text: (row["attempts"], row["answers"], row["problem"]) for text, row in rows.items()} == {
        "new": (0, 0, None),
        "cut": (3, 1, "truncated"),
        "lost": (2, 0, None),
        "wrong": (0, 1, "off_label"),
        "refused schema, never answered": (0, 0, None),
    }
    assert all(row["row_key"] == row_key_of(text) for text, row in rows.items())


def test_where_the_provider_has_no_schemas_no_text_is_asked_under_one(tmp_path):
    """A correction asks for text there, and is a correction all the same."""
    known = {"wrong": (0, 1, "off_label", False), "lost": (2, 0, None, False)}
    groups = write_groups(plan_of(tmp_path, ["lost", "wrong"]), tries_of(known), has_schemas=False)
    assert [(group.is_correction, group.under_schema, texts_in(group)) for group in groups] == [
        (True, False, ["wrong"]),
        (False, False, ["lost"]),
    ]


def test_a_lot_without_texts_is_none_and_leaves_no_file(tmp_path):
    """An empty plan has no groups; what is left is the plan itself."""
    plan = plan_of(tmp_path, [])
    assert write_groups(plan, tries_of({})) == ()
    assert list(tmp_path.iterdir()) == [plan]
    (group,) = write_groups(plan_of(tmp_path, ["a"]), tries_of({}))
    assert set(tmp_path.iterdir()) == {plan, group.path}


@settings(deadline=None, max_examples=40)
@given(
    known=st.dictionaries(
        st.text("abc", min_size=1, max_size=3),
        st.tuples(st.integers(0, 9), st.integers(0, 2), st.sampled_from([None, "off_label"]), st.booleans()),
        max_size=8,
    ),
    texts=st.lists(st.text("abc", min_size=1, max_size=3), unique=True, max_size=12),
)
def test_no_text_is_lost_or_in_two_groups(tmp_path_factory, known, texts):
    """And within a group they stay in the source's order."""
    groups = write_groups(plan_of(tmp_path_factory.mktemp("groups"), texts), tries_of(known))
    found = [text for group in groups for text in texts_in(group)]
    assert sorted(found) == sorted(texts)
    for group in groups:
        assert texts_in(group) == [text for text in texts if text in texts_in(group)]
        assert group.texts == len(texts_in(group))


def test_a_full_disk_is_told_as_one(tmp_path):
    """Not as an error of the library that writes."""
    plan = plan_of(tmp_path, ["a"])
    (tmp_path / "pending-batches-0-group0.parquet").mkdir()
    with pytest.raises(OSError, match="group0"):
        write_groups(plan, tries_of({}))
