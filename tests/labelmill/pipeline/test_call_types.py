"""What a type checker sees of `labelmill.label`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROGRAM = """
from pathlib import Path
from typing import assert_type
import polars as pl
import labelmill
from labelmill import RunRecord

def program(frame: pl.DataFrame, rows: pl.LazyFrame, path: Path) -> None:
    assert_type(labelmill.label(frame, text="t", labels=["a", "b"], model="m"), pl.DataFrame)
    assert_type(labelmill.label(rows, text="t", labels={"a": "", "b": ""}, model={"name": "m"}), pl.LazyFrame)
    assert_type(
        labelmill.label(frame, text="t", labels=["a", "b"], model="m", return_record=True),
        tuple[pl.DataFrame, RunRecord],
    )
    assert_type(labelmill.label(path, text="t", labels=["a", "b"], model="m", run={"lane": "batch"}), RunRecord)
    assert_type(labelmill.label("a.parquet", text="t", labels=["a", "b"], model="m", return_record=True), RunRecord)
    try:
        pass
    except labelmill.RunNotCompleted as stopped:
        assert_type(str(stopped), str)
    labelmill.label(["a text"], text="t", labels=["a", "b"], model="m")
    labelmill.label(frame, text="t", labels=["a", "b"])
    labelmill.label(frame, text="t", labels=["a", "b"], model="m", on_incomplete="stop")
    labelmill.lable(frame)
"""


@pytest.mark.slow
def test_a_program_is_told_what_comes_back_and_what_is_wrong(tmp_path):
    """A frame for a frame of its kind, a record for a path; a list of texts, no model and a misspelled word are errors."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", program],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        env={**os.environ, "MYPYPATH": str(ROOT)},
    )
    errors = [line for line in checked.stdout.splitlines() if ": error:" in line]
    places = [int(line.split(":")[1]) for line in errors]
    wrong = [
        number for number, line in enumerate(PROGRAM.splitlines(), 1) if line.startswith("    labelmill.")
    ]
    assert (places, len(wrong)) == (wrong, 4), checked.stdout
    assert 'has no attribute "lable"' in errors[-1]
