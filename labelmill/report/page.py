"""`report.html`: the report of a run as one page that opens without a network."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from labelmill.report import changes, formatting
from labelmill.report.charts import XMLNS
from labelmill.report.findings import Findings
from labelmill.report.formatting import duration, percent, visible
from labelmill.run.record import RunRecord

NOTHING_MORE = Findings()


Figures = Sequence[tuple[str, str]]
"""Charts as (title, SVG)."""


def page_figures(record: RunRecord, findings: Findings = NOTHING_MORE) -> Figures:
    """The charts of the page."""
    return changes.figures_of(record, findings, has_bars=True)


def report_page(record: RunRecord, findings: Findings = NOTHING_MORE, figures: Figures | None = None) -> str:
    """A run's report as a self-contained HTML page. Everything from outside is escaped.

    `figures` are `page_figures`, for who has drawn them already.
    """
    if figures is None:
        figures = page_figures(record, findings)
    return _template().render(
        record=record,
        findings=findings,
        changes=changes,
        formatting=formatting,
        tiles=_tiles(record),
        # The bill without its one long line, which stands below it.
        bill=[(what, value) for what, value in formatting.bill_of(record) if what != "price"],
        # In a page an SVG needs no namespace, and its words take the page's colour.
        figures=[(words, svg.replace(XMLNS, "")) for words, svg in figures],
    )


def _tiles(record: RunRecord) -> list[tuple[str, str]]:
    """What most readers come for, in large."""
    return [
        (
            percent(record.rows_labeled, record.rows_with_text),
            f"of the rows{_which(record)} labeled",
        ),
        (f"{record.texts_asked:,}", "texts asked"),
        (
            formatting.money(record.cost_usd, record),
            "cost, had it been paid" if record.practice else "cost of this run",
        ),
        (duration(record.seconds), "time"),
    ]


def _which(record: RunRecord) -> str:
    if record.rows_unreadable:
        return " that can be read"
    return " with a text" if record.rows_empty else ""


@cache
def _template() -> Template:
    pages = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_plain,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return pages.get_template("page.html.j2")


def _plain(value: Any) -> Any:
    """Text from outside on one line and in its own direction; what is a piece of the page already stays as it is."""
    return value if hasattr(value, "__html__") else visible(str(value))
