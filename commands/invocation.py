"""The command line as the user has called it: what is printed for the next step works as it stands, from the same folder."""

import shlex
import shutil
import sys
from pathlib import Path

_OPTION = "-"


def command(verb: str, *words: str) -> str:
    """A command of this program, as it can be typed in a shell: names with spaces are in quotes.

    Args:
        verb: what to do.
        words: options and files; a file whose name begins with a hyphen goes through `file_word` first.
    """
    return " ".join([program(), verb, *map(_quoted, words)])


def file_word(path: Path | str) -> str:
    """A file's name as an argument: one that begins with a hyphen would be taken for an option."""
    name = str(path)
    return f"./{name}" if name.startswith(_OPTION) else name


def program(argv: list[str] | None = None) -> str:
    """This program as it was called: by its name where the shell finds it, else by its path, else as a module."""
    called = (argv or sys.argv)[0]
    path = Path(called)
    if path.name == "__main__.py":
        return f"{_quoted(sys.executable)} -m {_quoted(path.parent.name)}"
    found = shutil.which(path.name)
    if found is not None and path.exists() and Path(found).samefile(path):
        return _quoted(path.name)
    return _quoted(called)


def _quoted(word: str) -> str:
    """A word for a shell; letters of any script need no quotes."""
    plain = (
        word.replace("_", "")
        .replace("-", "")
        .replace(".", "")
        .replace("/", "")
        .replace("=", "")
        .replace(":", "")
    )
    return word if plain.isalnum() else shlex.quote(word)
