"""The terminal: what comes from outside is shown and never obeyed, and no encoding of the output ends a command."""

import json
import re
import sys

from rich.console import Console
from rich.markup import escape

from labelmill.report.formatting import visible

console = Console(stderr=True, highlight=False)

_NOT_ASCII = re.compile(r"[^\x00-\x7e]")
_CONTROLS = re.compile(r"[\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Those that JSON leaves as they are, and switches of direction."""


def shown(text: str) -> str:
    """Text from outside as the console takes it, on one line.

    A provider's words, a label, a path: what looks like markup stays text, and a control character, with which it could
    clear the screen or set the window's title, becomes a space.
    """
    return escape(visible(text))


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
