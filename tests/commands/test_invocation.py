"""Commands as they are printed: in a shell they mean what was meant."""

import shlex
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.invocation import command, file_word, program

WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)


@given(st.lists(WORDS, max_size=3))
def test_any_name_is_one_word_for_a_shell(words):
    """Spaces, quotes, signs of the shell and any script."""
    assert shlex.split(command("check", *words))[-len(words) - 1 :] == ["check", *words]


def test_a_name_like_an_option_is_a_path():
    """A file called -x.toml is no option."""
    assert (file_word("-x.toml"), file_word(Path("x.toml"))) == ("./-x.toml", "x.toml")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A folder with a program `labelmill`, and the path of it."""
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "my bin" / "labelmill"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    return script


def test_a_program_is_called_as_it_was(installed, monkeypatch):
    """By its name where the shell finds it, by the path that was typed where it doesn't, as a module where it is one."""
    monkeypatch.setenv("PATH", "/usr/bin")
    assert program(["my bin/labelmill"]) == "'my bin/labelmill'"
    monkeypatch.setenv("PATH", str(installed.parent))
    assert program([str(installed)]) == "labelmill"
    assert program(["/somewhere/labelmill/__main__.py"]) == f"{sys.executable} -m labelmill"
