"""Full-width signs in a job file: each is named with its place, and none within a string."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelmill.errors import JobRefused
from labelmill.job.file import draft_of_file
from labelmill.job.full_width import line_mistakes, wrong_signs

CHINESE = """\
name = “新闻”　# “名称”，不算

【source】
path ＝ "a“b”.parquet"
text = "title”
[labels]
"技术"：'软件：硬件'
max = １.５
"""


def test_each_line_is_told_with_its_place_and_what_to_type(tmp_path):
    """All lines at once, as an input method leaves them; comments and strings are nobody's mistake."""
    path = tmp_path / "job.toml"
    path.write_text(CHINESE, encoding="utf-8")
    with pytest.raises(JobRefused) as refused:
        draft_of_file(path)
    assert str(refused.value).replace(str(path), "job.toml").splitlines() == [
        (
            "job.toml, line 1, column 8: TOML doesn't know “ and ” (quotation mark, columns 8, 11): type \" instead; "
            "U+3000 (full-width space, column 12): type a plain space instead"
        ),
        "job.toml, line 3, column 1: TOML doesn't know 【 and 】 (full-width bracket, columns 1, 8): type [ and ] instead",
        "job.toml, line 4, column 6: TOML doesn't know ＝ (full-width equals sign): type = instead",
        "job.toml, line 5, column 14: TOML doesn't know ” (quotation mark): type \" instead",
        "job.toml, line 7, column 5: TOML doesn't know ： (full-width colon): type = instead",
        "job.toml, line 8, column 7: TOML doesn't know １５ (full-width letters or digits, columns 7, 9): type 15 instead",
    ]


def test_a_colon_of_a_keyboard_is_told_as_well(tmp_path):
    """Who writes a colon is told of =, and not that the name needs quotes."""
    path = tmp_path / "job.toml"
    path.write_text('name: "news"\n', encoding="utf-8")
    with pytest.raises(JobRefused, match="TOML has = between a name and its value, and no colon"):
        draft_of_file(path)


def test_a_file_of_nothing_else_is_cut_short():
    """A file that is wrong throughout is told of in a screenful."""
    told = line_mistakes("name ＝ 1\n" * 300)
    assert [mistake.line for mistake in told] == list(range(1, 11))
    assert told[-1].sentence.endswith("(290 more lines have such signs)")


SIGNS = st.text(st.sampled_from("a“”‘’：＝，【】＃　\u00a0\u200b\"'\\\n\r #=[].1Ａ"), max_size=60)


@given(SIGNS)
def test_a_sign_stands_where_it_is_told(text):
    """Whatever stands in a file, each wrong sign is at its line and column, in order, and never one of ASCII."""
    # As the file is read, where a line ends in \n alone.
    text = text.replace("\r", "")
    lines = text.split("\n")
    found = list(wrong_signs(text))
    assert [lines[sign.line - 1][sign.column - 1] for sign in found] == [sign.sign for sign in found]
    assert not any(sign.sign.isascii() for sign in found)
    places = [(sign.line, sign.column) for sign in found]
    assert places == sorted(set(places))


@given(SIGNS, st.sampled_from(['"{}"', "'{}'", '"""{}"""', "'''{}'''"]))
def test_what_stands_in_a_string_is_no_mistake(words, quotes):
    """Where TOML can be read, there is no wrong sign in it."""
    text = f"name = {quotes.format(words)} # “comment”"
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert list(wrong_signs(text)) == []
