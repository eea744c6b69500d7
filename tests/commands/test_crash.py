"""kill -9 of the command: no row is lost, and what was in flight is counted."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from servers.practice import start_practice
from world import CRASH_JOB, records_in

from practice import PracticeSettings

LABELMILL = Path(sys.executable).parent / "labelmill"
ROWS, CONCURRENCY = 900, 8


@pytest.fixture
def start(tmp_path, server_told):
    """Start a real run in a process of its own."""
    pl.DataFrame({"id": range(ROWS), "text": [f"match {number}" for number in range(ROWS)]}).write_parquet(
        tmp_path / "source.parquet"
    )
    (tmp_path / "job.toml").write_text(CRASH_JOB)

    def start_run(provider):
        return subprocess.Popen(
            [LABELMILL, "run", "job.toml", "--json", "--model-base-url", provider.base_url],
            cwd=tmp_path,
            env={**os.environ, **server_told},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    return start_run


def test_what_was_in_flight_at_a_kill_stands_in_the_dead_runs_record(start, tmp_path):
    """The provider's count of requests is the sum over the records of both runs; what nobody saw is counted as such."""
    with start_practice(PracticeSettings(latency_seconds=600)) as provider:
        running = start(provider)
        while (in_flight := provider.totals()["in_flight"]) < CONCURRENCY:
            assert running.poll() is None
            time.sleep(0.02)
        running.send_signal(signal.SIGKILL)
        running.communicate()
        provider.configure(PracticeSettings())
        printed, _ = start(provider).communicate(timeout=120)
        totals = provider.totals()
    record = json.loads(printed)
    (dead,) = (each for each in records_in(tmp_path / "out") if each["run_id"] != record["run_id"])
    assert (dead["status"], record["status"], record["rows_labeled"]) == ("failed", "completed", ROWS)
    assert dead["requests"] == dead["requests_without_usage"] == in_flight == CONCURRENCY
    assert dead["unseen_usd"] > 0
    assert record["requests_without_usage"] == 0
    assert dead["requests"] + record["requests"] == totals["requests"] == ROWS + CONCURRENCY
