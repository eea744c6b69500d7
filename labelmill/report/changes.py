"""What a report says of limits, earlier runs and single failures, the same in Markdown and on the page."""

from collections.abc import Sequence

from labelmill.report.charts import costs_chart, labels_chart, points_words, seconds_chart
from labelmill.report.findings import Findings, PastRun
from labelmill.report.formatting import MESSAGE_CELLS, count, shortened, usd
from labelmill.run.record import RunRecord

LIMITS_NOTE = "Spent includes the most that requests without a token count may have cost; the cost of a run leaves them out."
MOST_LABELS = 100
"""Labels that a report tells one by one."""
_TEXT_CELLS = 120
_SAMPLE_CELLS = 80
"""So that a text of a label stands on one line of the page."""


def limits_of(findings: Findings) -> list[tuple[str, str, str, str]]:
    """The job's limits on cost, the tightest first, as (which, limit, spent, share spent)."""
    return [
        (use.field, usd(use.limit_usd), usd(use.spent_usd), f"{use.fraction:.1%}") for use in findings.limits
    ]


def changes_of(record: RunRecord, last: PastRun) -> list[tuple[str, str, str, str]]:
    """What is different from the last run, as (what, last run, this run, change)."""
    counts = [
        ("rows in the dataset", last.rows_total, record.rows_total),
        ("labeled", last.rows_labeled, record.rows_labeled),
        ("failed", last.rows_failed, record.rows_failed),
        ("empty (no text)", last.rows_empty, record.rows_empty),
    ]
    if last.rows_unreadable or record.rows_unreadable:
        counts.append(("unreadable", last.rows_unreadable, record.rows_unreadable))
    rows = [(what, count(was), count(now), _count_change(was, now)) for what, was, now in counts]
    return [
        *rows,
        ("cost", usd(last.cost_usd), usd(record.cost_usd), _cost_change(last.cost_usd, record.cost_usd)),
    ]


def label_change(label: str, record: RunRecord, last: PastRun) -> str:
    """The change of one label's share of the labeled rows, in percentage points; `new` where only this run has any."""
    if not (last.labels or {}).get(label) and (record.labels or {}).get(label):
        return "new"
    return points_words(_share(label, record.labels) - _share(label, last.labels))


def gone_labels(record: RunRecord, last: PastRun) -> list[str]:
    """Labels that rows had after the last run and that the job no longer has."""
    return [
        label for label, rows in (last.labels or {}).items() if rows and label not in (record.labels or {})
    ]


def examples_of(findings: Findings) -> list[tuple[str, str, str]]:
    """A few failures of each kind, as (kind, beginning of the text, message)."""
    return [
        (
            kind,
            shortened(" ".join((example.text or "(no text)").split()), _TEXT_CELLS),
            shortened(" ".join(example.message.split()), MESSAGE_CELLS),
        )
        for kind, examples in findings.examples.items()
        for example in examples
    ]


SAMPLE_COLUMNS = ("label", "text")
_LONG_NAME_CELLS = 20
"""A longer label may be broken, so that its texts have room beside it."""


def samples_table(record: RunRecord, findings: Findings) -> list[tuple[str, str]]:
    """A few texts of each label, as (label, beginning of the text), the largest labels first; a label is named once."""
    return [
        ("" if index else label, shortened(text, _SAMPLE_CELLS))
        for label in list(record.labels or {})[:MOST_LABELS]
        for index, text in enumerate(findings.samples.get(label, ()))
    ]


def have_long_names(samples: Sequence[tuple[str, str]]) -> bool:
    """Whether a label of a table of samples is too long to stand on one line beside its texts."""
    return any(shortened(label, _LONG_NAME_CELLS) != label for label, _ in samples)


def label_rows(record: RunRecord) -> list[tuple[str, int]]:
    """Each label with its rows, those without rows too, the largest first; of very many the largest."""
    return list((record.labels or {}).items())[:MOST_LABELS]


def more_labels(record: RunRecord) -> tuple[int, int]:
    """How many labels are left out of `label_rows`, and how many rows they have together."""
    more = list((record.labels or {}).values())[MOST_LABELS:]
    return len(more), sum(more)


def figures_of(record: RunRecord, findings: Findings, *, has_bars: bool = False) -> list[tuple[str, str]]:
    """The charts that a report has something to show in, as (title, SVG).

    A report that `has_bars` beside its labels needs their chart only where there is a last run to compare with.
    """
    figures = []
    labels = record.labels if any((record.labels or {}).values()) else None
    if labels and findings.last:
        figures.append(("Labels compared with the last run", labels_chart(labels, findings.last.labels)))
    elif labels and not has_bars:
        figures.append(("Labels, by share of the labeled rows", labels_chart(labels)))
    if findings.past:
        costs = [(f"{past.started_at_utc:%Y-%m-%d}", past.cost_usd) for past in findings.past]
        costs.append((f"{record.started_at_utc:%Y-%m-%d}", record.cost_usd))
        figures.append((f"Cost of the last {len(costs)} runs", costs_chart(costs)))
    if findings.seconds_bins:
        figures.append(("Time to an answer", seconds_chart(findings.seconds_bins)))
    return figures


def _share(label: str, counts: dict[str, int] | None) -> float:
    counts = counts or {}
    whole = sum(counts.values())
    return counts.get(label, 0) / whole if whole else 0.0


def _count_change(was: int | None, now: int | None) -> str:
    if was is None or now is None:
        return "–"
    return f"{now - was:+,}" if now != was else "±0"


def _cost_change(was: float | None, now: float | None) -> str:
    if was is None or now is None:
        return "unknown"
    if was == now:
        return "±0"
    return ("+" if now > was else "−") + usd(abs(now - was))
