"""What 1,000 labels cost on the live lane and on the batch lane, and how long each takes.

The same job, texts and model on both, at gpt-4o-mini's prices; the labels are compared. Live answers take 0.3 s on average
with a long tail, 32 in flight. A batch takes the practice provider as long as it is told to, here 30 s; of a real one all
that is promised is an end within a day. The cost is counted from the tokens that the provider bills.
"""

import argparse
import os
import random
import tempfile
from pathlib import Path

import polars as pl
from bench_scheduling import WORDS

from commands.run import label
from labelmill.job.model import LabelJob, Practice
from labelmill.providers.practice import PracticeServer
from labelmill.run.record import RunRecord
from practice import PracticeSettings
from practice.client import PracticeClient

BATCH_SECONDS = 30.0
SETTINGS = PracticeSettings(latency_seconds=0.3, latency_sigma=0.8, batch_seconds=BATCH_SECONDS)


def main() -> None:
    """Label the same texts on each lane and print what it cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=2000)
    count = parser.parse_args().texts
    dice = random.Random(20)
    texts = [f"{' '.join(dice.choices(WORDS, k=8))} {number}" for number in range(count)]
    records = {}
    with tempfile.TemporaryDirectory() as folder:
        pl.DataFrame({"text": texts}).write_parquet(Path(folder) / "texts.parquet")
        for lane in ("live", "batch"):
            with PracticeServer.start(Practice(**SETTINGS.model_dump(mode="json"))) as server:
                records[lane] = label(job_of(Path(folder), lane), server.base_url)
                check_bill(records[lane], server)
        live, batch = (labels_of(records[lane]) for lane in ("live", "batch"))
    if not live.equals(batch):
        raise SystemExit("the lanes' labels differ")
    print(f"{count} texts, {live['label'].n_unique()} labels, the same on both lanes; gpt-4o-mini's prices")
    for lane, record in records.items():
        cost = (record.cost_usd or 0) * 1000 / (record.rows_labeled or 1)
        print(f"{lane:6} ${cost:.5f} per 1,000 labels   {record.seconds:6.1f} s")
    saved = 1 - (records["batch"].cost_usd or 0) / (records["live"].cost_usd or 1)
    print(f"the batch lane costs {saved:.1%} less; its batch took the provider {BATCH_SECONDS:g} s")


def job_of(folder: Path, lane: str) -> LabelJob:
    """The job on one lane, with a ledger of its own."""
    return LabelJob.model_validate(
        {
            "name": f"benchmark {lane}",
            "source": {"path": str(folder / "texts.parquet"), "text": "text"},
            "labels": {
                "sport": "match, team, goal",
                "money": "bank, market, price",
                "tech": "phone, chip, code",
            },
            "model": {"provider": "practice", "name": "gpt-4o-mini"},
            "run": {"lane": lane, "max_concurrency": 32},
            "output": {"path": str(folder / f"out-{lane}")},
        }
    )


def check_bill(record: RunRecord, server: PracticeServer) -> None:
    """Hold a run's bill against the tokens that the provider has counted, and nothing else."""
    totals = PracticeClient(server.base_url).totals()
    tokens = [
        totals[f"{kind}_tokens"] + totals[f"batch_{kind}_tokens"]
        for kind in ("input", "cached_input", "output")
    ]
    if tokens != [record.input_tokens, record.cached_input_tokens, record.output_tokens]:
        raise SystemExit(f"the provider counted {tokens} tokens, and the run's record says otherwise")


def labels_of(record: RunRecord) -> pl.DataFrame:
    """What a run has published."""
    return pl.read_parquet(f"{record.labeled_path}/*.parquet").select("text", "label", "label_status")


if __name__ == "__main__":
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    main()
