"""What 1,000 labels cost on the live lane and on the batch lane, and how long each takes.

The same job, texts and model on both, at gpt-4o-mini's prices; the labels are compared. Live answers take 0.3 s on average
with a long tail, 32 in flight. A batch takes the practice provider as long as it is told to, here 30 s; of a real one all
that is promised is an end within a day. The cost is counted from the tokens that the provider bills.
"""

import random
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import polars as pl
from measure import FailedError
from rows import Row, at_most, parser_of, progress, rounds_of, show

from labelmill.job.model import LabelJob, Practice
from labelmill.pipeline.label import label
from labelmill.providers.practice import PracticeServer
from labelmill.run.record import RunRecord
from practice import PracticeSettings
from practice.client import PracticeClient

BATCH_SECONDS = 30.0
SETTINGS = PracticeSettings(latency_seconds=0.3, latency_sigma=0.8, batch_seconds=BATCH_SECONDS)


WORDS = [
    "match",
    "team",
    "goal",
    "bank",
    "market",
    "price",
    "film",
    "song",
    "star",
    "phone",
    "chip",
    "code",
    "river",
    "school",
    "law",
]
LANES = ("live lane", "batch lane")


def main() -> None:
    """Measure, and print the rows."""
    parser = parser_of(__doc__)
    parser.add_argument("--texts", type=int, help="500 by default, 2,000 with --full")
    options = parser.parse_args()
    show(rows_of(options), as_json=options.json)


def rows_of(options: Namespace) -> Iterator[Row]:
    """What 1,000 labels cost on either lane, and the seconds of a run."""
    count = options.texts or (2_000 if options.full else 500)
    dice = random.Random(20)
    texts = [f"{' '.join(dice.choices(WORDS, k=8))} {number}" for number in range(count)]
    costs: dict[str, list[float]] = {who: [] for who in LANES}
    seconds: dict[str, list[float]] = {who: [] for who in LANES}
    for number in range(rounds_of(options)):
        progress(f"lanes, round {number + 1}")
        for who, record in records_of(texts).items():
            costs[who].append((record.cost_usd or 0) * 1000 / (record.rows_labeled or 1))
            seconds[who].append(record.seconds)
    for who in LANES:
        wanted = (at_most(0.5, LANES[0]),) if who == LANES[1] else ()
        yield Row("cost of 1,000 labels at gpt-4o-mini's prices", who, "US$", tuple(costs[who]), wanted)
    for who in LANES:
        yield Row(
            f"{count:,} texts; a batch takes the provider {BATCH_SECONDS:g} s", who, "s", tuple(seconds[who])
        )


def records_of(texts: list[str]) -> dict[str, RunRecord]:
    """The same texts labeled on each lane.

    Raises:
        FailedError: the labels differ.
    """
    records = {}
    with tempfile.TemporaryDirectory() as folder:
        pl.DataFrame({"text": texts}).write_parquet(Path(folder) / "texts.parquet")
        for who in LANES:
            with PracticeServer.start(Practice(**SETTINGS.model_dump(mode="json"))) as server:
                records[who] = label(job_of(Path(folder), who.split()[0]), server.base_url)
                check_bill(records[who], server)
        live, batch = map(labels_of, records.values())
    if not live.equals(batch):
        raise FailedError("the lanes' labels differ")
    return records


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
        raise FailedError(f"the provider counted {tokens} tokens, and the run's record says otherwise")


def labels_of(record: RunRecord) -> pl.DataFrame:
    """What a run has published."""
    return pl.read_parquet(f"{record.labeled_path}/*.parquet").select("text", "label", "label_status")


if __name__ == "__main__":
    main()
