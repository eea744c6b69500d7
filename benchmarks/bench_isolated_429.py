"""What isolated 429s cost, beside plain `chain.batch` with LangChain's own retries.

2,000 texts, 32 requests in flight, answers after 0.3 s on average with a long tail (lognormal, sigma 0.8); 2.3% of the
texts' first requests, at random, are answered 429 with a wait of 0.2 s. The ratio is the time from the first request to the
last answer, as the provider sees it, over that of a scheduler which always fills all 32 slots for the same delays.
"""

import argparse
import os
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import openai
import polars as pl
from bench_scheduling import CONCURRENCY, WORDS, ideal_seconds, job_of

from commands.run import label
from labelmill.job.model import Practice
from labelmill.providers.practice import PracticeServer
from labelmill.providers.table import PROVIDERS
from labelmill.question.form import form_of
from labelmill.question.prompt import prompt_of
from practice import PracticeSettings
from practice.client import PracticeClient
from practice.dice import latency_of, text_key_of

SETTINGS = PracticeSettings(
    latency_seconds=0.3, latency_sigma=0.8, faults={"rate_limited": 0.023}, retry_after_seconds=0.2
)


def main() -> None:
    """Run each way so many times and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--only-labelmill", action="store_true", help="leave the other way out")
    arguments = parser.parse_args()
    dice = random.Random(20)
    texts = [f"{' '.join(dice.choices(WORDS, k=8))} {number}" for number in range(arguments.texts)]
    ideal = ideal_seconds([latency_of(SETTINGS, text_key_of(text), 1) for text in texts])
    print(f"{len(texts)} texts, {CONCURRENCY} in flight; an ideal scheduler needs {ideal:.1f} s")
    ways: dict[str, Callable[[PracticeServer, Sequence[str]], None]] = {"a Labelmill run": by_run}
    if not arguments.only_labelmill:
        ways["plain chain.batch with with_retry()"] = by_batch
    for name, way in ways.items():
        ratios = []
        for _ in range(arguments.times):
            with PracticeServer.start(Practice(**SETTINGS.model_dump(mode="json"))) as server:
                way(server, texts)
                totals = PracticeClient(server.base_url).totals()
            took = totals["last_departure_seconds"] - totals["first_arrival_seconds"]
            ratios.append(took / ideal)
        shown = "  ".join(f"{ratio:.3f}" for ratio in sorted(ratios))
        print(f"{name:38} ratio {shown}   429s {totals['by_status'].get('429', 0)}")


def by_run(server: PracticeServer, texts: Sequence[str]) -> None:
    """The flow, with Prefect, journal and ledger."""
    with tempfile.TemporaryDirectory() as folder:
        pl.DataFrame({"text": texts}).write_parquet(Path(folder) / "texts.parquet")
        label(job_of(Path(folder)), server.base_url)


def by_batch(server: PracticeServer, texts: Sequence[str]) -> None:
    """One `chain.batch` over all texts, as people write it: nothing is saved before its end."""
    job = job_of(Path())
    model = PROVIDERS["openai"].chat(job, server.base_url, "none", form_of(job)).model
    chain = prompt_of(job) | model.with_retry(
        retry_if_exception_type=(openai.RateLimitError,), wait_exponential_jitter=True, stop_after_attempt=6
    )
    inputs = [{"text": text, "correction": []} for text in texts]
    chain.batch(inputs, config={"max_concurrency": CONCURRENCY}, return_exceptions=True)


if __name__ == "__main__":
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    main()
