"""How much of a provider's rate limit a run reaches, and how often it is told to slow down.

The provider allows 1,200 requests a minute, lets one second's worth through at once, and announces both in its
headers. Labelmill is told nothing of it.
"""

import argparse
import os
import tempfile
from pathlib import Path

import polars as pl

from commands.run import label
from labelmill.job.model import LabelJob, Practice
from labelmill.providers.practice import PracticeServer
from practice import PracticeSettings
from practice.client import PracticeClient

PER_MINUTE = 1200
SETTINGS = PracticeSettings(
    requests_per_minute=PER_MINUTE, burst_seconds=1.0, latency_seconds=0.3, latency_sigma=0.5
)


def main() -> None:
    """Run once and print what share of the limit was reached, and the share of 429s."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=1200)
    texts = parser.parse_args().texts
    with (
        tempfile.TemporaryDirectory() as folder,
        PracticeServer.start(Practice(**SETTINGS.model_dump(mode="json"))) as server,
    ):
        source = Path(folder) / "texts.parquet"
        pl.DataFrame({"text": [f"match report {number}" for number in range(texts)]}).write_parquet(source)
        job = LabelJob.model_validate(
            {
                "name": "benchmark",
                "source": {"path": str(source), "text": "text"},
                "labels": {"sport": "match, team", "money": "bank, market"},
                "model": {"provider": "practice", "name": "gpt-4o-mini"},
                "output": {"path": str(Path(folder) / "out")},
            }
        )
        record = label(job, server.base_url)
        totals = PracticeClient(server.base_url).totals()
    took = totals["last_departure_seconds"] - totals["first_arrival_seconds"]
    refused = totals["by_status"].get("429", 0)
    print(
        f"{record.rows_labeled} of {texts} texts labeled in {took:.1f} s, limit {PER_MINUTE} requests a minute"
    )
    print(f"reached {totals['answered'] / took * 60 / PER_MINUTE:.1%} of the limit")
    print(f"429s    {refused / totals['requests']:.2%} of {totals['requests']} requests")


if __name__ == "__main__":
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    main()
