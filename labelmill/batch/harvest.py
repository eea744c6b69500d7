"""Harvesting: a batch's answers become ledger rows, by the same rules as live ones, and are judged as a whole.

What a row's refusal means, the other rows tell: what only some texts get while others are answered is those texts' own,
what all get is everyone's, and so is what several get that is known to be about the account. Rows that a completed batch
says nothing of may have been paid; one more batch mends them, as a rule, and they are no sign that the provider is down.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import islice

import polars as pl

from labelmill.batch.record import BatchRecord
from labelmill.job.model import LabelJob
from labelmill.live.breaker import MOST_QUOTED, quoted
from labelmill.money.prices import Price, cost_of
from labelmill.money.usage import Usage
from labelmill.providers.failures import failure_of_status
from labelmill.providers.protocol import BatchAnswer, BatchState, BatchStatus
from labelmill.providers.refusals import Sent
from labelmill.question.answers import Answer
from labelmill.question.attempts import Attempt, Outcome, Tried, outcomes_of
from labelmill.question.failures import FORM_KIND, Failure
from labelmill.question.judge import Judge, failed_attempt
from labelmill.question.thinking import refuses_room, was_cut_in_thoughts

NOT_IN_RESULTS = "the batch ended without a word about this text"
SEVERAL = 3
"""So many texts are no coincidence."""
FEWEST_ROWS = 100
"""Rows looked back on; what becomes of fewer decides nothing."""
_REFUSALS = frozenset({"denied", "bad_request"})
_MENDED = frozenset({"rate_limited", "overloaded", FORM_KIND})
"""What is no sign that a further batch would be no better: waiting mends it, or another form."""


@dataclass(frozen=True)
class Tally:
    """A harvest in short: how many texts were asked, which kinds of failure they met, and in which words.

    `was_silent` where the batch had no word on any of its texts; `was_asked` is false where none had its turn.
    """

    rows: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    words: tuple[str, ...] = ()
    was_silent: bool = False
    was_asked: bool = True


@dataclass(frozen=True)
class HarvestResult:
    """What came of a batch: an outcome for each text that was asked, or may have been.

    `everyones` quotes the provider where it refused what no text could have caused; its texts stay pending. `of_form` is the
    refusal of a field that all were sent with, and the same texts are sent again in another form. `cut_in_thoughts` tells that
    answers ran out of room for thoughts, `room_was_refused` that none was given for as much, and that the same texts are sent
    again with less.
    """

    outcomes: Sequence[Outcome] = ()
    everyones: str | None = None
    answered: int = 0
    of_form: Failure | None = None
    tally: Tally | None = None
    cut_in_thoughts: bool = False
    room_was_refused: bool = False


@dataclass(frozen=True)
class Rows:
    """A batch's rows by what its results say of them. `silent` are those without a word."""

    answers: Mapping[str, Answer]
    failures: Mapping[str, Failure]
    not_executed: int
    silent: tuple[str, ...]

    @property
    def told(self) -> int:
        """How many rows there is a word on."""
        return len(self.answers) + len(self.failures) + self.not_executed

    def lost(self, state: BatchState) -> int:
        """How many of the silent rows were executed, or may have been: these may have been paid.

        Of a completed batch, all. Of one that ended early, as many as the provider counts beyond the answers that came,
        and where it counts nothing, all.
        """
        if state.status is BatchStatus.COMPLETED or not state.has_counts:
            return len(self.silent)
        if state.completed + state.failed <= self.told:
            return 0
        return min(len(self.silent), max(0, state.completed - len(self.answers)))

    def is_whole(self, state: BatchState) -> bool:
        """Whether there is a word on as many rows as the provider says it has finished.

        Files come late, and downloads break off: what isn't whole is not ready, and is looked at again.
        """
        counted = state.completed + state.failed
        if state.status is BatchStatus.COMPLETED and counted:
            return self.told >= min(counted, self.told + len(self.silent))
        return not self.lost(state)


def rows_in(answers: Iterable[BatchAnswer], row_keys: Iterable[str]) -> Rows:
    """Match a batch's answers with the texts that were sent, by row key; anything else in them is passed over."""
    silent = dict.fromkeys(row_keys)
    answered: dict[str, Answer] = {}
    failures: dict[str, Failure] = {}
    not_executed = 0
    for row in answers:
        if row.row_key not in silent:
            continue
        del silent[row.row_key]
        if row.answer is not None:
            answered[row.row_key] = row.answer
        elif row.error is not None and row.error.status is not None:
            failures[row.row_key] = failure_of_status(
                row.error.status, row.error.code, row.error.message, sent=Sent()
            )
        else:
            not_executed += 1
    return Rows(answered, failures, not_executed, tuple(silent))


@dataclass(frozen=True)
class AnswerReader:
    """How a batch's answers are read and priced. `worst_case_usd` is one text's, for tokens that nobody saw."""

    job: LabelJob
    judge: Judge
    live_price: Price | None
    schema_may_be_refused: bool
    worst_case_usd: Decimal | None

    @classmethod
    def of(cls, record: BatchRecord, price: Price | None, live_price: Price | None) -> "AnswerReader":
        """As the batch's own job says."""
        job = record.job
        worst = (
            record.worst_case_usd / record.texts
            if record.worst_case_usd is not None and record.texts
            else None
        )
        return cls(job, Judge.of(job, price), live_price, record.under_schema, worst)

    def attempt_of_answer(self, row_key: str, answer: Answer) -> Attempt:
        """What an answer amounts to."""
        attempt, _ = self.judge.attempt_of(row_key, answer, self.worst_case_usd)
        return attempt

    def attempt_of_failure(self, row_key: str, failure: Failure) -> Attempt:
        """What a request that got no answer amounts to. A batch's is not charged, whatever a gateway might have done live."""
        return failed_attempt(row_key, replace(failure, may_have_been_paid=False), self.worst_case_usd)

    def attempt_of_silence(self, row_key: str) -> Attempt:
        """A request that nothing came of, though it may have been paid."""
        silence = Failure("bad_response", NOT_IN_RESULTS, may_have_been_paid=True)
        return failed_attempt(row_key, silence, self.worst_case_usd)

    def outcome_of(self, attempt: Attempt, tried: Tried) -> Outcome:
        """The ledger row of an attempt, after what had been tried before. Money is added up as on the live lane."""
        attempt = replace(attempt, answers_before=tried.answers, paid_before=tried.paid_attempts)
        (outcome,) = outcomes_of([attempt], self.job.run)
        final = outcome.final
        ended = final or (not attempt.is_answer and tried.attempts + 1 >= self.job.run.max_attempts)
        if attempt.failure == "bad_request" and self.schema_may_be_refused:
            final = ended = False  # the endpoint has no schemas; the text is asked without
        was_billed = attempt.usage is not None and attempt.usage != Usage()
        # At the standard tier: some providers call the Batch API itself a tier.
        live_cost = cost_of(attempt.usage, self.live_price) if was_billed else outcome.cost_usd
        return replace(outcome, final=final, ended=ended, live_cost_usd=live_cost)


def harvest_of(  # noqa: PLR0913  (a harvest depends on all of these)
    rows: Rows,
    row_keys: pl.DataFrame,
    reader: AnswerReader,
    state: BatchState,
    *,
    others_were_answered: bool = False,
    room_can_grow: bool = False,
    room_can_shrink: bool = False,
) -> HarvestResult:
    """What came of a batch's rows, with `row_keys` as `REQUESTS_SCHEMA` has them.

    `others_were_answered` tells that other texts of the same task have had answers in this run, `room_can_grow` that texts
    whose answers ran out of room for thoughts get more: they are no sign that a further batch would be no better.
    `room_can_shrink` tells that there is less of it to ask with where it was refused.
    """
    room_was_refused = room_can_shrink and _is_of_room(rows)
    if room_was_refused:
        of_room = {key: replace(one, kind=FORM_KIND) for key, one in rows.failures.items()}
        rows = replace(rows, failures=of_room)
    tried = {row.pop("row_key"): Tried(**row) for row in row_keys.iter_rows(named=True)}
    failures, everyones = _judged(rows, reader, tried, others_were_answered=others_were_answered)
    lost = tuple(islice(rows.silent, rows.lost(state)))
    attempts = [
        *(reader.attempt_of_answer(key, answer) for key, answer in rows.answers.items()),
        *(reader.attempt_of_failure(key, failure) for key, failure in failures.items()),
        *(reader.attempt_of_silence(key) for key in lost),
    ]
    outcomes = [reader.outcome_of(attempt, tried[attempt.row_key]) for attempt in attempts]
    if everyones is not None:
        # They are as they were: what nobody gets is no text's failure.
        outcomes = [
            replace(one, ended=False) if one.last.failure == "denied" and not one.final else one
            for one in outcomes
        ]
    once = {key for key in lost if not tried[key].attempts}
    cut = {key for key, answer in rows.answers.items() if was_cut_in_thoughts(answer)}
    mended = once | (cut if room_can_grow else set())
    counted = [one for one in outcomes if one.last.row_key not in mended]
    of_form = next((one for one in failures.values() if one.kind == FORM_KIND and one.refused_field), None)
    tally = _tally_of(counted, outcomes, lost, was_told=bool(rows.told))
    return HarvestResult(outcomes, everyones, len(rows.answers), of_form, tally, bool(cut), room_was_refused)


def _is_of_room(rows: Rows) -> bool:
    """Whether no row of a batch was given the room that its answer was to have; a few alone may be too long by themselves."""
    refused = rows.failures.values()
    return not rows.answers and len(refused) >= SEVERAL and all(map(refuses_room, refused))


def _judged(
    rows: Rows, reader: AnswerReader, tried: Mapping[str, Tried], *, others_were_answered: bool
) -> tuple[Mapping[str, Failure], str | None]:
    """The failures of a batch's rows with each refusal put down to whose it is, and the words of one that is everyone's."""
    failures = dict(rows.failures)
    if rows.answers:
        # All rows of a batch are in one form, and others were answered in it: a text may read like a refusal of a field.
        failures = {
            key: replace(one, kind="denied") if one.kind == FORM_KIND else one
            for key, one in failures.items()
        }
    refused = {key: failure for key, failure in failures.items() if failure.kind in _REFUSALS}
    if reader.schema_may_be_refused:
        # Whatever an endpoint without schemas calls it: the text is asked without one.
        no_schema = {key: one for key, one in refused.items() if not one.is_account}
        failures |= {key: replace(one, kind="bad_request") for key, one in no_schema.items()}
        refused = {key: one for key, one in refused.items() if one.is_account}
    of_account = {key: one for key, one in refused.items() if one.is_account}
    # A few that are asked again by themselves have the others' answers to be measured by, and so has what was refused by
    # earlier runs too, which labeled others.
    are_known = others_were_answered and len(refused) < SEVERAL
    are_known = are_known or all(tried[key].refusals for key in refused)
    were_answered = bool(rows.answers) or are_known
    all_were_refused = bool(refused) and not rows.answers and len(refused) == len(failures)
    is_everyones = len(of_account) >= SEVERAL or (all_were_refused and (bool(of_account) or not are_known))
    # So many that the run is stopped over them may all have met the same, such as the end of the money, in whatever words.
    are_too_many = (
        rows.told >= FEWEST_ROWS
        and not are_known
        and (len(refused) > reader.job.run.stop_at_failed_fraction * rows.told)
    )
    for key, failure in refused.items():
        is_own = were_answered and not failure.is_account and not are_too_many
        failures[key] = replace(failure, kind="bad_request" if is_own else "denied")
    if not is_everyones:
        return failures, None
    spoken = of_account or refused
    words = quoted(failure.message for failure in spoken.values())
    return failures, f"the provider refused {len(spoken):,} of {rows.told:,} texts. {words}"


def _tally_of(
    counted: Sequence[Outcome], outcomes: Sequence[Outcome], lost: Sequence[str], *, was_told: bool
) -> Tally:
    failed = [one.last for one in counted if one.last.failure is not None]
    kinds = Counter(last.failure for last in failed if last.failure not in _MENDED)
    rows = sum(one.last.failure not in _MENDED for one in counted)
    words = dict.fromkeys(last.message for last in failed if last.message)
    return Tally(
        rows,
        Counter({str(kind): count for kind, count in kinds.items()}),
        tuple(islice(words, MOST_QUOTED)),
        was_silent=not was_told and len(lost) >= SEVERAL,
        was_asked=bool(outcomes),
    )


def reason_to_stop(tallies: Sequence[Tally], most_failed_fraction: float, most_in_vain: int) -> str | None:
    """A sentence where a run's harvests so far, the latest last, say that a further batch would be no better.

    Args:
        tallies: the harvests.
        most_failed_fraction: what part of the last 100 rows or more may fail. Rows that a batch has lost for the first time
            don't count: one more batch mends that.
        most_in_vain: batches in succession that may end without having asked a single text.
    """
    if len(tallies) >= 2 and tallies[-1].was_silent and tallies[-2].was_silent:  # noqa: PLR2004
        return (
            "two batches in a row were completed without a word about any of their texts; "
            "what they may have cost is counted at the worst case, and no third one is sent"
        )
    last = tallies[-most_in_vain:]
    if len(last) == most_in_vain and not any(tally.was_asked for tally in last):
        return f"the provider has ended {most_in_vain} batches in a row before asking a single text"
    rows, kinds, words = 0, Counter[str](), dict[str, None]()
    for tally in reversed(tallies):
        rows, kinds, words = rows + tally.rows, kinds + tally.failures, words | dict.fromkeys(tally.words)
        if rows >= FEWEST_ROWS:
            break
    if rows < FEWEST_ROWS or kinds.total() <= most_failed_fraction * rows:
        return None
    named = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    failed = f"{kinds.total():,} of the last {rows:,} requests failed ({named}), so the rest was not asked"
    return f"{failed}. {quoted(words)}"
