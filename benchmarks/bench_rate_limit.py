"""How much of a provider's rate limit a run reaches, and how often it is told to slow down.

The provider allows 1,200 requests a minute, lets one second's worth through at once, and announces both in its
headers. Labelmill is told nothing of it.
"""

import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import polars as pl
from measure import FailedError
from rows import Row, at_least, at_most, parser_of, progress, rounds_of, show

from labelmill.job.model import LabelJob, Practice
from labelmill.pipeline.label import label
from labelmill.providers.practice import PracticeServer
from practice import PracticeSettings
from practice.client import PracticeClient

PER_MINUTE = 1200
SETTINGS = PracticeSettings(
    requests_per_minute=PER_MINUTE, burst_seconds=1.0, latency_seconds=0.3, latency_sigma=0.5
)
LIMIT = f"a limit of {PER_MINUTE:,} requests a minute, announced in headers"


def main() -> None:
    """Measure, and print the rows."""
    parser = parser_of(__doc__)
    parser.add_argument("--texts", type=int, help="600 by default, 1,200 with --full")
    options = parser.parse_args()
    show(rows_of(options), as_json=options.json)


def rows_of(options: Namespace) -> Iterator[Row]:
    """What share of the limit was reached, and the share of requests that were answered 429."""
    reached, refused = [], []
    for number in range(rounds_of(options)):
        progress(f"a rate limit, round {number + 1}")
        totals = totals_of(options.texts or (1_200 if options.full else 600))
        seconds = totals["last_departure_seconds"] - totals["first_arrival_seconds"]
        reached.append(100 * totals["answered"] / seconds * 60 / PER_MINUTE)
        refused.append(100 * totals["by_status"].get("429", 0) / totals["requests"])
    yield Row(LIMIT, "of the limit used", "%", tuple(reached), (at_least(98),))
    yield Row(LIMIT, "of the requests answered 429", "%", tuple(refused), (at_most(0),))


def totals_of(texts: int) -> dict:
    """What the provider has counted of a run."""
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
        if record.rows_labeled != texts:
            raise FailedError(f"{record.rows_labeled} of {texts} texts were labeled")
        return PracticeClient(server.base_url).totals()


if __name__ == "__main__":
    main()
