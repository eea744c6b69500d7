"""A comparison in words."""

import re
from base64 import b64decode
from xml.etree import ElementTree as ET

import pytest

from labelmill.compare.estimate import estimate_of
from labelmill.compare.strategies import strategies_of
from labelmill.providers.table import price_of
from labelmill.report.comparison import (
    ESTIMATE_HEADINGS,
    HEADINGS,
    cells_of,
    comparison_report,
    estimate_cells_of,
    estimate_sentence,
    notices,
)


@pytest.fixture
def comparison(compare, practice, job_of):
    """A small comparison by practice, of a model whose name must be escaped."""
    job = job_of(name="daily _[news](x)_", model={"name": "a|b<i>"})
    return compare(job, practice.base_url, [2], texts=["a match", "a market"])


def test_a_line_has_a_cell_for_each_heading(comparison):
    """The table's lines are as wide as its head; the sequential strategy is compared with nothing."""
    lines = [dict(zip(HEADINGS, cells_of(figures), strict=True)) for figures in comparison.strategies]
    assert [line["strategy"] for line in lines] == [
        "sequential",
        "batch, 2 at once",
        "chunks, up to 32 at once",
    ]
    assert (lines[0]["speed-up"], lines[0]["same labels"], lines[0]["failures"]) == ("–", "–", "–")
    assert lines[1]["same labels"] == "100.0% of 2"
    assert re.fullmatch(r"\d+\.\d x", lines[1]["speed-up"])
    assert {line["cost"] for line in lines} == {"unknown"}


def test_failures_and_what_was_not_asked_are_named(comparison):
    """A cell names each kind of failure, and how many texts were not asked."""
    figures = comparison.strategies[1].model_copy(
        update={"failures": {"rate_limited": 1200, "timeout": 1}, "failed": 1201, "pending": 3}
    )
    assert dict(zip(HEADINGS, cells_of(figures), strict=True))["failures"] == (
        "1,200 rate_limited, 1 timeout, 3 not asked"
    )


def test_an_unknown_price_and_practice_are_said(comparison):
    """Nobody can take practice's bill for a real one, or an unknown cost for none."""
    said = " ".join(notices(comparison))
    assert "Nothing was paid" in said
    assert "unknown, not zero" in said
    stopped = comparison.model_copy(update={"message": "max_cost_usd = 1 would be passed", "practice": False})
    assert notices(stopped)[0] == "How it ended: max_cost_usd = 1 would be passed."


def test_the_report_is_a_table_and_a_chart_without_foreign_markup(comparison):
    """Markdown with two tables and one SVG chart; names from outside are text."""
    report = comparison_report(comparison)
    assert "[news](x)" not in report
    assert "<i>" not in report
    (image,) = re.findall(r"\]\(data:image/svg\+xml;base64,([^)]+)\)", report)
    words = [element.text for element in ET.fromstring(b64decode(image)).iter() if element.text]  # noqa: S314  (our own)
    assert "sequential" in words
    assert any("rows/s" in word for word in words)
    assert report.count("| strategy |") == 2


def test_what_it_will_cost_is_one_sentence(job_of):
    """The sentence tells texts, requests, cost, the most, and the limits that stop it."""
    job = job_of(run={"max_cost_usd": 0.5, "max_cost_usd_per_day": 2})
    strategies, price = strategies_of(job, [2]), price_of(job.model, None)
    estimate = estimate_of(job, ["a match", "a market"], strategies, price)
    said = estimate_sentence(estimate, 2, job.run, practice=False)
    assert said.startswith("2 texts, 7 requests: about $0.0000")
    assert said.endswith("; it stops at max_cost_usd = 0.5 and max_cost_usd_per_day = 2.0")
    unknown = estimate_sentence(estimate_of(job, ["a"], strategies, None), 1, job_of().run, practice=False)
    assert "the cost is unknown" in unknown
    assert "stops" not in unknown
    lines = estimate_cells_of(estimate)
    assert {len(line) for line in lines} == {len(ESTIMATE_HEADINGS)}
    assert lines[-1][:3] == ("total", "7", str(1 + 2 + 2 + 14))
