"""What a run's files add up to: the rows of the published dataset, and the work in the ledger."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import polars as pl
from pydantic import BaseModel, ConfigDict, model_validator

from labelmill.dataset.merge_state import Tally
from labelmill.job.model import Run
from labelmill.store.ledger import (
    BY_BATCH,
    COST_USD,
    KNOWN_USD,
    LIVE_COST_USD,
    ledgers_of_run,
    scan_with_journals,
)


class RowCounts(BaseModel):
    """Rows of the whole dataset. `labeled + failed + pending + empty + unreadable` is `total`.

    `labels` has all of the job's labels, also those that no row has.
    """

    model_config = ConfigDict(frozen=True)

    total: int = 0
    labeled: int = 0
    reused: int = 0
    failed: int = 0
    pending: int = 0
    empty: int = 0
    unreadable: int = 0
    labels: dict[str, int] = {}
    failures: dict[str, int] = {}

    @property
    def with_text(self) -> int:
        """Rows that there is something to ask about: what shares of labeled and of failed rows are of."""
        return self.total - self.empty - self.unreadable

    def and_unreadable(self, rows: int) -> Self:
        """The same with rows of files that could not be read."""
        return self.model_copy(update={"total": self.total + rows, "unreadable": self.unreadable + rows})


class AnswerSeconds(BaseModel):
    """How long answers took."""

    model_config = ConfigDict(frozen=True)

    p50: float
    """Half of them took at most so many seconds."""
    p95: float
    """95 in 100 took at most so many seconds."""
    max: float
    """The longest took so many seconds."""


class Bill(BaseModel):
    """What was sent and what it cost, as the ledger has it: the part that all records share."""

    model_config = ConfigDict(frozen=True)

    requests: int = 0
    """Requests that were sent for a text; one that ended the whole run, and was not paid, is not among them."""
    requests_without_usage: int = 0
    """Those of `requests` that may have been paid and whose tokens nobody saw, such as timeouts."""
    input_tokens: int = 0
    """Tokens that were sent, with those that the provider had cached."""
    cached_input_tokens: int = 0
    """Those of `input_tokens` that the provider had cached."""
    output_tokens: int = 0
    """Tokens that were answered, with those of thoughts."""
    reasoning_tokens: int | None = 0
    """Those of `output_tokens` that were thoughts, as far as the provider tells them apart; null where an older record or an
    older part of the ledger doesn't tell."""
    cost_usd: float | None = 0.0
    """What the tokens cost; null where any part of that is unknown. In practice nothing was paid, and it is what the
    named model would have cost."""
    cost_known_usd: float | None = 0.0
    """What is known of the cost, which is `cost_usd` where all of it is; null where an older record doesn't tell."""
    unseen_usd: float = 0.0
    """What `requests_without_usage` may have cost at most; not in `cost_usd`."""

    @model_validator(mode="before")
    @classmethod
    def _read_older(cls, values: Any) -> Any:
        """Older records call `requests_without_usage` otherwise, and know all of a cost or nothing."""
        if not isinstance(values, dict):
            return values
        values = {"cost_known_usd": values.get("cost_usd", 0.0), **values}
        if "output_tokens" in values:
            values.setdefault("reasoning_tokens", None)
        if "requests_unseen" in values:
            values.setdefault("requests_without_usage", values.pop("requests_unseen"))
        return values


class Work(Bill):
    """What one run asked and paid."""

    texts_asked: int = 0
    """Different texts that were sent."""
    texts_labeled: int | None = 0
    """Different texts that got a label; null in a record from before they were counted."""
    answer_seconds: AnswerSeconds | None = None
    """How long the provider took to answer live requests, without our own waits; null where none was answered."""
    texts_by_batch: int = 0
    """Those of `texts_asked` that the batch lane answered."""
    live_cost_usd: float | None = 0.0
    """What all of the tokens would have cost on the live lane; null where any part of that is unknown."""
    other_tasks_cost_usd: float | None = 0.0
    """The part of `cost_usd` for batches that an earlier prompt, label set or model had sent."""


BILL = {
    "requests": pl.col("requests").sum(),
    "requests_without_usage": pl.col("unseen").sum(),
    "input_tokens": pl.col("input_tokens").sum(),
    "cached_input_tokens": pl.col("cached_input_tokens").sum(),
    "output_tokens": pl.col("output_tokens").sum(),
    "reasoning_tokens": pl.when(pl.col("reasoning_tokens").is_not_null().all()).then(
        pl.col("reasoning_tokens").sum()
    ),
    "cost_usd": pl.when(COST_USD.is_not_null().all()).then(COST_USD.sum()),
    "cost_known_usd": KNOWN_USD.sum(),
    "unseen_usd": pl.col("unseen_usd").sum(),
}
"""How ledger rows add up to a `Bill`, exactly: money in the ledger's decimals."""


def rows_of(groups: Iterable[Tally], labels: Iterable[str] = ()) -> RowCounts:
    """Add the rows of labeled files up by what became of them; `labels` are the job's, in its order."""
    by_status: Counter[str] = Counter()
    by_label: Counter[str] = Counter()
    by_error: Counter[str] = Counter()
    reused = 0
    for group in groups:
        by_status[group.status] += group.rows
        if group.status == "ok":
            by_label[str(group.label)] += group.rows
            reused += 0 if group.is_new else group.rows
        elif group.status == "failed":
            by_error[str(group.error)] += group.rows
    return RowCounts(
        total=by_status.total(),
        labeled=by_status["ok"],
        reused=reused,
        failed=by_status["failed"],
        pending=by_status["pending"],
        empty=by_status["empty"],
        labels=_largest_first(dict.fromkeys(labels, 0) | dict(sorted(by_label.items()))),
        failures=_largest_first(dict(sorted(by_error.items()))),
    )


def _largest_first(counts: dict[str, int]) -> dict[str, int]:
    """The same by count; those that are equal stay in their order."""
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def work_of_run(ledgers: Path, run_id: str, task_key: str) -> Work:
    """Add up what one run asked and paid; what it harvested of other tasks' batches is in it, and told apart.

    What the disk had no place for in the ledger counts as the journals have it.
    """
    # How often a text may be asked is nothing to the sums.
    tasks = {
        folder.name: scan_with_journals(folder, Run(), run_id) for folder in ledgers_of_run(ledgers, run_id)
    }
    if not tasks:
        return Work()
    work = work_of(pl.concat(tasks.values()))
    others = [rows for name, rows in tasks.items() if name != task_key]
    if not others:
        return work
    return work.model_copy(update={"other_tasks_cost_usd": work_of(pl.concat(others)).cost_usd})


def work_of(parts: pl.LazyFrame) -> Work:
    """Add up ledger rows. A text that was given up without being sent was not asked."""
    was_asked = pl.col("requests").ne_missing(0)
    sums = parts.select(
        texts_asked=pl.col("row_key").filter(was_asked).n_unique(),
        texts_labeled=pl.col("row_key").filter(pl.col("label").is_not_null()).n_unique(),
        **BILL,
        texts_by_batch=pl.col("row_key").filter(was_asked & BY_BATCH).n_unique(),
        live_cost_usd=pl.when(LIVE_COST_USD.is_not_null().all()).then(LIVE_COST_USD.sum()),
        p50=pl.col("seconds").quantile(0.5, "higher"),
        p95=pl.col("seconds").quantile(0.95, "higher"),
        max=pl.col("seconds").max(),
    ).collect()
    work = sums.row(0, named=True)
    took = {name: work.pop(name) for name in AnswerSeconds.model_fields}
    return Work(**work, answer_seconds=None if took["max"] is None else AnswerSeconds(**took))
