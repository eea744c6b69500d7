"""What a comparison will cost, said before it starts: about how much, and how much at most."""

from collections.abc import Sequence
from decimal import Decimal

from pydantic import BaseModel, ConfigDict

from labelmill.compare.strategies import WARM_UP, Strategy
from labelmill.job.model import LabelJob
from labelmill.money.prices import Price, cost_of
from labelmill.question.expected import expected_usage_of, worst_case_again_of
from labelmill.question.form import form_of, worst_case_of
from labelmill.question.prompt import messages_of


class Amounts(BaseModel):
    """Requests and what they cost: about so much, and at most. Costs are USD, null where the price is unknown."""

    model_config = ConfigDict(frozen=True)

    requests: int
    max_requests: int
    cost_usd: float | None
    max_cost_usd: float | None


class StrategyEstimate(Amounts):
    """What one strategy will send and cost."""

    strategy: str
    name: str


class Estimate(Amounts):
    """What a comparison will send and cost, by strategy and in all. The warm-up is among the strategies."""

    strategies: tuple[StrategyEstimate, ...]


def estimate_of(
    job: LabelJob,
    texts: Sequence[str],
    strategies: Sequence[Strategy],
    price: Price | None,
    batch_price: Price | None = None,
) -> Estimate:
    """Estimate a comparison of these strategies over these texts.

    The tokens that are expected are told from the length of what is sent and of the labels. At most a text that is
    asked again is asked as often as a run allows, and each request comes to its worst case.
    """
    messages, form = list(messages_of(job, texts)), form_of(job)
    expected = [expected_usage_of(job, asked, form) for asked in messages]
    extra = job.model.extra_body
    once = [worst_case_of(asked, form.max_tokens, form.bound_by, extra) for asked in messages]
    again = [worst_case_again_of(job, asked) for asked in messages]
    prices = {"live": price, "batch": batch_price}
    most = job.run.max_attempts + job.run.max_answers - 1
    parts: list[StrategyEstimate] = []
    every_expected: list[Decimal | None] = []
    every_worst: list[Decimal | None] = []
    for strategy in [WARM_UP, *strategies]:
        rows = 1 if strategy is WARM_UP else len(texts)
        times = most if strategy.retries else 1
        paid = prices[strategy.lane]
        costs = [cost_of(usage, paid) for usage in expected[:rows]]
        worst = [cost_of(usage, paid) for usage in (again if strategy.retries else once)[:rows]] * times
        parts.append(
            StrategyEstimate(
                strategy=strategy.kind,
                name=strategy.name,
                requests=rows,
                max_requests=rows * times,
                cost_usd=_sum(costs),
                max_cost_usd=_sum(worst),
            )
        )
        every_expected += costs
        every_worst += worst
    return Estimate(
        strategies=tuple(parts),
        requests=sum(part.requests for part in parts),
        max_requests=sum(part.max_requests for part in parts),
        cost_usd=_sum(every_expected),
        max_cost_usd=_sum(every_worst),
    )


def _sum(costs: Sequence[Decimal | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return float(sum(known, Decimal(0))) if len(known) == len(costs) else None
