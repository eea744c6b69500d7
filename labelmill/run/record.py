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
from labelmill.run.causes import Causes, Said, causes_sentence
from labelmill.run.context import RunContext
from labelmill.run.counts import RowCounts, Seconds, Work
from labelmill.run.publication import Merged, Published, too_many_failed
from labelmill.store.files import write_text_whole

Status = Literal[
    "running", "completed", "waiting", "budget_reached", "too_many_failures", "failed", "cancelled"
]
NO_CAUSES = Causes()


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
    and part of `rows_labeled`; `rows_empty` have no text to ask about); they are null where a run ended before it had
    published. `labels` has all of the job's labels, also those that no row has. `labeled_run_id` is the run whose labels
    `labeled_path` holds: this one, or an earlier one whose labels this one was not to replace; then the rows are counted as
    this run would have published them. `texts_asked`, `texts_labeled`, `requests`, tokens and `cost_usd` are this run's
    work; `provider_messages` and `wrong_answers` are what was said most often to its texts that got no label, a few of
    each (of those that earlier runs gave up, where it asked none). `requests_unseen` are requests that may have been paid and whose tokens
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
    rows_empty: int | None = 0
    texts_asked: int
    texts_labeled: int | None = None
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
    provider_messages: list[Said] = []
    wrong_answers: list[Said] = []
    started_at_utc: datetime
    finished_at_utc: datetime | None
    labeled_path: str
    labeled_run_id: str | None = None
    failed_path: str | None
    notices: list[str] = []
    labelmill_version: str = __version__

    @property
    def rows_with_text(self) -> int | None:
        """Rows that there was something to ask about; shares of labeled and of failed rows are of these."""
        return None if self.rows_total is None else self.rows_total - (self.rows_empty or 0)

    @property
    def is_published(self) -> bool:
        """Whether `labeled_path` holds this run's labels."""
        return self.labeled_run_id == self.run_id


def status_of(
    merged: Merged | None,
    max_failed_fraction: float,
    stopped: RunStopped | None,
    out: Sequence[BatchRecord] = (),
    causes: Causes = NO_CAUSES,
) -> tuple[Status, str | None]:
    """How a run ends, and what is to be said of it unless it completed: what stopped it, else too many failures.

    A run that was cancelled when nothing was left to ask has completed all the same. One that ends with texts in batches is
    waiting for them. What was said to texts that got no label stands at the end, where it is why the run ended so.
    """
    rows, kept = (merged.rows, merged.kept) if merged else (RowCounts(), None)
    status, sentence = _ending_of(rows, max_failed_fraction, stopped, out)
    if sentence is None:
        return status, None
    sentences = [sentence]
    if kept is not None:
        sentences.append(_kept_words(kept))
    elif status == "too_many_failures":
        sentences[0] += "; what was labeled is published"
    if status in {"too_many_failures", "failed"}:
        sentences.append(causes_sentence(causes, besides=sentence))
    return status, ". ".join(said.rstrip(".") for said in sentences if said)


def _ending_of(
    rows: RowCounts, max_failed_fraction: float, stopped: RunStopped | None, out: Sequence[BatchRecord]
) -> tuple[Status, str | None]:
    if stopped is not None and not (stopped.reason == "cancelled" and rows.total and not rows.pending):
        return stopped.reason, stopped.message  # type: ignore[return-value]  # reasons are statuses
    if too_many_failed(rows, max_failed_fraction):
        whole = f"{rows.with_text:,} rows" + (" with a text" if rows.empty else "")
        return "too_many_failures", (
            f"{rows.failed:,} of {whole} failed ({rows.failed / rows.with_text:.1%}), more than max_failed_fraction = "
            f"{max_failed_fraction}"
        )
    if out:
        texts = sum(batch.texts for batch in out)
        batches = "1 batch" if len(out) == 1 else f"{len(out)} batches"
        are = "1 text is" if texts == 1 else f"{texts:,} texts are"
        return (
            "waiting",
            f"{are} in {batches} at the provider; the next run harvests what is done and goes on",
        )
    if rows.pending:
        pending = "1 row" if rows.pending == 1 else f"{rows.pending:,} rows"
        return "waiting", f"{pending} could not be sent yet; the next run goes on from there"
    return "completed", None


def _kept_words(kept: Published) -> str:
    return (
        f"labeled/ still holds the labels of run {kept.run_id}, made with an earlier prompt, label set or model; "
        "they stay until this task has an answer for every row"
    )


@dataclass(frozen=True)
class Prices:
    """What a job's tokens cost on each lane; None where it is unknown."""

    live: Price | None
    batch: Price | None = None


def record_of(  # noqa: PLR0913, PLR0917  (a record is where everything comes together)
    run: RunContext,
    merged: Merged | None,
    work: Work,
    prices: Prices,
    ending: tuple[Status, str | None],
    finished: datetime | None,
    batches: Sequence[BatchRecord] = (),
    causes: Causes = NO_CAUSES,
    notices: Sequence[str] = (),
) -> RunRecord:
    """Put a run's record together. `merged` is None where nothing was published, `finished` while the run goes on."""
    status, message = ending
    counts = merged.rows.model_dump() if merged else dict.fromkeys(RowCounts.model_fields)
    by_whom = (merged.kept.run_id if merged.kept else run.run_id) if merged else None
    return RunRecord(
        run_id=run.run_id,
        status=status,
        message=message,
        practice=run.practice,
        job=run.job,
        task_key=run.task_key,
        **{
            f"rows_{name}": counts[name]
            for name in ("total", "labeled", "reused", "failed", "pending", "empty")
        },
        **facts_of(work),
        price=prices.live.entry if prices.live else None,
        batch_price=prices.batch.entry if prices.batch and (batches or work.texts_by_batch) else None,
        batches=[BatchFacts.model_validate(batch, from_attributes=True) for batch in batches],
        texts_out=sum(batch.texts for batch in batches if batch.is_outstanding),
        seconds=round((finished - run.started_at_utc).total_seconds(), 3) if finished else None,
        labels=counts["labels"],
        failures=counts["failures"],
        provider_messages=list(causes.provider_messages),
        wrong_answers=list(causes.wrong_answers),
        started_at_utc=run.started_at_utc,
        finished_at_utc=finished,
        notices=list(notices),
        labeled_path=str((merged.labeled if merged else run.folder.labeled).absolute()),
        labeled_run_id=by_whom,
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
