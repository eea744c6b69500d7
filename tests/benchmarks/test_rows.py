"""What a benchmark finds, as rows."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rows import (
    CLIENT,
    CURATOR,
    HEADINGS,
    NO_CURATOR,
    PLAIN,
    Row,
    at_least,
    at_most,
    cells_of,
    from_json,
    number,
    page_table,
    ratio,
    text_table,
    to_json,
)

words = st.text(st.characters() | st.sampled_from("|\\\n"))
CPU = "CPU per text"
ROWS = [
    Row(CPU, PLAIN, "ms", (2.0, 4.0, 3.0)),
    Row("start", "labelmill run", "s", (3.0,), (at_most(2),)),
    Row(CPU, "labelmill run", "ms", (1.0, 1.6, 1.5), (at_most(0.5, PLAIN),)),
    Row(CPU, CURATOR, "ms", (), missing=NO_CURATOR),
]


def test_a_ratio_is_the_middle_of_the_rounds_own_ratios():
    """Rounds that a busy minute slowed down for both count as any other."""
    assert ratio(ROWS[2], ROWS[0]) == 0.5
    assert ratio(ROWS[2], Row(CPU, CLIENT, "ms", (3.0, 3.0))) == 0.5
    assert ratio(ROWS[2], ROWS[3]) is None
    assert ratio(ROWS[2], Row(CPU, CLIENT, "ms", (0.0, 1.0, 1.0))) is None


def test_a_comparison_stands_together_with_its_goal_and_what_is_missing():
    """The lines of one comparison follow each other; a figure that could not be measured says so in its cell, as does its ratio."""
    assert cells_of(ROWS) == [
        (CPU, PLAIN, "3 ms (2 to 4)", "", "", "", ""),
        (
            "",
            "labelmill run",
            "1.5 ms (1 to 1.6)",
            "0.5",
            "",
            "not measured",
            f"at most 0.5 x {PLAIN}: reached (0.5)",
        ),
        ("", CURATOR, f"not measured: {NO_CURATOR}", "", "", "", ""),
        ("start", "labelmill run", "3 s", "", "", "", "at most 2 s: missed"),
    ]


def test_a_goal_beside_what_was_not_measured_is_not_reached():
    """No goal passes for want of a figure."""
    beside = Row(CPU, "labelmill run", "ms", (1.0,), (at_least(2, CURATOR),))
    absent = Row("start", "labelmill run", "s", (), (at_most(2),), "no server")
    assert cells_of([ROWS[3], beside])[1][-1] == f"at least 2 x {CURATOR}: not measured"
    assert cells_of([beside])[0][-1] == f"at least 2 x {CURATOR}: not measured"
    assert cells_of([absent])[0][2::4] == ("not measured: no server", "at most 2 s: not measured")


@pytest.mark.parametrize("row", ROWS)
def test_a_row_comes_back_from_its_json(row):
    """What a script prints with --json is what the table reads."""
    assert from_json(to_json(row)) == row


@given(what=words, who=words, missing=words)
def test_no_words_break_the_pages_table(what, who, missing):
    """Whatever an error says, each row is one line with a cell for each heading."""
    lines = page_table([*ROWS, Row(what, who, "s", (), missing=missing)]).split("\n")
    assert {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines} == {len(HEADINGS) + 1}
    assert len(lines) == 2 + len(ROWS) + 1


def test_the_tables_have_the_same_cells():
    """A terminal's table leaves empty columns out; the page has them all."""
    page = page_table(ROWS)
    assert "not measured" in text_table(ROWS)
    assert "x openai client" in page
    assert "x openai client" not in text_table(ROWS)


@pytest.mark.parametrize(
    ("value", "words"),
    [(12345.6, "12,346"), (12.34, "12.3"), (0.98765, "0.988"), (0.00004, "4e-05"), (0, "0"), (2.0, "2")],
)
def test_a_number_has_three_digits_that_count(value, words):
    """Nobody reads more of a measured figure."""
    assert number(value) == words
