"""What isolated 429s cost, beside plain `chain.batch` with LangChain's own retries.

32 requests in flight, answers after 0.3 s on average with a long tail (lognormal, sigma 0.8); 2.3% of the texts' first
requests, at random, are answered 429 with a wait of 0.2 s. The figure is the time from the first request to the last answer, as
the practice provider sees it, over that of a scheduler which always fills all 32 places for the same delays.
"""

import random
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import openai
import polars as pl
from bench_lanes import WORDS
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI
from rows import Row, at_most, parser_of, progress, rounds_of, show
from schedule import ideal_seconds

from labelmill.job.model import LabelJob, Practice
from labelmill.pipeline.label import label
from labelmill.providers.practice import PracticeServer
from practice import PracticeSettings
from practice.client import PracticeClient
from practice.dice import latency_of, text_key_of

IN_FLIGHT = 32
MODEL = "gpt-4o-mini"
SETTINGS = PracticeSettings(
    latency_seconds=0.3, latency_sigma=0.8, faults={"rate_limited": 0.023}, retry_after_seconds=0.2
)
LABELS = {"sport": "match, team, goal", "money": "bank, market, price", "tech": "phone, chip, code"}
RUN, RETRIES = "a Labelmill run", "chain.batch, with_retry()"


def main() -> None:
    """Measure, and print the rows."""
    parser = parser_of(__doc__)
    parser.add_argument("--texts", type=int, help="1,000 by default, 2,000 with --full")
    options = parser.parse_args()
    show(rows_of(options), as_json=options.json)


def rows_of(options: Namespace) -> Iterator[Row]:
    """The ratio of either way, side by side."""
    count = options.texts or (2_000 if options.full else 1_000)
    dice = random.Random(20)
    texts = [f"{' '.join(dice.choices(WORDS, k=8))} {number}" for number in range(count)]
    ideal = ideal_seconds([latency_of(SETTINGS, text_key_of(text), 1) for text in texts], IN_FLIGHT)
    ways: dict[str, Callable[[str, Sequence[str]], None]] = {RETRIES: by_batch, RUN: by_run}
    found: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds_of(options)):
        for way, asked in ways.items():
            progress(f"isolated 429s, round {number + 1}: {way}")
            with PracticeServer.start(Practice(**SETTINGS.model_dump(mode="json"))) as server:
                asked(server.base_url, texts)
                totals = PracticeClient(server.base_url).totals()
            seconds = totals["last_departure_seconds"] - totals["first_arrival_seconds"]
            found[way].append(seconds / ideal)
    for way, ratios in found.items():
        wanted = (at_most(1, RETRIES),) if way == RUN else ()
        what = (
            f"2.3% answered 429, beside an ideal schedule: {count:,} headlines, {IN_FLIGHT} in flight, 0.3 s"
        )
        yield Row(what, way, "x ideal", tuple(ratios), wanted)


def by_run(base_url: str, texts: Sequence[str]) -> None:
    """A whole run, with journal and ledger."""
    with tempfile.TemporaryDirectory() as folder:
        pl.DataFrame({"text": texts}).write_parquet(Path(folder) / "texts.parquet")
        job = LabelJob.model_validate(
            {
                "name": "benchmark",
                "source": {"path": f"{folder}/texts.parquet", "text": "text"},
                "labels": LABELS,
                "model": {"provider": "practice", "name": MODEL},
                "run": {"max_concurrency": IN_FLIGHT},
                "output": {"path": f"{folder}/out"},
            }
        )
        label(job, base_url)


def by_batch(base_url: str, texts: Sequence[str]) -> None:
    """One `chain.batch` over all texts, as people write it: nothing is saved before its end."""
    prompt = ChatPromptTemplate.from_messages(
        [("system", f"Answer only with the text's label: {', '.join(LABELS)}"), ("user", "{text}")]
    )
    model = ChatOpenAI(model=MODEL, base_url=base_url, api_key="none", temperature=0, max_retries=0)
    again = model.with_retry(
        retry_if_exception_type=(openai.RateLimitError,), wait_exponential_jitter=True, stop_after_attempt=6
    )
    inputs = [{"text": text} for text in texts]
    config = {"max_concurrency": IN_FLIGHT}
    (prompt | again | StrOutputParser()).batch(inputs, config=config, return_exceptions=True)


if __name__ == "__main__":
    main()
