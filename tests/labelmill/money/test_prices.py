"""Prices: exact to the last digit, and unknown rather than zero."""

from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal

import genai_prices
import pytest
from genai_prices.data_snapshot import DataSnapshot, get_snapshot, set_custom_snapshot
from genai_prices.types import (
    ClauseEquals,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    StartDateConstraint,
    TimeOfDateConstraint,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from labelmill.job.model import Model
from labelmill.job.model import Price as OwnPrice
from labelmill.money import prices
from labelmill.money.prices import CONTEXT_OF_TIER, STANDARD_TIERS, cost_of, dearest_cost_of, surcharge_of
from labelmill.money.usage import Usage
from labelmill.providers.table import price_of

OPENAI = "https://api.openai.com/v1"
tokens = st.integers(0, 10_000_000)


def _price_of(job, base_url=None):
    return price_of(job.model, job.price, base_url)


def test_the_bill_of_one_answer_is_exact(job_of):
    """450 input and 20 output tokens of gpt-4o-mini cost $0.0000795, not a digit more or less."""
    for base_url in (None, OPENAI, "http://127.0.0.1:9/v1"):
        price = _price_of(job_of(), base_url)
        assert cost_of(Usage(450, 0, 20), price) == Decimal("0.0000795")
        assert str(cost_of(Usage(450, 0, 20), price)) == "0.0000795"


def test_cached_tokens_cost_what_the_list_says(job_of):
    """Of the input, cached tokens are counted at their own price and the rest at the full one."""
    price = _price_of(job_of())
    assert cost_of(Usage(450, 100, 20), price) == Decimal("0.000072")
    assert price.entry["cached_input_usd_per_mtok"] == 0.075
    assert (price.entry["input_usd_per_mtok"], price.entry["output_usd_per_mtok"]) == (0.15, 0.6)
    assert price.entry["source"].startswith("genai-prices ")


@pytest.mark.parametrize(
    ("provider", "name", "live_usd", "batch_usd"),
    [
        ("anthropic", "claude-haiku-4-5", "1.5", "0.75"),
        ("google", "gemini-2.5-flash-lite", "0.14", "0.07"),
    ],
)
@pytest.mark.parametrize("base_url", [None, "http://127.0.0.1:9", "https://gateway.example/v1"])
def test_other_providers_models_have_their_own_prices(job_of, provider, name, live_usd, batch_usd, base_url):
    """A million tokens in and a tenth of that out, on either lane; also through a gateway."""
    model = job_of(model={"provider": provider, "name": name}).model
    usage = Usage(1_000_000, 0, 100_000)
    assert cost_of(usage, price_of(model, None, base_url)) == Decimal(live_usd)
    batch = price_of(model, None, base_url, "batch")
    assert cost_of(usage, batch) == Decimal(batch_usd)
    assert (batch.entry["provider"], batch.entry["lane"]) == (provider, "batch")


def test_a_price_in_tiers_is_each_answers_own(job_of):
    """Many short answers of a batch are no long one."""
    price = price_of(job_of(model={"provider": "anthropic", "name": "claude-sonnet-4-5"}).model, lane="batch")
    assert cost_of(Usage(150_000, 0, 0), price) * 2 < cost_of(Usage(300_000, 0, 0), price)


@pytest.mark.parametrize(
    ("name", "base_url"),
    [
        ("no-such-model", None),
        ("no-such-model", OPENAI),
        ("qwen-plus", "http://127.0.0.1:9/v1"),
        ("text-embedding-3-small", None),
        ("whisper-1", None),
        ("dall-e-3", None),
        ("omni-moderation-latest", None),
    ],
)
def test_a_model_without_a_listed_price_has_none_and_costs_never_zero(job_of, name, base_url):
    """Models that nobody lists, and those listed without a price per token in and out, cost an unknown amount."""
    price = _price_of(job_of(model={"name": name}), base_url)
    assert price is None
    assert cost_of(Usage(450, 0, 20), price) is None


def test_a_model_listed_without_a_cache_price_pays_cached_tokens_in_full(job_of):
    """Where the list has no price for cached tokens they are not free, and the record says what was used."""
    price = _price_of(job_of(model={"name": "gpt-4"}))
    assert cost_of(Usage(1000, 1000, 0), price) == cost_of(Usage(1000, 0, 0), price) == Decimal("0.03")
    assert price.entry["cached_input_usd_per_mtok"] == price.entry["input_usd_per_mtok"]


def test_prices_in_tiers_are_used_though_no_single_rate_can_be_shown(job_of):
    """A model priced in tiers costs more a token in a long request, and its record's rates are null, not zero."""
    price = _price_of(
        job_of(model={"name": "gemini-2.5-pro"}), "https://generativelanguage.googleapis.com/v1beta/openai"
    )
    assert price.entry["input_usd_per_mtok"] is None
    assert cost_of(Usage(300_000, 0, 0), price) > 3 * cost_of(Usage(100_000, 0, 0), price) > 0


def test_an_endpoints_own_list_comes_before_openais(job_of):
    """A provider known by its address is priced by its own list, an unknown gateway by OpenAI's."""
    job = job_of(model={"name": "llama-3.3-70b-versatile"})
    assert _price_of(job, "https://api.groq.com/openai/v1").entry["provider"] == "groq"
    assert _price_of(job, OPENAI) is None
    assert _price_of(job_of(), "https://gateway.example/v1").entry["provider"] == "openai"


def test_the_jobs_own_price_comes_first(job_of):
    """A [price] section counts for any model at any address, and stands in the record."""
    own = {"input_usd_per_mtok": 0.1, "output_usd_per_mtok": 0.3}
    for name in ("gpt-4o-mini", "no-such-model"):
        price = _price_of(job_of(model={"name": name}, price=own), OPENAI)
        assert cost_of(Usage(1, 0, 0), price) == Decimal("0.0000001")
        assert cost_of(Usage(10, 10, 1), price) == Decimal("0.0000013")
        assert price.entry == {"source": "job", "lane": "live", **own, "cached_input_usd_per_mtok": 0.1}
    cached = _price_of(job_of(price={**own, "cached_input_usd_per_mtok": 0}))
    assert cost_of(Usage(10, 10, 0), cached) == 0


@settings(max_examples=40, deadline=None)
@given(
    one=st.tuples(tokens, tokens), more=st.tuples(tokens, tokens), rates=st.tuples(*[st.floats(0, 1e4)] * 3)
)
def test_own_prices_add_up_exactly(one, more, rates):
    """The cost of two requests is the sum of their costs, and no float has touched it."""
    price = prices._own_price(
        OwnPrice(
            input_usd_per_mtok=round(rates[0], 4),
            output_usd_per_mtok=round(rates[1], 4),
            cached_input_usd_per_mtok=round(rates[2], 4),
        )
    )
    first, second = Usage(one[0], one[0] // 2, one[1]), Usage(more[0], 0, more[1])
    total = cost_of(first + second, price)
    assert total == cost_of(first, price) + cost_of(second, price)
    assert isinstance(total, Decimal)


@pytest.mark.parametrize("name", ["gpt-4o-mini", "gpt-4.1-mini", "gpt-5-mini", "gpt-3.5-turbo"])
def test_the_batch_lane_really_gets_the_discount(job_of, name):
    """On the batch lane, input and output cost half of what they cost live, and the record says which lane's price it is."""
    model = job_of(model={"name": name}).model
    live, batch = price_of(model, lane="live"), price_of(model, lane="batch")
    for usage in (Usage(1000, 0, 0), Usage(0, 0, 1000)):
        assert cost_of(usage, batch) * 2 == cost_of(usage, live) > 0
    assert (live.entry["lane"], batch.entry["lane"]) == ("live", "batch")
    assert batch.entry["input_usd_per_mtok"] * 2 == live.entry["input_usd_per_mtok"]


def test_a_batch_price_that_nobody_lists_is_unknown(job_of):
    """Where genai-prices knows no batch price for a model, the standard price is not passed off as one."""
    model = job_of(model={"name": "llama-3.3-70b-versatile"}).model
    assert price_of(model, base_url="https://api.groq.com/openai/v1", lane="live") is not None
    assert price_of(model, base_url="https://api.groq.com/openai/v1", lane="batch") is None


def test_an_own_price_tells_the_batch_lanes_part_or_it_is_unknown(job_of):
    """`batch_fraction` makes the batch lane's price of the job's own; without it that price is unknown."""
    own = {"input_usd_per_mtok": 0.1, "output_usd_per_mtok": 0.4, "cached_input_usd_per_mtok": 0.05}
    job = job_of(price={**own, "batch_fraction": 0.5})
    batch = price_of(job.model, job.price, lane="batch")
    assert cost_of(Usage(1_000_000, 400_000, 1_000_000), batch) == Decimal("0.24")
    assert batch.entry["cached_input_usd_per_mtok"] == 0.025
    assert price_of(job.model, job_of(price=own).price, lane="batch") is None
    assert cost_of(Usage(1_000_000, 0, 0), price_of(job.model, job.price)) == Decimal("0.1")


def test_what_is_unknown_stays_unknown(job_of):
    """No usage or no price gives no cost."""
    assert cost_of(None, _price_of(job_of())) is None
    assert cost_of(Usage(1, 0, 1), None) is None
    assert cost_of(None, None) is None
    assert cost_of(Usage(), _price_of(job_of())) == 0


# Tokens that were written to a cache


def test_tokens_written_to_a_cache_cost_what_the_list_says(job_of):
    """OpenAI's newer models write unasked and charge a quarter more for it; on the batch lane too."""
    model = job_of(model={"name": "gpt-5.6-luna"}).model
    for lane, rates in (("live", "0.2 0.02 0.25 1.2"), ("batch", "0.1 0.01 0.125 0.6")):
        fresh, cached, written, said = map(Decimal, rates.split())
        cost = cost_of(Usage(2600, 2000, 3, 400), price_of(model, lane=lane))
        assert cost * 1_000_000 == 200 * fresh + 2000 * cached + 400 * written + 3 * said


@pytest.mark.parametrize(
    ("name", "base_url"),
    [
        ("gpt-4o-mini", None),  # no price for writes
        ("google/gemini-2.5-flash", "https://openrouter.ai/api/v1"),  # a surcharge is listed, not a price
    ],
)
def test_a_written_token_never_costs_less_than_a_fresh_one(job_of, name, base_url):
    """Lists that have no price for writes, or only what comes on top of the input's."""
    price = _price_of(job_of(model={"name": name}), base_url)
    assert cost_of(Usage(1000, 200, 3, 800), price) == cost_of(Usage(1000, 200, 3), price) > 0


def test_a_jobs_own_price_counts_writes_as_input(job_of):
    """It names no rate for them."""
    price = _price_of(job_of(price={"input_usd_per_mtok": 1, "output_usd_per_mtok": 2}))
    assert cost_of(Usage(1000, 0, 3, 800), price) == cost_of(Usage(1000, 0, 3), price) == Decimal("0.001006")


@pytest.mark.parametrize("name", ["gpt-4o-mini", "gpt-5.6-luna"])
@pytest.mark.parametrize("own", [None, OwnPrice(input_usd_per_mtok=1, output_usd_per_mtok=2)])
@settings(deadline=None)
@given(counts=st.tuples(*[st.integers(-10, 100)] * 4))
def test_tokens_that_contradict_themselves_are_priced_or_unknown(name, own, counts):
    """An older version's ledger may hold more cached tokens than input: no cost is negative, and nothing raises."""
    cost = cost_of(Usage(*counts), price_of(Model(name=name), own))
    assert (cost is None) == (min(counts) < 0)
    assert cost is None or cost >= 0


# Service tiers


@pytest.mark.parametrize(
    ("name", "tier", "usd"),
    [
        ("gpt-4o-mini", "priority", "0.0001325"),
        ("gpt-4o-mini", "fast", "0.0001325"),
        ("gpt-4o-mini", "PRIORITY", "0.0001325"),
        ("gpt-4o-mini", "ON_DEMAND_PRIORITY", "0.0001325"),
        ("gpt-4o-mini", "batch", "0.00003975"),
        ("gpt-5-mini", "flex", "0.00007625"),
        ("gpt-5-mini", "on-demand-flex", "0.00007625"),
    ],
)
def test_an_answer_costs_what_its_service_tier_does(job_of, name, tier, usd):
    """A project's default may serve at another tier than was asked for; what the answer says is billed."""
    price = _price_of(job_of(model={"name": name}))
    assert cost_of(Usage(450, 0, 20), price, tier) == Decimal(usd) != cost_of(Usage(450, 0, 20), price)


def test_cached_tokens_have_a_price_of_their_own_at_each_tier(job_of):
    """They are not read as 0 where a tier names them otherwise."""
    price = _price_of(job_of())
    assert cost_of(Usage(450, 400, 20), price, "priority") * 1_000_000 == (
        50 * Decimal("0.25") + 400 * Decimal("0.125") + 20
    )


@pytest.mark.parametrize("tier", [None, *sorted(STANDARD_TIERS), "Default", " on-demand ", "ON_DEMAND"])
@pytest.mark.parametrize("lane", ["live", "batch"])
def test_the_standard_tiers_cost_what_is_listed(job_of, tier, lane):
    """In all providers' words for it, and where an answer names none."""
    price = price_of(job_of().model, lane=lane)
    assert cost_of(Usage(450, 9, 20), price, tier) == cost_of(Usage(450, 9, 20), price)


@pytest.mark.parametrize(
    "tier", ["scale", "flex", "performance", "ultrafast", "?", "x" * 64, "default;priority"]
)
def test_a_tier_whose_price_nobody_lists_makes_the_cost_unknown(job_of, tier):
    """The standard price is not passed off as it."""
    assert cost_of(Usage(450, 0, 20), _price_of(job_of()), tier) is None
    assert cost_of(Usage(450, 0, 20), price_of(job_of().model, lane="batch"), tier) is None


def test_a_batchs_answer_that_names_the_batch_tier_costs_what_the_lane_does(job_of):
    """Anthropic says so of every answer of a batch."""
    model = job_of(model={"provider": "anthropic", "name": "claude-haiku-4-5"}).model
    live, batch = price_of(model), price_of(model, lane="batch")
    usage = Usage(1_000_000, 0, 100_000)
    assert cost_of(usage, batch, "batch") == cost_of(usage, live, "batch") == cost_of(usage, batch)
    assert cost_of(usage, live, "priority") is None
    assert cost_of(usage, price_of(job_of().model, lane="batch"), "priority") is None


def test_groqs_flex_tier_costs_what_its_standard_one_does(job_of):
    """Elsewhere the same word means half the price."""
    price = _price_of(job_of(model={"name": "llama-3.3-70b-versatile"}), "https://api.groq.com/openai/v1")
    assert cost_of(Usage(450, 0, 20), price, "flex") == cost_of(Usage(450, 0, 20), price, "on_demand") > 0
    assert cost_of(Usage(450, 0, 20), price, "performance") is None


def test_a_borrowed_model_has_no_tiers(job_of):
    """Azure's list takes its prices from OpenAI's, but genai-prices has none of the variants there."""
    price = _price_of(job_of(), "https://mine.openai.azure.com/openai/v1")
    assert price.entry["provider"] == "azure"
    assert cost_of(Usage(450, 0, 20), price, "default") == Decimal("0.0000795")
    assert cost_of(Usage(450, 0, 20), price, "priority") is None


def test_tiers_do_not_change_a_jobs_own_price(job_of):
    """It says what the user pays."""
    price = _price_of(job_of(price={"input_usd_per_mtok": 1, "output_usd_per_mtok": 2}))
    assert (
        cost_of(Usage(450, 0, 20), price, "priority")
        == cost_of(Usage(450, 0, 20), price)
        == Decimal("0.00049")
    )


def _variants():
    return [
        (provider, model, variant)
        for provider in get_snapshot().providers
        for model in provider.models
        for variant in model.price_variants or ()
    ]


def test_genai_prices_takes_unknown_context_without_a_word():
    """Which is why a tier is looked up in its list before it is asked for."""
    usage = genai_prices.Usage(input_tokens=1000, output_tokens=10)
    for context in ({"service_tier": "batch"}, {"tier": "priority"}, {"service_tier": "Priority"}):
        standard = genai_prices.calc_price(usage, "gpt-4o-mini", provider_id="openai")
        asked = genai_prices.calc_price(usage, "gpt-4o-mini", provider_id="openai", price_context=context)
        assert asked.total_price == standard.total_price


def test_every_tier_that_genai_prices_lists_is_known_here():
    """A new word in its list for what a response is priced by is not passed over."""
    priced_by = {"service_tier", "processing"}
    listed = {tuple(variant.when.items()) for _, _, variant in _variants() if variant.when.keys() & priced_by}
    known = {tuple(context.items()) for context in CONTEXT_OF_TIER.values()}
    assert listed == known | {(("service_tier", "default"),)}


def test_every_listed_tier_prices_all_that_the_standard_one_does():
    """A dearer tier that told no price for cached or written tokens would have them at the standard one's."""
    kinds = ("input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok")
    tiers = [
        (model, variant)
        for _, model, variant in _variants()
        if variant.when.get("service_tier") not in {None, "default"}
    ]
    assert len(tiers) > 50
    for model, variant in tiers:
        standard = model.get_prices(datetime.now(UTC))
        told = {kind for kind in kinds if getattr(variant.prices, kind) is not None}
        assert told == {kind for kind in kinds if getattr(standard, kind) is not None}, model.id


# Prices that depend on the hour


@pytest.fixture
def clock(monkeypatch):
    """A clock to set: `clock(hour)` on a day of 2026, UTC."""

    def set_to(hour, minute=0, day=25):
        monkeypatch.setattr(prices, "_now", lambda: datetime(2026, 11, day, hour, minute, tzinfo=UTC))

    set_to(0)
    return set_to


@pytest.fixture
def listed():
    """Let genai-prices list one model `m` of OpenAI's with these prices and variants."""

    def build(model_prices, variants=()):
        openai = next(provider for provider in get_snapshot().providers if provider.id == "openai")
        model = ModelInfo(
            id="m", match=ClauseEquals(equals="m"), prices=model_prices, price_variants=list(variants)
        )
        set_custom_snapshot(DataSnapshot([replace(openai, models=[model])], from_auto_update=False))

    yield build
    set_custom_snapshot(None)


def rates(usd):
    """Prices of that much for a million tokens of each kind."""
    return ModelPrice(input_mtok=Decimal(usd), output_mtok=Decimal(usd))


NIGHT = TimeOfDateConstraint(start_time=time(16, 30, tzinfo=UTC), end_time=time(0, 30, tzinfo=UTC))


def test_a_long_run_pays_what_the_hour_costs(job_of, clock):
    """DeepSeek doubles its prices for some hours of the day: no answer is priced as one of another hour was."""
    price = _price_of(job_of(model={"name": "deepseek-v4-flash"}), "https://api.deepseek.com")
    seen = {}
    for hour in (*range(24), *range(24)):
        clock(hour)
        seen.setdefault(hour, set()).add(cost_of(Usage(1_000_000, 0, 0), price))
    peak = {1, 2, 3, 6, 7, 8, 9}
    assert {hour: cost for hour, (cost,) in seen.items()} == {
        hour: Decimal("0.3") if hour in peak else Decimal("0.15") for hour in range(24)
    }


@pytest.mark.parametrize("lane", ["live", "batch"])
def test_each_lane_and_tier_changes_at_the_minute_its_price_does(job_of, clock, listed, lane):
    """Half past is an edge too, and the variants have hours of their own."""
    listed(
        [ConditionalPrice(prices=rates(8)), ConditionalPrice(NIGHT, prices=rates(4))],
        [
            PriceVariant({"processing": "batch"}, rates(1), NIGHT),
            PriceVariant({"processing": "batch"}, rates(2)),
            PriceVariant({"service_tier": "priority"}, rates(16), NIGHT),
        ],
    )
    price = price_of(job_of(model={"name": "m"}).model, lane=lane)
    day, night = (8, 4) if lane == "live" else (2, 1)
    for hour, minute, usd in [
        (0, 0, night),
        (0, 29, night),
        (0, 30, day),
        (16, 29, day),
        (16, 30, night),
    ] * 2:
        clock(hour, minute)
        assert cost_of(Usage(1_000_000), price) == usd
        if lane == "live":
            assert cost_of(Usage(1_000_000), price, "priority") == (16 if usd == night else None)


def test_a_price_that_changes_overnight_is_the_new_one_in_the_morning(job_of, clock, listed):
    """A run may last for days."""
    tomorrow = StartDateConstraint(start_date=date(2026, 11, 26))
    listed([ConditionalPrice(prices=rates(8)), ConditionalPrice(tomorrow, prices=rates(9))])
    price = _price_of(job_of(model={"name": "m"}))
    for day, hour, usd in [(25, 23, 8), (26, 0, 9), (25, 23, 8), (26, 1, 9)]:
        clock(hour, day=day)
        assert cost_of(Usage(1_000_000), price) == usd


def test_equal_usages_are_calculated_once(job_of, monkeypatch):
    """Most answers come to the same tokens as another: a price is asked for far less often than there are answers."""
    price = _price_of(job_of())
    cost_of(Usage(450, 0, 20), price)
    monkeypatch.setattr(genai_prices, "calc_price", lambda *_, **__: pytest.fail("it was calculated again"))
    assert cost_of(Usage(450, 0, 20), price) == Decimal("0.0000795")


# The model that an answer names


@pytest.mark.parametrize(
    ("named", "base_url", "reported", "factor"),
    [
        ("gpt-4o-mini", None, "gpt-4o-2024-08-06", 50 / 3),
        ("gpt-4o-mini", OPENAI, "GPT-4o", 50 / 3),
        ("gpt-4o-mini", "https://mine.openai.azure.com/openai/v1", "gpt-4o-2024-08-06", 50 / 3),
        ("gpt-4o-mini", "https://gateway.example/v1", "openai/gpt-4o", 50 / 3),
        ("openai/gpt-4o-mini", "https://openrouter.ai/api/v1", "openai/gpt-4o-2024-08-06", 50 / 3),
        ("openai/gpt-4o-mini", "https://openrouter.ai/api/v1", "gpt-4o-2024-08-06", 50 / 3),
        (
            "accounts/fireworks/models/llama-v3p1-8b-instruct",
            "https://api.fireworks.ai/inference/v1",
            "accounts/fireworks/models/deepseek-r1-0528",
            40,
        ),
        ("gpt-4o", None, "gpt-4o-2024-05-13", 2),
        ("gpt-4o-mini", None, "gpt-4.1-mini", 8 / 3),
    ],
)
def test_a_dearer_model_than_the_one_that_is_priced_is_told(job_of, named, base_url, reported, factor):
    """A deployment may bear another model's name, a gateway pass on to another: its price, and how much dearer it is."""
    price = _price_of(job_of(model={"name": named}), base_url)
    surcharge = surcharge_of(price, reported)
    assert (surcharge.reported, surcharge.named) == (reported, named)
    assert surcharge.factor == pytest.approx(factor)
    assert cost_of(Usage(1000, 0, 10), surcharge.price) > cost_of(Usage(1000, 0, 10), price)
    assert surcharge.price.entry["provider"] == price.entry["provider"]
    assert surcharge_of(price, reported) is surcharge


def test_a_dearer_model_on_the_batch_lane_is_dearer_at_that_lanes_price(job_of):
    """The surcharge is within one lane."""
    surcharge = surcharge_of(price_of(job_of().model, lane="batch"), "gpt-4o-2024-08-06")
    assert surcharge.price.entry["lane"] == "batch"
    assert surcharge.price.entry["input_usd_per_mtok"] == 1.25
    assert surcharge.factor == pytest.approx(50 / 3)


@pytest.mark.parametrize(
    ("named", "base_url", "reported"),
    [
        ("gpt-4o-mini", None, "gpt-4o-mini"),
        ("gpt-4o-mini", None, "gpt-4o-mini-2024-07-18"),
        ("gpt-4o-mini", "https://gateway.example/v1", "openai/gpt-4o-mini-2024-07-18"),
        ("gpt-4o-mini", None, "practice:gpt-4o"),
        ("gpt-4o-mini", None, "practice:gpt-4o-mini"),
        ("gpt-4o-mini", None, "my-own-model"),
        ("gpt-4o-mini", None, "gpt-4o-mini-2099-01-01"),
        ("gpt-4o-mini", None, "text-embedding-3-small"),
        ("gpt-4o", None, "gpt-4o-mini"),
        ("gpt-4o-mini", None, None),
        ("gpt-4o-mini", None, ""),
        ("gpt-4o-mini", None, "/"),
        ("gpt-4o-mini", None, "gpt-4o\x00"),
        ("gpt-4o-mini", None, "\x1b[31mgpt-4o"),
        ("gpt-4o-mini", None, "gpt-4o\ud800"),
        ("gpt-4o-mini", None, "gpt-4o" + "-" * 1_000_000),
        ("gpt-4o-mini", None, 5),
        ("no-such-model", None, "gpt-4o"),
        ("openai/gpt-4o-mini", "https://openrouter.ai/api/v1", "openai/gpt-oss-120b:free"),
    ],
)
def test_what_is_no_dearer_model_as_far_as_anybody_knows_is_passed_over(job_of, named, base_url, reported):
    """The same model's dated name, a cheaper one, one that nobody lists, practice's, and names that are none."""
    assert surcharge_of(_price_of(job_of(model={"name": named}), base_url), reported) is None


def test_a_jobs_own_price_knows_no_surcharge(job_of):
    """It is what its user pays, whoever answers."""
    price = _price_of(job_of(price={"input_usd_per_mtok": 0.1, "output_usd_per_mtok": 0.1}))
    assert surcharge_of(price, "gpt-4o") is None
    assert surcharge_of(None, "gpt-4o") is None


@settings(deadline=None, max_examples=50)
@given(
    reported=st.text()
    | st.sampled_from(["gpt-4o", "gpt-4", "o1-pro"]).flatmap(lambda n: st.text().map(n.__add__))
)
def test_any_name_is_looked_up_without_an_accident(reported):
    """Whatever a provider puts there, nothing raises, and nothing is cheaper by it."""
    found = surcharge_of(price_of(Model(name="gpt-4o-mini")), reported)
    assert found is None or found.factor > 1


# The dearest that tokens can be


@pytest.mark.parametrize("name", ["gpt-4o-mini", "gpt-5.6-luna", "gemini-2.5-pro", "claude-sonnet-4-5"])
@settings(deadline=None, max_examples=40)
@given(
    sent=st.integers(0, 400_000),
    cached=st.integers(0, 400_000),
    written=st.integers(0, 400_000),
    said=st.integers(0, 400_000),
)
def test_no_tokens_cost_more_than_as_many_of_the_dearest(name, sent, cached, written, said):
    """Where only a total is told, nothing that it may have been cost more."""
    provider = {"gem": "google", "cla": "anthropic"}.get(name[:3], "openai")
    price = price_of(Model(provider=provider, name=name))
    usage = Usage(sent, min(cached, sent), said, written)
    assert cost_of(usage, price) <= dearest_cost_of(sent + said, price)
    assert dearest_cost_of(sent + said, None) is None


CNY = {"currency": "CNY", "usd_rate": 8, "usd_rate_date": "2026-11-30"}


def test_a_price_in_another_currency_is_counted_in_usd_at_its_rate(job_of):
    """And its entry has both; the batch lane's is its part, as of any price of a job's own."""
    own = {"input_per_mtok": 0.8, "output_per_mtok": 2, "batch_fraction": 0.5, **CNY}
    job = job_of(model={"provider": "dashscope", "name": "qwen-plus"}, price=own)
    live, batch = (price_of(job.model, job.price, lane=lane) for lane in ("live", "batch"))
    assert cost_of(Usage(1_000_000, 0, 1_000_000), live) == Decimal("0.35")
    assert cost_of(Usage(1_000_000, 0, 1_000_000), batch) == Decimal("0.175")
    assert (live.entry["input_usd_per_mtok"], live.entry["input_per_mtok"], live.entry["currency"]) == (
        0.1,
        0.8,
        "CNY",
    )
    assert (batch.entry["input_usd_per_mtok"], batch.entry["output_per_mtok"]) == (0.05, 1.0)


def test_a_job_may_name_the_model_that_is_listed(job_of):
    """A deployment's name says nothing of the model; a dearer one that answers is noticed all the same, on each lane."""
    job = job_of(model={"provider": "azure", "name": "labels"}, price={"model": "gpt-4o-mini", **CNY})
    live, batch = (price_of(job.model, job.price, lane=lane) for lane in ("live", "batch"))
    assert (live.entry["model"], live.entry["input_usd_per_mtok"]) == ("gpt-4o-mini", 0.15)
    assert batch.entry["input_usd_per_mtok"] == 0.075
    for price in (live, batch):
        assert surcharge_of(price, "gpt-4o-mini-2024-07-18") is None
        surcharge = surcharge_of(price, "gpt-4o-2024-08-06")
        assert surcharge.factor == pytest.approx(16.7, abs=0.1)
        paid = cost_of(Usage(1_000_000), surcharge.price)
        assert paid == (Decimal("2.5") if price is live else Decimal("1.25"))
    assert price_of(job.model) is None


def test_what_batches_cost_is_the_listed_price_then_the_jobs_part_then_the_providers(job_of):
    """Groq's half stands in the table of endpoints; a job's own word comes first."""
    model = job_of(model={"provider": "groq", "name": "llama-3.3-70b-versatile"}).model
    live = price_of(model).entry["input_usd_per_mtok"]
    assert price_of(model, lane="batch").entry["input_usd_per_mtok"] == pytest.approx(live / 2)
    own = OwnPrice(batch_fraction=0.25)
    assert price_of(model, own, lane="batch").entry["input_usd_per_mtok"] == pytest.approx(live / 4)
    assert price_of(model, own).entry["input_usd_per_mtok"] == live


@pytest.mark.parametrize("provider", ["vllm", "ollama", "llama.cpp", "dashscope", "ark"])
def test_a_provider_that_no_list_knows_has_no_price(job_of, provider):
    """Also where the model's name is one of OpenAI's: unknown, and not 0."""
    assert price_of(job_of(model={"provider": provider}).model) is None


@given(
    rates=st.tuples(*[st.floats(0, 1000).map(lambda rate: round(rate, 4))] * 3),
    usd_rate=st.floats(0.001, 100_000),
    counts=st.tuples(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9)),
)
def test_what_is_shown_in_a_currency_is_what_was_paid_in_it(rates, usd_rate, counts):
    """Whatever the rate: the cost in USD, at that rate again, is tokens times the prices that the job told."""
    own = OwnPrice(
        currency="CNY",
        usd_rate=usd_rate,
        usd_rate_date="2026-11-30",
        input_per_mtok=rates[0],
        cached_input_per_mtok=rates[1],
        output_per_mtok=rates[2],
    )
    sent, cached, answered = counts[0] + counts[1], counts[1], counts[2]
    cost = cost_of(Usage(sent, cached, answered), price_of(Model(name="m"), own))
    paid = (counts[0] * rates[0] + cached * rates[1] + answered * rates[2]) / 1e6
    assert float(cost) * usd_rate == pytest.approx(paid, rel=1e-9, abs=1e-12)
