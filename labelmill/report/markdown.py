"""A run as the Prefect UI shows it: its report in Markdown, and its tables.

A table artifact is shown by two UIs: Prefect's present one takes a cell as plain text, its former one as Markdown. What comes
from outside is plain in both.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence

import polars as pl

from labelmill.question.failures import POLICY_OF_KIND
from labelmill.report.changes import (
    LIMITS_NOTE,
    MOST_LABELS,
    SAMPLE_COLUMNS,
    changes_of,
    examples_of,
    figures_of,
    gone_labels,
    label_change,
    limits_of,
    samples_table,
)
from labelmill.report.findings import Findings, PastRun
from labelmill.report.formatting import (
    BATCH_COLUMNS,
    SAID_COLUMNS,
    STATUS_WORDS,
    batches_of,
    bill_of,
    notices,
    percent,
    rows_of,
    said_of,
    usd,
    visible,
)
from labelmill.run.record import RunRecord

_ESCAPES = str.maketrans(
    {mark: f"\\{mark}" for mark in "\\`*_{}[]()#+!|~$"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
)
_LINKS = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?<=\S)(?=@)", re.IGNORECASE)
_BLOCKS = re.compile(r"^(?:(?P<code> )(?= {3})|(?P<lead> *)(?P<mark>[-=]|\d{1,9}(?=\.)))")
"""What makes a list, a rule or code of a text that nothing stands before."""
_JOINER = "\u2060"
_APART = "<!-- -->"
"""Keeps an address from becoming a link: Prefect's pages look for addresses after escapes are gone."""
_CELL_MARKS = re.compile(
    r"\\(?=[!-/:-@\[-`{-~])|[`*\[\]~]|(?<![^\W_])_|_(?![^\W_])|<(?=[a-z/!?])|&(?=#|\w+;)|^>"
    r"|^#(?=#{0,5}(?: |$))|^[-+](?=[ -]|$)",
    re.IGNORECASE,
)
_LIST_NUMBER = re.compile(r"^(\d{1,9})(?=[.)](?: |$))")
"""Both: what Markdown takes for more than text in a line that stands alone."""
_LABEL_COLUMNS = ("label", "rows", "share", "since the last run")
_FAILURE_COLUMNS = ("kind", "rows", "share of rows with text", "policy", "for example")
_COST_COUNTS = ("texts", "labeled", "failed", "requests", "input_tokens", "output_tokens")
_THOUGHTS = "reasoning_tokens"
MOST_ROWS = 300
"""Rows of one of the UI's tables; the rest is one row more."""
NOTHING_MORE = Findings()

Cells = dict[str, str]
"""A row of one of the UI's tables: a cell's words by the name of its column."""


def escaped(text: str) -> str:
    """Text from outside as plain text in Markdown: no mark, tag, link, list or line break survives.

    That holds in a table, in a line of other words, and where nothing else stands before it.
    """
    return _LINKS.sub(_APART, _BLOCKS.sub(_as_text, visible(text).translate(_ESCAPES)))


def as_cell(text: str) -> str:
    """Text from outside as a cell of a table artifact: only where Markdown would take it for more than text it is escaped.

    An address is kept from becoming a link by a character that can't be seen.
    """
    line = " ".join(visible(text).split())
    marked = _LIST_NUMBER.sub(r"\g<1>\\", _CELL_MARKS.sub(r"\\\g<0>", line))
    return _LINKS.sub(_JOINER, marked)


def _as_text(found: re.Match[str]) -> str:
    if found["code"]:
        return "&#32;"
    mark = found["mark"]
    return found["lead"] + (f"{mark}\\" if mark.isdigit() else f"\\{mark}")


def cost_report(record: RunRecord, findings: Findings = NOTHING_MORE) -> str:
    """How a run went, what it cost and what is different from the last one, in Markdown."""
    title = f"# {escaped(record.job.name)}: {STATUS_WORDS[record.status]}"
    said = [f"> {escaped(notice)}\n" for notice in notices(record)]
    model = f"Model {escaped(record.job.model.name)}, run `{record.run_id}`, labels in {escaped(record.labeled_path)}"
    parts = [title, *said, model, "## Rows", table(("", "rows"), rows_of(record))]
    parts += ["## Bill", table(("", "this run"), [(what, escaped(value)) for what, value in bill_of(record)])]
    if findings.limits:
        parts += ["## Budget", table(("limit", "at most", "spent", "used"), escape_all(limits_of(findings)))]
        parts.append(LIMITS_NOTE)
    if record.batches:
        parts += ["## Batches", table(BATCH_COLUMNS, escape_all(batches_of(record)), numbers=False)]
    if record.labels:
        parts += ["## Labels", label_distribution(record, findings.last)]
    if findings.samples:
        samples = table(SAMPLE_COLUMNS, escape_all(samples_table(record, findings)), numbers=False)
        parts += ["### Some texts of each label", samples]
    parts += ["## Since the last run", *_changes(record, findings)]
    for words, svg in figures_of(record, findings):
        parts += [f"## {words}", image(words, svg)]
    if record.failures:
        failures = [(escaped(kind), f"{count:,}") for kind, count in record.failures.items()]
        parts += ["## Failures", table(("kind", "rows"), failures)]
    if said_words := said_of(record):
        parts += ["### What was said most often", table(SAID_COLUMNS, escape_all(said_words), numbers=False)]
    if findings.examples:
        examples = table(("kind", "text", "message"), escape_all(examples_of(findings)), numbers=False)
        parts += ["### Some of the failed rows", examples]
    return "\n\n".join(parts) + "\n"


def label_distribution(record: RunRecord, last: PastRun | None = None) -> str:
    """Rows per label over the whole dataset, with percentages and the change since the last run, as a Markdown table.

    Of very many labels the largest are shown, and how many more there are.
    """
    return table(_LABEL_COLUMNS, _label_rows(record, last, MOST_LABELS, escaped))


def _label_rows(
    record: RunRecord, last: PastRun | None, most: int, plain: Callable[[str], str]
) -> list[tuple[str, ...]]:
    labels = list((record.labels or {}).items())
    rows: list[tuple[str, ...]] = [
        (
            plain(label),
            f"{count:,}",
            percent(count, record.rows_labeled),
            label_change(label, record, last) if last else "–",
        )
        for label, count in labels[:most]
    ]
    if more := labels[most:]:
        count = sum(count for _, count in more)
        rows.append((f"{len(more):,} more", f"{count:,}", percent(count, record.rows_labeled), "–"))
    return rows


def _changes(record: RunRecord, findings: Findings) -> list[str]:
    if findings.past is None:
        return ["The earlier runs could not be read."]
    last = findings.last
    if last is None:
        return ["This is the first run of this job in this folder."]
    compared = table(("", "last run", "this run", "change"), changes_of(record, last))
    when = f"Compared with run `{last.run_id}`" if re.fullmatch(r"[\w-]+", last.run_id) else "Compared"
    gone = gone_labels(record, last)
    named = [escaped(label) for label in gone[:MOST_LABELS]]
    more = f" and {len(gone) - len(named):,} more" if len(gone) > len(named) else ""
    words = f" No longer there: {', '.join(named)}{more}." if gone else ""
    return [f"{when} of {last.started_at_utc:%Y-%m-%d %H:%M} UTC.{words}", compared]


def escape_all(rows: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Rows of a table with every cell escaped."""
    return [tuple(escaped(cell) for cell in row) for row in rows]


def image(words: str, svg: str) -> str:
    """An SVG image in the page itself."""
    return f"![{words}](data:image/svg+xml;base64,{b64encode(svg.encode()).decode()})"


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]], *, numbers: bool = True) -> str:
    """A Markdown table; numbers, which stand in the columns after the first, are aligned to the right."""
    rule = [":--", *["--:" if numbers else ":--"] * (len(head) - 1)]
    lines = [head, tuple(rule), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def costs_table(costs: pl.DataFrame) -> list[Cells]:
    """Cost by chunk (on the batch lane a batch) and model, from the frame that `costs.parquet` holds.

    The lane stands there where there are two, and thoughts where there are any. The rest of very many chunks is one row.
    """
    names = ("lane",) if costs["lane"].n_unique() > 1 else ()
    counts = (*_COST_COUNTS, _THOUGHTS) if costs[_THOUGHTS].sum() else _COST_COUNTS
    rows = [
        _cost_cells(f"{row['chunk'] + 1}", row, names, counts)
        for row in costs.head(MOST_ROWS).iter_rows(named=True)
    ]
    rest = costs.slice(MOST_ROWS)
    if rest.height:
        sums = rest.select(pl.col(counts).sum(), model=pl.lit(""), lane=pl.lit("")).row(0, named=True)
        cost = None if rest["cost_usd"].null_count() else float(rest["cost_usd"].sum())
        rows.append(_cost_cells(f"{rest.height:,} more", {**sums, "cost_usd": cost}, names, counts))
    return rows


def labels_table(record: RunRecord, findings: Findings) -> list[Cells]:
    """The label distribution over the whole dataset: counts, percentages, and the change since the last run."""
    return [
        dict(zip(_LABEL_COLUMNS, row, strict=True))
        for row in _label_rows(record, findings.last, MOST_ROWS, as_cell)
    ]


def failures_table(record: RunRecord, findings: Findings) -> list[Cells]:
    """Failures by kind, what the next run does about them, and what was said of one such row."""
    said = {kind: message for kind, _, message in reversed(examples_of(findings))}
    rows: list[tuple[str, ...]] = [
        (
            as_cell(kind),
            f"{count:,}",
            percent(count, record.rows_with_text),
            POLICY_OF_KIND[kind].value.replace("_", " ") if kind in POLICY_OF_KIND else "–",
            as_cell(said.get(kind, "")),
        )
        for kind, count in (record.failures or {}).items()
    ]
    none = ("none", "0", "0.0%", "–", "")
    return [dict(zip(_FAILURE_COLUMNS, row, strict=True)) for row in rows or [none]]


def _cost_cells(chunk: str, row: Mapping[str, object], names: Sequence[str], counts: Sequence[str]) -> Cells:
    cost = row["cost_usd"]
    return {
        # The UI shows the first columns; to the others one has to scroll.
        "chunk": chunk,
        "cost": usd(cost if isinstance(cost, float) else None),
        **{name.replace("_", " "): "–" if row[name] is None else f"{row[name]:,}" for name in counts},
        **{name: str(row[name]) for name in names},
        "model": as_cell(str(row["model"] or "")),
    }
