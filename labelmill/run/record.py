"""The record of a run: `run.json`, counted from what was really written."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from labelmill import __version__
from labelmill.batch.record import BatchRecord
from labelmill.errors import RunStopped
from labelmill.job.model import LabelJob
from labelmill.money.prices import Price
from labelmill.run.counts import RowCounts, Seconds, Work
from labelmill.run.label_run import LabelRun
from labelmill.store.files import write_text_whole

Status = Literal[
    "running", "completed", "waiting", "budget_reached", "too_many_failures", "failed", "cancelled"
]


class BatchFacts(BaseModel):
    """One batch that a run sent, harvested or left out. `batch_id` is the provider's; `status` is the last it told.

    `step` is where it is with us: `sent` while it is out, `harvested` once its answers are in the ledger, `dropped` where
    nothing came of it and nothing was paid.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    batch_id: str | None
    step: str
    status: str | None
    texts: int
    run_id: str
    message: str | None = None


class RunRecord(BaseModel):
    """What a run leaves for those who read it later; the content of `run.json`.

    `rows_*`, `labels` and `failures` count rows of the whole dataset (`rows_reused` are those labeled by earlier runs,
    and part of `rows_labeled`); they are null where a run ended before it had published. `texts_asked`, `requests`,
    tokens and `cost_usd` are this run's work; `requests_unseen` are requests that may have been paid and whose tokens
    nobody saw, `unseen_usd` is what they may have cost at most and is not in `cost_usd`. `cost_usd` is null where it is
    unknown; with `practice` it is what the named model would have cost, and nothing was paid. `answer_seconds` is null where
    nothing was answered. `texts_by_batch` are those of `texts_asked` that the batch lane answered, and `live_cost_usd` is
    what all of this run's tokens would have cost on the live lane; `batch_price` is the batch lane's price. `batches` are
    those that the run had to do with; `texts_out` texts are in batches that the next run harvests. `other_tasks_cost_usd` is
    that part of `cost_usd` which batches of an earlier prompt, label set or model have cost that this run harvested.

    `notices` are sentences that must stand beside the numbers, such as what of the task has changed since the run before.

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
    texts_by_batch: int = 0
    live_cost_usd: float | None = None
    batch_price: dict[str, Any] | None = None
    batches: list[BatchFacts] = []
    texts_out: int = 0
    other_tasks_cost_usd: float | None = 0.0
    labels: dict[str, int] | None
    failures: dict[str, int] | None
    started_at_utc: datetime
    finished_at_utc: datetime | None
    labeled_path: str
    failed_path: str | None
    notices: list[str] = []
    labelmill_version: str = __version__


def status_of(
    rows: RowCounts, max_failed_fraction: float, stopped: RunStopped | None, out: Sequence[BatchRecord] = ()
) -> tuple[Status, str | None]:
    """How a run ends, and a sentence on it unless it completed: what stopped it, else too many failures.

    A run that was cancelled when nothing was left to ask has completed all the same. One that ends with texts in batches is
    waiting for them.
    """
    if stopped is not None and not (stopped.reason == "cancelled" and rows.total and not rows.pending):
        return stopped.reason, stopped.message  # type: ignore[return-value]  # reasons are statuses
    if rows.total and rows.failed / rows.total > max_failed_fraction:
        fraction = rows.failed / rows.total
        return "too_many_failures", (
            f"{rows.failed} of {rows.total} rows failed ({fraction:.1%}), more than max_failed_fraction = "
            f"{max_failed_fraction}; what was labeled is published"
        )
    if out:
        texts = sum(batch.texts for batch in out)
        batches = "1 batch" if len(out) == 1 else f"{len(out)} batches"
        return "waiting", (
            f"{texts:,} texts are in {batches} at the provider; the next run harvests what is done and goes on"
        )
    if rows.pending:
        return "waiting", f"{rows.pending:,} rows could not be sent yet; the next run goes on from there"
    return "completed", None


@dataclass(frozen=True)
class Prices:
    """What a job's tokens cost on each lane; None where it is unknown."""

    live: Price | None
    batch: Price | None = None


def record_of(  # noqa: PLR0913, PLR0917  (a record is where everything comes together)
    run: LabelRun,
    rows: RowCounts | None,
    work: Work,
    prices: Prices,
    ending: tuple[Status, str | None],
    finished: datetime | None,
    batches: Sequence[BatchRecord] = (),
    notices: Sequence[str] = (),
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
        price=prices.live.entry if prices.live else None,
        batch_price=prices.batch.entry if prices.batch and (batches or work.texts_by_batch) else None,
        batches=[BatchFacts.model_validate(batch, from_attributes=True) for batch in batches],
        texts_out=sum(batch.texts for batch in batches if batch.is_outstanding),
        seconds=round((finished - run.started_at_utc).total_seconds(), 3) if finished else None,
        labels=counts["labels"],
        failures=counts["failures"],
        started_at_utc=run.started_at_utc,
        finished_at_utc=finished,
        notices=list(notices),
        labeled_path=str(run.folder.labeled.absolute()),
        failed_path=str(run.folder.failed(run.run_id).absolute()) if counts["failed"] else None,
    )


def facts_of(work: Work) -> dict[str, Any]:
    """A run's work as fields of its record; money as plain numbers."""
    amounts = ("cost_usd", "live_cost_usd", "other_tasks_cost_usd", "unseen_usd")
    facts = work.model_dump()
    money = {name: None if facts[name] is None else float(facts[name]) for name in amounts}
    return {**facts, **money, "answer_seconds": work.answer_seconds}


def write_record(record: RunRecord, folder: Path) -> None:
    """Write `run.json`, whole or not at all."""
    write_text_whole(folder / "run.json", record.model_dump_json(indent=2) + "\n")


def read_record(folder: Path) -> RunRecord | None:
    """Read `run.json`; None where there is none, or one that another version of Labelmill wrote."""
    try:
        return RunRecord.model_validate_json((folder / "run.json").read_bytes())
    except (OSError, ValidationError):
        return None
