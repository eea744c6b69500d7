"""Where prose is broken: no word is cut, and Chinese lines end by their width."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from labelmill.report.lines import breaks_of, broken


@pytest.mark.parametrize(
    ("line", "cells", "lines"),
    [
        ("the cost is unknown", 12, ["the cost is", "unknown"]),
        ("苹果公司发布了最新的财报", 10, ["苹果公司发", "布了最新的", "财报"]),
        ("see 新的财报 now", 10, ["see 新的财", "报 now"]),
        ("发布，营收（超预期）。", 8, ["发布，营", "收（超预", "期）。"]),
        ("发布了营，收", 8, ["发布了", "营，收"]),
        ("in /a/path/that/is/very/long/新的 there", 10, ["in /a/path/that/is/very/long/新的", "there"]),
        ("a  b", 80, ["a  b"]),
        ("", 10, [""]),
    ],
)
def test_lines_end_between_words(line, cells, lines):
    """No line begins with a closing mark or ends with an opening one; a path stays whole, however long it is."""
    assert broken(line, cells).split("\n") == lines


@given(st.text(st.sampled_from("ab 新的，（）/。$1,0\u3000"), max_size=60), st.integers(1, 30))
def test_nothing_is_lost_and_no_line_is_too_long(line, cells):
    """But for spaces at the ends of lines; only what can't be broken is longer than a line."""
    pieces = broken(line, cells).split("\n")
    assert "".join(pieces).replace(" ", "").replace("\u3000", "") == line.replace(" ", "").replace(
        "\u3000", ""
    )
    for piece in pieces:
        assert cell_len(piece) <= cells or breaks_of(piece, cells) == []
