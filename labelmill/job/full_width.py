"""Signs in a job file that look like those of TOML and are others: what input methods type, outside of strings.

`name ＝ “news”` can't be read; `name = "“news”"` can, and is nobody's mistake. So this is asked only of what doesn't parse.
"""

import tomllib
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import groupby

_FULL_WIDTH = range(0xFF01, 0xFF5F)
_QUOTES = "\"'"
_LINE_ENDS = "\r\n"
_MOST_LINES = 10
_MOST_COLUMNS = 6
_LETTERS = "full-width letters or digits"
_COLON_IN_TIME = ":"


@dataclass(frozen=True)
class WrongSign:
    """A sign that TOML doesn't know where it stands. Lines and columns (in characters) count from 1."""

    line: int
    column: int
    sign: str
    name: str
    instead: str


@dataclass(frozen=True)
class LineMistake:
    """What is wrong with one line: its first wrong sign's place, and a sentence."""

    line: int
    column: int
    sentence: str


def line_mistakes(text: str) -> list[LineMistake]:
    """What to type instead of the wrong signs of a file that is no TOML, a sentence for each of the first lines that have any."""
    lines = [list(found) for _, found in groupby(wrong_signs(text), key=lambda sign: sign.line)]
    told = [LineMistake(found[0].line, found[0].column, _sentence_of(found)) for found in lines[:_MOST_LINES]]
    if more := len(lines) - len(told):
        last = told[-1]
        words = "1 more line has" if more == 1 else f"{more:,} more lines have"
        told[-1] = LineMistake(last.line, last.column, f"{last.sentence} ({words} such signs)")
    return told


def _sentence_of(found: list[WrongSign]) -> str:
    """All of a line's wrong signs, by what people call them."""
    by_name: dict[str, list[WrongSign]] = {}
    for sign in found:
        by_name.setdefault(sign.name, []).append(sign)
    parts = [_part_of(name, alike, has_columns=len(found) > 1) for name, alike in by_name.items()]
    return f"TOML doesn't know {'; '.join(parts)}"


def _part_of(name: str, alike: list[WrongSign], *, has_columns: bool) -> str:
    is_word = name == _LETTERS
    signs = ("" if is_word else " and ").join(dict.fromkeys(_shown(sign.sign) for sign in alike))
    instead = ("" if is_word else " and ").join(dict.fromkeys(sign.instead for sign in alike))
    what = {"": "take it out", " ": "type a plain space instead"}.get(instead, f"type {instead} instead")
    columns = ", ".join(str(sign.column) for sign in alike[:_MOST_COLUMNS])
    more = ", …" if len(alike) > _MOST_COLUMNS else ""
    place = f", column{'s' if len(alike) > 1 else ''} {columns}{more}" if has_columns else ""
    return f"{signs} ({name}{place}): {what}"


def _shown(sign: str) -> str:
    return sign if sign.isprintable() and not sign.isspace() else f"U+{ord(sign):04X}"


def wrong_signs(text: str) -> Iterator[WrongSign]:
    """The signs outside of strings and comments that stand for one of TOML's, in their order.

    A string in plain quotes that isn't closed on its line counts as well, where a full-width quote closes it.
    """
    position, line, start = 0, 1, 0
    while position < len(text):
        sign = text[position]
        if sign in _LINE_ENDS:
            if not (sign == "\r" and text[position + 1 : position + 2] == "\n"):
                line, start = line + 1, position + 1
            position += 1
        elif sign == "#":
            position = _line_end(text, position)
        elif sign in _QUOTES:
            end, is_closed = _string_end(text, position)
            if not is_closed:
                yield from _closing_quotes(text, position, end, line, start)
            line += text.count("\n", position, end)
            if "\n" in text[position:end]:
                start = text.rindex("\n", position, end) + 1
            position = end
        else:
            known = _meaning_of(sign, text[position - 1 : position], text[position + 1 : position + 2])
            if known is not None:
                yield WrongSign(line, position - start + 1, sign, *known)
            is_comment = known is not None and known[1] == "#"
            position = _line_end(text, position) if is_comment else position + 1


def _line_end(text: str, position: int) -> int:
    ends = [found for mark in _LINE_ENDS if (found := text.find(mark, position)) != -1]
    return min(ends, default=len(text))


def _string_end(text: str, position: int) -> tuple[int, bool]:
    """Where a string ends that begins here, and whether it is closed; of one that isn't, where its line ends."""
    quote = text[position]
    if text.startswith(quote * 3, position):
        end = position + 3
        while (end := text.find(quote * 3, end)) != -1 and quote == '"' and _is_escaped(text, end):
            end += 1
        if end == -1:
            return len(text), False
        end += 3
        for _ in range(2):  # quotes of the string's own, before those that close it
            end += text.startswith(quote, end)
        return end, True
    last = _line_end(text, position)
    end = position + 1
    while (end := text.find(quote, end, last)) != -1 and quote == '"' and _is_escaped(text, end):
        end += 1
    return (last, False) if end == -1 else (end + 1, True)


def _is_escaped(text: str, position: int) -> bool:
    first = position
    while first and text[first - 1] == "\\":
        first -= 1
    return (position - first) % 2 == 1


def _closing_quotes(text: str, position: int, end: int, line: int, start: int) -> Iterator[WrongSign]:
    """The last full-width quote of a string in plain quotes that nothing closes."""
    for place in range(end - 1, position, -1):
        known = _signs().get(text[place])
        if known is not None and known[1] == '"':
            yield WrongSign(line, place - start + 1, text[place], *known)
            return


def _meaning_of(sign: str, before: str, after: str) -> tuple[str, str] | None:
    """What people call a sign, and what TOML has in its place; None for one that is no mistake."""
    if sign.isascii():
        return None
    known = _signs().get(sign)
    if known is not None:
        is_time = known[1] == "=" and before.isdecimal() and after.isdecimal()
        return (known[0], _COLON_IN_TIME) if is_time else known
    if ord(sign) not in _FULL_WIDTH:
        return None
    plain = unicodedata.normalize("NFKC", sign)
    if plain.isalnum():
        return _LETTERS, plain
    return f"full-width {unicodedata.name(plain).lower()}", plain


@cache
def _signs() -> Mapping[str, tuple[str, str]]:
    data = tomllib.loads(files(__package__).joinpath("full_width.toml").read_text(encoding="utf-8"))
    return {sign: (entry["name"], entry["instead"]) for entry in data["sign"] for sign in entry["sign"]}
