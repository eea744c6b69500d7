"""The terminal: what comes from outside is shown and never obeyed, and no encoding of the output ends a command.

What a command was asked for (a summary, tables, or with `--json` the JSON alone) goes to standard output. Everything else goes
to standard error: progress, questions, mistakes, and with `--json` what people read.
"""

import json
import re
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from labelmill.report.formatting import visible
from labelmill.report.lines import breaks_of

WIDTH_OF_A_FILE = 180
"""Columns for a table that goes into a file or a pipe."""

_NOT_ASCII = re.compile(r"[^\x00-\x7e]")
_CONTROLS = re.compile(r"[\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Those that JSON leaves as they are, and switches of direction."""


class ProseConsole(Console):
    """A console that breaks prose between words.

    What is printed with `soft_wrap` is prose or a path. A terminal gets it in lines that end between words, and between any
    two Chinese characters; a word that has no room in any line, such as a path, stays whole, so that it can be copied. A
    file or a pipe gets one line.
    """

    def print(self, *objects: Any, soft_wrap: bool | None = None, **options: Any) -> None:
        """Print, as `Console` does."""
        if soft_wrap and self.is_terminal:
            objects = tuple(
                in_lines(_text_of(each, options), self.width) if isinstance(each, str) else each
                for each in objects
            )
        super().print(*objects, soft_wrap=soft_wrap, **options)


def _text_of(words: str, options: Mapping[str, Any]) -> Text:
    return Text(words) if options.get("markup") is False else Text.from_markup(words, emoji=False)


console = ProseConsole(stderr=True, highlight=False, emoji=False)


def output(*, as_json: bool = False) -> Console:
    """Where what people read goes: standard output, or standard error where JSON has that."""
    if as_json:
        return console
    out = ProseConsole(highlight=False, emoji=False)
    return out if out.is_terminal else ProseConsole(highlight=False, emoji=False, width=WIDTH_OF_A_FILE)


def shown(text: str) -> str:
    """Text from outside as the console takes it, on one line.

    A provider's words, a label, a path: what looks like markup stays text, and a control character, with which it could
    clear the screen or set the window's title, becomes a space.
    """
    return escape(visible(text))


def in_lines(text: Text, cells: int) -> Text:
    """Text in lines of at most so many cells, broken between words; a word that is longer stays whole."""
    lines = Text("\n").join(
        piece for line in text.split("\n", allow_blank=True) for piece in _pieces(line, cells)
    )
    lines.no_wrap = True
    return lines


def _pieces(line: Text, cells: int) -> list[Text]:
    pieces = list(line.divide(breaks_of(line.plain, cells)))
    for piece in pieces[:-1]:
        piece.rstrip()
    return pieces


def print_json(text: str) -> None:
    """Write JSON to standard output; what its encoding lacks, and what a terminal would obey, by JSON's own escapes.

    A program that reads it gets the same values either way.
    """
    needs_escape = _CONTROLS
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        needs_escape = _NOT_ASCII
    sys.stdout.write(needs_escape.sub(lambda found: json.dumps(found[0])[1:-1], text) + "\n")
