"""Commands as they are printed: in a shell they mean what was meant."""

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.invocation import command, file_word

WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)


@given(st.lists(WORDS, max_size=3))
def test_any_name_is_one_word_for_a_shell(words):
    """Spaces, quotes, signs of the shell and any script."""
    assert shlex.split(command("check", *words)) == ["labelmill", "check", *words]


def test_a_name_like_an_option_is_a_path():
    """A file called -x.toml is no option."""
    assert (file_word("-x.toml"), file_word(Path("x.toml"))) == ("./-x.toml", "x.toml")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A folder with the programs `labelmill` and `prefect`, which is not on the PATH, seen from beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin")
    folder = tmp_path / "my venv"
    folder.mkdir()
    for name in ("labelmill", "prefect"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.parametrize(
    "called", ["my venv/labelmill", "{}/my venv/labelmill", "./my venv/../my venv/labelmill"]
)
def test_a_program_is_called_by_its_path_from_here(called, installed, monkeypatch):
    """However it was called, the path is the one that can be typed from here, and holds for its neighbours."""
    monkeypatch.setattr("sys.argv", [called.format(installed.parent)])
    assert command("run", "my job.toml") == "'my venv/labelmill' run 'my job.toml'"
    assert command("gcl", "create", program="prefect") == "'my venv/prefect' gcl create"
    assert command("x", program="nothing") == "nothing x"


def test_from_elsewhere_it_is_called_by_its_whole_path(installed, monkeypatch, tmp_path):
    """A path that leads up and down again is hard to read."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr("sys.argv", [str(installed / "labelmill")])
    assert command() == f"'{installed}/labelmill'"


def test_what_the_shell_finds_is_called_by_its_name(installed, monkeypatch):
    """So is what was not called as a program of its own."""
    monkeypatch.setattr("sys.argv", [str(installed / "labelmill")])
    monkeypatch.setenv("PATH", str(installed))
    assert command("up") == "labelmill up"
    monkeypatch.setattr("sys.argv", ["/somewhere/pytest"])
    assert command("up") == "labelmill up"
