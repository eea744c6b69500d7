"""What tokens cost: prices from genai-prices, or the job's own.

An unknown price is None, and so is every cost that depends on it; it is never 0.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import genai_prices
from genai_prices.types import PriceCalculation

from labelmill.job.model import Model
from labelmill.job.model import Price as OwnPrice
from labelmill.money.usage import Usage

MILLION = Decimal(1_000_000)


class Price:
    """The price of one model: `cost_of(usage)` in USD, and the entry it stands on.

    `entry` is what `run.json` keeps, so that history can be priced again: `source`, `provider`, `model`,
    `input_usd_per_mtok`, `cached_input_usd_per_mtok`, `output_usd_per_mtok` (floats, or None where the price has
    tiers).
    """

    def __init__(self, entry: dict[str, Any], calculate: Callable[[Usage], Decimal]) -> None:
        self.entry = entry
        self.cost_of = lru_cache(maxsize=4096)(calculate)


def cost_of(usage: Usage | None, price: Price | None) -> Decimal | None:
    """The cost in USD, exact; None where the usage or the price is unknown."""
    return None if usage is None or price is None else price.cost_of(usage)


def price_of(model: Model, own: OwnPrice | None = None, base_url: str | None = None) -> Price | None:
    """The price a job's tokens are counted at; None where it is unknown.

    The practice provider costs nothing: its tokens are priced as the named model's, to show what a real run would
    cost. A model behind a `base_url` that genai-prices doesn't know is priced as OpenAI's where OpenAI has a model of
    that name (a gateway), and unknown otherwise.

    Source: genai-prices, <https://github.com/pydantic/genai-prices>.
    """
    if own is not None:
        return _own_price(own)
    if base_url:
        listed = _listed_price(model.name, {"provider_api_url": base_url})
        if listed:
            return listed
    return _listed_price(model.name, {"provider_id": "openai"})


def _own_price(own: OwnPrice) -> Price:
    per_input = Decimal(str(own.input_usd_per_mtok))
    per_output = Decimal(str(own.output_usd_per_mtok))
    cached = own.cached_input_usd_per_mtok
    per_cached = per_input if cached is None else Decimal(str(cached))

    def calculate(usage: Usage) -> Decimal:
        fresh = usage.input_tokens - usage.cached_input_tokens
        return (
            fresh * per_input + usage.cached_input_tokens * per_cached + usage.output_tokens * per_output
        ) / MILLION

    return Price(
        {"source": "job", **own.model_dump(), "cached_input_usd_per_mtok": float(per_cached)}, calculate
    )


def _listed_price(model: str, where: Mapping[str, Any]) -> Price | None:
    try:
        listed = _calculate(model, where, Usage(1, 0, 1))
    except LookupError:
        return None
    rates = listed.model_price
    if rates.input_mtok is None or rates.output_mtok is None:
        return None
    per_input, per_cached = _rate(rates.input_mtok), _rate(rates.cache_read_mtok)
    entry = {
        "source": f"genai-prices {version('genai-prices')}",
        "provider": listed.provider.id,
        "model": listed.model.id,
        "input_usd_per_mtok": per_input,
        "cached_input_usd_per_mtok": per_input if per_cached is None else per_cached,
        "output_usd_per_mtok": _rate(rates.output_mtok),
    }
    return Price(entry, lambda usage: _calculate(model, where, usage).total_price)


def _calculate(model: str, where: Mapping[str, Any], usage: Usage) -> PriceCalculation:
    calculation: PriceCalculation = genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=usage.input_tokens,
            cache_read_tokens=usage.cached_input_tokens,
            output_tokens=usage.output_tokens,
        ),
        model,
        **where,
    )
    return calculation


def _rate(rate: Any) -> float | None:
    return float(rate) if isinstance(rate, Decimal | int | float) else None
