"""Attempts: what came of each request, and the outcome they add up to for a text."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Self

from labelmill.job.model import Run
from labelmill.model.failures import POLICY_OF_KIND, Policy
from labelmill.money.usage import Usage


@dataclass(frozen=True)
class Attempt:
    """One request for one text, as a line of the journal.

    Either `label` is set, or `failure` (a kind) with a `message`. `usage` is None where tokens may have been paid
    that nobody saw; `cost_usd` is None where that is so or the price is unknown, and `unseen_usd` is then what it may
    have cost at most. `seconds` is how long the provider took to answer, without our waits; None where no answer came.
    `answers_before` are those to its text that were no label and are in another part of the ledger, where there are any.
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
    gave_up: bool = False

    def to_json(self) -> dict[str, Any]:
        """The attempt as plain JSON values, without what is None."""
        values = {
            **vars(self),
            "at_utc": self.at_utc.isoformat(),
            "usage": None if self.usage is None else vars(self.usage),
            "cost_usd": None if self.cost_usd is None else str(self.cost_usd),
            "unseen_usd": None if self.unseen_usd is None else str(self.unseen_usd),
        }
        return {name: value for name, value in values.items() if value is not None and value is not False}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Read what `to_json` made.

        Raises:
            (KeyError, TypeError, ValueError, ArithmeticError): for anything else.
        """
        return cls(
            **{
                **values,
                "at_utc": datetime.fromisoformat(values["at_utc"]),
                "usage": Usage(**values["usage"]) if "usage" in values else None,
                "cost_usd": Decimal(values["cost_usd"]) if "cost_usd" in values else None,
                "unseen_usd": Decimal(values["unseen_usd"]) if "unseen_usd" in values else None,
            }
        )


@dataclass(frozen=True)
class Tried:
    """What has been tried of a text in vain."""

    answers: int = 0
    paid_attempts: int = 0
    problem: str | None = None
    schema_refused: bool = False
    refusals: int = 0


@dataclass(frozen=True)
class Outcome:
    """What is known of one text after some attempts: its last attempt, what all of them came to, and whether it ends.

    `final` is False where the next run should ask again, `ended` where its own run stopped before it had tried
    everything: such a text is pending rather than failed. `unseen` counts the attempts whose tokens nobody saw, and
    `unseen_usd` is what these may have cost at most. `seconds` is how long the latest answer took, None without one.
    `live_cost_usd` is what the same tokens would have cost on the live lane, where they were paid for on the batch lane.
    """

    last: Attempt
    requests: int
    unseen: int
    usage: Usage
    cost_usd: Decimal | None
    unseen_usd: Decimal
    final: bool
    ended: bool
    seconds: float | None = None
    live_cost_usd: Decimal | None = None


def outcomes_of(attempts: Iterable[Attempt], run: Run) -> list[Outcome]:
    """Add up attempts by text, in the order the texts first appear.

    A cost that is unknown for one attempt is unknown for the text, unless no answer came: attempts whose tokens
    nobody saw are counted in `unseen`, and said so in the bill.
    """
    outcomes: dict[str, Outcome] = {}
    answers: dict[str, int] = {}
    for attempt in attempts:
        key = attempt.row_key
        earlier = attempt.answers_before or 0
        answers[key] = answers.get(key, earlier) + attempt.answered
        before = outcomes.get(
            key, Outcome(attempt, 0, 0, Usage(), Decimal(0), Decimal(0), final=False, ended=False)
        )
        final = is_final(attempt, answers[key], run.max_answers)
        unanswered = before.requests + 1 - (answers[key] - earlier)
        unseen = attempt.usage is None
        outcomes[key] = Outcome(
            last=attempt,
            requests=before.requests + 1,
            unseen=before.unseen + unseen,
            usage=before.usage + (attempt.usage or Usage()),
            cost_usd=before.cost_usd
            if unseen and not attempt.answered
            else _sum(before.cost_usd, attempt.cost_usd),
            unseen_usd=before.unseen_usd + (attempt.unseen_usd or 0),
            final=final,
            ended=final or attempt.gave_up or (not attempt.answered and unanswered >= run.max_attempts),
            seconds=before.seconds if attempt.seconds is None else attempt.seconds,
        )
    return list(outcomes.values())


def is_final(attempt: Attempt, answers: int, max_answers: int) -> bool:
    """Whether a text needs no further request after this attempt and that many answers.

    A kind that another version of Labelmill wrote is not final.
    """
    if attempt.failure is None:
        return True
    policy = POLICY_OF_KIND.get(attempt.failure)
    return policy is Policy.GIVE_UP or (policy is Policy.ASK_AGAIN and answers >= max_answers)


def _sum(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    return None if one is None or other is None else one + other
