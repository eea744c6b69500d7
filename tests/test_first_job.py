"""docs/first-job.md: its commands run one after the other, and print what stands there."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import polars as pl
import pytest

from labelmill.errors import JobRefused
from labelmill.job.file import draft_of_text
from labelmill.job.model import LabelJob

PAGE = (Path(__file__).parents[1] / "docs" / "first-job.md").read_text(encoding="utf-8")
PROGRAM = ".venv/bin/labelmill"
LABELMILL = Path(sys.executable).parent / "labelmill"
BLOCKS = re.findall(r"^```(sh|text|toml)\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
TITLES = [
    "The home team won the cup again",
    "Bank shares fell for a third day",
    "A faster chip for small computers",
    "Two players miss the next match",
    "The market waits for the budget",
    "New software finds old mistakes",
]


@pytest.fixture
def folder(tmp_path):
    """A folder with the file of the page, and the program where the page has it."""
    pl.DataFrame(
        {
            "id": range(6),
            "title": TITLES,
            "section": ["a", "b", "c"] * 2,
            "url": [f"https://example.com/{number}" for number in range(6)],
        }
    ).write_parquet(tmp_path / "articles.parquet")
    program = tmp_path / PROGRAM
    program.parent.mkdir(parents=True)
    program.symlink_to(LABELMILL)
    return tmp_path


@pytest.mark.slow
def test_the_page_runs_as_it_stands(folder, prefect_server):
    """Every command ends well, in order, and what the page shows of its output is what it prints, line by line."""
    known = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    environment = {**known, "PREFECT_API_URL": prefect_server, "COLUMNS": "200"}
    commands = [
        (block, BLOCKS[number + 1] if number + 1 < len(BLOCKS) else ("", ""))
        for number, (kind, block) in enumerate(BLOCKS)
        if kind == "sh"
    ]
    assert [shlex.split(block)[1] for block, _ in commands] == ["init", "check", "preview", "run"]
    for block, (kind, shown) in commands:
        done = subprocess.run(
            shlex.split(block), cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        printed = [line.rstrip() for line in f"{done.stdout}\n{done.stderr}".splitlines()]
        for line in shown.splitlines() if kind == "text" and not shown.startswith("error") else ():
            assert line == "…" or line.rstrip() in printed, line
    labeled = pl.read_parquet(folder / "out" / "articles" / "labeled" / "articles.parquet")
    assert labeled["label_status"].to_list() == ["ok"] * 6


def test_what_is_said_of_full_width_signs_is_what_is_said():
    """The sentence of the page is the program's, and the job with a slug is a job."""
    (shown,) = [block for kind, block in BLOCKS if kind == "text" and block.startswith("error news.toml")]
    with pytest.raises(JobRefused) as refused:
        draft_of_text('name = "新闻"\n\n[source]\ntext ＝ “title”\n', "news.toml")
    assert f"error {refused.value}" == shown.rstrip()
    (told,) = [tomllib.loads(block) for kind, block in BLOCKS if kind == "toml"]
    assert told.keys() <= LabelJob.model_fields.keys()
