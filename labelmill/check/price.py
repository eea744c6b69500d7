"""What can be wrong with a job's own prices and their currency, as (place, sentence)."""

from datetime import UTC, date, datetime, timedelta

from labelmill.job.model import Price

_IN_USD = ("input_usd_per_mtok", "output_usd_per_mtok", "cached_input_usd_per_mtok")
_IN_CURRENCY = ("input_per_mtok", "output_per_mtok", "cached_input_per_mtok")
_CURRENCY = ("currency", "usd_rate", "usd_rate_date")
_USD = "USD"


def price_mistakes(price: Price, today: date | None = None) -> list[tuple[str, str]]:
    """What of a job's prices is missing, or told twice."""
    in_usd, in_currency = _told(price, _IN_USD), _told(price, _IN_CURRENCY)
    found = _currency_mistakes(price, today or datetime.now(UTC).date())
    if in_usd and in_currency:
        return [*found, (f"price.{in_currency[0]}", f"{in_usd[0]} already gives a price; keep one of them")]
    told, names = (in_usd, _IN_USD) if in_usd else (in_currency, _IN_CURRENCY)
    found += [
        (f"price.{name}", f"{told[0]} is set, but this is missing")
        for name in names[:2]
        if told and name not in told
    ]
    if told and price.model is not None:
        sentence = f"{told[0]} gives the price, so no price list is looked up; take one of them out"
        found.append(("price.model", sentence))
    if in_currency and price.currency is None:
        sentence = 'which currency are these prices in? Set one such as "CNY", or give them in USD: input_usd_per_mtok'
        found.append(("price.currency", sentence))
    if not (told or price.model or _told(price, _CURRENCY) or price.batch_fraction is not None):
        found.append(("price", "it is empty; give input_usd_per_mtok and output_usd_per_mtok"))
    return found


def _told(price: Price, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if getattr(price, name) is not None]


def _currency_mistakes(price: Price, today: date) -> list[tuple[str, str]]:
    told = _told(price, _CURRENCY)
    found = [
        (f"price.{name}", f"{told[0]} is set, but this is missing: {_MEANINGS[name]}")
        for name in _CURRENCY
        if told and name not in told and not (name == "currency" and _told(price, _IN_CURRENCY))
    ]
    if price.currency == _USD:
        sentence = "the bill is in USD anyway; give prices as input_usd_per_mtok and output_usd_per_mtok"
        return [("price.currency", sentence)]
    # Somewhere it is tomorrow already.
    if price.usd_rate_date is not None and price.usd_rate_date > today + timedelta(days=1):
        sentence = f"found {price.usd_rate_date}, which is in the future; expected the day of the rate"
        found.append(("price.usd_rate_date", sentence))
    return found


_MEANINGS = {
    "currency": 'the currency that you pay in, such as "CNY"',
    "usd_rate": "what one US dollar is worth in it, such as 7.12",
    "usd_rate_date": "the day of the rate, such as 2026-11-30",
}
