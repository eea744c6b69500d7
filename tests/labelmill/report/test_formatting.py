"""Numbers and notices: never rounded to nothing, never silent about what is unknown."""

import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelmill.providers.table import price_of
from labelmill.report.formatting import (
    STATUS_WORDS,
    bar,
    bill_of,
    counted,
    duration,
    notices,
    percent,
    price_words,
    prices_words,
    rows_of,
    usd,
    visible,
)
from labelmill.run.record import RunRecord
from labelmill.store.folder import OutputFolder


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (None, "unknown"),
        (0, "$0.00"),
        (Decimal("0E-12"), "$0.00"),
        (0.0000795, "$0.0000795"),
        (Decimal("0.0000795"), "$0.0000795"),
        (1e-12, "$0.000000000001"),
        (0.0015, "$0.0015"),
        (0.0123456, "$0.0123"),
        (0.5, "$0.50"),
        (0.075, "$0.075"),
        (0.12344, "$0.1234"),
        (1, "$1.00"),
        (1234567.891, "$1,234,567.89"),
    ],
)
def test_money_is_shown_with_the_digits_that_matter(amount, shown):
    """Small amounts keep four digits, large ones cents, unknown ones are said to be so."""
    assert usd(amount) == shown


@settings(max_examples=50, deadline=None)
@given(amount=st.decimals("1e-15", "1e6", allow_nan=False) | st.floats(1e-15, 1e6))
def test_money_is_never_rounded_to_nothing(amount):
    """Whatever is more than nothing is shown as more than nothing, and within half a percent of what it is."""
    shown = Decimal(usd(amount).removeprefix("$").replace(",", ""))
    assert shown > 0
    assert abs(shown / Decimal(str(amount)) - 1) <= Decimal("0.005")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0.0 s"), (4.24, "4.2 s"), (83.2, "1 min 23 s"), (3599.7, "1 h 00 min"), (7500, "2 h 05 min")],
)
def test_time_is_shown_in_units_people_use(seconds, shown):
    """Seconds, then minutes, then hours, with carries."""
    assert duration(seconds) == shown


def test_a_share_of_nothing_is_a_dash():
    """No rows is no percentage, and no division."""
    assert (percent(1, 3), percent(0, 0)) == ("33.3%", "–")


def test_every_status_has_its_words():
    """Whatever a record's status can be can be said."""
    assert set(STATUS_WORDS) == set(RunRecord.model_fields["status"].annotation.__args__)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain 技术 é", "plain 技术 é"),
        ("a\nb\tc\x00d", "a b c d"),
        ("\u202ea\u2066b\u200fc\u061cd\u2028e", " a b c d e"),
        ("\ud800", " "),
        ("👩\u200d👧", "👩\u200d👧"),
    ],
)
def test_what_can_not_be_seen_becomes_a_space(text, shown):
    """One line, one direction, nothing hidden; letters and joined emoji stay."""
    assert visible(text) == shown


def test_a_plain_run_needs_no_notice(record_of):
    """Where all is well and known, nothing is said."""
    assert notices(record_of()) == []


def test_practice_is_said_and_that_nothing_was_paid(record_of):
    """Nobody may take practice labels for a model's or its cost for a bill."""
    record = record_of(practice=True)
    (said,) = notices(record)
    assert "Practice" in said
    assert "not a language model" in said
    assert "Nothing was paid" in said
    assert ("cost, had it been paid", "$0.0794") in bill_of(record)
    assert "cost" in dict(bill_of(record_of()))


def test_an_unknown_price_is_said_and_never_zero(record_of):
    """No amount of money appears anywhere in the bill, and a notice says what to do."""
    record = record_of(price=None, cost_usd=None)
    (said,) = notices(record)
    assert "unknown, not zero" in said
    assert "[price]" in said
    bill = dict(bill_of(record))
    assert bill["cost"] == bill["cost per 1,000 labels"] == bill["price"] == "unknown"
    assert not any("$" in value for value in bill.values())
    assert notices(record_of(price=None, cost_usd=None, requests=0, texts_asked=0)) == []


def test_what_is_known_of_an_unknown_cost_stands_in_the_bill(record_of):
    """As the least that it is; where nothing is known there is no dollar."""
    costs = [
        dict(bill_of(record_of(cost_usd=cost, cost_known_usd=known)))["cost"]
        for cost, known in ((0.5, 0.5), (None, 0.12), (None, 0.0), (None, None))
    ]
    assert costs == ["$0.50", "unknown, $0.12 or more", "unknown", "unknown"]


def test_requests_whose_tokens_nobody_saw_are_said(record_of):
    """The bill names what it doesn't hold."""
    (said,) = notices(record_of(requests_without_usage=7))
    assert said.startswith("7 requests ended without a token count")
    assert "at an unknown cost" in said
    (said,) = notices(record_of(requests_without_usage=1, unseen_usd=0.5))
    assert said.startswith("1 request ended without a token count")
    assert (
        "at a cost of at most $0.50. The budget counts it as spent; the tokens and the cost shown leave it out."
        in said
    )


def test_why_a_run_ended_early_comes_first(record_of):
    """The message of the record is the first notice."""
    record = record_of(
        status="budget_reached", message="max_cost_usd = 1", requests_without_usage=1, practice=True
    )
    assert "max_cost_usd = 1" in notices(record)[0]
    assert len(notices(record)) == 3


def test_prices_are_shown_with_their_source_or_as_tiers(record_of):
    """Each rate and where it is from; rates that depend on the length are said to."""
    assert price_words(record_of().price) == (
        "$0.15 in, $0.075 cached in, $0.60 out per million tokens (genai-prices 0.2.3)"
    )
    tiers = {**record_of().price, "input_usd_per_mtok": None}
    assert price_words(tiers) == "in tiers (genai-prices 0.2.3)"
    assert price_words(None) == "unknown"


def test_the_bill_and_the_rows_are_the_records(record_of):
    """Nothing is counted anew for a report."""
    bill, rows = dict(bill_of(record_of())), dict(rows_of(record_of()))
    assert (bill["requests"], bill["input tokens"], bill["output tokens"]) == ("910", "450,000", "20,000")
    assert bill["cost per 1,000 labels"] == "$0.1324"
    assert (rows["rows in the dataset"], rows["labeled"], rows["pending"]) == ("1,000", "950 (95.0%)", "20")
    idle = dict(bill_of(record_of(texts_asked=0, texts_labeled=0, requests=0, cost_usd=0)))
    assert (idle["cost"], idle["cost per 1,000 labels"]) == ("$0.00", "–")


BATCH_PRICE = {
    "source": "genai-prices 0.2.3",
    "lane": "batch",
    "input_usd_per_mtok": 0.075,
    "cached_input_usd_per_mtok": 0.0375,
    "output_usd_per_mtok": 0.3,
}
BY_BATCH = {"texts_by_batch": 900, "cost_usd": 0.04, "live_cost_usd": 0.08, "batch_price": BATCH_PRICE}


def test_a_bill_tells_what_the_batch_lane_saved(record_of):
    """Against the same tokens on the live lane; a run that was live alone says nothing of lanes."""
    bill = dict(bill_of(record_of(**BY_BATCH)))
    assert bill["of these on the batch lane"] == "900"
    assert (bill["cost"], bill["the same on the live lane"]) == ("$0.04", "$0.08")
    assert bill["saved by the batch lane"] == "$0.04 (50.0%)"
    assert not [what for what, _ in bill_of(record_of(live_cost_usd=0.079425)) if "lane" in what]


def test_a_saving_that_is_unknown_is_not_told(record_of):
    """Neither where the batch lane's cost is unknown, nor where the live lane's is."""
    for fields, live in (({"live_cost_usd": None}, "unknown"), ({"cost_usd": None}, "$0.08")):
        bill = dict(bill_of(record_of(**BY_BATCH | fields)))
        assert bill["the same on the live lane"] == live
        assert "saved by the batch lane" not in bill
    idle = dict(bill_of(record_of(**BY_BATCH | {"cost_usd": 0.0, "live_cost_usd": 0.0})))
    assert "saved by the batch lane" not in idle


def test_each_lane_that_was_used_has_its_price(record_of):
    """The one that was not used has none to tell."""
    live, batch = price_words(record_of().price), price_words(BATCH_PRICE)
    assert prices_words(record_of()) == [live]
    assert prices_words(record_of(**BY_BATCH)) == [f"{batch}, on the batch lane"]
    timed = {"answer_seconds": {"p50": 1.0, "p95": 1.0, "max": 1.0}}
    both = record_of(**BY_BATCH | {"texts_by_batch": 899})
    # A text that was tried on both lanes counts among those of the batch lane.
    for used in (both, record_of(**BY_BATCH | timed)):
        assert prices_words(used) == [f"{batch}, on the batch lane", f"{live}, live"]
    assert [value for what, value in bill_of(both) if what == "price"] == prices_words(both)


def test_an_unknown_price_of_the_batch_lane_is_said(record_of):
    """With what to add to the job; where it was not used it is nobody's concern."""
    (said,) = notices(record_of(**BY_BATCH | {"batch_price": None, "cost_usd": None}))
    assert "The Batch API's price of gpt-4o-mini is unknown" in said
    assert "batch_fraction" in said
    assert notices(record_of(batch_price=None)) == []
    assert prices_words(record_of(**BY_BATCH | {"batch_price": None})) == ["unknown, on the batch lane"]


def test_a_run_that_waits_says_so_first(record_of):
    """With how many texts are out."""
    said = notices(record_of(status="waiting", message="20 texts are in 1 batch at the provider"))
    assert said == ["How it ended: 20 texts are in 1 batch at the provider."]
    assert STATUS_WORDS["waiting"] == "waiting for batches"


@pytest.mark.parametrize(
    ("count", "most", "length"), [(0, 5, 0), (1, 10**6, 1), (5, 10, 10), (10, 10, 20), (0, 0, 0)]
)
def test_a_bar_shows_anything_above_zero(count, most, length):
    """One row in a million still has a block; none has none."""
    assert bar(count, most) == "█" * length


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "–"),
        ({"texts_labeled": 0}, "–"),
        ({"texts_labeled": None}, "–"),
        ({"texts_labeled": 100, "texts_asked": 400}, "$0.50"),
        ({"texts_labeled": 100, "cost_usd": None}, "unknown"),
        ({"texts_labeled": 0, "cost_usd": None}, "–"),
    ],
)
def test_a_thousand_labels_cost_what_was_paid_for_those_there_are(record_of, fields, words):
    """Not what was paid for the texts that were asked: a run that was cut off has asked more than it got."""
    bill = dict(bill_of(record_of(**{"cost_usd": 0.05, "texts_labeled": None} | fields)))
    assert bill["cost per 1,000 labels"] == words


def test_a_rehearsal_beside_a_models_labels_says_so(record_of, job_of):
    """Nobody looks for its labels in labeled/."""
    job = job_of()
    beside = str(OutputFolder.of(job).practice_labeled)
    assert "a folder of their own" in notices(record_of(job=job, practice=True, labeled_path=beside))[1]
    assert len(notices(record_of(job=job, practice=True))) == 1


def test_one_thing_is_told_as_one():
    """And none or several as several."""
    assert [counted(number, "file") for number in (0, 1, 2, 1204)] == [
        "0 files",
        "1 file",
        "2 files",
        "1,204 files",
    ]
    assert counted(2, "batch", "batches") == "2 batches"


def test_the_bill_tells_descriptions_apart_and_calls_them_an_estimate(record_of):
    """About so many of the input tokens, with their share; a bill without any doesn't speak of them."""
    rows = dict(bill_of(record_of(input_tokens=1000, description_tokens=590)))
    assert rows["of these for descriptions"] == "about 590 (59.0%)"
    assert "of these for descriptions" not in dict(bill_of(record_of(description_tokens=None)))


IN_CNY = {
    "currency": "CNY",
    "usd_rate": 7.12,
    "usd_rate_date": "2026-11-30",
    "input_per_mtok": 0.8,
    "output_per_mtok": 2.0,
    "batch_fraction": 0.5,
}


def test_a_bill_shows_the_currency_that_the_job_is_paid_in(record_of, job_of):
    """Beside USD, with the rate and its day; the price stands as the job tells it. An unknown cost stays unknown in both."""
    job = job_of(price=IN_CNY)
    record = record_of(job, cost_usd=0.5, price=price_of(job.model, job.price).entry)
    bill = dict(bill_of(record))
    assert bill["cost"] == "$0.50 (3.56 CNY)"
    assert bill["cost per 1,000 labels"] == "$0.8333 (5.93 CNY)"
    assert bill["exchange rate"] == "$1 = 7.12 CNY on 2026-11-30"
    assert bill["price"] == "0.80 CNY in, 0.80 CNY cached in, 2.00 CNY out per million tokens (job)"
    unknown = dict(bill_of(record_of(job, cost_usd=None, cost_known_usd=0.5)))
    assert unknown["cost"] == "unknown, $0.50 (3.56 CNY) or more"
    assert "exchange rate" not in dict(bill_of(record_of()))


def test_a_listed_price_is_shown_in_the_currency_too(record_of, job_of):
    """The rate alone is enough; what the list says stays in USD."""
    told = {name: IN_CNY[name] for name in ("currency", "usd_rate", "usd_rate_date")}
    job = job_of(price=told)
    bill = dict(bill_of(record_of(job, price=price_of(job.model, job.price).entry)))
    assert bill["cost"] == "$0.0794 (0.5655 CNY)"
    assert bill["price"].startswith("$0.15 in")


def test_the_record_holds_both_and_is_read_again(record_of, job_of):
    """`currency` stands in what is written beside the amounts in USD, and a record of a job without one has none."""
    written = json.loads(record_of(job_of(price=IN_CNY), cost_usd=0.5).model_dump_json())
    assert written["cost_usd"] == 0.5
    assert written["currency"] == {
        "code": "CNY",
        "usd_rate": 7.12,
        "usd_rate_date": "2026-11-30",
        "cost": 3.56,
        "cost_known": 3.56,
        "unseen": 0.0,
    }
    assert RunRecord.model_validate(written).currency.cost == 3.56
    assert json.loads(record_of().model_dump_json())["currency"] is None
