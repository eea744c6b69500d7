"""The text of a row."""

from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelmill.dataset.template import TemplateError, TextTemplate, read_template, text_of


def _texts(frame, text):
    return pl.LazyFrame(frame).select(text=text_of(read_template(text))).collect()["text"]


@pytest.mark.parametrize(
    ("text", "pieces", "columns"),
    [
        ("title", ("", ""), ("title",)),
        ("my title", ("", ""), ("my title",)),
        ("{title}", ("", ""), ("title",)),
        ("{title}\n{body}", ("", "\n", ""), ("title", "body")),
        ("标题：{标题}。", ("标题：", "。"), ("标题",)),
        ("{{{a}}} {{b}}", ("{", "} {b}"), ("a",)),
        ("{a}{a}", ("", "", ""), ("a", "a")),
        ("{a b.c}", ("", ""), ("a b.c",)),
    ],
)
def test_a_template_is_pieces_and_columns_in_turn(text, pieces, columns):
    """A template names columns between single braces; double braces are literal ones."""
    assert read_template(text) == TextTemplate(pieces, columns)


@pytest.mark.parametrize("text", ["{title", "title}", "{a} {", "}{", "{a}}", "{{a}", "{}", "{a}{}", "{{a}}"])
def test_a_template_that_cannot_be_read_is_refused(text):
    """A brace without a partner, a field without a name and a template without a field are refused."""
    with pytest.raises(TemplateError):
        read_template(text)


def test_the_refusal_says_which_brace():
    """The refusal names the brace and how to write a literal one."""
    with pytest.raises(TemplateError, match=r"a \} that has no partner; write \}\} for a literal brace"):
        read_template("a} {b}")
    with pytest.raises(TemplateError, match="names no column"):
        read_template("{{}}")


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), st.sampled_from("ab")),
        min_size=1,
        max_size=4,
    )
)
def test_any_wording_can_be_written_as_a_template(parts):
    """With its braces doubled, every literal text comes out as it stands, between its columns."""
    written = "".join(
        piece.replace("{", "{{").replace("}", "}}") + f"{{{column}}}" for piece, column in parts
    )
    values = {"a": "first", "b": "second"}
    expected = "".join(piece + values[column] for piece, column in parts)
    assert _texts({name: [value] for name, value in values.items()}, written).to_list() == [expected]


def test_one_column_is_the_text_as_it_stands():
    """A single column is neither trimmed nor changed; null and blank rows have no text."""
    rows = ["a", " a \n", "", " ", "\t\n", "\u3000", "\u00a0", None, "x\0", "\u202ea"]
    assert _texts({"t": rows}, "t").to_list() == ["a", " a \n", *[None] * 6, "x\0", "\u202ea"]


UNSEEN = "\0\x07\t\n\x1b\x85\u00a0\u00ad\u034f\u061c\u115f\u1680\u180e\u2003\u200b\u200d\u200f\u2028\u202e\u2060\u2800\u3000\u3164\ufe0f\ufeff\uffa0\U000e0041"


@given(
    text=st.text(UNSEEN, max_size=8),
    seen=st.sampled_from(["a", "7", "…", "?", "🙂", "中", "́", "؀", "\ufffd"]),
)
def test_a_text_in_which_nothing_can_be_seen_is_none(text, seen):
    """White space, controls and marks without width or ink are no words; a digit, a mark or an emoji among them is."""
    assert _texts({"t": [text, text + seen, seen + text]}, "t").to_list() == [None, text + seen, seen + text]
    assert _texts({"t": [text], "u": [None]}, "{t} {u}").to_list() == [None]
    assert _texts({"t": [text], "u": [seen]}, "{t}{u}").to_list() == [text + seen]


def test_null_among_columns_is_empty():
    """In a template a null counts as empty, and the row has no text where every column is null or blank."""
    frame = {"title": ["t", None, None, " "], "body": ["b", "b", None, ""]}
    assert _texts(frame, "[{title}] {body}").to_list() == ["[t] b", "[] b", None, None]


def test_columns_of_other_types_are_written_out():
    """Numbers, dates and moments can stand in a template."""
    frame = {
        "int": [7],
        "bool": [True],
        "price": pl.Series([Decimal("1.50")], dtype=pl.Decimal(10, 2)),
        "day": [date(2026, 11, 1)],
        "at": [datetime(2026, 11, 1, 12, tzinfo=UTC)],
        "float": [1.5],
    }
    text = _texts(frame, "{int}|{bool}|{price}|{day}|{at}|{float}").item()
    assert text.startswith("7|true|1.50|2026-11-01|2026-11-01 12:00:00")
    assert text.split("|")[5] == "1.5"


@pytest.mark.parametrize("dtype", [pl.Categorical, pl.Enum(["sport", "money"])])
def test_categorical_columns_are_text(dtype):
    """A categorical column is text like any other, alone and in a template."""
    frame = {"t": pl.Series(["sport", None, "money"], dtype=dtype), "n": [1, 2, 3]}
    assert _texts(frame, "t").to_list() == ["sport", None, "money"]
    assert _texts(frame, "{n}: {t}").to_list() == ["1: sport", "2: ", "3: money"]
    assert _texts(frame, "t").dtype == pl.String


def test_column_names_are_never_patterns():
    """Columns named like a Polars pattern are read as what they are."""
    frame = {"*": ["star"], "^a.*$": ["hat"], "abc": ["other"]}
    assert _texts(frame, "*").to_list() == ["star"]
    assert _texts(frame, "{^a.*$}/{*}").to_list() == ["hat/star"]
