"""Endings: what a request came to, as exactly one attempt, whatever the provider sent.

Every response is either an answer, billed by its usage or counted as unseen at its worst case, or a failure that cost
nothing, or one that may have. Nothing here raises, and nothing here sends.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal

from labelmill.job.model import LabelJob
from labelmill.money.prices import Price, cost_of, dearest_cost_of, surcharge_of
from labelmill.money.usage import Usage
from labelmill.question.answers import Answer, label_or_failure
from labelmill.question.attempts import Attempt
from labelmill.question.failures import Failure, Policy
from labelmill.question.reading import LabelSet


@dataclass(frozen=True)
class Judge:
    """How a job's answers are read and priced. `labels` say which of them are labels."""

    labels: LabelSet
    price: Price | None

    @classmethod
    def of(cls, job: LabelJob, price: Price | None) -> "Judge":
        """As a job says."""
        return cls(LabelSet(job.labels), price)

    def result_of(self, answer: Answer) -> str | Failure:
        """The label an answer names, or why it names none."""
        return label_or_failure(answer, self.labels)

    def attempt_of(
        self, row_key: str, answer: Answer, worst_cost: Decimal | None
    ) -> tuple[Attempt, Failure | None]:
        """What an answer amounts to: a label or a failure, and what its tokens cost.

        `worst_cost` is what it may have cost in USD where its tokens are not told.
        """
        result = self.result_of(answer)
        failure = result if isinstance(result, Failure) else None
        surcharge = surcharge_of(self.price, answer.model)
        price = surcharge.price if surcharge else self.price
        cost = cost_of(answer.usage, price, answer.service_tier)
        if cost is None and answer.total_tokens is not None:
            told = dearest_cost_of(answer.total_tokens, price)
            worst_cost = told if worst_cost is None else max(worst_cost, told or worst_cost)
        if failure is not None and _cost_nothing(answer):
            return replace(
                failed_attempt(row_key, failure, None),
                answered=failure.policy in _ANSWERED,
                model=answer.model,
                seconds=_rounded(answer.seconds),
            ), failure
        attempt = Attempt(
            row_key,
            _now(),
            label=result if isinstance(result, str) else None,
            failure=failure.kind if failure else None,
            message=failure.message if failure else None,
            answered=failure is None or failure.policy in _ANSWERED,
            confidence=answer.confidence,
            model=answer.model,
            usage=answer.usage,
            cost_usd=cost,
            # Also where the tokens are told and nobody lists what they cost at their service tier.
            unseen_usd=worst_cost if cost is None else None,
            seconds=_rounded(answer.seconds),
            service_tier=answer.service_tier,
        )
        return attempt, failure


def failed_attempt(row_key: str, failure: Failure, worst_cost: Decimal | None) -> Attempt:
    """The attempt of a request that got no answer: it cost nothing, or nobody knows what it cost."""
    unseen = failure.may_have_been_paid
    return Attempt(
        row_key,
        _now(),
        failure=failure.kind,
        message=failure.message,
        usage=None if unseen else Usage(),
        cost_usd=None if unseen else Decimal(0),
        unseen_usd=worst_cost if unseen else None,
    )


_ANSWERED = frozenset({Policy.ASK_AGAIN, Policy.GIVE_UP})


def _cost_nothing(answer: Answer) -> bool:
    """Whether an answer is an error in its place, of a kind that nobody is charged for: a rate limit, an account, a refusal."""
    said = answer.content or answer.reasoning or answer.arguments
    is_told = answer.usage is not None or answer.total_tokens is not None
    return answer.error is not None and not answer.error.may_have_been_paid and not said and not is_told


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)


def _now() -> datetime:
    return datetime.now(UTC)
