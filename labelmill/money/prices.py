"""What tokens cost: prices from genai-prices, or the job's own.

An unknown price is None, and so is every cost that depends on it; it is never 0.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import lru_cache
from importlib.metadata import version
from typing import Any, Literal

import genai_prices
from genai_prices.types import PriceCalculation

from labelmill.job.model import Model
from labelmill.job.model import Price as OwnPrice
from labelmill.job.provider import provider_of
from labelmill.money.usage import Usage

MILLION = Decimal(1_000_000)

Lane = Literal["live", "batch"]
"""How a text is asked, which its price depends on: by a request of its own, or through the provider's Batch API."""

_CONTEXT_OF_LANE: Mapping[Lane, Mapping[str, str] | None] = {"live": None, "batch": {"processing": "batch"}}
"""What tells genai-prices of a lane. It takes unknown words without a word of its own, and gives the standard price."""


class Price:
    """The price of one model: `cost_of(usage)` in USD, and the entry it stands on.

    `entry` is what `run.json` keeps, so that history can be priced again: `source`, `provider`, `model`, `lane`,
    `input_usd_per_mtok`, `cached_input_usd_per_mtok`, `output_usd_per_mtok` (floats, or None where the price has
    tiers).
    """

    def __init__(self, entry: dict[str, Any], calculate: Callable[[Usage], Decimal]) -> None:
        self.entry = entry
        self.cost_of = lru_cache(maxsize=4096)(calculate)


def cost_of(usage: Usage | None, price: Price | None) -> Decimal | None:
    """The cost in USD, exact; None where the usage or the price is unknown."""
    return None if usage is None or price is None else price.cost_of(usage)


def price_of(
    model: Model, own: OwnPrice | None = None, base_url: str | None = None, lane: Lane = "live"
) -> Price | None:
    """The price a job's tokens are counted at on a lane; None where it is unknown.

    The practice provider costs nothing: its tokens are priced as the named model's, to show what a real run would
    cost. A model behind a `base_url` that genai-prices doesn't know is priced as the provider's where it has a model of
    that name (a gateway), and unknown otherwise. So is the batch lane's price where the job's own price doesn't tell it, or
    genai-prices lists none for the model: the live lane's would not be so.

    Source: genai-prices, <https://github.com/pydantic/genai-prices>.
    """
    if own is not None:
        return _own_price(own, lane)
    if base_url and _is_listed(model.name, {"provider_api_url": base_url}):
        return _listed_price(model.name, {"provider_api_url": base_url}, lane)
    return _listed_price(model.name, {"provider_id": provider_of(model).price_id}, lane)


def _own_price(own: OwnPrice, lane: Lane = "live") -> Price | None:
    fraction = Decimal(1) if lane == "live" else own.batch_fraction
    if fraction is None:
        return None
    cached = (
        own.input_usd_per_mtok if own.cached_input_usd_per_mtok is None else own.cached_input_usd_per_mtok
    )
    per_input, per_cached, per_output = (
        Decimal(str(rate)) * Decimal(str(fraction))
        for rate in (own.input_usd_per_mtok, cached, own.output_usd_per_mtok)
    )

    def calculate(usage: Usage) -> Decimal:
        fresh = usage.input_tokens - usage.cached_input_tokens
        return (
            fresh * per_input + usage.cached_input_tokens * per_cached + usage.output_tokens * per_output
        ) / MILLION

    entry = {
        "source": "job",
        "lane": lane,
        "input_usd_per_mtok": float(per_input),
        "cached_input_usd_per_mtok": float(per_cached),
        "output_usd_per_mtok": float(per_output),
    }
    return Price(entry, calculate)


def _is_listed(model: str, where: Mapping[str, Any]) -> bool:
    return _listed_price(model, where, "live") is not None


def _listed_price(model: str, where: Mapping[str, Any], lane: Lane) -> Price | None:
    sample = Usage(1, 0, 1)
    try:
        listed = _calculate(model, where, sample, lane)
        standard = listed if lane == "live" else _calculate(model, where, sample, "live")
    except LookupError:
        return None
    rates = listed.model_price
    if rates.input_mtok is None or rates.output_mtok is None:
        return None
    if lane == "batch" and listed.total_price >= standard.total_price:
        return None
    per_input, per_cached = _rate(rates.input_mtok), _rate(rates.cache_read_mtok)
    entry = {
        "source": f"genai-prices {version('genai-prices')}",
        "provider": listed.provider.id,
        "model": listed.model.id,
        "lane": lane,
        "input_usd_per_mtok": per_input,
        "cached_input_usd_per_mtok": per_input if per_cached is None else per_cached,
        "output_usd_per_mtok": _rate(rates.output_mtok),
    }
    return Price(entry, lambda usage: _calculate(model, where, usage, lane).total_price)


def _calculate(model: str, where: Mapping[str, Any], usage: Usage, lane: Lane) -> PriceCalculation:
    calculation: PriceCalculation = genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=usage.input_tokens,
            cache_read_tokens=usage.cached_input_tokens,
            output_tokens=usage.output_tokens,
        ),
        model,
        price_context=_CONTEXT_OF_LANE[lane],
        **where,
    )
    return calculation


def _rate(rate: Any) -> float | None:
    return float(rate) if isinstance(rate, Decimal | int | float) else None
