"""Where a line of prose may be broken: between words, and between any two Chinese characters."""

import re
import unicodedata

from rich.cells import cell_len

_WORDS = re.compile(r"\S+\s*|\s+")
_NOT_FIRST = frozenset("，。、；：？！）》」』】〉”’…%,.;:?!)]}'\"·～")
"""What never begins a line."""
_NOT_LAST = frozenset("（《「『【〈“‘([{'\"$")
"""What never ends one."""


def broken(line: str, cells: int) -> str:
    """A line in as many lines as it takes for each to have at most so many cells; a word that is longer stays whole."""
    ends = [*breaks_of(line, cells), len(line)]
    return "\n".join(line[start:end].rstrip() for start, end in zip([0, *ends], ends, strict=False))


def breaks_of(line: str, cells: int) -> list[int]:
    """Where a line is to be broken so that each piece has at most so many cells, spaces at its end aside."""
    breaks: list[int] = []
    width = start = 0
    for begin, end in _unbroken(line):
        word = cell_len(line[begin:end].rstrip())
        # A word that is longer than a line is not given a line of its own: it would be cut there too.
        if begin > start and width + word > cells >= word:
            breaks.append(begin)
            start, width = begin, 0
        width += cell_len(line[begin:end])
    return breaks


def _unbroken(line: str) -> list[tuple[int, int]]:
    """The parts of a line that stay together, each with the spaces after it: words, paths, Chinese characters."""
    parts: list[tuple[int, int]] = []
    for found in _WORDS.finditer(line):
        begin, word = found.start(), found[0]
        if "/" not in word:
            for index in range(1, len(word)):
                if _may_break(word[index - 1], word[index]):
                    parts.append((begin, found.start() + index))
                    begin = found.start() + index
        parts.append((begin, found.end()))
    return parts


def _may_break(before: str, after: str) -> bool:
    is_wide = any(unicodedata.east_asian_width(letter) in "WF" for letter in (before, after))
    return is_wide and not after.isspace() and before not in _NOT_LAST and after not in _NOT_FIRST
