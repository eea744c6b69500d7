"""Tables for a terminal: what is shown is whole, however narrow it is."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from labelmill.report.tables import FittingTable

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
    assert ("1,204,000" in told, "no room for: input tokens" in told) == (has_tokens, not has_tokens)
    assert ("stopped at the budget" not in told) is is_broken
    assert told.count("$12,345.6789") == 2
    assert told.count("1,204,001") == has_tokens
    assert "…" not in told
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
