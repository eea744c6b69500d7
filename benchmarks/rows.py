"""What a benchmark finds: a row for each who, the same for people and, with --json, as data for the table of them all.

A script measures and hands its rows to `show`:

    def main() -> None:
        options = parser_of(__doc__).parse_args()
        show(measured(options), as_json=options.json)

Rows with the same `what` are one comparison, measured side by side: the first value of each belongs to the same minutes,
and so does the second. A ratio is therefore the median of the rounds' own ratios.
"""

import argparse
import json
import math
import os
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

PLAIN = "plain chain.batch"
CLIENT = "openai client"
CURATOR = "curator"
REFERENCES = (PLAIN, CLIENT, CURATOR)
"""What people write or take instead; the table has a column of ratios for each."""

NO_CURATOR = "curator is not installed"


@dataclass(frozen=True)
class Goal:
    """What is wanted of a figure, or of its ratio to another's (`of`)."""

    bound: Literal["at most", "at least"]
    value: float
    of: str = ""

    def is_reached(self, found: float) -> bool:
        """Whether a figure, or a ratio, is what is wanted."""
        if math.isclose(found, self.value):  # halves and thirds of sums come out a little off
            return True
        return found < self.value if self.bound == "at most" else found > self.value


def at_most(value: float, of: str = "") -> Goal:
    """A figure that should be small."""
    return Goal("at most", value, of)


def at_least(value: float, of: str = "") -> Goal:
    """A figure that should be large."""
    return Goal("at least", value, of)


@dataclass(frozen=True)
class Row:
    """One figure of one who: a value for each round.

    Attributes:
        what: what was measured, under which load; the same words for all that are compared.
        who: whose figure it is, such as `labelmill run` or one of `REFERENCES`.
        unit: what the values count, such as `s`, `ms`, `MB`, `texts/s`.
        values: a value for each round; none where it could not be measured.
        wanted: the goals; none for what only stands beside.
        missing: why there are no values.
    """

    what: str
    who: str
    unit: str
    values: tuple[float, ...]
    wanted: tuple[Goal, ...] = ()
    missing: str = ""

    @property
    def median(self) -> float:
        """The middle of the rounds."""
        return statistics.median(self.values)

    @property
    def figure(self) -> str:
        """The median and the span of the rounds, for people."""
        if not self.values:
            return f"not measured: {self.missing}"
        if len(self.values) == 1:
            return f"{number(self.median)} {self.unit}"
        return f"{number(self.median)} {self.unit} ({number(min(self.values))} to {number(max(self.values))})"


def number(value: float) -> str:
    """Three digits that count; whole numbers whole."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.1g}"


def ratio(row: Row, other: Row) -> float | None:
    """The median of a row's rounds over the other's; none where either was not measured, or the other's is nothing."""
    if not row.values or not other.values or 0 in other.values:
        return None
    if len(row.values) == len(other.values):
        return statistics.median(mine / theirs for mine, theirs in zip(row.values, other.values, strict=True))
    return row.median / other.median


HEADINGS = ("what", "who", "median (span)", *(f"x {name}" for name in REFERENCES), "wanted")


def cells_of(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The table's cells; a comparison's name stands in its first line."""
    by_name = {(row.what, row.who): row for row in rows}
    in_order = sorted(rows, key=lambda row: [one.what for one in rows].index(row.what))
    cells, before = [], None
    for row in in_order:
        beside = []
        for name in REFERENCES:
            other = by_name.get((row.what, name))
            if other is None or other is row or row.who in REFERENCES:
                beside.append("")
            else:
                found = ratio(row, other)
                beside.append("not measured" if found is None else number(found))
        cells.append(
            (
                "" if row.what == before else row.what,
                row.who,
                row.figure,
                *beside,
                "; ".join(_wanted(row, goal, by_name) for goal in row.wanted),
            )
        )
        before = row.what
    return cells


def _wanted(row: Row, goal: Goal, by_name: dict[tuple[str, str], Row]) -> str:
    words = f"{goal.bound} {number(goal.value)} {f'x {goal.of}' if goal.of else row.unit}"
    if goal.of:
        other = by_name.get((row.what, goal.of))
        found = other and ratio(row, other)
        told = "" if found is None else f" ({number(found)})"
    else:
        found = row.median if row.values else None
        told = ""
    if found is None:
        return f"{words}: not measured"
    return f"{words}: {'reached' if goal.is_reached(found) else 'missed'}{told}"


def text_table(rows: Sequence[Row]) -> str:
    """The table for a terminal: each comparison below its name; columns without a word are left out."""
    cells = cells_of(rows)
    used = [at for at in range(1, len(HEADINGS)) if any(line[at] for line in cells)]
    widths = {at: max(len(line[at]) for line in (HEADINGS, *cells)) for at in used}
    lines: list[str] = []
    for line in (("", *HEADINGS[1:]), *cells):
        lines += [line[0]] if line[0] else []
        lines.append("  " + "  ".join(line[at].ljust(widths[at]) for at in used).rstrip())
    return "\n".join(lines)


def page_table(rows: Sequence[Row]) -> str:
    """The table in Markdown."""
    lines = [HEADINGS, tuple("---" for _ in HEADINGS), *cells_of(rows)]
    return "\n".join(f"| {' | '.join(map(_in_a_cell, line))} |" for line in lines)


def _in_a_cell(words: str) -> str:
    return " ".join(words.split()).replace("\\", "\\\\").replace("|", "\\|")


def to_json(row: Row) -> str:
    """A row as one line of JSON."""
    return json.dumps(asdict(row))


def from_json(line: str) -> Row:
    """The row that a line says."""
    told = json.loads(line)
    goals = tuple(Goal(**goal) for goal in told["wanted"])
    return Row(**{**told, "values": tuple(told["values"]), "wanted": goals})


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """The options that every script has."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print rows as data, one a line")
    parser.add_argument(
        "--full", action="store_true", help="as many texts and rounds as the page of figures has"
    )
    parser.add_argument(
        "--rounds", type=int, help="how often each is measured; 1 by default, 3 with --full", default=None
    )
    return parser


def rounds_of(options: argparse.Namespace) -> int:
    """How often each is measured."""
    return options.rounds or (3 if options.full else 1)


def show(rows: Iterable[Row], *, as_json: bool) -> None:
    """Print what was found."""
    if as_json:
        for row in rows:
            print(to_json(row), flush=True)
    else:
        print(text_table(list(rows)), flush=True)


def progress(words: str) -> None:
    """Say on standard error what is measured now."""
    print(words, file=sys.stderr, flush=True)


def curator_python() -> str | None:
    """The Python that has curator, which `make bench CURATOR=...` names."""
    told = os.environ.get("LABELMILL_BENCH_CURATOR")
    return str(Path(told).absolute()) if told else None
