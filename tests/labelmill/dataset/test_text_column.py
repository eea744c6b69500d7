"""Which column holds the text: proposed from types, rows and names, with a reason for each."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelmill.check.dataset import read_schemas
from labelmill.dataset.source import source_files
from labelmill.dataset.template import read_template
from labelmill.dataset.text_column import can_be_named, facts_in, is_prose, propose_text

ROWS = 40
WORDS = [f"The {word} of day {number}" for number in range(ROWS // 2) for word in ("match", "market")]
LONG = [f"{words}: " + "it went on for a while. " * 8 for words in WORDS]


@pytest.fixture
def propose(tmp_path):
    """What is proposed for a file of such columns."""

    def proposal(columns):
        pl.DataFrame(columns, strict=False).write_parquet(tmp_path / "source.parquet")
        files = source_files(str(tmp_path))
        return propose_text(facts_in(files, read_schemas(files)[0]))

    return proposal


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"id": range(ROWS), "title": WORDS, "category": ["news", "sport"] * 20}, "title"),
        ({"url": [f"https://example.com/a/{n}" for n in range(ROWS)], "h1": WORDS}, "h1"),
        ({"标签": ["体育", "财经"] * 20, "正文": [f"第{n}天的比赛结束了" for n in range(ROWS)]}, "正文"),
        ({"author": ["Ann Lee", "Bob Stone"] * 20, "review": WORDS}, "review"),
        ({"payload": ['{"a": "some words in it"}'] * ROWS, "x": WORDS}, "x"),
        ({"created_at": [f"2026-01-{1 + n % 28:02d} 10:00" for n in range(ROWS)], "note": WORDS}, "note"),
        ({"summary": LONG, "text": [None] * ROWS}, "summary"),
        ({"word": ["good", "bad"] * 20, "n": range(ROWS)}, "word"),
        ({"raw": [words.encode() for words in WORDS], "n": range(ROWS)}, "raw"),
        ({"a.b \"c\" '(d)'": WORDS, "n": range(ROWS)}, "a.b \"c\" '(d)'"),
        ({"topic": pl.Series(["sport", "money"] * 20, dtype=pl.Categorical), "t": WORDS}, "t"),
    ],
)
def test_the_column_of_words_is_proposed(propose, columns, expected):
    """Not names, addresses, dates, JSON, categories or empty columns; a lone column of single words all the same."""
    found = propose(columns)
    assert found.column == expected
    assert {name for name, _ in found.others} == columns.keys() - {expected}


def test_the_reason_and_the_others_are_told(propose):
    """What was seen of the column that is proposed, and what each other one is."""
    found = propose(
        {
            "id": range(ROWS),
            "title": WORDS,
            "body": LONG,
            "link": [f"https://example.com/{n}" for n in range(ROWS)],
            "sku": [f"A-{n:05}" for n in range(ROWS)],
            "gold": ["sport", "money"] * 20,
            "{x}": WORDS,
            "image": [b"\xff\xd8"] * ROWS,
            "none": [""] * ROWS,
        }
    )
    assert found.column == "body"
    assert found.reason == (
        "all 40 rows looked at have one, 40 of them different, 213 characters on average; its name says so too"
    )
    assert found.also == ("title",)
    assert dict(found.others) == {
        "id": "Int64",
        "title": "words too, 19 characters on average",
        "link": "addresses",
        "sku": "numbers, dates or identifiers",
        "gold": "2 different values in 40 rows",
        "{x}": "has braces in its name, which stand for a template in a job; rename it to use it",
        "image": "bytes",
        "none": "empty",
    }


def test_where_no_column_holds_text_none_is_proposed(propose):
    """Numbers, bytes that are no text and a column that can't be named are no text."""
    found = propose({"n": range(3), "image": [b"\xff"] * 3, "a{b": WORDS[:3]})
    assert (found.column, found.reason) == (None, "no column holds text")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("The match of the day", True),
        ("体育新闻", True),
        ("日本が勝った", True),
        ("sport", False),
        ("12 345", False),
        ("https://example.com/the/match/of/the/day", False),
        ('["the match", "of the day"]', False),
        ("", False),
    ],
)
def test_words_in_a_row_are_told_from_other_values(value, expected):
    """In scripts with spaces and without."""
    assert is_prose(value) is expected


NAMES = st.text(max_size=8).filter(lambda name: not any("\ud800" <= sign <= "\udfff" for sign in name))
VALUES = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=20))


@settings(max_examples=60)
@given(st.dictionaries(NAMES, st.lists(VALUES, min_size=3, max_size=3), min_size=1, max_size=4))
def test_what_is_proposed_can_be_a_jobs_text(tmp_path_factory, columns):
    """Whatever the columns are called and hold, the proposal is one of them, has a text, and names itself in a job."""
    folder = tmp_path_factory.mktemp("odd")
    pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String)).write_parquet(folder / "source.parquet")
    files = source_files(str(folder))
    found = propose_text(facts_in(files, read_schemas(files)[0]))
    if found.column is None:
        held = [name for name, values in columns.items() if any(value and value.strip() for value in values)]
        assert not any(map(can_be_named, held))
    else:
        assert read_template(found.column).columns == (found.column,)
        assert any(value and value.strip() for value in columns[found.column])
