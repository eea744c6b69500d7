"""How close a run comes to an ideal scheduler, beside what people write themselves.

2,000 texts, 32 requests in flight, answers after 0.3 s on average with a long tail (lognormal, sigma 0.8). The ratio is
the time from the first request to the last answer, as the provider sees it, over that of a scheduler which always
fills all 32 places for the same delays. All ways use the same provider, texts, prompt and delays, one after the other.
"""

import argparse
import heapq
import os
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from commands.run import label
from labelmill.job.model import LabelJob, Practice
from labelmill.live.breaker import CircuitBreaker
from labelmill.live.chain import chain_of
from labelmill.live.guard import RequestGuard
from labelmill.live.throttle import Throttle
from labelmill.money.budget import Budget
from labelmill.providers.practice import PracticeServer
from practice import PracticeSettings
from practice.client import PracticeClient
from practice.dice import latency_of, text_key_of

CONCURRENCY = 32
SETTINGS = PracticeSettings(latency_seconds=0.3, latency_sigma=0.8)
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


def main() -> None:
    """Run each way once and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--only-labelmill", action="store_true", help="leave the other ways out")
    arguments = parser.parse_args()
    dice = random.Random(20)
    texts = [f"{' '.join(dice.choices(WORDS, k=8))} {number}" for number in range(arguments.texts)]
    ideal = ideal_seconds([latency_of(SETTINGS, text_key_of(text), 1) for text in texts])
    print(f"{len(texts)} texts, {CONCURRENCY} in flight; an ideal scheduler needs {ideal:.1f} s")
    ways: dict[str, Callable[[PracticeServer, Sequence[str]], None]] = {"a Labelmill run": by_run}
    if not arguments.only_labelmill:
        ways["plain chain.batch over the whole list"] = by_batch
        ways["a loop of chain.batch over chunks of 20"] = by_loop
    for name, way in ways.items():
        with PracticeServer.start(Practice(**SETTINGS.model_dump(mode="json"))) as server:
            way(server, texts)
            totals = PracticeClient(server.base_url).totals()
        took = totals["last_departure_seconds"] - totals["first_arrival_seconds"]
        print(
            f"{name:42} {took:7.1f} s   ratio {took / ideal:.2f}   peak in flight {totals['peak_in_flight']}"
        )


def ideal_seconds(delays: Sequence[float]) -> float:
    """The time that a scheduler needs which starts the next text the moment a place is free."""
    places = [0.0] * CONCURRENCY
    for delay in delays:
        heapq.heapreplace(places, places[0] + delay)
    return max(places)


def job_of(folder: Path) -> LabelJob:
    """The job that every way does."""
    return LabelJob.model_validate(
        {
            "name": "benchmark",
            "source": {"path": str(folder / "texts.parquet"), "text": "text"},
            "labels": {
                "sport": "match, team, goal",
                "money": "bank, market, price",
                "tech": "phone, chip, code",
            },
            "model": {"provider": "practice", "name": "gpt-4o-mini"},
            "run": {"max_concurrency": CONCURRENCY},
            "output": {"path": str(folder / "out")},
        }
    )


def by_run(server: PracticeServer, texts: Sequence[str]) -> None:
    """The flow, with Prefect, journal and ledger."""
    with tempfile.TemporaryDirectory() as folder:
        pl.DataFrame({"text": texts}).write_parquet(Path(folder) / "texts.parquet")
        label(job_of(Path(folder)), server.base_url)


def by_batch(server: PracticeServer, texts: Sequence[str]) -> None:
    """One `chain.batch`: nothing is saved before its end."""
    job = job_of(Path())
    guard = RequestGuard(job.run, Throttle(job.run), Budget(None), CircuitBreaker(1.0), None)
    chain = chain_of(job, server.base_url, "none", guard)
    chain.batch(
        [{"text": text} for text in texts], config={"max_concurrency": CONCURRENCY}, return_exceptions=True
    )


def by_loop(server: PracticeServer, texts: Sequence[str]) -> None:
    """A `chain.batch` per 20 texts: each waits for its slowest."""
    for start in range(0, len(texts), 20):
        by_batch(server, texts[start : start + 20])


if __name__ == "__main__":
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    main()
