"""The command line as the user has called it: what is printed for the next step works as it stands, from the same folder."""

import os
import shlex
import shutil
import sys
from pathlib import Path

NAME = "labelmill"
_OPTION = "-"
_PLAIN = str.maketrans("", "", "_-./=:")


def command(*words: str, program: str = NAME) -> str:
    """A command as it can be typed in a shell, here: `.venv/bin/labelmill run "my job.toml"`.

    Args:
        words: what to do, options and files; a file whose name begins with a hyphen goes through `file_word` first.
        program: this one, or another of the same folder, such as Prefect's.
    """
    return " ".join([_called(program), *map(_quoted, words)])


def file_word(path: Path | str) -> str:
    """A file's name as an argument: one that begins with a hyphen would be taken for an option."""
    name = str(path)
    return f"./{name}" if name.startswith(_OPTION) else name


def _called(program: str) -> str:
    """By its name where the shell finds it, else by its path, from here where it is below; by its name where nothing tells."""
    own = Path(sys.argv[0])
    path = own.with_name(program)
    if own.name != NAME or not path.is_file():
        return program
    found = shutil.which(program)
    if found is not None and path.samefile(found):
        return program
    near = os.path.relpath(path)
    return _quoted(str(path.absolute()) if near.startswith(os.pardir) else near)


def _quoted(word: str) -> str:
    """A word for a shell; letters of any script need no quotes."""
    return word if word.translate(_PLAIN).isalnum() else shlex.quote(word)
