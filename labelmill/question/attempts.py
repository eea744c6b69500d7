"""Attempts: what came of each request, and the outcome they add up to for a text."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Self

from labelmill.job.model import Run
from labelmill.money.usage import MAX_TOKENS, Usage
from labelmill.question.failures import FORM_KIND, POLICY_OF_KIND, UNSENT_KINDS, Policy

_MOST_USD = Decimal(10**12)
_TOKENS = tuple(field.name for field in fields(Usage))


@dataclass(frozen=True)
class Attempt:
    """One request for one text, as a line of the journal.

    Either `label` is set, or `failure` (a kind) with a `message`. `usage` is None where tokens may have been paid
    that nobody saw; `cost_usd` is None where that is so or the price is unknown, and `unseen_usd` is then what it may
    have cost at most. `seconds` is how long the provider took to answer, without our waits; None where no answer came.
    `service_tier` is the provider's, None for its standard. What stands in other parts of the ledger for its text:
    `answers_before` that were no label, and `paid_before` attempts that were or may have been paid and gave none.
    `gave_up` tells that its run had nothing left to try.

    It holds nothing that a ledger can't hold: a value of another type, a number that is none or that is too large is
    taken for unknown, and marks that are no characters are replaced.
    """

    row_key: str
    at_utc: datetime
    label: str | None = None
    failure: str | None = None
    message: str | None = None
    answered: bool = False
    confidence: float | None = None
    model: str | None = None
    usage: Usage | None = None
    cost_usd: Decimal | None = None
    unseen_usd: Decimal | None = None
    seconds: float | None = None
    answers_before: int | None = None
    paid_before: int | None = None
    service_tier: str | None = None
    gave_up: bool = False

    def __post_init__(self) -> None:
        for name, storable in _STORABLE.items():
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, storable(value))

    @property
    def was_sent(self) -> bool:
        """Whether a request left this machine. One that found no connection has reached nobody, and is in no provider's count."""
        found_nobody = self.failure == "connection" and self.usage == Usage()
        return self.failure not in UNSENT_KINDS and not found_nobody

    @property
    def is_answer(self) -> bool:
        """Whether the model's own word came back, be it a label or none; not what broke off on its way."""
        if self.label is not None:
            return True
        policy = POLICY_OF_KIND.get(self.failure or "")
        return self.answered and policy not in {Policy.RETRY, Policy.DOUBT, Policy.OTHER_FORM}

    @property
    def was_paid_in_vain(self) -> bool:
        """Whether it was, or may have been, paid and brought no answer. A refusal is free."""
        was_paid = self.usage is None or self.usage != Usage() or bool(self.cost_usd)
        return was_paid and not self.is_answer

    @property
    def is_unpriced(self) -> bool:
        """Whether something came back whose cost isn't known, for want of its tokens or of a price."""
        return self.cost_usd is None and (self.answered or self.usage not in {None, Usage()})

    def to_json(self) -> dict[str, Any]:
        """The attempt as plain JSON values, without what is None or false."""
        values = {
            **vars(self),
            "at_utc": self.at_utc.isoformat(),
            "usage": None if self.usage is None else vars(self.usage),
            "cost_usd": None if self.cost_usd is None else str(self.cost_usd),
            "unseen_usd": None if self.unseen_usd is None else str(self.unseen_usd),
        }
        return {name: value for name, value in values.items() if value is not None and value is not False}

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """Read what `to_json` made, in this version or in another: fields that are not known here are passed over.

        Raises:
            (KeyError, TypeError, ValueError, ArithmeticError): it doesn't tell of which text it is, when it was, or what
                came of it.
        """
        row_key, at_utc = values["row_key"], read_moment(values["at_utc"])
        label, failure = values.get("label"), values.get("failure")
        said = label if failure is None else failure
        if not isinstance(row_key, str) or not isinstance(said, str) or None not in {label, failure}:
            raise TypeError("not of one text, or neither a label nor a failure")
        f"{row_key}{said}".encode()
        known = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        flags = {name: known.get(name) is True for name in ("answered", "gave_up")}
        return cls(**{**known, **flags, "at_utc": at_utc})


def read_moment(value: Any) -> datetime:
    """A moment out of JSON, in UTC.

    Raises:
        (TypeError, ValueError, ArithmeticError): it is none.
    """
    moment = datetime.fromisoformat(value)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def storable_usd(value: object) -> Decimal | None:
    """An amount of money that a ledger can hold; None for anything else, which is then unknown."""
    usd = value
    if not isinstance(usd, Decimal):
        if isinstance(usd, bool) or not isinstance(usd, int | float | str):
            return None
        try:
            usd = Decimal(str(usd))
        except (InvalidOperation, ValueError):
            return None
    return usd if usd.is_finite() and 0 <= usd <= _MOST_USD else None


def _storable_words(value: object) -> str | None:
    """Words without lone surrogates, which no Parquet file can hold."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else None


def _storable_number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _storable_count(value: object) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_TOKENS
    return value if is_count else None  # type: ignore[return-value]  # it is an int


def _storable_usage(value: object) -> Usage | None:
    """Tokens; None, which is unseen, where the input's or the output's are missing or any are no number of tokens."""
    told = vars(value) if isinstance(value, Usage) else value
    if not isinstance(told, Mapping) or "input_tokens" not in told or "output_tokens" not in told:
        return None
    counts = {name: told[name] for name in _TOKENS if name in told}
    if any(_storable_count(count) is None for count in counts.values()):
        return None
    return value if isinstance(value, Usage) else Usage(**counts)


_STORABLE: Mapping[str, Callable[[object], object]] = {
    "message": _storable_words,
    "confidence": _storable_number,
    "model": _storable_words,
    "usage": _storable_usage,
    "cost_usd": storable_usd,
    "unseen_usd": storable_usd,
    "seconds": _storable_number,
    "answers_before": _storable_count,
    "paid_before": _storable_count,
    "service_tier": _storable_words,
}


@dataclass(frozen=True)
class Tried:
    """What had been tried in vain of a text that is worth asking again, before it is asked now.

    Over all runs, `answers` were no label and `paid_attempts` brought no answer though they were or may have been paid.
    `problem` is what was wrong with the latest answer, None without one; `schema_refused` tells that the endpoint would not
    take a schema. `refusals` are runs that refused the text and gave up on it; `attempts` are requests of the run that asks
    which brought no answer.
    """

    answers: int = 0
    paid_attempts: int = 0
    problem: str | None = None
    schema_refused: bool = False
    refusals: int = 0
    attempts: int = 0


@dataclass(frozen=True)
class Outcome:
    """What is known of one text after some attempts: its last attempt, what all of them came to, and whether it ends.

    `final` is False where the next run should ask again, `ended` where its own run stopped before it had tried
    everything: such a text is pending rather than failed. `unseen` counts the attempts whose tokens nobody saw, and
    `unseen_usd` is what these may have cost at most. `known_usd` is what is known of the cost, and `unpriced` counts the
    answers whose cost is not in it. `answers` and `paid_attempts` are those of these attempts alone; `problem` is what was
    wrong with the latest answer. `seconds` is how long the latest answer took, None without one. `live_cost_usd` is what
    the same tokens would have cost on the live lane, where they were paid for on the batch lane.
    """

    last: Attempt
    requests: int
    unseen: int
    usage: Usage
    known_usd: Decimal
    unseen_usd: Decimal
    final: bool
    ended: bool
    seconds: float | None = None
    live_cost_usd: Decimal | None = None
    unpriced: int = 0
    answers: int = 0
    paid_attempts: int = 0
    problem: str | None = None
    service_tier: str | None = None

    @property
    def cost_usd(self) -> Decimal | None:
        """What all of it cost; None where any part of that is unknown."""
        return None if self.unpriced else self.known_usd


def outcomes_of(attempts: Iterable[Attempt], run: Run) -> list[Outcome]:
    """Add up attempts by text, in the order the texts first appear.

    A cost that is unknown for one attempt is unknown for the text, unless no answer came: attempts whose tokens
    nobody saw are counted in `unseen`, and said so in the bill.
    """
    of_text: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        of_text.setdefault(attempt.row_key, []).append(attempt)
    return [_outcome_of(own, run) for own in of_text.values()]


def _outcome_of(own: Sequence[Attempt], run: Run) -> Outcome:
    last = own[-1]
    answers = [attempt for attempt in own if attempt.is_answer]
    # A request that was refused for its form is none of the text's.
    asked = sum(attempt.failure != FORM_KIND for attempt in own)
    paid_attempts = sum(attempt.was_paid_in_vain for attempt in own)
    final = is_final(
        last,
        len(answers) + max(attempt.answers_before or 0 for attempt in own),
        paid_attempts + max(attempt.paid_before or 0 for attempt in own),
        run,
    )
    return Outcome(
        last=last,
        requests=sum(attempt.was_sent for attempt in own),
        unseen=sum(attempt.usage is None for attempt in own),
        usage=sum((attempt.usage for attempt in own if attempt.usage is not None), Usage()),
        known_usd=sum((attempt.cost_usd or Decimal(0) for attempt in own), Decimal(0)),
        unseen_usd=sum((attempt.unseen_usd or Decimal(0) for attempt in own), Decimal(0)),
        final=final,
        ended=final
        or last.gave_up
        or (not last.is_answer and asked - len(answers) >= run.max_attempts and last.failure != FORM_KIND),
        seconds=next((attempt.seconds for attempt in reversed(own) if attempt.seconds is not None), None),
        unpriced=sum(attempt.is_unpriced for attempt in own),
        answers=len(answers),
        paid_attempts=paid_attempts,
        problem=next((attempt.failure for attempt in reversed(answers)), None),
        service_tier=next((attempt.service_tier for attempt in reversed(own) if attempt.answered), None),
    )


def is_final(last: Attempt, answers: int, paid_attempts: int, run: Run) -> bool:
    """Whether a text needs no further request, ever, after its last attempt.

    `answers` and `paid_attempts` are those of all runs. Beyond these the provider's failures are free, and no reason
    to leave a text out tomorrow. A kind that another version of Labelmill wrote is never final by itself.
    """
    if last.label is not None or POLICY_OF_KIND.get(last.failure or "") is Policy.GIVE_UP:
        return True
    return answers >= run.max_answers or paid_attempts >= run.max_attempts
