"""How close a run comes to an ideal scheduler, beside what people write themselves.

Answers take a lognormal time with a long tail (sigma 0.8). The figure is the time from the first request to the last answer, as
the provider sees it, over that of a scheduler which fills every place the moment it is free, for the same delays. Each way is a
process of its own, and all use the same provider, which costs next to nothing; each text says how long its answer takes, so
long that the client's CPU is no bound. 2,000 texts with 32 in flight stand in `bench_whole.py`.
"""

import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from cheap_provider import cheap_provider
from rows import CURATOR, PLAIN, Row, parser_of, progress, rounds_of, show
from schedule import SLOT_GOALS, SLOTS, delays_of, ideal_seconds, seconds_of_requests, texts_of
from ways import CALL, WAYS, Task, cost_of, ready, row_of

CASES = ((2_000, 256, 2.0), (20_000, 32, 0.3), (20_000, 256, 2.0))
"""Texts, requests in flight, seconds an answer takes on average."""
QUICK = CASES[:1]


def main() -> None:
    """Measure, and print the rows."""
    parser = parser_of(__doc__)
    parser.add_argument("--texts", type=int, help="of one case, instead of all")
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--mean", type=float, default=0.3, help="seconds that an answer takes on average")
    parser.add_argument("--ways", nargs="+", choices=WAYS[:-1], default=[PLAIN, CURATOR, CALL])
    options = parser.parse_args()
    show(rows_of(options), as_json=options.json)


def rows_of(options: Namespace) -> Iterator[Row]:
    """The ratios of each case, the ways side by side."""
    cases = CASES if options.full else QUICK
    if options.texts:
        cases = ((options.texts, options.in_flight, options.mean),)
    for texts, in_flight, mean in cases:
        delays = delays_of(texts, mean)
        ideal = ideal_seconds(delays, in_flight)
        found: dict[str, list[float]] = {way: [] for way in options.ways}
        with tempfile.TemporaryDirectory() as home:
            for number in range(rounds_of(options)):
                for way in ready(options.ways):
                    progress(f"{texts:,} texts, {in_flight} in flight, round {number + 1}: {way}")
                    with cheap_provider() as base_url:
                        cost_of(way, Task(base_url, texts_of(delays), in_flight), Path(home))
                        found[way].append(seconds_of_requests(base_url) / ideal)
        for way, ratios in found.items():
            what = f"{SLOTS}: {texts:,} headlines, {in_flight} in flight, {mean:g} s"
            yield row_of(what, way, "x ideal", ratios, SLOT_GOALS)


if __name__ == "__main__":
    main()
