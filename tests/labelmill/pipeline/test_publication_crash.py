"""Kills while a run merges and publishes: no file is ever half there, and the next run makes all of it whole."""

import itertools
import json
import shutil
import signal

import polars as pl
import pytest
from servers.practice import start_practice

from practice import PracticeSettings

JOB = """
name = "crash"
[source]
path = "source"
text = "text"
[labels]
sport = "football, match, team"
money = "bank, market, price"
[model]
provider = "practice"
name = "gpt-4o-mini"
[output]
path = "out"
"""
BEFORE = {
    "kept": ["the match"],
    "changed": ["the bank", None],
    "gone": ["the team"],
    "open": ["the price", "odd"],
}
AFTER = {
    "kept": ["the match"],
    "changed": ["the team", "the match"],
    "open": ["the price", "odd"],
    "new": ["the market"],
}


@pytest.fixture(scope="module")
def provider():
    """A practice provider of this file's own, which lives on over the kills."""
    with start_practice() as server:
        server.configure(PracticeSettings())
        yield server


def _write(folder, files):
    shutil.rmtree(folder / "source", ignore_errors=True)
    (folder / "source").mkdir()
    for name, texts in files.items():
        frame = pl.DataFrame({"text": texts}, schema={"text": pl.String})
        frame.write_parquet(folder / "source" / f"{name}.parquet")


def _labeled(folder):
    """What each labeled file says of its rows; each is whole."""
    return {
        path.stem: dict(pl.read_parquet(path).select("text", "label").iter_rows())
        for path in sorted((folder / "out" / "labeled").glob("*"))
    }


def _expected(files):
    word = {"match": "sport", "team": "sport", "bank": "money", "price": "money", "market": "money"}
    return {
        name: {text: word.get(text.split()[-1], "sport") if text else None for text in texts}
        for name, texts in sorted(files.items())
    }


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_at_any_step_of_merging_and_publishing(provider, mortals, tmp_path, moment):
    """Whatever step it strikes, what is there is whole, a manifest that is there is true, and the next run puts all right."""
    for step in itertools.count(1):
        folder = tmp_path / f"{step}"
        folder.mkdir()
        (folder / "job.toml").write_text(JOB)
        _write(folder, BEFORE)
        mortals.start(folder, provider.base_url)
        assert mortals.wait() == 0
        odd = _labeled(folder)["open"]["odd"]
        _write(folder, AFTER)
        mortals.start(folder, provider.base_url, [moment, step, "publication"])
        ended = mortals.wait()
        assert ended in {0, -signal.SIGKILL}
        before, after = _expected(BEFORE), _expected(AFTER)
        for name, rows in _labeled(folder).items():
            assert {**rows, **({"odd": "sport"} if "odd" in rows else {})} in (
                before.get(name),
                after.get(name),
            )
        manifest = folder / "out" / "_manifest.json"
        if manifest.exists():
            told = json.loads(manifest.read_bytes())["files"]
            assert {file["path"]: file["bytes"] for file in told} == {
                path.name: path.stat().st_size for path in (folder / "out" / "labeled").glob("*")
            }
        mortals.start(folder, provider.base_url)
        assert mortals.wait() == 0
        after["open"]["odd"] = odd
        assert _labeled(folder) == after
        assert json.loads(manifest.read_bytes())["is_complete"]
        assert not (folder / "out" / ".writing").exists()
        if ended == 0:
            break
    assert step > 10
