"""The record of a run: `run.json`, counted from what was really written."""

from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from labelmill import __version__
from labelmill.errors import RunStopped
from labelmill.job.model import LabelJob
from labelmill.money.prices import Price
from labelmill.run.label_run import LabelRun
from labelmill.store.files import write_text_whole
from labelmill.store.ledger import BY_BATCH, LIVE_COST_USD

Status = Literal["running", "completed", "budget_reached", "too_many_failures", "failed", "cancelled"]


class RowCounts(BaseModel):
    """Rows of the whole dataset, as `labeled/` has them. `labeled + failed + pending` is `total`."""

    model_config = ConfigDict(frozen=True)

    total: int = 0
    labeled: int = 0
    reused: int = 0
    failed: int = 0
    pending: int = 0
    labels: dict[str, int] = {}
    failures: dict[str, int] = {}


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


class RunRecord(BaseModel):
    """What a run leaves for those who read it later; the content of `run.json`.

    `rows_*`, `labels` and `failures` count rows of the whole dataset (`rows_reused` are those labeled by earlier runs,
    and part of `rows_labeled`); they are null where a run ended before it had published. `texts_asked`, `requests`,
    tokens and `cost_usd` are this run's work; `requests_unseen` are requests that may have been paid and whose tokens
    nobody saw, `unseen_usd` is what they may have cost at most and is not in `cost_usd`. `cost_usd` is null where it is
    unknown; with `practice` it is what the named model would have cost, and nothing was paid. `answer_seconds` is null where
    nothing was answered.

    A record says `running` from the start; should the process die, the next run into the same folder makes it `failed`
    and counts what the dead run had paid for.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    status: Status
    message: str | None
    practice: bool
    job: LabelJob
    task_key: str
    rows_total: int | None
    rows_labeled: int | None
    rows_reused: int | None
    rows_failed: int | None
    rows_pending: int | None
    texts_asked: int
    requests: int
    requests_unseen: int
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    cost_usd: float | None
    unseen_usd: float
    price: dict[str, Any] | None
    seconds: float | None
    answer_seconds: Seconds | None = None
    labels: dict[str, int] | None
    failures: dict[str, int] | None
    started_at_utc: datetime
    finished_at_utc: datetime | None
    labeled_path: str
    failed_path: str | None
    labelmill_version: str = __version__


def count_rows(labeled: list[Path], run_id: str) -> RowCounts:
    """Count the rows of labeled files by what became of them."""
    if not labeled:
        return RowCounts()
    columns = ("label", "label_status", "label_error", "label_run_id")
    groups = (
        pl.concat(
            [pl.scan_parquet(file, hive_partitioning=False, glob=False).select(columns) for file in labeled]
        )
        .with_columns(reused=(pl.col("label_status") == "ok") & (pl.col("label_run_id") != run_id))
        .group_by("label", "label_status", "label_error", "reused")
        .len()
        .collect()
    )
    by_status = dict(groups.group_by("label_status").agg(pl.col("len").sum()).iter_rows())
    return RowCounts(
        total=sum(by_status.values()),
        labeled=by_status.get("ok", 0),
        reused=groups.filter("reused")["len"].sum(),
        failed=by_status.get("failed", 0),
        pending=by_status.get("pending", 0),
        labels=_counts_by(groups.filter(pl.col("label_status") == "ok"), "label"),
        failures=_counts_by(groups.filter(pl.col("label_status") == "failed"), "label_error"),
    )


def _counts_by(groups: pl.DataFrame, column: str) -> dict[str, int]:
    totals = groups.group_by(column).agg(pl.col("len").sum()).sort("len", column, descending=[True, False])
    return dict(totals.iter_rows())


def work_of(parts: pl.LazyFrame) -> Work:
    """Add up ledger rows."""
    unknown = pl.col("cost_usd").is_null().any()
    sums = parts.select(
        texts_asked=pl.col("row_key").n_unique(),
        requests=pl.col("requests").sum(),
        requests_unseen=pl.col("unseen").sum(),
        input_tokens=pl.col("input_tokens").sum(),
        cached_input_tokens=pl.col("cached_input_tokens").sum(),
        output_tokens=pl.col("output_tokens").sum(),
        cost_usd=pl.when(unknown).then(None).otherwise(pl.col("cost_usd").sum()),
        unseen_usd=pl.col("unseen_usd").sum(),
        texts_by_batch=pl.col("row_key").filter(BY_BATCH).n_unique(),
        live_cost_usd=pl.when(LIVE_COST_USD.is_not_null().all()).then(LIVE_COST_USD.sum()),
        p50=pl.col("seconds").quantile(0.5, "higher"),
        p95=pl.col("seconds").quantile(0.95, "higher"),
        max=pl.col("seconds").max(),
    ).collect()
    work = sums.row(0, named=True)
    took = {name: work.pop(name) for name in Seconds.model_fields}
    return Work(**work, answer_seconds=None if took["max"] is None else Seconds(**took))


def status_of(
    rows: RowCounts, max_failed_fraction: float, stopped: RunStopped | None
) -> tuple[Status, str | None]:
    """How a run ends, and a sentence on it unless it completed: what stopped it, else too many failures.

    A run that was cancelled when nothing was left to ask has completed all the same.
    """
    if stopped is not None and not (stopped.reason == "cancelled" and rows.total and not rows.pending):
        return stopped.reason, stopped.message  # type: ignore[return-value]  # reasons are statuses
    if rows.total and rows.failed / rows.total > max_failed_fraction:
        fraction = rows.failed / rows.total
        return "too_many_failures", (
            f"{rows.failed} of {rows.total} rows failed ({fraction:.1%}), more than max_failed_fraction = "
            f"{max_failed_fraction}; what was labeled is published"
        )
    return "completed", None


def record_of(  # noqa: PLR0913, PLR0917  (a record is where everything comes together)
    run: LabelRun,
    rows: RowCounts | None,
    work: Work,
    price: Price | None,
    ending: tuple[Status, str | None],
    finished: datetime | None,
) -> RunRecord:
    """Put a run's record together. `rows` is None where nothing was published, `finished` while the run goes on."""
    status, message = ending
    counts = rows.model_dump() if rows else dict.fromkeys(RowCounts.model_fields)
    return RunRecord(
        run_id=run.run_id,
        status=status,
        message=message,
        practice=run.practice,
        job=run.job,
        task_key=run.task_key,
        **{f"rows_{name}": counts[name] for name in ("total", "labeled", "reused", "failed", "pending")},
        **facts_of(work),
        price=price.entry if price else None,
        seconds=round((finished - run.started_at_utc).total_seconds(), 3) if finished else None,
        labels=counts["labels"],
        failures=counts["failures"],
        started_at_utc=run.started_at_utc,
        finished_at_utc=finished,
        labeled_path=str(run.folder.labeled.absolute()),
        failed_path=str(run.folder.failed(run.run_id).absolute()) if counts["failed"] else None,
    )


def facts_of(work: Work) -> dict[str, Any]:
    """A run's work as fields of its record; money as plain numbers."""
    money = {
        name: None if amount is None else float(amount)
        for name, amount in (("cost_usd", work.cost_usd), ("live_cost_usd", work.live_cost_usd))
    }
    money["unseen_usd"] = float(work.unseen_usd)
    return {**work.model_dump(), **money, "answer_seconds": work.answer_seconds}


def write_record(record: RunRecord, folder: Path) -> None:
    """Write `run.json`, whole or not at all."""
    write_text_whole(folder / "run.json", record.model_dump_json(indent=2) + "\n")


def read_record(folder: Path) -> RunRecord | None:
    """Read `run.json`; None where there is none, or one that another version of Labelmill wrote."""
    try:
        return RunRecord.model_validate_json((folder / "run.json").read_bytes())
    except (OSError, ValidationError):
        return None
