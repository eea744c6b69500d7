"""Where PyArrow has its memory from, each in a fresh interpreter."""

import os
import subprocess
import sys

POOL = "ARROW_DEFAULT_MEMORY_POOL"
OURS = "import labelmill.dataset.parquet\n"
TOLD = f"import os, pyarrow; print(pyarrow.default_memory_pool().backend_name, os.environ.get({POOL!r}))\n"


def told_by(script, **own):
    """What a script prints in an environment where nothing else is said of it."""
    kept = {name: value for name, value in os.environ.items() if name != POOL}
    words = [sys.executable, "-c", script]
    return subprocess.run(
        words, env={**kept, **own}, capture_output=True, text=True, check=True
    ).stdout.splitlines()


def test_memory_goes_back_to_the_system():
    """The environment is as it was afterwards: programs that are started then are told nothing."""
    assert told_by(OURS + TOLD) == ["system None"]


def test_what_somebody_has_said_is_kept():
    """The environment's word comes first."""
    assert told_by(OURS + TOLD, **{POOL: "jemalloc"}) == ["jemalloc jemalloc"]


def test_a_program_that_has_pyarrow_already_keeps_its_memory():
    """Nothing is changed behind its back."""
    before, after = told_by(TOLD + OURS + TOLD)
    assert before == after
    assert not before.startswith("system")
