"""The report of a run in Markdown, as the Prefect UI shows it."""

import re
from collections.abc import Iterable

from labelmill.report.wording import STATUS_WORDS, bill_of, notices, percent, rows_of, visible
from labelmill.run.record import RunRecord

_ESCAPES = str.maketrans(
    {mark: f"\\{mark}" for mark in "\\`*_{}[]()#+!|~$"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
)
_LINKS = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)", re.IGNORECASE)
_BAR_WIDTH = 20


def escaped(text: str) -> str:
    """Text from outside as plain text in a Markdown table: no mark, tag, link or line break survives."""
    return _LINKS.sub(r"\\", visible(text).translate(_ESCAPES))


def cost_report(record: RunRecord) -> str:
    """How a run went and what it cost, in Markdown."""
    title = f"# {escaped(record.job.name)}: {STATUS_WORDS[record.status]}"
    said = [f"> {escaped(notice)}\n" for notice in notices(record)]
    model = f"Model {escaped(record.job.model.name)}, run `{record.run_id}`, labels in {escaped(record.labeled_path)}"
    parts = [title, *said, model, "## Rows", table(("", "rows"), rows_of(record))]
    parts += ["## Bill", table(("", "this run"), [(what, escaped(value)) for what, value in bill_of(record)])]
    if record.labels:
        parts += ["## Labels", label_distribution(record)]
    if record.failures:
        failures = [(escaped(kind), f"{count:,}") for kind, count in record.failures.items()]
        parts += ["## Failures", table(("kind", "rows"), failures)]
    return "\n\n".join(parts) + "\n"


def label_distribution(record: RunRecord) -> str:
    """Rows per label over the whole dataset, with percentages, as a Markdown table."""
    labels = record.labels or {}
    most = max(labels.values(), default=0)
    rows = [
        (escaped(label), f"{count:,}", percent(count, record.rows_labeled), bar(count, most))
        for label, count in labels.items()
    ]
    return table(("label", "rows", "share", ""), rows)


def bar(count: int, most: int) -> str:
    """A bar of block characters; anything above zero shows at least one block."""
    return "█" * (max(1, round(_BAR_WIDTH * count / most)) if count else 0)


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table; numbers, which stand in the columns after the first, are aligned to the right."""
    rule = [":--", *["--:"] * (min(len(head), 3) - 1), *[":--"] * (len(head) - 3)]
    lines = [head, tuple(rule), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
