"""All benchmarks in one table, printed and written to docs/benchmarks.md; the READMEs' figures are taken from it.

Each script runs by itself and hands its rows over as data. They are kept in out/benchmarks/, so that one script can be
measured anew (`--only`) and the page written again.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench_requests import CPU, SPEED
from measure import ROOT
from rows import (
    CLIENT,
    CURATOR,
    PLAIN,
    Row,
    curator_python,
    from_json,
    number,
    page_table,
    text_table,
    to_json,
)
from schedule import SLOTS
from ways import COMMAND

FOLDER = Path(__file__).parent
KEPT = ROOT / "out" / "benchmarks"
PAGE = ROOT / "docs" / "benchmarks.md"
SHOWN_FIRST = ("start", "whole", "requests", "scheduling", "rate_limit", "isolated_429", "processes", "lanes")
VERSIONS = ("openai", "langchain-core", "langchain-openai", "prefect", "polars")

QUOTED_WHO = (COMMAND, PLAIN, CLIENT, CURATOR)
QUOTED = {
    "beside an ideal schedule": f"{SLOTS}: 2,000 headlines, 32 in flight",
    "whole process": "whole process: 2,000 headlines",
    "peak memory": "peak memory of all its processes: 2,000 headlines",
    "CPU per text": CPU,
    "speed": SPEED,
}
"""The comparisons that the READMEs quote, by how their names begin."""
READMES = ("README.md", "README.zh.md")
QUOTE = re.compile(r"^```text\n {3,}labelmill run\b.*?^```$", re.MULTILINE | re.DOTALL)
"""The block of a README that begins with the names of who was measured."""


@dataclass(frozen=True)
class Measured:
    """What one script has found, and when."""

    script: str
    is_full: bool
    began: str
    seconds: float
    load: tuple[float, float]
    rows: tuple[Row, ...]

    def to_json(self) -> str:
        """Keep it."""
        return json.dumps({**asdict(self), "rows": [to_json(row) for row in self.rows]})

    @classmethod
    def from_json(cls, words: str) -> "Measured":
        """Take it up again."""
        told = json.loads(words)
        return cls(
            **{**told, "load": tuple(told["load"]), "rows": tuple(from_json(row) for row in told["rows"])}
        )


def main() -> None:
    """Measure, print the table, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="more texts and three rounds of each: two hours")
    parser.add_argument(
        "--only",
        nargs="*",
        help="measure these anew, such as `requests`, or none; the others' figures are kept ones",
    )
    parser.add_argument(
        "--rounds", type=int, help="how often each is measured, instead of 1, or 3 with --full"
    )
    options = parser.parse_args()
    names = scripts()
    KEPT.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in names if options.only is None else options.only:
        try:
            found = measured(name, is_full=options.full, rounds=options.rounds)
        except subprocess.CalledProcessError as error:
            failed.append(name)
            print(f"bench_{name}.py ended with {error.returncode}", file=sys.stderr, flush=True)
        else:
            (KEPT / f"{name}.json").write_text(found.to_json(), encoding="utf-8")
    kept = [KEPT / f"{name}.json" for name in names]
    all_of_them = [Measured.from_json(path.read_text(encoding="utf-8")) for path in kept if path.exists()]
    rows = [row for one in all_of_them for row in one.rows]
    print(text_table(rows))
    absent = [path.stem for path in kept if not path.exists()]
    if failed or absent:
        sys.exit(f"not measured: {', '.join(sorted({*failed, *absent}))}; docs/benchmarks.md is as it was")
    PAGE.write_text(page(all_of_them, machine()), encoding="utf-8")
    for name in READMES:
        path = ROOT / name
        path.write_text(QUOTE.sub(quote(rows), path.read_text(encoding="utf-8")), encoding="utf-8")


def scripts() -> list[str]:
    """The names of all benchmarks, those that compare runs first."""
    found = sorted(path.stem.removeprefix("bench_") for path in FOLDER.glob("bench_*.py"))
    return sorted(found, key=lambda name: SHOWN_FIRST.index(name) if name in SHOWN_FIRST else len(found))


def measured(name: str, *, is_full: bool, rounds: int | None = None) -> Measured:
    """Run one script.

    Raises:
        CalledProcessError: it failed; what it says has been shown.
    """
    began, clock, before = datetime.now(UTC), time.monotonic(), os.getloadavg()[0]
    words = [sys.executable, FOLDER / f"bench_{name}.py", "--json"]
    words += ["--full"] if is_full else []
    words += ["--rounds", str(rounds)] if rounds else []
    own = {**os.environ, "PYTHONPATH": str(ROOT)}
    told = subprocess.run(words, stdout=subprocess.PIPE, env=own, text=True, check=True).stdout
    rows = tuple(from_json(line) for line in told.splitlines())
    load = (before, os.getloadavg()[0])
    seconds = time.monotonic() - clock
    return Measured(name, is_full, began.isoformat(timespec="minutes"), seconds, load, rows)


def machine() -> dict[str, str]:
    """What it was measured on, and with; nothing that names the machine."""
    with Path("/proc/meminfo").open(encoding="ascii") as file:
        memory = int(file.readline().split()[1]) / 2**20
    return {
        "cores": str(os.cpu_count()),
        "processor": _processor(),
        "memory": f"{memory:.0f} GB",
        "Python": platform.python_version(),
        **{name: version(name) for name in VERSIONS},
        CURATOR: curator_version(),
    }


def _processor() -> str:
    names = re.findall(
        r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE
    )
    return names[0] if names else platform.machine()


def curator_version() -> str:
    """The version that was measured, with that of its Python; or that there is none."""
    python = curator_python()
    if python is None:
        return "not installed"
    asked = (
        "import platform; from importlib.metadata import version; "
        "print(version('bespokelabs-curator'), 'on Python', platform.python_version())"
    )
    return subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True).stdout.strip()


PAGE_WORDS = """# Measured

`make bench` writes this page; it is not edited by hand. What was run:

{runs}

On: {machine}.

Every comparison was taken in turn within the same minutes, on one machine, against a provider on loopback. A ratio (`x ...`) is
the median of the rounds' own ratios; "median (span)" are the rounds' own figures. `{curator}` is bespokelabs-curator in an
environment of its own, without what it would ask the network for: telemetry, its viewer, litellm's newest prices.

{table}

## What the words mean

- **CPU** is that of the process and of all it has started. The provider is a small program in C that costs next to nothing,
  and is not counted; neither is a Prefect server that runs already, which is told apart.
- **CPU per text** and **speed** are a run over many texts less one over few, so that starting costs nothing.
- **Beside an ideal schedule** is the time from the first request to the last answer, as the provider sees it, over that of a
  scheduler that fills each place the moment it is free, for the same delays.
- **Peak memory** is that of all processes of a run together, pages that they share counted once (PSS), sampled every 50 ms.
- **{plain}** is `prompt | ChatOpenAI | StrOutputParser` over the whole list, without retries; **{client}** is the openai client in a
  pool of threads. Both keep nothing before their end, and know no budget and no bill.
- `labelmill.label` is the call from Python; `labelmill run` is the command without a Prefect server, or with one that runs
  already.

## Measure it on your machine

```sh
make bench                                # ten minutes
make bench FULL=1                         # more texts, three rounds of each: two hours; ROUNDS=1 for one
make bench ONLY=whole                     # one script anew; the others' figures are those of before
python3 -m venv .venv-curator && .venv-curator/bin/pip install bespokelabs-curator   # curator's figures too
```

A C compiler is needed (on Debian, `apt-get install gcc libc6-dev`). Without `.venv-curator`, or another Python that
`make bench CURATOR=path` names, curator's cells say that it was not measured.
"""


def page(found: Sequence[Measured], on: Mapping[str, str]) -> str:
    """docs/benchmarks.md."""
    runs = [
        "| measured by | how | when (UTC) | minutes | load before, after |",
        f"|{' --- |' * 5}",
    ]
    for one in found:
        load = ", ".join(f"{value:.1f}" for value in one.load)
        rounds = max(len(row.values) for row in one.rows)
        size = f"{'full' if one.is_full else 'quick'}, {rounds} round{'s' if rounds > 1 else ''}"
        when = one.began.removesuffix("+00:00").replace("T", " ")
        runs.append(f"| `bench_{one.script}.py` | {size} | {when} | {one.seconds / 60:.1f} | {load} |")
    rows = [row for one in found for row in one.rows]
    return PAGE_WORDS.format(
        runs="\n".join(runs),
        machine=", ".join(f"{name} {value}" for name, value in on.items()),
        table=page_table(rows),
        curator=CURATOR,
        plain=PLAIN,
        client=CLIENT,
    )


def quote(rows: Iterable[Row]) -> str:
    """The block of figures in the READMEs."""
    by_who = {(row.what, row.who): row for row in rows}
    lines = [("", *QUOTED_WHO)]
    for words, begins in QUOTED.items():
        of_all = [
            next(row for (what, name), row in by_who.items() if what.startswith(begins) and name == who)
            for who in QUOTED_WHO
        ]
        lines.append((words, *(f"{number(row.median)} {row.unit}" if row.values else "-" for row in of_all)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
    return f"```text\n{table}\n```"


if __name__ == "__main__":
    main()
