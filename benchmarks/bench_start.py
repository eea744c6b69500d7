"""How long Labelmill takes to begin: from the start of its process to the first request for a label, and a whole check.

The moment is that at which an endpoint on loopback has read the first request to label a text; it answers at once. What is
measured is a file of two texts labeled from Python, by `labelmill run` without a Prefect server and beside one, in turn
within the same minutes, and LangChain's own model alone, which asks once. CPU is that of the process and of all it has started
by then. A round goes before the others and is not counted: what is compiled or prepared once on a machine is no start.
"""

import subprocess
import sys
import tempfile
import threading
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import time

import polars as pl
import psutil
from bench_python import Endpoint
from measure import LABELMILL, FailedError, environment, measured
from prefect_server import prefect_server
from rows import Goal, Row, at_most, parser_of, progress, show

CALL = """
import labelmill
labelmill.label("news.parquet", text="text", labels=["sport", "money"], model="gpt-4o-mini", output="out")
"""
ALONE = """
from langchain_openai import ChatOpenAI
ChatOpenAI(model="gpt-4o-mini", temperature=0).invoke("Is this sport or money? the match")
"""
JOB = """
name = "start"
[source]
path = "news.parquet"
text = "text"
[labels]
sport = ""
money = ""
[model]
provider = "openai"
name = "gpt-4o-mini"
[output]
path = "out"
"""
PYTHON, LANGCHAIN = "labelmill.label", "LangChain's ChatOpenAI alone"
COMMAND, WITH_SERVER = "labelmill run", "labelmill run, with a server"
WAYS: dict[str, Sequence[str | Path]] = {
    PYTHON: (sys.executable, "-c", CALL),
    LANGCHAIN: (sys.executable, "-c", ALONE),
    COMMAND: (LABELMILL, "run", "job.toml"),
    WITH_SERVER: (LABELMILL, "run", "job.toml"),
}
NOT_USUAL = {"SSL_CERT_FILE", "SSL_CERT_DIR", "PYTHONDONTWRITEBYTECODE"}
"""Certificates of the machine's own, which are read to see that they can be; and nothing compiled but in each process anew."""
GOALS = {PYTHON: at_most(1.5), COMMAND: at_most(4), WITH_SERVER: at_most(2)}


class Beginning(Endpoint):
    """Notes when the first text was asked, and the CPU that a process and its descendants had used by then."""

    def note(self) -> None:
        """Note a request."""
        with self.lock:
            if self.first is None:
                process = psutil.Process(self.pid)
                used = [one.cpu_times() for one in (process, *process.children(recursive=True))]
                self.first = (time(), sum(times.user + times.system for times in used))


def main() -> None:
    """Measure, and print the rows."""
    parser = parser_of(__doc__)
    parser.add_argument(
        "--without", action="append", default=[], choices=[*WAYS, "labelmill check"], help="leave one out"
    )
    options = parser.parse_args()
    show(rows_of(options), as_json=options.json)


def rows_of(options: Namespace) -> Iterator[Row]:
    """Start each some times, in turn."""
    rounds = options.rounds or (7 if options.full else 3)
    without = getattr(options, "without", [])
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS if way not in without}
    checks = []
    with tempfile.TemporaryDirectory() as home:
        for number in range(rounds + 1):
            progress(f"starts, round {number or 'not counted'}")
            for way in found:
                if (
                    way == WITH_SERVER
                ):  # its own each time: one that has rested is no measure of one that works
                    with prefect_server() as server:
                        begun = first_request_of(WAYS[way], home, PREFECT_API_URL=server.url)
                else:
                    begun = first_request_of(WAYS[way], home)
                found[way] += [begun] if number else []
            if "labelmill check" not in without:
                checks += [seconds_of_check(home)] if number else []
    for way, values in found.items():
        yield _row(
            "from a process' start to its first request", way, [wall for wall, _ in values], GOALS.get(way)
        )
    for way, values in found.items():
        yield _row("CPU from a process' start to its first request", way, [cpu for _, cpu in values])
    if checks:
        yield _row("a whole check", "labelmill check", [wall for wall, _ in checks])
        yield _row("CPU of a whole check", "labelmill check", [cpu for _, cpu in checks])


def _row(what: str, way: str, values: list[float], goal: Goal | None = None) -> Row:
    return Row(what, way, "s", tuple(values), () if goal is None else (goal,))


def first_request_of(words: Sequence[str | Path], home: str, **more: str) -> tuple[float, float]:
    """The seconds from a process' start to its first request, and the CPU seconds of these."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as said:
        server = _begin(Path(folder))
        began = time()
        with subprocess.Popen(
            words,
            cwd=folder,
            env=_environment(server, home, **more),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        ) as child:
            server.pid = child.pid
        server.shutdown()
        server.server_close()
        if child.returncode or server.first is None:
            said.seek(0)
            raise FailedError(
                f"it ended with {child.returncode}: {said.read().decode(errors='replace')[-2000:]}"
            )
        at, cpu = server.first
        return at - began, cpu


def seconds_of_check(home: str) -> tuple[float, float]:
    """The seconds that `labelmill check` takes, and those of CPU."""
    with tempfile.TemporaryDirectory() as folder:
        server = _begin(Path(folder))
        cost = measured([LABELMILL, "check", "job.toml"], _environment(server, home), Path(folder))
        server.shutdown()
        server.server_close()
        return cost.seconds, cost.cpu_seconds


def _begin(folder: Path) -> Beginning:
    pl.DataFrame({"text": ["the match", "the bank"]}).write_parquet(folder / "news.parquet")
    (folder / "job.toml").write_text(JOB)
    server = Beginning()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


def _environment(server: Endpoint, home: str, **more: str) -> dict[str, str]:
    own = environment(OPENAI_BASE_URL=f"http://127.0.0.1:{server.server_port}/v1", PREFECT_HOME=home, **more)
    return {name: value for name, value in own.items() if name not in NOT_USUAL}


if __name__ == "__main__":
    main()
