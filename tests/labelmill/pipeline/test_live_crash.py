"""kill -9 at any moment of a live run: no row is lost, and nothing is paid twice but what was in flight."""

import json
import os
import random
import signal
import time

import polars as pl
import pytest
from world import CRASH_JOB, records_in

from labelmill.store.journal import Entries
from practice import PracticeSettings
from practice.odd_answers import UNTOLD

pytestmark = pytest.mark.slow

ROWS, CONCURRENCY, KILLS = 900, 8, 20


def recorded_requests(out):
    """Requests that are on disk in ledger parts and journals, and how many of these nobody knows the end of."""
    parts = list(out.glob("ledger/*/*.parquet"))
    journals = {path for path in out.glob("ledger/*/*.jsonl") if path.with_suffix(".parquet") not in parts}
    attempts = [attempt for path in journals for attempt in Entries.read(path.read_bytes()).settled]
    interrupted = sum(attempt.failure == "interrupted" for attempt in attempts)
    in_parts = pl.read_parquet(parts)["requests"].sum() if parts else 0
    return in_parts + len(attempts), interrupted


def test_twenty_kills_lose_no_row_and_pay_for_no_answer_twice(mortals, practice, tmp_path):
    """After 20 kills every row has its label, odd answers or not; each kill cost at most what was in flight, and is billed."""
    practice.configure(PracticeSettings(latency_seconds=0.1, latency_sigma=0.5, odd_answers=0.15))
    practice.reset()
    pl.DataFrame({"id": range(ROWS), "text": [f"match {number}" for number in range(ROWS)]}).write_parquet(
        tmp_path / "source.parquet"
    )
    (tmp_path / "job.toml").write_text(CRASH_JOB)
    out, dice = tmp_path / "out", random.Random(3)
    interrupted = 0
    for _ in range(KILLS):
        kill_at = practice.totals()["requests"] + dice.randint(1, 60)
        pid = mortals.start(tmp_path, practice.base_url)
        while practice.totals()["requests"] < kill_at and not mortals.has_ended():
            time.sleep(0.01)
        os.kill(pid, signal.SIGKILL)
        assert mortals.wait() == -signal.SIGKILL
        recorded, interrupted_now = recorded_requests(out)
        assert interrupted_now <= CONCURRENCY
        interrupted += interrupted_now
        # What was noted and not sent yet counts as well: nobody can tell.
        assert recorded - interrupted <= practice.totals()["requests"] <= recorded
    mortals.start(tmp_path, practice.base_url)
    assert mortals.wait() == 0
    record = json.loads((tmp_path / "stdout.txt").read_text())
    assert (record["status"], record["rows_labeled"]) == ("completed", ROWS)
    totals, records = practice.totals(), records_in(out)
    assert {(each["status"], each["run_id"] == record["run_id"]) for each in records} == {
        ("failed", False),
        ("completed", True),
    }
    requests = sum(each["requests"] for each in records)
    assert requests - interrupted <= totals["requests"] <= requests
    assert totals["texts_paid_twice"] <= interrupted
    untold = sum(totals["odd_answers"].get(kind, 0) for kind in UNTOLD)
    assert untold <= sum(each["requests_without_usage"] for each in records) <= untold + interrupted
    assert bool(sum(each["unseen_usd"] for each in records)) == bool(untold + interrupted)
    ledger = pl.read_parquet(out / "ledger/*/*.parquet")
    # What the provider took for seen and no run has heard of was in flight.
    lost_tokens = totals["input_tokens"] - ledger["input_tokens"].sum()
    assert 0 <= lost_tokens <= interrupted * 2 * totals["input_tokens"] / totals["answered"]
    assert not list(out.glob("ledger/*/*.jsonl"))
    assert not list(out.glob("runs/*/pending*"))
    labeled = pl.read_parquet(out / "labeled/source.parquet")
    assert labeled["id"].to_list() == list(range(ROWS))
    assert labeled["label"].unique().to_list() == ["sport"]
    labels = ledger.filter(pl.col("label").is_not_null())
    assert labels["row_key"].n_unique() == labels.height == ledger["row_key"].n_unique() == ROWS
