"""What several processes of one run are worth: texts a second and CPU per text, one process beside two.

The provider answers after half a second and costs next to nothing; a thousand requests are in flight. Each figure is a run
over many texts less one over few, so that starting costs nothing; what a worker costs to start, and what memory all take
together, stand beside it.
"""

import socket
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from cheap_provider import cheap_provider
from measure import TOO_BUSY, Cost, environment, measured, of_a_text
from rows import Row, at_least, parser_of, progress, rounds_of, show
from ways import CALL, Task, cost_of, texts_of

LATENCY_MILLISECONDS = 500
ONE, TWO = "one process", "two processes"
NUMBERS = {ONE: 1, TWO: 2}
WORKER = "a worker's start"


def main() -> None:
    """Measure, and print the rows."""
    parser = parser_of(__doc__)
    parser.add_argument(
        "--few", type=int, help="texts of the shorter run; 3,000 by default, 6,000 with --full"
    )
    parser.add_argument(
        "--many", type=int, help="texts of the longer run; 12,000 by default, 24,000 with --full"
    )
    parser.add_argument("--in-flight", type=int, default=1000)
    options = parser.parse_args()
    show(rows_of(options), as_json=options.json)


def rows_of(options: Namespace) -> Iterator[Row]:
    """Speed, CPU and memory, side by side, in turn."""
    few = options.few or (6_000 if options.full else 3_000)
    many = options.many or (24_000 if options.full else 12_000)
    found: dict[str, list[tuple[Cost, Cost]]] = {who: [] for who in NUMBERS}
    starts = []
    with cheap_provider(LATENCY_MILLISECONDS) as base_url, tempfile.TemporaryDirectory() as home:
        for number in range(rounds_of(options)):
            starts.append(start_of_a_worker())
            for who, processes in NUMBERS.items():
                progress(f"processes, round {number + 1}: {who}")
                run = (("processes", processes),)
                less, more = (
                    cost_of(CALL, Task(base_url, texts_of(count), options.in_flight, run=run), Path(home))
                    for count in (few, many)
                )
                found[who].append((less, more))
    load = f"{options.in_flight:,} in flight, {LATENCY_MILLISECONDS / 1000} s"
    told = {who: [of_a_text(*costs, many - few) for costs in rounds] for who, rounds in found.items()}
    for who, figures in told.items():
        speed = tuple(one[1] for one in figures if one)
        wanted = (at_least(1.7, ONE),) if who == TWO else ()
        yield Row(f"speed, {load}", who, "texts/s", speed, wanted, "" if speed else TOO_BUSY)
    for who, figures in told.items():
        cpu = tuple(one[0] for one in figures if one)
        yield Row(f"CPU per text, {load}", who, "ms", cpu, missing="" if cpu else TOO_BUSY)
    for who, costs in found.items():
        yield Row(f"peak memory of all, {load}", who, "MB", tuple(more.peak_mb for _, more in costs))
    yield Row(WORKER, "seconds", "s", tuple(cost.seconds for cost in starts))
    yield Row(WORKER, "CPU", "s", tuple(cost.cpu_seconds for cost in starts))


def start_of_a_worker() -> Cost:
    """What starting a worker costs until it listens; it is told nothing, and ends."""
    ours, its = socket.socketpair()
    with ours, its:
        ours.shutdown(socket.SHUT_WR)
        words = [sys.executable, "-m", "labelmill.run.worker", str(its.fileno())]
        return measured(words, environment(), pass_fds=[its.fileno()])


if __name__ == "__main__":
    main()
