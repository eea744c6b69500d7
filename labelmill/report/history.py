"""What past runs cost, as a terminal shows it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from labelmill.plural import are_counted, counted
from labelmill.report.formatting import (
    BAR_CELLS,
    STATUS_WORDS,
    bar,
    cost_words,
    in_currency,
    percent_of,
    unseen_notice,
    usd,
    visible,
)
from labelmill.report.tables import FittingTable, fit_of

DAYS_SHOWN = 30
RUNS_SHOWN = 30
PRACTICE_NOTE = "nothing was paid; the cost is what the named model would have cost"
NO_RECORD = "no record"
_LEAVE_OUT = (
    "cached",
    "of these thoughts",
    "output tokens",
    "input tokens",
    "requests",
    "unseen cost",
    "saved by batches",
    "per 1,000 labels",
    "status",
    "labels",
)
"""Columns that a narrow screen has no room for, what matters least first."""
ENDINGS = {**STATUS_WORDS, "running": "running, or killed"}


@dataclass(frozen=True)
class HistoryView:
    """The history of one kind of work: its runs, days and months, and a chart of the cost per day.

    Its three tables have the same columns, as many as the widest of them has room for.
    """

    title: str
    history: Mapping[str, Any]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The tables and the chart, as wide as there is room."""
        total, room = self.history["total"], options.max_width
        runs, days = self.history["runs"][-RUNS_SHOWN:], self.history["days"][-DAYS_SHOWN:]
        earlier = len(self.history["runs"]) - len(runs), len(self.history["days"]) - len(days)
        currency = self.history.get("currency")
        tables = [
            _table("run", "run_id", runs, total, "status", currency),
            _table("day (UTC)", "day", days, currency=currency),
            _table("month (UTC)", "month", self.history["months"], currency=currency),
        ]
        fit = fit_of(tables, room)
        by_run, by_day, by_month = (Group(*table.shown(fit, room)) for table in tables)
        yield Text(visible(self.title), style="bold")
        yield by_run
        if earlier[0]:
            yield Text(f"{counted(earlier[0], 'earlier run')}: in the total and in --json")
        yield by_day
        if earlier[1]:
            yield Text(f"{counted(earlier[1], 'earlier day')}: in the months and in --json")
        yield by_month
        if fit.gone:
            yield Text(fit.words("--json has all"), style="dim")
        for said in [*notices(total), *out_words(self.history.get("out"))]:
            yield Text(visible(said), style="yellow")
        yield Text.assemble(("Cost per day", "bold"), f", the last {counted(DAYS_SHOWN, 'day')} with work")
        yield cost_chart(days, room)


def notices(total: dict[str, Any]) -> list[str]:
    """What must be said beside a total so that nobody takes it for more than it is."""
    said = []
    if total["cost_usd"] is None:
        said.append(
            f"The total is unknown: for some texts the price or the tokens are not known. "
            f"What is known comes to {usd(total['cost_known_usd'])}. --reprice looks for prices known today."
        )
    said += unseen_notice(total["requests_without_usage"], total["unseen_usd"])
    if total["requests_by_batch"]:
        said.append(
            f"{total['requests_by_batch']:,} of {total['requests']:,} requests went through the Batch API. Had all been live, "
            f"they would have cost {usd(total['live_cost_usd'])}; saved: {saved_words(total)}."
        )
    return said


def out_words(out: dict[str, Any] | None) -> list[str]:
    """What is still at the provider, and in no cost yet; nothing where nothing is."""
    if not out or not out["batches"]:
        return []
    batches = "a batch" if out["batches"] == 1 else counted(out["batches"], "batch", "batches")
    at_most = out["at_most_usd"]
    cost = "an unknown cost" if at_most is None else f"a cost of at most {usd(at_most)}"
    return [
        f"{are_counted(out['texts'], 'text')} in {batches} at the provider, at {cost}, which will count once they are harvested."
    ]


def cost_chart(days: Iterable[dict[str, Any]], room: int) -> Table:
    """A bar of block characters per day, shorter where there is little room; a day of unknown cost shows the bar of what is known of it."""
    days = list(days)
    most = max((day["cost_known_usd"] for day in days), default=0)
    words = [cost_words(day["cost_usd"], day["cost_known_usd"]) for day in days]
    beside = max((len(day["day"]) + len(cost) for day, cost in zip(days, words, strict=True)), default=0)
    chart = Table.grid(padding=(0, 2))
    for _ in range(3):
        chart.add_column(no_wrap=True, overflow="fold")
    for day, cost in zip(days, words, strict=True):
        cells = bar(day["cost_known_usd"], most, max(1, min(BAR_CELLS, room - beside - 4)))
        chart.add_row(day["day"], cells, cost)
    return chart


def ending_words(kind: str | None, status: str | None) -> str:
    """How a run ended, and whether it was a comparison or a preview."""
    words = ENDINGS.get(status or "", status) or NO_RECORD
    return words if kind in {None, "run"} else f"{kind}, {words}"


def saved_words(row: dict[str, Any]) -> str:
    """What the batch lane saved; a dash where it was not used."""
    if not row["requests_by_batch"]:
        return "–"
    saved, live = row["saved_usd"], row["live_cost_usd"]
    return usd(saved) if saved is None else f"{usd(saved)} ({percent_of(saved, live)})"


def _table(  # noqa: PLR0913, PLR0917  (a table is where it all comes together)
    heading: str,
    key: str,
    rows: Iterable[dict[str, Any]],
    total: dict[str, Any] | None = None,
    status: str | None = None,
    currency: str | None = None,
) -> FittingTable:
    rows = list(rows)
    is_repriced = any("repriced_usd" in row for row in rows)
    has_batches = any(row["requests_by_batch"] for row in rows)
    has_thoughts = any(row["reasoning_tokens"] for row in rows)
    costs = ["cost then", "cost at today's prices"] if is_repriced else ["cost"]
    if currency is not None:
        costs.insert(1, f"cost in {currency}")
    saved = ["saved by batches"] if has_batches else []

    def cells(row: dict[str, Any], *first: str) -> list[str]:
        per_thousand, cached = row["cost_per_1000_labels_usd"], row["cached_fraction"]
        unknown_rate = row["cost_usd"] is None and row["labels"]
        return [
            *first,
            f"{row['texts']:,}",
            f"{row['labels']:,}",
            f"{row['requests']:,}",
            f"{row['input_tokens']:,}",
            "–" if cached is None else f"{cached:.1%}",
            f"{row['output_tokens']:,}",
            *([f"{row['reasoning_tokens']:,}"] if has_thoughts else []),
            cost_words(row["cost_usd"], row["cost_known_usd"]),
            *([in_currency(row["cost_in_currency"], currency)] if currency is not None else []),
            *([usd(row["repriced_usd"])] if is_repriced else []),
            *([saved_words(row)] if has_batches else []),
            "unknown" if unknown_rate else ("–" if per_thousand is None else usd(per_thousand)),
            usd(row["unseen_usd"]) if row["requests_without_usage"] else "–",
        ]

    names = [heading, *(["status"] if status else [])]
    counts = ["texts", "labels", "requests", "input tokens", "cached", "output tokens"]
    counts += ["of these thoughts"] if has_thoughts else []
    return FittingTable(
        [*names, *counts, *costs, *saved, "per 1,000 labels", "unseen cost"],
        [cells(row, row[key], *([ending_words(row["kind"], row[status])] if status else [])) for row in rows],
        footers=cells(total, "total", *([""] if status else [])) if total else (),
        left=frozenset(names),
        prose=frozenset(["status", *saved]),
        leave_out=_LEAVE_OUT,
        keep=frozenset(["texts", *costs]),
        same_as={"labels": "texts", "requests": "texts", "output tokens": "texts"},
    )
