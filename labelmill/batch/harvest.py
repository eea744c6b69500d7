"""Harvesting: a batch's answers become ledger rows, by the same rules as live ones."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice

import polars as pl

from labelmill.batch.client import BatchAnswer, BatchStatus, RowError
from labelmill.batch.record import BatchRecord
from labelmill.batch.requests import batch_form_of
from labelmill.job.model import LabelJob
from labelmill.model.answer_form import AnswerForm
from labelmill.model.answers import answer_of
from labelmill.model.endings import Judge
from labelmill.model.failures import Failure, failure_of_status
from labelmill.model.reading import LabelSet
from labelmill.money.prices import Price, cost_of
from labelmill.money.usage import Usage
from labelmill.store.attempts import Attempt, Outcome, outcomes_of

NOT_IN_RESULTS = "the batch ended without a word on this text"


@dataclass(frozen=True)
class Tried:
    """What had been tried of a text before its batch: rows without an answer, and answers that were no label."""

    attempts: int
    answers: int
    paid_attempts: int = 0


@dataclass
class Crop:
    """What came of a batch: an outcome for each text that was asked, and why no text could succeed, where that is so."""

    outcomes: list[Outcome] = field(default_factory=list)
    fatal: str | None = None


@dataclass(frozen=True)
class Reading:
    """How a batch's answers are read and priced. `worst_case_usd` is one text's, for tokens that nobody saw."""

    job: LabelJob
    form: AnswerForm
    labels: LabelSet
    price: Price | None
    live_price: Price | None
    schema_may_be_refused: bool
    worst_case_usd: Decimal | None

    @classmethod
    def of(cls, record: BatchRecord, price: Price | None, live_price: Price | None) -> "Reading":
        """As the batch's own job says."""
        job = record.job
        worst = (
            record.worst_case_usd / record.texts
            if record.worst_case_usd is not None and record.texts
            else None
        )
        form = batch_form_of(job, under_schema=record.under_schema)
        return cls(job, form, LabelSet(job.labels), price, live_price, record.under_schema, worst)

    def attempt_of(self, row: BatchAnswer, now: datetime) -> Attempt | Failure:
        """What came of one text that was asked."""
        if row.message is not None:
            answer = answer_of(row.message)
            judge = Judge(self.labels, self.form, self.price)
            return judge.attempt_of(row.row_key, answer, self.worst_case_usd)[0]
        error = row.error or RowError(None, None, "")
        found = _failure_of(error)
        if found.kind == "denied":
            return found
        unseen = found.kind == "bad_response"
        return Attempt(
            row.row_key,
            now,
            failure=found.kind,
            message=found.message,
            usage=None if unseen else Usage(),
            cost_usd=None if unseen else Decimal(0),
            unseen_usd=self.worst_case_usd if unseen else None,
        )

    def outcome_of(self, attempt: Attempt, tried: Tried) -> Outcome:
        """The ledger row of an attempt, after what had been tried before."""
        attempt = replace(attempt, answers_before=tried.answers, paid_before=tried.paid_attempts)
        (outcome,) = outcomes_of([attempt], self.job.run)
        tries = tried.attempts + (not attempt.is_answer)
        final = outcome.final
        ended = final or (not attempt.is_answer and tries >= self.job.run.max_attempts)
        if attempt.failure == "bad_request" and self.schema_may_be_refused:
            final = ended = False  # the endpoint has no schemas; the text is asked without
        live_cost = cost_of(attempt.usage, self.live_price) if attempt.answered else Decimal(0)
        return replace(outcome, final=final, ended=ended, live_cost_usd=live_cost)


def crop_of(
    answers: Iterable[BatchAnswer],
    row_keys: pl.DataFrame,
    reading: Reading,
    status: BatchStatus | None,
    completed: int = 0,
) -> Crop:
    """Match a batch's answers with the texts that were sent, by row key; anything else in them is passed over.

    Texts that a completed batch says nothing of may have been paid. Of an expired or a cancelled one they were not asked,
    but for as many as the provider counts as `completed` beyond the answers that came.
    """
    tried = {key: Tried(attempts, answers) for key, attempts, answers in row_keys.iter_rows()}
    crop, now, answered = Crop(), datetime.now(UTC), 0
    for row in answers:
        before = tried.pop(row.row_key, None)
        if before is None:
            continue
        answered += row.message is not None
        if row.error is not None and not row.error.was_executed:
            continue
        attempt = reading.attempt_of(row, now)
        if isinstance(attempt, Failure):
            crop.fatal = crop.fatal or attempt.message
        else:
            crop.outcomes.append(reading.outcome_of(attempt, before))
    lost = len(tried) if status is BatchStatus.COMPLETED else max(0, completed - answered)
    crop.outcomes += [
        reading.outcome_of(_missing(key, reading, now), before) for key, before in islice(tried.items(), lost)
    ]
    return crop


def _missing(row_key: str, reading: Reading, now: datetime) -> Attempt:
    return Attempt(
        row_key, now, failure="bad_response", message=NOT_IN_RESULTS, unseen_usd=reading.worst_case_usd
    )


def _failure_of(error: RowError) -> Failure:
    status = error.status or 0
    if status < 400:  # noqa: PLR2004  (an HTTP status of success whose body is no answer)
        return Failure("bad_response", error.message)
    return failure_of_status(status, error.code, error.message)
