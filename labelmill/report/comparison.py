"""A comparison as people read it: cells, sentences, and the report that the Prefect UI shows."""

from labelmill.compare.estimate import Amounts, Estimate
from labelmill.compare.record import Comparison, StrategyFigures
from labelmill.job.model import Run
from labelmill.plural import counted
from labelmill.report.charts import rates_chart
from labelmill.report.formatting import (
    STATUS_WORDS,
    duration,
    ending_notice,
    money,
    price_notice,
    seconds_words,
    unseen_notice,
    usd,
)
from labelmill.report.markdown import escape_all, escaped, image, table
from labelmill.report.tables import FittingTable

HEADINGS = (
    "strategy",
    "time",
    "rows/s",
    "speed-up",
    "requests",
    "input tokens",
    "output tokens",
    "cost",
    "failures",
    "same labels",
)
ESTIMATE_HEADINGS = ("strategy", "requests", "at most", "cost, about", "cost, at most")


def cells_of(figures: StrategyFigures) -> tuple[str, ...]:
    """A strategy's line of the table, one cell for each of `HEADINGS`."""
    return (
        figures.name,
        _time_words(figures.seconds),
        "–" if figures.rows_per_second is None else f"{figures.rows_per_second:,.1f}",
        "–" if figures.speed_up is None else f"{figures.speed_up:.1f} x",
        f"{figures.requests:,}",
        f"{figures.input_tokens:,}",
        _answered_words(figures),
        usd(figures.cost_usd),
        failures_words(figures),
        agreement_words(figures),
    )


def strategies_table(comparison: Comparison) -> FittingTable:
    """The strategies side by side, for a terminal."""
    return FittingTable(
        HEADINGS,
        [cells_of(figures) for figures in comparison.strategies],
        left=frozenset({"strategy"}),
        prose=frozenset({"strategy", "failures", "same labels"}),
        leave_out=(
            "output tokens",
            "input tokens",
            "rows/s",
            "requests",
            "speed-up",
            "same labels",
            "failures",
        ),
        keep=frozenset({"time", "cost"}),
    )


def estimate_table(estimate: Estimate) -> FittingTable:
    """What a comparison will cost, for a terminal; the sum is last."""
    names = frozenset({"strategy"})
    return FittingTable(
        ESTIMATE_HEADINGS,
        estimate_cells_of(estimate),
        left=names,
        prose=names,
        leave_out=("at most", "requests"),
        keep=frozenset({"cost, about", "cost, at most"}),
        more="the sentence below sums it up",
    )


def _time_words(seconds: float | None) -> str:
    """A time to compare: in milliseconds below a second."""
    return duration(seconds) if seconds is None or seconds >= 1 else seconds_words(seconds)


def _answered_words(figures: StrategyFigures) -> str:
    """The tokens that were answered; of how many thoughts they are, where there are any."""
    thoughts = f" ({figures.reasoning_tokens:,} thoughts)" if figures.reasoning_tokens else ""
    return f"{figures.output_tokens:,}{thoughts}"


def failures_words(figures: StrategyFigures) -> str:
    """What became of the rows without a label: `2 rate_limited, 40 not asked`; a dash where all have one."""
    parts = [f"{count:,} {kind}" for kind, count in figures.failures.items()]
    if figures.pending:
        parts.append(f"{figures.pending:,} not asked")
    return ", ".join(parts) or "–"


def agreement_words(figures: StrategyFigures) -> str:
    """How many labels are those of the sequential strategy, and of how many: `99.0% of 98`."""
    if figures.agreement_fraction is None:
        return "–"
    return f"{figures.agreement_fraction:.1%} of {figures.rows_compared:,}"


def estimate_cells_of(estimate: Estimate) -> list[tuple[str, ...]]:
    """The lines of the table of what a comparison will cost, one cell for each of `ESTIMATE_HEADINGS`; the sum is last."""
    lines: list[tuple[str, Amounts]] = [(part.name, part) for part in estimate.strategies]
    return [
        (name, f"{part.requests:,}", f"{part.max_requests:,}", usd(part.cost_usd), usd(part.max_cost_usd))
        for name, part in [*lines, ("total", estimate)]
    ]


def estimate_sentence(estimate: Estimate, rows: int, run: Run, *, practice: bool) -> str:
    """What a comparison will send and cost, and which of the job's limits stop it."""
    if estimate.cost_usd is None:
        cost = "the cost is unknown because the model's price is; add a [price] section to the job"
    else:
        cost = f"about {usd(estimate.cost_usd)}, at most {usd(estimate.max_cost_usd)}"
    if practice:
        cost += " (practice: nothing is paid)"
    limits = [
        f"{name} = {value}"
        for name in ("max_cost_usd", "max_cost_usd_per_day", "max_cost_usd_per_month")
        if (value := getattr(run, name)) is not None
    ]
    held = f"; it stops at {' and '.join(limits)}" if limits else ""
    return f"{counted(rows, 'text')}, {counted(estimate.requests, 'request')}: {cost}{held}"


def notices(comparison: Comparison) -> list[str]:
    """What must be said beside the numbers so that nobody takes them for more than they are."""
    model = comparison.job.model.name
    said = [*ending_notice(comparison), *(f"{omission}." for omission in comparison.omissions)]
    if comparison.practice:
        said.append(
            "Practice: the answers come from Labelmill's practice provider, as fast as its settings make it. Nothing was "
            f"paid. Tokens are its own estimate, and the cost is what {model} would have cost."
        )
    if comparison.price is None:
        said.append(price_notice(comparison))
    return said + unseen_notice(comparison.requests_without_usage, comparison.unseen_usd)


def total_sentence(comparison: Comparison) -> str:
    """What the whole comparison came to."""
    return (
        f"{counted(comparison.rows, 'text')} by {counted(len(comparison.strategies), 'strategy', 'strategies')} in "
        f"{duration(comparison.seconds)}: {counted(comparison.requests, 'request')} with the warm-up's, "
        f"{money(comparison.cost_usd, comparison)}"
    )


def speed_chart(comparison: Comparison) -> str:
    """Rows per second by strategy, as an SVG image."""
    rates = [
        (
            figures.name,
            figures.rows_per_second,
            "–"
            if figures.rows_per_second is None
            else f"{figures.rows_per_second:,.1f} rows/s"
            + ("" if figures.speed_up is None else f" ({figures.speed_up:.1f} x)"),
        )
        for figures in comparison.strategies
    ]
    return rates_chart(rates, "Rows per second")


def comparison_report(comparison: Comparison) -> str:
    """A comparison in Markdown, with its table and chart."""
    parts = [
        f"# {escaped(comparison.job.name)}: strategies compared, {STATUS_WORDS[comparison.status]}",
        *(f"> {escaped(notice)}\n" for notice in notices(comparison)),
        f"Model {escaped(comparison.job.model.name)}, comparison `{comparison.run_id}`",
        table(HEADINGS, escape_all(cells_of(figures) for figures in comparison.strategies)),
        escaped(total_sentence(comparison)),
        "## Rows per second",
        image("Rows per second", speed_chart(comparison)),
        "## What it was expected to cost",
        table(ESTIMATE_HEADINGS, escape_all(estimate_cells_of(comparison.estimate))),
    ]
    return "\n\n".join(parts) + "\n"
