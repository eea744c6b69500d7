"""kill -9 at any moment: no row is lost, and nothing is paid twice but what was in flight."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from labelmill.practice import PracticeSettings
from labelmill.store.journal import read_attempts

LABELMILL = Path(sys.executable).parent / "labelmill"
ROWS, CONCURRENCY, KILLS = 900, 8, 20


def recorded_answers(out):
    """Requests whose answer is on disk, in ledger parts and journals."""
    parts = list(out.glob("ledger/*/*.parquet"))
    journals = {path for path in out.glob("ledger/*/*.jsonl") if path.with_suffix(".parquet") not in parts}
    in_parts = (
        pl.read_parquet(parts).select(pl.col("requests") - pl.col("unseen")).sum().item() if parts else 0
    )
    return in_parts + sum(len(read_attempts(path)) for path in journals)


@pytest.fixture
def start(tmp_path, practice, prefect_server):
    """Start a real run in a process of its own."""
    pl.DataFrame({"id": range(ROWS), "text": [f"match {number}" for number in range(ROWS)]}).write_parquet(
        tmp_path / "source.parquet"
    )
    (tmp_path / "job.toml").write_text(
        """
name = "crash"
[source]
path = "source.parquet"
text = "text"
[labels]
sport = "match"
money = "bank"
[model]
provider = "practice"
name = "gpt-4o-mini"
[run]
max_concurrency = 8
rows_per_chunk = 40
[output]
path = "out"
"""
    )

    def start_run():
        return subprocess.Popen(
            [LABELMILL, "run", "job.toml", "--json", "--model-base-url", practice.base_url],
            cwd=tmp_path,
            env={**os.environ, "PREFECT_API_URL": prefect_server},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    return start_run


def test_twenty_kills_lose_no_row_and_pay_for_no_answer_twice(start, practice, tmp_path):
    """After 20 kills at random moments every row is labeled once, each kill cost at most what was in flight, and is billed."""
    practice.configure(PracticeSettings(latency_seconds=0.1, latency_sigma=0.5))
    practice.reset()
    dice = random.Random(3)
    lost = 0
    for _ in range(KILLS):
        before = practice.totals()["requests"]
        running = start()
        while practice.totals()["requests"] == before and running.poll() is None:
            time.sleep(0.02)
        time.sleep(dice.uniform(0.0, 0.8))
        running.send_signal(signal.SIGKILL)
        running.communicate()
        time.sleep(0.5)  # what was sent before the kill arrives
        lost_now = practice.totals()["requests"] - recorded_answers(tmp_path / "out") - lost
        assert 0 <= lost_now <= CONCURRENCY
        lost += lost_now
    printed, _ = start().communicate(timeout=120)
    record = json.loads(printed)
    assert (record["status"], record["rows_labeled"]) == ("completed", ROWS)
    assert practice.totals()["requests"] == ROWS + lost
    records = [json.loads(path.read_text()) for path in tmp_path.glob("out/runs/*/run.json")]
    assert {(each["status"], each["run_id"] == record["run_id"]) for each in records} == {
        ("failed", False),
        ("completed", True),
    }
    unseen = sum(each["requests_unseen"] for each in records)
    assert sum(each["requests"] for each in records) == ROWS + unseen
    # One that was noted and not sent yet counts too: what the provider may charge for is never more than is told.
    assert lost <= unseen <= KILLS * CONCURRENCY
    assert bool(sum(each["unseen_usd"] for each in records)) == bool(unseen)
    assert not list(tmp_path.glob("out/ledger/*/*.jsonl"))
    assert not list(tmp_path.glob("out/runs/*/pending*"))
    labeled = pl.read_parquet(tmp_path / "out/labeled/source.parquet")
    assert labeled["id"].to_list() == list(range(ROWS))
    ledger = pl.read_parquet(tmp_path / "out/ledger/*/*.parquet")
    labels = ledger.filter(pl.col("label").is_not_null())
    assert labels["row_key"].n_unique() == labels.height == ROWS
    assert set(ledger["error"].drop_nulls()) <= {"interrupted"}
