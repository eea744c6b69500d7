"""Tables for a terminal: what is shown is whole, however narrow it is."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from labelmill.report.tables import FittingTable, fit_of

ROWS = [("20261125-215751-bded", "stopped at the budget", "1,204,000", "$12,345.6789"), ("b", "ok", "1", "–")]
TABLE = FittingTable(
    ("run", "status", "input tokens", "cost"),
    ROWS,
    footers=("total", "", "1,204,001", "$12,345.6789"),
    left=frozenset({"run", "status"}),
    prose=frozenset({"status"}),
    leave_out=("input tokens",),
)


def printed(table, width):
    """What a terminal of that width shows."""
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=True, color_system=None, highlight=False).print(table)
    return out.getvalue()


@pytest.mark.parametrize(
    ("width", "has_tokens", "is_broken"), [(200, True, False), (72, True, True), (60, False, True)]
)
def test_a_table_breaks_words_first_and_then_leaves_out_columns(width, has_tokens, is_broken):
    """And says which; amounts stay whole at every width, and the sum is of the same columns."""
    told = printed(TABLE, width)
    said = "1 column left out: input tokens (no room); --json has all"
    assert ("1,204,000" in told, said in " ".join(told.split())) == (has_tokens, not has_tokens)
    assert ("stopped at the budget" not in told) is is_broken
    assert told.count("$12,345.6789") == 2
    assert told.count("1,204,001") == has_tokens
    assert "…" not in told
    assert max(cell_len(line.rstrip()) for line in told.splitlines()) <= width


def test_columns_that_say_nothing_go_and_are_named():
    """All 0 or all –, or the same as another in every row and in the sum; one that is to be kept stays, and one that differs."""
    table = FittingTable(
        ("run", "texts", "labels", "requests", "cached", "unseen", "cost"),
        [("a", "2", "2", "2", "0.0%", "–", "$0.00"), ("b", "3", "3", "3", "–", "–", "$0.00")],
        footers=("total", "5", "5", "6", "0.0%", "–", "$0.00"),
        left=frozenset({"run"}),
        keep=frozenset({"cost"}),
        same_as={"labels": "texts", "requests": "texts"},
    )
    fit = fit_of([table], 200)
    assert fit.gone == {"labels", "cached", "unseen"}
    assert fit.words("--json has all") == (
        "3 columns left out: labels (same as texts); cached, unseen (nothing in them); --json has all"
    )
    assert fit_of([FittingTable(("run", "cached"), [("a", "1.0%")])], 200).gone == frozenset()


def test_tables_that_are_read_together_leave_out_the_same():
    """What the widest of them has no room for, and only what is empty in all of them."""
    wide = FittingTable(
        ("run", "texts", "tokens", "cached"),
        [("a run with a long name", "1,000", "120,000", "–")],
        left=frozenset({"run"}),
        leave_out=("tokens",),
    )
    slim = FittingTable(("day", "texts", "tokens", "cached"), [("1", "1,000", "120,000", "2.0%")])
    assert fit_of([wide, slim], 45).no_room == ("tokens",)
    assert fit_of([wide, slim], 45).empty == ()
    assert fit_of([wide], 45).gone == {"cached"}


CELLS = st.sampled_from(["–", "0", "$0.00", "7", "1,204,000", "$12,345.6789", "100.0% of 98"])
NAMES = st.text(st.characters(categories=["L", "N", "P", "Zs"]), max_size=40)


@given(st.lists(st.tuples(NAMES, CELLS, CELLS, CELLS), min_size=1, max_size=4), st.integers(20, 120))
def test_no_number_is_ever_cut_off(rows, width):
    """At any width: each number of a column that is shown stands there whole, and no line is wider than the terminal."""
    table = FittingTable(
        ("a name", "input tokens", "per 1,000 labels", "cost"),
        rows,
        left=frozenset({"a name"}),
        leave_out=("input tokens", "per 1,000 labels"),
        keep=frozenset({"cost"}),
        same_as={"per 1,000 labels": "input tokens"},
    )
    told = printed(table, width)
    gone = fit_of([table], width).gone
    for index, name in enumerate(table.headings[1:], 1):
        if name not in gone:
            for row in rows:
                assert all(word in told for word in row[index].split())
    assert "cost" not in gone
    assert "…" not in told or any("…" in row[0] for row in rows)
    assert max(cell_len(line.rstrip()) for line in told.splitlines()) <= width


@given(st.lists(st.text(max_size=30), min_size=1, max_size=4), st.integers(60, 200))
def test_no_text_from_outside_breaks_a_table(names, width):
    """Markup, controls and wide letters are text in a cell, and no line is wider than the terminal."""
    told = printed(FittingTable(("a name", "n"), [(name, "1,000") for name in names]), width)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", told)
    assert told.count("1,000") == len(names)
    assert max(cell_len(line) for line in told.splitlines()) <= width


def test_a_chinese_name_takes_two_cells_a_letter():
    """The borders stay below each other."""
    told = printed(FittingTable(("标签", "n"), [("技术与科学", "1"), ("b", "2")]), 80)
    assert len({cell_len(line.rstrip()) for line in told.splitlines()}) == 1
