"""What tokens cost: prices from genai-prices, or the job's own.

An unknown price is None, and so is every cost that depends on it; it is never 0.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from importlib.metadata import version
from typing import Any, Literal

import genai_prices
from genai_prices.types import ModelInfo, ModelPrice, PriceCalculation

from labelmill.job.model import Price as OwnPrice
from labelmill.money.usage import Usage

STANDARD_TIERS = frozenset(
    {
        "",
        "auto",  # OpenAI, before it is decided: https://platform.openai.com/docs/api-reference/chat/create
        "default",
        "standard",  # Anthropic: https://platform.claude.com/docs/en/api/service-tiers
        "on_demand",  # Groq: https://console.groq.com/docs/service-tiers; Vertex AI's traffic type
        "unspecified",  # Gemini: https://ai.google.dev/api/generate-content
        "service_tier_unspecified",
        "traffic_type_unspecified",
    }
)
"""Tiers at the listed price. A tier that is in neither table has a price that nobody knows."""

CONTEXT_OF_TIER: Mapping[str, Mapping[str, str]] = {
    "priority": {"service_tier": "priority"},
    "fast": {"service_tier": "fast"},
    "flex": {"service_tier": "flex"},
    "batch": {"processing": "batch"},  # Anthropic's word for what came through its Batch API
    "on_demand_priority": {"service_tier": "priority"},  # Vertex AI's traffic types
    "on_demand_flex": {"service_tier": "flex"},
}
"""What tells genai-prices of a tier. It takes unknown words without a word of its own, and gives the standard price."""

STANDARD_BY_PROVIDER: Mapping[str, frozenset[str]] = {
    "groq": frozenset({"flex"}),  # https://console.groq.com/docs/flex-processing: at the on-demand price
}
"""Tiers that cost no more and no less with one provider, by its name in genai-prices."""


def tier_named(word: str | None) -> str:
    """A provider's word as the tables write it: `ON_DEMAND` and `on-demand` are one."""
    return (word or "").strip().casefold().replace("-", "_").replace(" ", "_")


MILLION = Decimal(1_000_000)

PRACTICE_MODEL = "practice:"
"""What the practice provider puts before the name of the model it stands in for."""

Lane = Literal["live", "batch"]
"""How a text is asked, which its price depends on: by a request of its own, or through the provider's Batch API."""

_CONTEXT_OF_LANE: Mapping[Lane, Mapping[str, str]] = {"live": {}, "batch": CONTEXT_OF_TIER["batch"]}
_MODEL_NAME_CHARACTERS = 200

_Calculate = Callable[[Usage, str, datetime], Decimal | None]
"""Tokens, a service tier by its name in the tables and a moment to a cost in USD."""


@dataclass(frozen=True)
class Listing:
    """Where genai-prices was asked for a price: by which name, with which provider or address, for which lane."""

    name: str
    where: tuple[tuple[str, str], ...]
    lane: Lane


@dataclass(frozen=True)
class Currency:
    """A currency beside USD: what one US dollar is in it, and on which day that was so."""

    code: str
    usd_rate: float
    usd_rate_date: date

    @classmethod
    def of(cls, own: OwnPrice | None) -> "Currency | None":
        """The one that a job is paid in; None where that is USD, or it isn't told whole."""
        if own is None or own.currency is None or own.usd_rate is None or own.usd_rate_date is None:
            return None
        return cls(own.currency, own.usd_rate, own.usd_rate_date)


class Price:
    """The price of one model: `cost_of(usage)` in USD, and the entry it stands on.

    `entry` is what `run.json` keeps, so that history can be priced again: `source`, `provider`, `model`, `lane`,
    `input_usd_per_mtok`, `cached_input_usd_per_mtok`, `output_usd_per_mtok` (floats, or None where the price has
    tiers). `listing` is where it was found, None for a job's own price; `part` is what part of that it is.

    Some prices depend on the hour: the entry is of the moment it was made, a cost is of the moment it is asked for.
    """

    def __init__(
        self,
        entry: dict[str, Any],
        calculate: _Calculate,
        listing: Listing | None = None,
        window_of: Callable[[datetime], tuple[bool, ...]] = lambda _: (),
        part: Decimal = Decimal(1),
    ) -> None:
        self.entry = entry
        self.listing = listing
        self.part = part
        self._calculate = lru_cache(maxsize=4096)(_possible_only(calculate))
        self.window_of = window_of
        self._moment_of: dict[tuple[bool, ...], datetime] = {}

    def cost_of(self, usage: Usage, service_tier: str | None = None) -> Decimal | None:
        """The cost in USD, exact, at the tier that the provider names; None where that tier's price is unknown."""
        now = _now()
        # One moment stands for all at which the same prices hold, so that the cache finds them.
        moment = self._moment_of.setdefault(self.window_of(now), now)
        return self._calculate(usage, tier_named(service_tier), moment)


def _possible_only(calculate: _Calculate) -> _Calculate:
    """The same calculation, for tokens that contradict themselves too: no negative count has a cost, no part is more than all."""

    def calculated(usage: Usage, tier: str, at: datetime) -> Decimal | None:
        if min(vars(usage).values()) < 0:
            return None
        written = min(usage.cache_write_input_tokens, usage.input_tokens)
        cached = min(usage.cached_input_tokens, usage.input_tokens - written)
        return calculate(
            replace(usage, cached_input_tokens=cached, cache_write_input_tokens=written), tier, at
        )

    return calculated


@dataclass(frozen=True)
class Surcharge:
    """An answer came from a dearer model than the one that is priced: `factor` times as dear, at `price`.

    `factor` is the larger one of input and output.
    """

    reported: str
    named: str
    factor: float
    price: Price


def cost_of(usage: Usage | None, price: Price | None, service_tier: str | None = None) -> Decimal | None:
    """The cost in USD, exact; None where the usage or the price is unknown, or the price at the answer's service tier."""
    return None if usage is None or price is None else price.cost_of(usage, service_tier)


def dearest_cost_of(tokens: int, price: Price | None) -> Decimal | None:
    """The most that so many tokens may cost, whatever they were: sent, written to a cache, or answered."""
    if price is None:
        return None
    sent, written = price.cost_of(Usage(tokens)), price.cost_of(Usage(tokens, 0, 0, tokens))
    both = price.cost_of(Usage(tokens, 0, tokens))  # the rate of an answer may depend on how much was sent
    if sent is None or written is None or both is None:
        return None
    return max(written, both - sent)


def find_price(  # noqa: PLR0913, PLR0917  (all that a price depends on)
    name: str,
    provider: str | None,
    own: OwnPrice | None = None,
    base_url: str | None = None,
    lane: Lane = "live",
    batch_fraction: float | None = None,
) -> Price | None:
    """The price a model's tokens are counted at on a lane; None where it is unknown. `provider` is genai-prices' name.

    The practice provider costs nothing: its tokens are priced as the named model's, to show what a real run would
    cost. A model behind a `base_url` that genai-prices doesn't know is priced as the provider's where it has a model of
    that name (a gateway), and unknown otherwise. So is the batch lane's price where the job's own price doesn't tell it, or
    genai-prices lists none for the model: the live lane's would not be so. There `batch_fraction` says what part of the live
    one it is, the job's before the provider's. A job may name the model that is listed, where its own name is another.

    Source: genai-prices, <https://github.com/pydantic/genai-prices>.
    """
    if own is not None and own_rates(own) is not None:
        return _own_price(own, lane)
    if own is not None:
        name = own.model or name
        batch_fraction = batch_fraction if own.batch_fraction is None else own.batch_fraction
    where = {"provider_api_url": base_url} if base_url else {}
    if not where or not _is_listed(name, where):
        if provider is None:
            return None
        where = {"provider_id": provider}
    if lane == "batch" and own is not None and own.batch_fraction is not None:
        return _part_of(_listed_price(name, where, "live"), own.batch_fraction)
    listed = _listed_price(name, where, lane)
    if listed is None and lane == "batch" and batch_fraction is not None:
        return _part_of(_listed_price(name, where, "live"), batch_fraction)
    return listed


def own_rates(own: OwnPrice) -> tuple[Decimal, Decimal, Decimal] | None:
    """What a job says that tokens cost, in USD per million: input, cached input and output; None where it doesn't say."""
    currency = Currency.of(own)
    rates = (own.input_usd_per_mtok, own.cached_input_usd_per_mtok, own.output_usd_per_mtok)
    rate = Decimal(1)
    if currency is not None and own.input_per_mtok is not None:
        rates = (own.input_per_mtok, own.cached_input_per_mtok, own.output_per_mtok)
        rate = Decimal(str(currency.usd_rate))
    sent, cached, answered = rates
    if sent is None or answered is None:
        return None
    per_input, per_cached, per_output = (
        Decimal(str(one)) / rate for one in (sent, sent if cached is None else cached, answered)
    )
    return per_input, per_cached, per_output


def _part_of(live: Price | None, fraction: float | Decimal) -> Price | None:
    """What batches cost that are a part of the live price, at whatever tier they are answered; None where that is unknown."""
    if live is None:
        return None
    part = Decimal(str(fraction))

    def calculate(usage: Usage, _tier: str, _at: datetime) -> Decimal | None:
        cost = live.cost_of(usage)
        return None if cost is None else cost * part

    rates = {
        name: None if rate is None else float(Decimal(str(rate)) * part)
        for name, rate in live.entry.items()
        if name.endswith("_per_mtok")
    }
    entry = live.entry | rates | {"lane": "batch", "batch_fraction": float(part)}
    return Price(entry, calculate, live.listing, live.window_of, part)


def surcharge_of(price: Price | None, reported: str | None) -> Surcharge | None:
    """How much dearer the model is that an answer names as its own; None where it is not, as far as anybody knows.

    An Azure deployment may bear another model's name, and a gateway may answer with another model than it was asked
    for. A job's own price is what its user pays, whoever answers. Names that nobody lists tell nothing, nor do those of
    practice; a dated name of the same model is dearer only where it is listed so.
    """
    if price is None or price.listing is None or not isinstance(reported, str):
        return None
    # Beyond this no model's name goes, and whoever shows the name in a terminal should be able to.
    if len(reported) > _MODEL_NAME_CHARACTERS or not reported.isprintable():
        return None
    return _surcharge_of(price, reported)


@lru_cache(maxsize=1024)
def _surcharge_of(price: Price, reported: str) -> Surcharge | None:
    listing = price.listing
    if (
        listing is None
        or reported.startswith(PRACTICE_MODEL)
        or reported.casefold() == listing.name.casefold()
    ):
        return None
    names = _names_of(reported, listing.name)
    other = next(
        (found for name in names if (found := _listed_price(name, dict(listing.where), listing.lane))), None
    )
    if price.part != 1:
        other = _part_of(other, price.part)
    if other is None:
        return None
    pairs = zip(_rates_of(other), _rates_of(price), strict=True)
    factor = max(float(theirs / ours) if ours else math.inf for theirs, ours in pairs if theirs)
    return Surcharge(reported, listing.name, factor, other) if factor > 1 else None


def _names_of(reported: str, named: str) -> list[str]:
    """Names that a list may have a reported model by: gateways put whose it is before it, or leave that out."""
    family, slash, _ = named.rpartition("/")
    bare = reported.rpartition("/")[2]
    return list(dict.fromkeys([reported, family + slash + bare, bare]))


def _rates_of(price: Price) -> tuple[Decimal, Decimal]:
    """What a thousand tokens of input and of output cost in a short request."""
    sent, both = price.cost_of(Usage(1000)) or Decimal(0), price.cost_of(Usage(1000, 0, 1000)) or Decimal(0)
    return sent, both - sent


def _own_price(own: OwnPrice, lane: Lane = "live") -> Price | None:
    """The job's own price, which is what its user pays, at whatever tier. Cache writes cost what other input does."""
    rates = own_rates(own)
    fraction = Decimal(1) if lane == "live" else own.batch_fraction
    if rates is None or fraction is None:
        return None
    per_input, per_cached, per_output = (rate * Decimal(str(fraction)) for rate in rates)

    def calculate(usage: Usage, _tier: str, _at: datetime) -> Decimal:
        fresh = usage.input_tokens - usage.cached_input_tokens
        return (
            fresh * per_input + usage.cached_input_tokens * per_cached + usage.output_tokens * per_output
        ) / MILLION

    entry: dict[str, Any] = {
        "source": "job",
        "lane": lane,
        "input_usd_per_mtok": float(per_input),
        "cached_input_usd_per_mtok": float(per_cached),
        "output_usd_per_mtok": float(per_output),
    }
    currency = Currency.of(own)
    if currency is not None and own.input_per_mtok is not None:
        told = (
            own.input_per_mtok,
            own.input_per_mtok if own.cached_input_per_mtok is None else own.cached_input_per_mtok,
            own.output_per_mtok,
        )
        names = ("input_per_mtok", "cached_input_per_mtok", "output_per_mtok")
        entry["currency"] = currency.code
        for name, rate in zip(names, told, strict=True):
            entry[name] = float(Decimal(str(rate)) * Decimal(str(fraction)))
    return Price(entry, calculate)


def _is_listed(model: str, where: Mapping[str, str]) -> bool:
    return _listed_price(model, where, "live") is not None


def _listed_price(model: str, where: Mapping[str, str], lane: Lane) -> Price | None:
    listing = Listing(model, tuple(where.items()), lane)
    sample, now = Usage(1, 0, 1), _now()
    try:
        listed = _calculate(listing, sample, _CONTEXT_OF_LANE[lane], now)
        standard = _calculate(listing, sample, {}, now)
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

    def calculate(usage: Usage, tier: str, at: datetime) -> Decimal | None:
        context = _context_of(listed, lane, tier, at)
        if context is None:
            return None
        cost = _calculate(listing, usage, context, at).total_price
        if not usage.cache_write_input_tokens:
            return cost
        # Some lists have the surcharge of a write where others have its whole price; it is never below the input's.
        unwritten = replace(usage, cache_write_input_tokens=0)
        return max(cost, _calculate(listing, unwritten, context, at).total_price)

    return Price(entry, calculate, listing, lambda at: _window_of(listed.model, at))


def _context_of(listed: PriceCalculation, lane: Lane, tier: str, at: datetime) -> Mapping[str, str] | None:
    """What tells genai-prices of a lane and a tier; None where it has no price for them."""
    if tier in STANDARD_TIERS or tier in STANDARD_BY_PROVIDER.get(listed.provider.id, ()):
        return _CONTEXT_OF_LANE[lane]
    context = CONTEXT_OF_TIER.get(tier)
    if context is None or (lane == "batch" and context != _CONTEXT_OF_LANE["batch"]):
        return None
    # A model that one provider's list borrows from another's has none of that one's variants.
    is_its_own = any(listed.model is model for model in listed.provider.models)
    has_variant = any(
        variant.when == context
        and (variant.constraint is None or variant.constraint.active(at))
        and variant.prices.input_mtok is not None
        and variant.prices.output_mtok is not None
        for variant in listed.model.price_variants or ()
    )
    return context if is_its_own and has_variant else None


def _window_of(model: ModelInfo, at: datetime) -> tuple[bool, ...]:
    """Which of a model's prices that depend on the date or the hour hold at a moment."""
    conditional = [] if isinstance(model.prices, ModelPrice) else model.prices
    return tuple(
        priced.constraint.active(at)
        for priced in (*conditional, *(model.price_variants or ()))
        if priced.constraint is not None
    )


def _calculate(listing: Listing, usage: Usage, context: Mapping[str, str], at: datetime) -> PriceCalculation:
    calculation: PriceCalculation = genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=usage.input_tokens,
            cache_read_tokens=usage.cached_input_tokens,
            cache_write_tokens=usage.cache_write_input_tokens,
            output_tokens=usage.output_tokens,
        ),
        listing.name,
        price_context=context,
        genai_request_timestamp=at,
        **dict(listing.where),
    )
    return calculation


def _rate(rate: Any) -> float | None:
    return float(rate) if isinstance(rate, Decimal | int | float) else None


def _now() -> datetime:
    return datetime.now(UTC)
