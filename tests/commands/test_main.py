"""The command line's entry: what it says before the program is there."""

import subprocess
import sys

import pytest

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
