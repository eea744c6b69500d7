"""The record of a run: `run.json`, counted from what was really written."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal, Self, cast

from pydantic import BaseModel, ConfigDict, ValidationError, computed_field, model_validator

from labelmill import __version__
from labelmill.batch.record import BatchRecord
from labelmill.errors import RunStopped
from labelmill.job.model import LabelJob
from labelmill.money.prices import Currency, Price
from labelmill.plural import are_counted, counted
from labelmill.question.tokens import description_tokens_of
from labelmill.run.causes import Causes, Said, causes_sentence
from labelmill.run.context import RunContext
from labelmill.run.counts import Bill, RowCounts, Work
from labelmill.run.publication import Merged, Published, too_many_failed
from labelmill.run.row_limit import RowLimit
from labelmill.store.files import place_of, write_text_whole
from labelmill.store.working import path_at

Status = Literal[
    "running",
    "completed",
    "waiting",
    "budget_reached",
    "too_many_failures",
    "files_unreadable",
    "failed",
    "cancelled",
]
NO_CAUSES = Causes()
NO_LIMIT = RowLimit()
_NAMED_FILES = 3


class BatchFacts(BaseModel):
    """One batch that a run sent, harvested or left out."""

    model_config = ConfigDict(frozen=True)

    name: str
    """Our own name for it."""
    batch_id: str | None
    """The provider's name for it; null where it never told one."""
    step: str
    """Where it is with us: `sent` while it is out, `harvested` once its answers are in the ledger, `dropped` where nothing
    came of it and nothing was paid."""
    status: str | None
    """The last that the provider told of it."""
    texts: int
    """How many texts are in it."""
    run_id: str
    """The run that sent it."""
    message: str | None = None
    """What went wrong with it, in the provider's words."""


class UnreadableFile(BaseModel):
    """A file of the source that could not be read and was left out."""

    model_config = ConfigDict(frozen=True)

    path: str
    """Where it is."""
    column: str | None
    """Its column that can't be read; null where it is none in particular."""
    reason: str
    """A reader's words."""
    rows: int | None = None
    """How many rows it has; null where its footer can't be read either."""


class CurrencyBill(BaseModel):
    """A bill in the currency that a job is paid in, at the job's own rate."""

    model_config = ConfigDict(frozen=True)

    code: str
    """The currency, such as `CNY`."""
    usd_rate: float
    """What one US dollar is in it."""
    usd_rate_date: date
    """The day of that rate."""
    cost: float | None
    """`cost_usd` in it; null where that is."""
    cost_known: float | None
    """`cost_known_usd` in it."""
    unseen: float
    """`unseen_usd` in it."""


class Record(BaseModel):
    """What a run's record and a comparison's have in common beside the bill."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    """Names the run, and sorts by time."""
    status: Status
    """How it ended. It says `running` from the start; should the process die, the next run into the same folder makes it
    `failed` and counts what the dead run had paid for."""
    message: str | None
    """A sentence on how it ended; null where it completed with nothing left to do."""
    practice: bool
    """Whether the practice provider answered, so that nothing was paid."""
    job: LabelJob
    """The whole job as it was."""
    task_key: str
    """Names all that changes the answers; the ledger's folder."""
    price: dict[str, Any] | None
    """The price entry that live tokens were counted at, and where it comes from; null where it is unknown."""
    started_at_utc: datetime
    """When it began."""
    finished_at_utc: datetime | None
    """When it ended; null while it goes on, and where its process died."""
    seconds: float | None
    """How long it took; null like `finished_at_utc`."""
    omissions: list[str] = []
    """What could not be left or shown beside the labels, their manifest and this record, in a sentence for each reason; a run
    has them among its `notices` too."""
    labelmill_version: str = __version__
    """The version that wrote the record."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def currency(self) -> CurrencyBill | None:
        """The bill in the currency that the job's `[price]` names; null where it names none."""
        told = Currency.of(self.job.price)
        if told is None:
            return None
        bill, rate = cast("Bill", self), told.usd_rate
        return CurrencyBill(
            **vars(told),
            cost=None if bill.cost_usd is None else bill.cost_usd * rate,
            cost_known=None if bill.cost_known_usd is None else bill.cost_known_usd * rate,
            unseen=bill.unseen_usd * rate,
        )

    @model_validator(mode="after")
    def _has_its_bill(self) -> Self:
        """A bill that is not there is unknown, and never one over nothing."""
        if missing := Bill.model_fields.keys() - self.model_fields_set:
            raise ValueError(f"the record lacks {', '.join(sorted(missing))}")
        return self


class RunRecord(Work, Record):
    """What a run leaves for those who read it later; the content of `run.json`.

    `rows_*`, `labels` and `failures` count rows of the whole dataset, also where no label was replaced: they are then
    counted as this run would have published them. They are null where a run ended before it had published. The bill and
    `texts_*` are this run's work.
    """

    rows_total: int | None
    """All rows: `rows_labeled + rows_failed + rows_pending + rows_empty + rows_unreadable`."""
    rows_labeled: int | None
    """Rows that have a label."""
    rows_reused: int | None
    """Those of `rows_labeled` that earlier runs had labeled."""
    rows_failed: int | None
    """Rows whose text was given up without a label."""
    rows_pending: int | None
    """Rows whose text is still to be asked."""
    rows_empty: int | None = 0
    """Rows that have no text to ask about."""
    rows_unreadable: int | None = 0
    """Rows of `unreadable_files`, as their footers count them. What `labeled/` has of them is an earlier run's."""
    labels: dict[str, int] | None
    """Rows by label, the most frequent first; all of the job's labels, also those that no row has."""
    failures: dict[str, int] | None
    """Failed rows by kind of failure, the most frequent first."""
    texts_labeled: int | None = None
    description_tokens: int | None = None
    """About how many of `input_tokens` were what the labels mean, told by their length; null where none was told, or an
    older record doesn't say."""
    live_cost_usd: float | None = None
    batch_price: dict[str, Any] | None = None
    """The price entry that the batch lane's tokens were counted at; null where it was not used or the price is unknown."""
    batches: list[BatchFacts] = []
    """The batches that the run had to do with."""
    texts_out: int = 0
    """Texts that are in batches which the next run harvests."""
    provider_messages: list[Said] = []
    """What the provider said most often to this run's texts that got no label (where it asked none, to those that earlier
    runs gave up), a few messages."""
    wrong_answers: list[Said] = []
    """What the model answered most often to the same texts, a few answers."""
    notices: list[str] = []
    """Sentences that must stand beside the numbers, such as what of the task has changed since the run before."""
    unreadable_files: list[UnreadableFile] = []
    """The files that could not be read. They are left out, and all others are labeled and published."""
    labeled_path: str
    """Where the labels are."""
    labeled_run_id: str | None = None
    """The run whose labels are there: this one, or an earlier one whose labels this one was not to replace."""
    failed_path: str | None
    """The file of the rows that failed, the first where they are in several; null where there is none."""
    failed_paths: list[str] = []
    """All files of the rows that failed; several where the source's files have columns of different types. Empty in an older
    record, whose `failed_path` is the only one."""

    @property
    def rows_with_text(self) -> int | None:
        """Rows that there was something to ask about; shares of labeled and of failed rows are of these."""
        if self.rows_total is None:
            return None
        return self.rows_total - (self.rows_empty or 0) - (self.rows_unreadable or 0)

    @property
    def failed_files(self) -> list[Path]:
        """The files of the rows that failed, also of an older record."""
        return [
            path_at(path) for path in self.failed_paths or ([self.failed_path] if self.failed_path else [])
        ]

    @property
    def is_published(self) -> bool:
        """Whether `labeled_path` holds this run's labels."""
        return self.labeled_run_id == self.run_id


def status_of(  # noqa: PLR0913, PLR0917  (an ending depends on all of these)
    merged: Merged | None,
    max_failed_fraction: float,
    stopped: RunStopped | None,
    out: Sequence[BatchRecord] = (),
    causes: Causes = NO_CAUSES,
    unreadable: Sequence[UnreadableFile] = (),
    row_limit: RowLimit = NO_LIMIT,
) -> tuple[Status, str | None]:
    """How a run ends, and what is to be said of it unless it completed: what stopped it, else too many failures.

    A run that was cancelled when nothing was left to ask has completed all the same. One that ends with texts in batches is
    waiting for them. One that was to ask a few texts only, and has, completed; what is left is said. One that has nothing left to do but has left out files is `files_unreadable`; however a run ends, its
    sentence names them. What was said to texts that got no label stands at the end, where it is why the run ended so.
    """
    rows, kept = (merged.rows, merged.kept) if merged else (RowCounts(), None)
    status, sentence = _ending_of(rows, max_failed_fraction, stopped, out, row_limit)
    is_published = merged is not None and kept is None
    left_out = _unreadable_words(unreadable, is_published=is_published) if unreadable else None
    if sentence is None:
        if left_out is None:
            return status, None
        status, sentence, left_out = "files_unreadable", left_out, None
    sentences = [sentence]
    if kept is not None:
        sentences.append(_kept_words(kept))
    elif status == "too_many_failures":
        sentences[0] += "; what was labeled is published"
    if left_out is not None:
        sentences.append(left_out)
    if status in {"too_many_failures", "failed"}:
        sentences.append(causes_sentence(causes, besides=sentence))
    return status, ". ".join(said.rstrip(".") for said in sentences if said)


def _ending_of(
    rows: RowCounts,
    max_failed_fraction: float,
    stopped: RunStopped | None,
    out: Sequence[BatchRecord],
    row_limit: RowLimit,
) -> tuple[Status, str | None]:
    if stopped is not None and not (stopped.reason == "cancelled" and rows.total and not rows.pending):
        return stopped.reason, stopped.message  # type: ignore[return-value]  # reasons are statuses
    if too_many_failed(rows, max_failed_fraction):
        whole = counted(rows.with_text, "row") + (" with a text" if rows.empty else "")
        return "too_many_failures", (
            f"{rows.failed:,} of {whole} failed ({rows.failed / rows.with_text:.1%}), more than max_failed_fraction = "
            f"{max_failed_fraction}"
        )
    if out:
        texts = sum(batch.texts for batch in out)
        batches = counted(len(out), "batch", "batches")
        return (
            "waiting",
            f"{are_counted(texts, 'text')} in {batches} at the provider; the next run harvests what is done and goes on",
        )
    if rows.pending:
        if row_limit.rows is not None:
            return (
                "completed",
                f"{are_counted(rows.pending, 'row')} left for later runs: this one was to ask {row_limit.words()} at most",
            )
        return (
            "waiting",
            f"{counted(rows.pending, 'row')} could not be sent yet; the next run goes on from there",
        )
    return "completed", None


def _unreadable_words(unreadable: Sequence[UnreadableFile], *, is_published: bool) -> str:
    named = [
        f"{one.path!r} ({one.reason})"
        if one.column is None
        else f"the column {one.column!r} of {one.path!r} ({one.reason})"
        for one in unreadable[:_NAMED_FILES]
    ]
    more = len(unreadable) - len(named)
    files = counted(len(unreadable), "file")
    was, it = ("was", "it") if len(unreadable) == 1 else ("were", "them")
    rest = f" and {more:,} more" if more else ""
    others = "; all others are published" if is_published else ""
    return (
        f"{files} can't be read and {was} left out: {', '.join(named)}{rest}{others}; "
        f"fix {it} or take {it} out of the source, and run it again"
    )


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
            for name in ("total", "labeled", "reused", "failed", "pending", "empty", "unreadable")
        },
        **dict(work),
        description_tokens=description_tokens_of(
            run.job, work.input_tokens, work.requests, run.mean_text_tokens
        ),
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
        unreadable_files=unreadable_of(run),
        labeled_path=place_of(merged.labeled if merged else run.folder.labeled),
        labeled_run_id=by_whom,
        failed_path=None,
    )


def unreadable_of(run: RunContext) -> list[UnreadableFile]:
    """The files that a run has left out, in the source's order."""
    found = (
        [(file, run.unreadable[file]) for file in run.files if file in run.unreadable]
        if run.unreadable
        else []
    )
    return [UnreadableFile(path=place_of(file.path), **vars(fault)) for file, fault in found]


def write_record(record: RunRecord, folder: Path) -> None:
    """Write `run.json`, whole or not at all."""
    write_text_whole(folder / "run.json", record.model_dump_json(indent=2) + "\n")


def read_record(folder: Path) -> RunRecord | None:
    """Read `run.json`; None where there is none, or one that another version of Labelmill wrote."""
    try:
        return RunRecord.model_validate_json((folder / "run.json").read_bytes())
    except (OSError, ValidationError):
        return None
