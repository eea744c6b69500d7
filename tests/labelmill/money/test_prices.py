"""Prices: exact to the last digit, and unknown rather than zero."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelmill.money.prices import cost_of, price_of
from labelmill.money.usage import Usage

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
    from labelmill.job.model import Price as OwnPrice  # noqa: PLC0415
    from labelmill.money.prices import _own_price  # noqa: PLC0415

    price = _own_price(
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
