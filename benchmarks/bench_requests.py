"""What a text costs: CPU and texts a second at 64 requests in flight, where the provider answers at once and costs next to nothing.

Each figure is a run over many texts less one over few, so that starting costs nothing. All ways are processes of their own,
taken in turn within the same minutes; CPU is that of a way's process and of all it starts. A Prefect server that runs
beside is told apart.
"""

import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from cheap_provider import cheap_provider
from measure import of_a_text
from prefect_server import prefect_server
from rows import CLIENT, PLAIN, Row, at_least, at_most, parser_of, progress, rounds_of, show
from ways import WAYS, WITH_SERVER, Task, cost_of, ready, row_of, texts_of

IN_FLIGHT = 64
CPU = f"CPU per text, {IN_FLIGHT} in flight, answers at once"
SPEED = f"speed, {IN_FLIGHT} in flight, answers at once"
SERVER = f"CPU of the Prefect server per text, {IN_FLIGHT} in flight"
CPU_GOALS = (at_most(0.5, PLAIN), at_most(1, CLIENT))
SPEED_GOALS = (at_least(2, PLAIN), at_least(1, CLIENT))


def main() -> None:
    """Measure, and print the rows."""
    parser = parser_of(__doc__)
    parser.add_argument("--few", type=int, help="texts of the shorter run; 500 by default, 2,000 with --full")
    parser.add_argument(
        "--many", type=int, help="texts of the longer run; 3,000 by default, 10,000 with --full"
    )
    options = parser.parse_args()
    show(rows_of(options), as_json=options.json)


def rows_of(options: Namespace) -> Iterator[Row]:
    """CPU and speed of each way."""
    few = options.few or (2_000 if options.full else 500)
    many = options.many or (10_000 if options.full else 3_000)
    cpu: dict[str, list[float]] = {way: [] for way in WAYS}
    speed: dict[str, list[float]] = {way: [] for way in WAYS}
    of_server: list[float] = []
    with (
        cheap_provider() as base_url,
        prefect_server() as server,
        tempfile.TemporaryDirectory() as home,
    ):
        for number in range(rounds_of(options)):
            for way in ready():
                progress(f"a text's cost, round {number + 1}: {way}")
                if number == 0:  # what is compiled or prepared once on a machine is no part of it
                    cost_of(way, Task(base_url, texts_of(10), IN_FLIGHT, server.url), Path(home))
                less = cost_of(way, Task(base_url, texts_of(few), IN_FLIGHT, server.url), Path(home))
                before = server.cpu_seconds()
                more = cost_of(way, Task(base_url, texts_of(many), IN_FLIGHT, server.url), Path(home))
                if figures := of_a_text(less, more, many - few):
                    cpu[way].append(figures[0])
                    speed[way].append(figures[1])
                if way == WITH_SERVER:
                    of_server.append(1000 * (server.cpu_seconds() - before) / many)
    for way, values in cpu.items():
        yield row_of(CPU, way, "ms", values, CPU_GOALS)
    yield Row(SERVER, WITH_SERVER, "ms", tuple(of_server))
    for way, values in speed.items():
        yield row_of(SPEED, way, "texts/s", values, SPEED_GOALS)


if __name__ == "__main__":
    main()
