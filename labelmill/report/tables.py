"""A run's tables for people: rows of cells that are already words, as the Prefect UI shows them.

It reads every cell as Markdown: what comes from outside is escaped.
"""

from collections.abc import Mapping, Sequence

import polars as pl

from labelmill.question.failures import POLICY_OF_KIND
from labelmill.report.changes import examples_of, label_change
from labelmill.report.findings import Findings
from labelmill.report.formatting import percent, usd
from labelmill.report.markdown import escaped
from labelmill.run.record import RunRecord

MOST_ROWS = 300
_COUNTS = ("texts", "labeled", "failed", "requests", "input_tokens", "output_tokens")

Cells = dict[str, str]


def costs_table(costs: pl.DataFrame) -> list[Cells]:
    """Cost by chunk (on the batch lane a batch) and model, from the frame that `costs.parquet` holds.

    The lane stands there where there are two. The rest of very many chunks is one row.
    """
    names = ("lane",) if costs["lane"].n_unique() > 1 else ()
    rows = [
        _cost_cells(f"{row['chunk'] + 1}", row, names) for row in costs.head(MOST_ROWS).iter_rows(named=True)
    ]
    rest = costs.slice(MOST_ROWS)
    if rest.height:
        sums = rest.select(pl.col(_COUNTS).sum(), model=pl.lit(""), lane=pl.lit("")).row(0, named=True)
        cost = None if rest["cost_usd"].null_count() else float(rest["cost_usd"].sum())
        rows.append(_cost_cells(f"{rest.height:,} more", {**sums, "cost_usd": cost}, names))
    return rows


def labels_table(record: RunRecord, findings: Findings) -> list[Cells]:
    """The label distribution over the whole dataset: counts, percentages, and the change since the last run."""
    rows = [
        {
            "label": escaped(label),
            "rows": f"{count:,}",
            "share": percent(count, record.rows_labeled),
            "since the last run": label_change(label, record, findings.last) if findings.last else "–",
        }
        for label, count in (record.labels or {}).items()
    ]
    return _cut(rows, {"rows": "", "share": "", "since the last run": ""}, "label")


def failures_table(record: RunRecord, findings: Findings) -> list[Cells]:
    """Failures by kind, what the next run does about them, and what was said of one such row."""
    said = {kind: message for kind, _, message in reversed(examples_of(findings))}
    rows = [
        {
            "kind": kind if kind in POLICY_OF_KIND else escaped(kind),
            "rows": f"{count:,}",
            "share of the rows with a text": percent(count, record.rows_with_text),
            "policy": POLICY_OF_KIND[kind].value.replace("_", " ") if kind in POLICY_OF_KIND else "–",
            "for example": escaped(said.get(kind, "")),
        }
        for kind, count in (record.failures or {}).items()
    ]
    none = {
        "kind": "none",
        "rows": "0",
        "share of the rows with a text": "0.0%",
        "policy": "–",
        "for example": "",
    }
    blank = {name: "" for name in none if name != "kind"}
    return _cut(rows, blank, "kind") or [none]


def _cost_cells(chunk: str, row: Mapping[str, object], names: Sequence[str]) -> Cells:
    cost = row["cost_usd"]
    return {
        "chunk": chunk,
        **{name: str(row[name]) for name in names},
        "model": escaped(str(row["model"] or "")),
        **{name.replace("_", " "): f"{row[name]:,}" for name in _COUNTS},
        "cost": usd(cost if isinstance(cost, float) else None),
    }


def _cut(rows: Sequence[Cells], blank: Cells, first: str) -> list[Cells]:
    more = len(rows) - MOST_ROWS
    return [*rows[:MOST_ROWS], {first: f"{more:,} more", **blank}] if more > 0 else list(rows)
