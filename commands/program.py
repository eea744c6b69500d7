"""How this program was called: what it prints for people to type works where they are."""

import shlex
import shutil
import sys
from pathlib import Path

NAME = "labelmill"


def as_called(*words: str, program: str = NAME) -> str:
    """A command that does what it says when it is typed here: `labelmill start news`, `.venv/bin/labelmill start news`.

    Args:
        words: what follows the program's name.
        program: this one, or another of the same folder, such as Prefect's.
    """
    return " ".join([_found(program), *map(shlex.quote, words)])


def _found(program: str) -> str:
    called = Path(sys.argv[0])
    if called.name != NAME:
        return program
    path = called.with_name(program)
    on_path = shutil.which(program)
    if on_path is not None and path.exists() and Path(on_path).samefile(path):
        return program
    if not path.exists():
        return program
    here = Path.cwd()
    shown = path.relative_to(here) if path.is_absolute() and path.is_relative_to(here) else path
    return shlex.quote(str(shown))
