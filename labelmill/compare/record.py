"""The record of a comparison, `compare.json`: counted from what the ledger holds of it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict

from labelmill import __version__
from labelmill.compare.batch_lane import sent_by
from labelmill.compare.estimate import Estimate
from labelmill.compare.strategies import StrategyReceipt
from labelmill.errors import RunStopped
from labelmill.job.model import LabelJob
from labelmill.run.context import RunContext
from labelmill.run.counts import Seconds, work_of
from labelmill.run.record import Status, facts_of
from labelmill.store.files import write_text_whole
from labelmill.store.folder import COMPARISON
from labelmill.store.ledger import scan_parts, scan_run

_BILL = ("requests", "requests_unseen", "input_tokens", "cached_input_tokens", "output_tokens")
_MONEY = ("cost_usd", "unseen_usd")


class StrategyFigures(BaseModel):
    """What one strategy came to: `strategy` is what kind it is, `name` what people call it.

    The batch lane has no `concurrency` and no `answer_seconds`. `labeled + failed + pending` is the sample's `rows`.
    `seconds` run from the strategy's beginning to its last answer; `speed_up` is the sequential strategy's time over
    this one's, null unless both asked every row. `rows_compared` are those that have a label here and from the
    sequential strategy, `agreement_fraction` is the part of them whose labels are the same; null for the sequential
    strategy itself, and where there is nothing to compare. Costs as in `run.json`: null is unknown.
    """

    model_config = ConfigDict(frozen=True)

    strategy: str
    name: str
    concurrency: int | None
    rows: int
    labeled: int
    failed: int
    pending: int
    failures: dict[str, int]
    seconds: float | None
    rows_per_second: float | None
    speed_up: float | None
    requests: int
    requests_unseen: int
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    cost_usd: float | None
    unseen_usd: float
    answer_seconds: Seconds | None
    rows_compared: int | None
    agreement_fraction: float | None


class Comparison(BaseModel):
    """What a comparison leaves. Its `requests`, tokens and costs are those of all strategies and of the warm-up."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    status: Status
    message: str | None
    practice: bool
    job: LabelJob
    task_key: str
    rows: int
    strategies: tuple[StrategyFigures, ...]
    estimate: Estimate
    requests: int
    requests_unseen: int
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    cost_usd: float | None
    unseen_usd: float
    price: dict[str, Any] | None
    seconds: float
    started_at_utc: datetime
    finished_at_utc: datetime
    labelmill_version: str = __version__


def comparison_of(
    context: RunContext,
    rows: int,
    estimate: Estimate,
    receipts: Sequence[StrategyReceipt],
    finished: datetime,
) -> Comparison:
    """Put a comparison's record together from its ledger parts; `receipts` are the strategies', without the warm-up's."""
    run, stopped = context, context.stop_signal.stopped
    figures: list[StrategyFigures] = []
    first: tuple[StrategyFigures, Mapping[str, str]] | None = None
    for receipt in receipts:
        parts = scan_parts(list(receipt.parts)).collect()
        labels = labels_in(parts)
        mine = figures_of(receipt, parts, rows)
        if first is None:
            first = mine, labels
        else:
            mine = compared_with(mine, labels, *first)
        figures.append(mine)
    # What was stopped after its last answer has completed all the same.
    complete = bool(figures) and not any(mine.pending for mine in figures)
    ended = None if stopped and stopped.reason == "cancelled" and complete else stopped
    ended = ended or waiting_for_batches(context)
    bill = facts_of(work_of(scan_run(run.folder.ledgers, run.run_id)))
    return Comparison(
        run_id=run.run_id,
        status=ended.reason if ended else "completed",
        message=ended.message if ended else None,
        practice=run.practice,
        job=run.job,
        task_key=run.task_key,
        rows=rows,
        strategies=tuple(figures),
        estimate=estimate,
        **{name: bill[name] for name in (*_BILL, *_MONEY)},
        price=context.price.entry if context.price else None,
        seconds=round((finished - run.started_at_utc).total_seconds(), 3),
        started_at_utc=run.started_at_utc,
        finished_at_utc=finished,
    )


def waiting_for_batches(context: RunContext) -> RunStopped | None:
    """How a comparison ends whose batches are not back yet; None where none is out."""
    out = [record for record in sent_by(context) if record.is_outstanding]
    if not out:
        return None
    texts = sum(record.texts for record in out)
    return RunStopped(
        "waiting",
        f"{texts:,} texts are in a batch that is not back yet; the next run harvests what comes of it",
    )


def labels_in(parts: pl.DataFrame) -> dict[str, str]:
    """The label of each row key that has one."""
    return dict(parts.filter(pl.col("label").is_not_null()).select("row_key", "label").iter_rows())


def figures_of(receipt: StrategyReceipt, parts: pl.DataFrame, rows: int) -> StrategyFigures:
    """What a strategy's ledger rows come to, compared with nothing yet."""
    bill = facts_of(work_of(parts.lazy()))
    # Without retries a text has failed with its first failure, whatever a run would still try.
    is_failed = pl.col("label").is_null() & (pl.col("ended") if receipt.strategy.retries else True)
    failures: dict[str, int] = dict(
        parts.filter(is_failed)["error"].value_counts(sort=True, name="rows").iter_rows()
    )
    labeled, failed = len(labels_in(parts)), sum(failures.values())
    seconds = rate = None
    if parts.height:
        last: datetime = parts.select(pl.col("answered_at_utc").max()).item()
        seconds = round(max(0.0, (last - receipt.started_at_utc).total_seconds()), 3)
        rate = round((labeled + failed) / seconds, 3) if seconds else None
    return StrategyFigures(
        strategy=receipt.strategy.kind,
        name=receipt.strategy.name,
        concurrency=receipt.strategy.concurrency,
        rows=rows,
        labeled=labeled,
        failed=failed,
        pending=rows - labeled - failed,
        failures=failures,
        seconds=seconds,
        rows_per_second=rate,
        speed_up=None,
        **{name: bill[name] for name in (*_BILL, *_MONEY, "answer_seconds")},
        rows_compared=None,
        agreement_fraction=None,
    )


def compared_with(
    mine: StrategyFigures,
    labels: Mapping[str, str],
    sequential: StrategyFigures,
    sequential_labels: Mapping[str, str],
) -> StrategyFigures:
    """A strategy's figures with its speed-up over the sequential one, and how far their labels agree."""
    compared, fraction = agreement_of(labels, sequential_labels)
    speed_up = None
    if mine.seconds and sequential.seconds and not (mine.pending or sequential.pending):
        speed_up = round(sequential.seconds / mine.seconds, 3)
    return mine.model_copy(
        update={"speed_up": speed_up, "rows_compared": compared, "agreement_fraction": fraction}
    )


def agreement_of(labels: Mapping[str, str], others: Mapping[str, str]) -> tuple[int, float | None]:
    """How many texts have a label in both, and the part of them (0 to 1) whose labels are the same."""
    both = labels.keys() & others.keys()
    same = sum(labels[key] == others[key] for key in both)
    return len(both), same / len(both) if both else None


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """Write `compare.json`, whole or not at all."""
    write_text_whole(folder / COMPARISON, comparison.model_dump_json(indent=2) + "\n")
