"""What a report tells beside the record: earlier runs, the limits' use, examples of failures, how long answers took."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from labelmill.dataset.template import TextTemplate, text_of
from labelmill.money.budget import LimitUse, limit_uses
from labelmill.report.samples import Samples, samples_of
from labelmill.run.context import RunContext, spent_of_limits
from labelmill.run.optional import OptionalSteps
from labelmill.run.record import RunRecord
from labelmill.store.ledger import scan_run
from labelmill.store.working import bring

_EXAMPLES = 3
_LOOKED_INTO = 20
_TEXT_CHARACTERS = 200
_BINS = 20
_RUNNING = "running"
MOST_PAST_RUNS = 29
"""With this run they make the thirty of the cost chart."""


class PastRun(BaseModel):
    """What a report needs of an earlier run's `run.json`, whichever version wrote it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    run_id: str
    status: str
    practice: bool = False
    job: Mapping[str, Any]
    rows_total: int | None
    rows_labeled: int | None
    rows_failed: int | None
    rows_empty: int | None = 0
    rows_unreadable: int | None = 0
    cost_usd: float | None
    labels: dict[str, int] | None
    started_at_utc: datetime

    @model_validator(mode="before")
    @classmethod
    def _tell_empty_from_failed(cls, values: Any) -> Any:
        """Rows without a text counted as failures once."""
        failures = values.get("failures") if isinstance(values, dict) else None
        empty = failures.get("empty_text") if isinstance(failures, dict) else None
        if not isinstance(empty, int) or not isinstance(values.get("rows_failed"), int):
            return values
        return {**values, "rows_failed": values["rows_failed"] - empty, "rows_empty": empty}


@dataclass(frozen=True)
class Example:
    """One row that failed: the beginning of its text (None where it has none), and what was said."""

    text: str | None
    message: str


@dataclass(frozen=True)
class Findings:
    """What a report tells beside the record.

    `past` is the job's earlier runs, the oldest first; None where they could not be read. `samples` are a few texts of each
    label.
    """

    past: tuple[PastRun, ...] | None = ()
    limits: tuple[LimitUse, ...] = ()
    examples: Mapping[str, tuple[Example, ...]] = field(default_factory=dict)
    samples: Samples = field(default_factory=dict)
    seconds_bins: tuple[tuple[float, int], ...] = ()

    @property
    def last(self) -> PastRun | None:
        """The latest run before this one that published; one that failed before has no rows to compare with."""
        return next((past for past in reversed(self.past or ()) if past.labels is not None), None)


def findings_of(run: RunContext, record: RunRecord, optional: OptionalSteps) -> Findings:
    """Read what a run's report tells beside its record. The texts in it go into the report and nowhere else.

    What can't be read is left out, and `optional` says so.
    """
    return Findings(
        past=optional.take("the earlier runs", partial(past_runs, run.folder.runs, record), None, "read"),
        limits=optional.take("the limits on cost", partial(_limits_of, run, record), (), "added up"),
        examples=optional.take("the examples of failures", partial(_examples_of, run, record), {}, "read"),
        samples=optional.take("the sample texts", partial(samples_of, record), {}, "read"),
        seconds_bins=optional.take("the answers' times", partial(_bins_of, run), (), "read"),
    )


def _limits_of(run: RunContext, record: RunRecord) -> tuple[LimitUse, ...]:
    spent = spent_of_limits(run.job.run, run.folder.ledgers, run.started_at_utc, practice=run.practice)
    # Of a cost that is partly unknown the known part was spent all the same.
    known_usd = record.cost_known_usd or 0
    return tuple(limit_uses(run.job.run, Decimal(str(known_usd + record.unseen_usd)), *spent))


def _examples_of(run: RunContext, record: RunRecord) -> dict[str, tuple[Example, ...]]:
    return failure_examples(
        [bring(path) for path in record.failed_files], run.template, run.job.output.column_prefix
    )


def _bins_of(run: RunContext) -> tuple[tuple[float, int], ...]:
    return seconds_bins_of(scan_run(run.folder.ledgers, run.run_id).select("seconds").collect()["seconds"])


def past_runs(folder: Path, record: RunRecord) -> tuple[PastRun, ...]:
    """The job's latest runs before this one that came to an end, the oldest first.

    Practice and paid work are never compared with each other. A record that can't be read is passed over.
    """
    found: list[PastRun] = []
    # A run's id sorts by time.
    for path in sorted(folder.glob("*/run.json"), reverse=True):
        if path.parent.name >= record.run_id:
            continue
        try:
            past = PastRun.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            continue
        same = past.job.get("name") == record.job.name and past.practice == record.practice
        if same and past.status != _RUNNING:
            found.append(past)
            if len(found) == MOST_PAST_RUNS:
                break
    return tuple(reversed(found))


def failure_examples(
    paths: Sequence[Path], template: TextTemplate, prefix: str = ""
) -> dict[str, tuple[Example, ...]]:
    """A few rows of each kind of failure from files in `failed/`, with the beginning of their texts.

    Of very many files the first are looked into. `prefix` is what the names of their failure columns begin with.
    """
    examples: dict[str, tuple[Example, ...]] = {}
    for path in paths[:_LOOKED_INTO]:
        for kind, example in _examples_in(path, template, prefix):
            known = examples.get(kind, ())
            if len(known) < _EXAMPLES and example.text not in {other.text for other in known}:
                examples[kind] = (*known, example)
    return examples


def _examples_in(path: Path, template: TextTemplate, prefix: str) -> list[tuple[str, Example]]:
    rows = pl.scan_parquet(path, glob=False, hive_partitioning=False)
    # A text that can't be read is no column of the file.
    has_text = set(template.columns) <= set(rows.collect_schema())
    text = text_of(template) if has_text else pl.lit(None, dtype=pl.String)
    found = (
        rows.select(
            kind=pl.col(f"{prefix}failure_kind"),
            text=text.str.slice(0, _TEXT_CHARACTERS),
            message=pl.col(f"{prefix}failure_message").fill_null("").str.slice(0, _TEXT_CHARACTERS),
        )
        .unique(["kind", "text"], keep="first", maintain_order=True)
        .group_by("kind", maintain_order=True)
        .head(_EXAMPLES)
        .collect()
    )
    return [(kind, Example(text, message)) for kind, text, message in found.iter_rows()]


def seconds_bins_of(seconds: pl.Series) -> tuple[tuple[float, int], ...]:
    """How many answers took how long, as (upper end in seconds, answers).

    Bins of the same width reach to the 99th of a hundred answers; the last takes the few that took longer.
    """
    known = seconds.drop_nulls()
    if known.is_empty():
        return ()
    width = max(float(known.quantile(0.99, "higher") or 0), 1e-3) / (_BINS - 1)
    bins = (known / width).floor().clip(0, _BINS - 1).cast(pl.Int64)
    counts = dict(bins.value_counts().iter_rows())
    return tuple((width * (index + 1), counts.get(index, 0)) for index in range(_BINS))
