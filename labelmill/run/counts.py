"""What a run's files add up to: the rows of the published dataset, and the work in the ledger."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path

import polars as pl
from pydantic import BaseModel, ConfigDict

from labelmill.job.model import Run
from labelmill.store.ledger import BY_BATCH, COST_USD, LIVE_COST_USD, scan_with_journals


class RowCounts(BaseModel):
    """Rows of the whole dataset. `labeled + failed + pending + empty` is `total`.

    `labels` has all of the job's labels, also those that no row has.
    """

    model_config = ConfigDict(frozen=True)

    total: int = 0
    labeled: int = 0
    reused: int = 0
    failed: int = 0
    pending: int = 0
    empty: int = 0
    labels: dict[str, int] = {}
    failures: dict[str, int] = {}

    @property
    def with_text(self) -> int:
        """Rows that there is something to ask about: what shares of labeled and of failed rows are of."""
        return self.total - self.empty


class Seconds(BaseModel):
    """How long answers took, in seconds: half of them at most `p50`, 95 in 100 at most `p95`."""

    model_config = ConfigDict(frozen=True)

    p50: float
    p95: float
    max: float


class Work(BaseModel):
    """What one run asked and paid, as its ledger parts have it. `cost_usd` is None where any price was unknown."""

    model_config = ConfigDict(frozen=True)

    texts_asked: int = 0
    texts_labeled: int = 0
    requests: int = 0
    requests_unseen: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal | None = Decimal(0)
    unseen_usd: Decimal = Decimal(0)
    answer_seconds: Seconds | None = None
    texts_by_batch: int = 0
    live_cost_usd: Decimal | None = Decimal(0)
    other_tasks_cost_usd: Decimal | None = Decimal(0)


def count_rows(labeled: Sequence[Path], run_id: str, labels: Iterable[str] = ()) -> RowCounts:
    """Count the rows of labeled files by what became of them; `labels` are the job's, in its order."""
    scans = [pl.scan_parquet(file, hive_partitioning=False, glob=False) for file in labeled]
    return count_statuses(scans, run_id, labels)


def count_statuses(rows: Sequence[pl.LazyFrame], run_id: str, labels: Iterable[str] = ()) -> RowCounts:
    """The same of frames that hold the label columns."""
    labels = list(labels)
    if not rows:
        return RowCounts(labels=dict.fromkeys(labels, 0))
    columns = ("label", "label_status", "label_error", "label_run_id")
    groups = (
        pl.concat([frame.select(columns) for frame in rows])
        .with_columns(reused=(pl.col("label_status") == "ok") & (pl.col("label_run_id") != run_id))
        .group_by("label", "label_status", "label_error", "reused")
        .len()
        .collect()
    )
    by_status = dict(groups.group_by("label_status").agg(pl.col("len").sum()).iter_rows())
    counted = _counts_by(groups.filter(pl.col("label_status") == "ok"), "label")
    return RowCounts(
        total=sum(by_status.values()),
        labeled=by_status.get("ok", 0),
        reused=groups.filter("reused")["len"].sum(),
        failed=by_status.get("failed", 0),
        pending=by_status.get("pending", 0),
        empty=by_status.get("empty", 0),
        labels=_largest_first(dict.fromkeys(labels, 0) | counted),
        failures=_largest_first(_counts_by(groups.filter(pl.col("label_status") == "failed"), "label_error")),
    )


def _counts_by(groups: pl.DataFrame, column: str) -> dict[str, int]:
    return dict(groups.group_by(column).agg(pl.col("len").sum()).sort(column).iter_rows())


def _largest_first(counts: dict[str, int]) -> dict[str, int]:
    """The same by count; those that are equal stay in their order."""
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def work_of_run(ledgers: Path, run_id: str, task_key: str) -> Work:
    """Add up what one run asked and paid; what it harvested of other tasks' batches is in it, and told apart.

    What the disk had no place for in the ledger counts as the journals have it.
    """
    folders = sorted({path.parent for path in ledgers.glob(f"*/{run_id}-*")})
    # How often a text may be asked is nothing to the sums.
    tasks = {folder.name: scan_with_journals(folder, Run(), run_id) for folder in folders}
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
        requests=pl.col("requests").sum(),
        requests_unseen=pl.col("unseen").sum(),
        input_tokens=pl.col("input_tokens").sum(),
        cached_input_tokens=pl.col("cached_input_tokens").sum(),
        output_tokens=pl.col("output_tokens").sum(),
        cost_usd=pl.when(COST_USD.is_not_null().all()).then(COST_USD.sum()),
        unseen_usd=pl.col("unseen_usd").sum(),
        texts_by_batch=pl.col("row_key").filter(was_asked & BY_BATCH).n_unique(),
        live_cost_usd=pl.when(LIVE_COST_USD.is_not_null().all()).then(LIVE_COST_USD.sum()),
        p50=pl.col("seconds").quantile(0.5, "higher"),
        p95=pl.col("seconds").quantile(0.95, "higher"),
        max=pl.col("seconds").max(),
    ).collect()
    work = sums.row(0, named=True)
    took = {name: work.pop(name) for name in Seconds.model_fields}
    return Work(**work, answer_seconds=None if took["max"] is None else Seconds(**took))
