"""The record of a comparison, `compare.json`: counted from what the ledger holds of it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import polars as pl

from labelmill.compare.batch_lane import sent_by
from labelmill.compare.estimate import Estimate
from labelmill.compare.strategies import StrategyReceipt
from labelmill.errors import RunStopped
from labelmill.plural import are_counted
from labelmill.run.context import RunContext
from labelmill.run.counts import AnswerSeconds, Bill, work_of
from labelmill.run.record import Record
from labelmill.store.files import write_text_whole
from labelmill.store.folder import COMPARISON
from labelmill.store.ledger import scan_parts, scan_run


class StrategyFigures(Bill):
    """What one strategy came to. `labeled + failed + pending` is `rows`."""

    strategy: str
    """What kind of strategy it is, for programs."""
    name: str
    """What people call it."""
    concurrency: int | None
    """The most requests in flight; null on the batch lane, where the provider decides."""
    rows: int
    """The texts of the sample."""
    labeled: int
    """Those that got a label."""
    failed: int
    """Those that were given up; by a strategy that does not ask again, after their first failure."""
    pending: int
    """Those that were not asked, or are to be asked again."""
    failures: dict[str, int]
    """Failed texts by kind of failure, the most frequent first."""
    seconds: float | None
    """From the strategy's beginning to its last answer; null where nothing was answered."""
    rows_per_second: float | None
    """Labeled and failed texts a second."""
    speed_up: float | None
    """The sequential strategy's time over this one's; null unless both asked every text, and for that one itself."""
    answer_seconds: AnswerSeconds | None
    """How long its live answers took; null where there is none."""
    rows_compared: int | None
    """Texts that have a label here and from the sequential strategy; null for that one itself."""
    agreement_fraction: float | None
    """The part of `rows_compared` whose labels are the same; null where there is nothing to compare."""


class Comparison(Bill, Record):
    """What a comparison leaves; the content of `compare.json`. Its bill is that of all strategies and of the warm-up."""

    rows: int
    """The texts of the sample."""
    strategies: tuple[StrategyFigures, ...]
    """What each strategy came to, in the order they were tried."""
    estimate: Estimate
    """What it was expected to cost before it began."""


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
    work = work_of(scan_run(run.folder.ledgers, run.run_id))
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
        **work.model_dump(include=set(Bill.model_fields)),
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
        f"{are_counted(texts, 'text')} in a batch that is not back yet; the next run harvests what comes of it",
    )


def labels_in(parts: pl.DataFrame) -> dict[str, str]:
    """The label of each row key that has one."""
    return dict(parts.filter(pl.col("label").is_not_null()).select("row_key", "label").iter_rows())


def figures_of(receipt: StrategyReceipt, parts: pl.DataFrame, rows: int) -> StrategyFigures:
    """What a strategy's ledger rows come to, compared with nothing yet."""
    work = work_of(parts.lazy())
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
        **work.model_dump(include=set(Bill.model_fields)),
        answer_seconds=work.answer_seconds,
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
