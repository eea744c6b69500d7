"""What a comparison will cost, told before it starts and held against the provider's count."""

import pytest

from labelmill.compare.estimate import estimate_of
from labelmill.compare.strategies import strategies_of
from labelmill.providers.table import price_of
from practice import PracticeSettings

CHINESE = {"体育": "足球、比赛", "财经": "银行、市场"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("labels", "texts", "output"),
    [
        ({"sport": "match", "money": "market"}, [f"the match of day {n}" for n in range(30)], "text"),
        (CHINESE, [f"足球比赛 第{n}天" for n in range(30)], "text"),
        (CHINESE, [f"足球比赛 第{n}天" for n in range(30)], "schema"),
    ],
)
def test_an_estimate_is_near_and_its_most_is_kept(compare, practice, job_of, labels, texts, output):
    """In a quiet comparison requests are as told and the cost is within half of it to twice it; at most is more."""
    record = compare(job_of(labels=labels, model={"output": output}), practice.base_url, texts=texts)
    told = {part.name: part for part in record.estimate.strategies}
    for figures in record.strategies:
        part = told[figures.name]
        assert figures.requests == part.requests == 30
        assert part.cost_usd / 2 <= figures.cost_usd <= part.cost_usd * 2
        assert figures.cost_usd <= part.max_cost_usd


def test_at_most_holds_when_every_answer_is_bad_and_every_text_is_asked_again(compare, practice, job_of):
    """With answers outside the label set for every text, no strategy sends or costs more than was told."""
    practice.configure(PracticeSettings(stubborn_faults={"off_label": 0.5}, faults={"unavailable": 0.5}))
    job = job_of(run={"stop_at_failed_fraction": 1, "max_attempts": 2, "max_answers": 3})
    record = compare(job, practice.base_url, before=lambda _: practice.reset())
    told = {part.name: part for part in record.estimate.strategies}
    for figures in record.strategies:
        assert figures.requests <= told[figures.name].max_requests
        assert 0 < figures.cost_usd <= told[figures.name].max_cost_usd
    assert record.strategies[-1].requests > record.strategies[-1].rows
    assert told["chunks, up to 32 at once"].max_requests == 4 * record.rows


def test_the_sum_holds_every_strategy_and_the_warm_up(job_of):
    """Requests and costs in all are those of the strategies and of one request before them."""
    job = job_of()
    estimate = estimate_of(
        job, ["a match", "a market"], strategies_of(job, [1, 2, 5]), price_of(job.model, None)
    )
    assert [part.strategy for part in estimate.strategies] == [
        "warm-up",
        "sequential",
        *["batch"] * 3,
        "chunks",
    ]
    assert (estimate.requests, estimate.max_requests) == (11, 1 + 4 * 2 + 7 * 2)
    for name in ("cost_usd", "max_cost_usd"):
        whole = sum(getattr(part, name) for part in estimate.strategies)
        assert getattr(estimate, name) == pytest.approx(whole, rel=1e-12)


def test_an_unknown_price_is_unknown(job_of):
    """Without a price no cost is told, and requests are all the same."""
    job = job_of()
    estimate = estimate_of(job, ["a match"], strategies_of(job, [1]), None)
    assert (estimate.requests, estimate.cost_usd, estimate.max_cost_usd) == (4, None, None)
    assert {part.cost_usd for part in estimate.strategies} == {None}
