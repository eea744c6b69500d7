"""A whole process over 2,000 headlines, from its start to its end: seconds, CPU, the peak memory of all its processes, and slots.

32 requests in flight, answers after 0.3 s on average with a long tail (lognormal, sigma 0.8), from a provider that costs next
to nothing. All ways are taken in turn within the same minutes. Neither the provider nor a Prefect server that runs already
counts as a way's own process; the server's memory stands on a line of its own. What the provider sees, from the first request to
the last answer, stands beside a scheduler that fills each place the moment it is free, for the same delays.
"""

import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from cheap_provider import cheap_provider
from measure import Cost, peak_of
from prefect_server import prefect_server
from rows import CURATOR, Row, at_most, parser_of, progress, rounds_of, show
from schedule import SLOT_GOALS, SLOTS, delays_of, ideal_seconds, seconds_of_requests
from schedule import texts_of as texts_that_take
from ways import WAYS, WITH_SERVER, Task, cost_of, ready, row_of, texts_of

IN_FLIGHT, MEAN_SECONDS = 32, 0.3
NO_LONGER, LITTLE_MEMORY = (at_most(1, CURATOR),), (at_most(300),)


def main() -> None:
    """Measure, and print the rows."""
    parser = parser_of(__doc__)
    parser.add_argument("--texts", type=int, default=2_000)
    options = parser.parse_args()
    show(rows_of(options), as_json=options.json)


def rows_of(options: Namespace) -> Iterator[Row]:
    """Seconds, CPU, memory and slots of each way."""
    found: dict[str, list[Cost]] = {way: [] for way in WAYS}
    slots: dict[str, list[float]] = {way: [] for way in WAYS}
    of_server = []
    delays = delays_of(options.texts, MEAN_SECONDS)
    ideal = ideal_seconds(delays, IN_FLIGHT)
    with prefect_server() as server, tempfile.TemporaryDirectory() as home:
        for number in range(rounds_of(options)):
            for way in ready():
                progress(f"a whole process, round {number + 1}: {way}")
                with cheap_provider() as base_url:
                    if number == 0:  # what is compiled or prepared once on a machine is no part of it
                        cost_of(way, Task(base_url, texts_of(10), IN_FLIGHT, server.url), Path(home))
                    task = Task(base_url, texts_that_take(delays), IN_FLIGHT, server.url)
                    with peak_of(server.pid) as peak:
                        found[way].append(cost_of(way, task, Path(home)))
                    slots[way].append(seconds_of_requests(base_url) / ideal)
                    of_server += peak if way == WITH_SERVER else []
    texts = f"{options.texts:,} headlines, {IN_FLIGHT} in flight, {MEAN_SECONDS} s"
    for way, costs in found.items():
        yield row_of(f"whole process: {texts}", way, "s", (cost.seconds for cost in costs), NO_LONGER)
    for way, costs in found.items():
        yield row_of(f"CPU of the whole process: {texts}", way, "s", (cost.cpu_seconds for cost in costs))
    for way, costs in found.items():
        peaks = (cost.peak_mb for cost in costs)
        yield row_of(f"peak memory of all its processes: {texts}", way, "MB", peaks, LITTLE_MEMORY)
    yield Row(f"peak memory of the Prefect server beside: {texts}", WITH_SERVER, "MB", tuple(of_server))
    for way, ratios in slots.items():
        yield row_of(f"{SLOTS}: {texts}", way, "x ideal", ratios, SLOT_GOALS)


if __name__ == "__main__":
    main()
