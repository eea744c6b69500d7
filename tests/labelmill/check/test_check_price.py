"""What can be wrong with a job's own prices: found before anything is spent, each in a sentence."""

from datetime import date

import pytest

from labelmill.check.price import price_mistakes
from labelmill.job.model import Price

TODAY = date(2026, 11, 30)
RATE = {"currency": "CNY", "usd_rate": 7.12, "usd_rate_date": "2026-11-30"}
IN_USD = {"input_usd_per_mtok": 1, "output_usd_per_mtok": 2}
IN_CNY = {"input_per_mtok": 0.8, "output_per_mtok": 2}


@pytest.mark.parametrize(
    "price",
    [
        IN_USD,
        {**IN_USD, **RATE},
        {**IN_CNY, **RATE, "cached_input_per_mtok": 0.16, "batch_fraction": 0.5},
        {"model": "gpt-4o-mini"},
        {"model": "gpt-4o-mini", **RATE},
        RATE,
        {"batch_fraction": 0.5},
    ],
)
def test_a_price_that_can_be_counted_by_is_no_mistake(price):
    """In USD, in another currency with its rate, by the name that a list has it under, or a part of the listed one."""
    assert price_mistakes(Price.model_validate(price), TODAY) == []


@pytest.mark.parametrize(
    ("price", "found"),
    [
        ({}, {"price": "it is empty"}),
        (
            {"input_usd_per_mtok": 1},
            {"price.output_usd_per_mtok": "input_usd_per_mtok is set, but this is missing"},
        ),
        (
            {"output_per_mtok": 1, **RATE},
            {"price.input_per_mtok": "output_per_mtok is set, but this is missing"},
        ),
        (IN_CNY, {"price.currency": "which currency are these prices in?"}),
        (
            {**IN_CNY, "currency": "CNY"},
            {"price.usd_rate": "currency is set", "price.usd_rate_date": "currency is set"},
        ),
        (
            {"usd_rate": 7.12},
            {"price.currency": "usd_rate is set", "price.usd_rate_date": "usd_rate is set"},
        ),
        ({**IN_USD, **IN_CNY, **RATE}, {"price.input_per_mtok": "input_usd_per_mtok already gives a price"}),
        ({**IN_USD, "model": "gpt-4o"}, {"price.model": "input_usd_per_mtok gives the price"}),
        (
            {**RATE, "usd_rate_date": "2026-12-24"},
            {"price.usd_rate_date": "found 2026-12-24, which is in the future"},
        ),
        ({**RATE, "currency": "USD"}, {"price.currency": "the bill is in USD anyway"}),
    ],
)
def test_a_price_that_is_told_by_half_or_twice_is_a_mistake(price, found):
    """Each with its place and what to do."""
    told = dict(price_mistakes(Price.model_validate(price), TODAY))
    assert told.keys() == found.keys()
    for place, sentence in found.items():
        assert told[place].startswith(sentence)
