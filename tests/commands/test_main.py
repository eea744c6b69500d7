"""The command line's entry: what it says before the program is there."""

import subprocess
import sys

import pytest

from commands.terminal import command, program

FIRST = """
import sys
from commands import main
words = sys.argv[1:]
sys.argv = ["labelmill", *words]
class Stop(Exception): pass
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"polars", "prefect", "langchain_core"}:
            raise Stop(name)
sys.meta_path.insert(0, Finder())
try:
    main.main()
except Stop:
    print("stopped before", file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "my \x1b[2Jjob.toml"], "Reading my  [2Jjob.toml ..."),
        (["compare", "job.toml"], "Reading job.toml ..."),
        (["demo"], "Labeling the sample ..."),
    ],
)
def test_the_first_line_comes_before_what_takes_seconds_to_import(words, said):
    """A command that labels says what goes on before Polars, Prefect and LangChain are imported, and to standard error."""
    done = subprocess.run([sys.executable, "-c", FIRST, *words], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr.splitlines()) == ("", [said, "stopped before"])


def test_commands_are_printed_as_the_program_was_called(tmp_path, monkeypatch):
    """From the PATH by its name, else by the path that leads there from here; words as a shell takes them."""
    (tmp_path / "my venv").mkdir()
    called = tmp_path / "my venv" / "labelmill"
    called.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(called)])
    monkeypatch.setenv("PATH", "/nowhere")
    assert command("run", "my job.toml") == "'my venv/labelmill' run 'my job.toml'"
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert program() == f"'{called}'"
    monkeypatch.setenv("PATH", str(called.parent))
    assert program() == "labelmill"
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "pytest")])
    assert program() == "labelmill"
