"""Attempts: written and read again as they were, and added up to what is known of a text."""

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelmill.job.model import Run
from labelmill.money.usage import Usage
from labelmill.question.attempts import Attempt, is_final, outcomes_of
from labelmill.question.failures import POLICY_OF_KIND, Policy

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
KEYS = [f"v1:{number:032x}" for number in range(4)]
money = st.integers(0, 10**9).map(lambda units: Decimal(units) / 10**12)
usages = st.builds(Usage, st.integers(0, 9999), st.integers(0, 99), st.integers(0, 99), st.integers(0, 99))


@st.composite
def attempts(draw):
    """An attempt of any kind."""
    key = draw(st.sampled_from(KEYS))
    at = NOON + timedelta(microseconds=draw(st.integers(0, 10**12)))
    match draw(st.sampled_from(["label", "answer", "unseen", "free"])):
        case "label":
            return Attempt(
                key,
                at,
                label="sport",
                answered=True,
                usage=draw(usages),
                cost_usd=draw(money),
                service_tier=draw(st.sampled_from([None, "flex"])),
            )
        case "answer":
            cost = draw(st.none() | money)
            return Attempt(
                key,
                at,
                failure="off_label",
                message=draw(st.text()),
                answered=True,
                usage=draw(usages),
                cost_usd=cost,
            )
        case "unseen":
            return Attempt(key, at, failure="timeout", message="m")
        case _:
            kind = draw(st.sampled_from(["rate_limited", "content_filter"]))
            return Attempt(key, at, failure=kind, message="m", usage=Usage(), cost_usd=Decimal(0))


@settings(max_examples=50, deadline=None)
@given(attempt=attempts())
def test_an_attempt_survives_being_written(attempt):
    """JSON and back gives the same attempt: time, tokens, exact money, and any message."""
    assert Attempt.from_json(json.loads(json.dumps(attempt.to_json()))) == attempt


@pytest.mark.parametrize(
    "values",
    [
        {},
        [],
        None,
        3,
        "v1:0",
        {"row_key": KEYS[0]},
        {"row_key": KEYS[0], "label": "sport"},
        {"row_key": KEYS[0], "label": "sport", "at_utc": "yesterday"},
        {"row_key": KEYS[0], "label": "sport", "at_utc": 5},
        {"row_key": KEYS[0], "label": "sport", "at_utc": "0001-01-01T00:00:00+14:00"},
        {"label": "sport", "at_utc": NOON.isoformat()},
        {"row_key": "v1:\ud800", "label": "sport", "at_utc": NOON.isoformat()},
        {"row_key": ["v1:0"], "label": "sport", "at_utc": NOON.isoformat()},
        {"row_key": KEYS[0], "at_utc": NOON.isoformat()},
        {"row_key": KEYS[0], "at_utc": NOON.isoformat(), "label": 5},
        {"row_key": KEYS[0], "at_utc": NOON.isoformat(), "label": "\ud800"},
        {"row_key": KEYS[0], "at_utc": NOON.isoformat(), "failure": {}},
        {"row_key": KEYS[0], "at_utc": NOON.isoformat(), "label": "sport", "failure": "off_label"},
    ],
)
def test_anything_else_is_refused(values):
    """What doesn't tell of which text it is, when it was and what came of it raises what reading a journal expects."""
    with pytest.raises((KeyError, TypeError, ValueError, ArithmeticError)):
        Attempt.from_json(values)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("message", [5, ["m"], None]),
        ("model", [5, {}, True]),
        ("service_tier", [5, []]),
        ("confidence", [math.nan, math.inf, -math.inf, "high", True, 10**400]),
        ("seconds", [-1, math.nan, "2", False]),
        ("usage", [7, {}, {"tokens": 1}, {"input_tokens": 5}, {"input_tokens": 1e20, "output_tokens": 1}]),
        ("usage", [{"input_tokens": 10**20, "output_tokens": 1}, {"input_tokens": -1, "output_tokens": 1}]),
        ("usage", [{"input_tokens": 1, "output_tokens": None}, {"input_tokens": True, "output_tokens": 1}]),
        ("cost_usd", ["much", "NaN", "sNaN", "Infinity", "-1", "1E30", True, [], {}]),
        ("unseen_usd", ["much", "NaN", "-0.01", "9" * 5000]),
        ("answers_before", [-1, 1.5, "2", 10**20]),
        ("paid_before", [-1, 1.5, "2", True]),
    ],
)
def test_a_value_that_no_ledger_can_hold_is_unknown(field, values):
    """It is left out of what a journal says, and the rest stands: the text has its label, and what isn't known is null."""
    told = {"row_key": KEYS[0], "at_utc": NOON.isoformat(), "label": "sport", "answered": True}
    for value in values:
        attempt = Attempt.from_json({**told, field: value})
        assert getattr(attempt, field) is None
        assert attempt == Attempt(KEYS[0], NOON, label="sport", answered=True)
        assert json.dumps(attempt.to_json())


def test_an_attempt_holds_only_what_can_be_written():
    """Also one that was never in a journal: odd values become unknown, and characters cut in two are replaced."""
    odd = Attempt(
        KEYS[0], NOON, failure="off_label", message="a\ud800b\x00", model=5, confidence=math.nan, seconds=-1.0
    )
    assert (odd.message, odd.model, odd.confidence, odd.seconds) == ("a?b\x00", None, None, None)
    assert Attempt(KEYS[0], NOON, label="x", usage=Usage(10**30, 0, 1)).usage is None


def test_fields_that_are_not_known_are_passed_over():
    """A line of a later version is read for what it has in common; tokens that an earlier one didn't count are 0."""
    told = {"row_key": KEYS[0], "at_utc": NOON.isoformat(), "label": "sport", "from_the_future": {"a": [1]}}
    usage = {"input_tokens": 9, "output_tokens": 2, "thinking_tokens": 5}
    attempt = Attempt.from_json({**told, "usage": usage, "cost_usd": "0.000000000000000000001"})
    assert attempt.usage == Usage(9, 0, 2)
    assert attempt.cost_usd == Decimal("1E-21")


@settings(max_examples=50, deadline=None)
@given(many=st.lists(attempts(), max_size=25), max_answers=st.integers(1, 4))
def test_outcomes_add_up_whatever_the_order_of_texts(many, max_answers):
    """Requests, unseen attempts, tokens and money of all texts together are those of all attempts; the last one decides."""
    outcomes = outcomes_of(many, Run(max_answers=max_answers))
    assert [outcome.last.row_key for outcome in outcomes] == list(dict.fromkeys(a.row_key for a in many))
    for outcome in outcomes:
        own = [attempt for attempt in many if attempt.row_key == outcome.last.row_key]
        assert outcome.last is own[-1]
        assert outcome.requests == len(own)
        assert outcome.unseen == sum(attempt.usage is None for attempt in own)
        assert outcome.usage == sum((attempt.usage or Usage() for attempt in own), Usage())
        costs = [attempt.cost_usd for attempt in own if attempt.usage is not None]
        assert outcome.known_usd == sum((cost for cost in costs if cost is not None), Decimal(0))
        assert outcome.unpriced == costs.count(None)
        assert outcome.cost_usd == (None if None in costs else outcome.known_usd)
        assert outcome.answers == sum(attempt.is_answer for attempt in own)
        assert outcome.paid_attempts == sum(attempt.was_paid_in_vain for attempt in own)
        assert outcome.final == is_final(
            own[-1], outcome.answers, outcome.paid_attempts, Run(max_answers=max_answers)
        )
    interleaved = sorted(many, key=lambda attempt: attempt.row_key)
    assert {o.last.row_key: o for o in outcomes_of(interleaved, Run(max_answers=max_answers))} == {
        o.last.row_key: o for o in outcomes
    }


def attempt_of(kind, *, paid):
    """An attempt that failed, and was paid for or was not."""
    return Attempt(
        KEYS[0],
        NOON,
        failure=kind,
        message="m",
        answered=POLICY_OF_KIND.get(kind) is Policy.ASK_AGAIN,
        usage=Usage(9, 0, 2) if paid else Usage(),
        cost_usd=Decimal("0.001") if paid else Decimal(0),
    )


@pytest.mark.parametrize("kind", [*sorted(POLICY_OF_KIND), "of_another_version"])
def test_a_text_is_done_with_when_asking_it_again_can_not_help_or_has_cost_enough(kind):
    """What failed for good is final at once; else `max_answers` answers or `max_attempts` paid requests in vain are the end."""
    run = Run(max_attempts=4, max_answers=2)
    counts = [(0, 0), (1, 3), (2, 0), (0, 4), (5, 9)]
    finals = [
        is_final(attempt_of(kind, paid=True), answers, paid_attempts, run)
        for answers, paid_attempts in counts
    ]
    gives_up = POLICY_OF_KIND.get(kind) is Policy.GIVE_UP
    assert finals == [gives_up, gives_up, True, True, True]
    assert is_final(Attempt(KEYS[0], NOON, label="sport"), 1, 0, run)


@pytest.mark.parametrize("kind", ["rate_limited", "overloaded", "connection", "provider_error", "denied"])
def test_what_was_free_is_no_reason_to_leave_a_text_out_tomorrow(kind):
    """However often a provider refused: its run has tried enough, and the next one asks again."""
    (outcome,) = outcomes_of([attempt_of(kind, paid=False)] * 9, Run(max_attempts=5))
    assert (outcome.final, outcome.ended, outcome.paid_attempts) == (False, True, 0)


@pytest.mark.parametrize("before", range(4))
def test_paid_requests_without_an_answer_are_counted_over_all_runs(before):
    """Broken-off answers and those whose tokens nobody saw: `max_attempts` of them are the end, whichever run made them."""
    broken_off = attempt_of("bad_response", paid=True)
    unseen = Attempt(KEYS[0], NOON, failure="timeout", message="m", unseen_usd=Decimal(1))
    free = attempt_of("rate_limited", paid=False)
    told = [replace(attempt, paid_before=before) for attempt in (broken_off, unseen, free)]
    (outcome,) = outcomes_of(told, Run(max_attempts=5))
    assert (outcome.paid_attempts, outcome.final) == (2, before == 3)


def test_an_answer_that_broke_off_is_none():
    """It was paid, and is the provider's failure: it counts among the requests in vain and not among the answers."""
    broken_off = replace(attempt_of("provider_error", paid=True), answered=True)
    assert (broken_off.is_answer, broken_off.was_paid_in_vain) == (False, True)
    assert (
        attempt_of("off_label", paid=True).is_answer,
        attempt_of("off_label", paid=True).was_paid_in_vain,
    ) == (
        True,
        False,
    )


def test_a_kind_of_another_version_is_asked_again_and_breaks_nothing():
    """A journal that a later or earlier Labelmill left can always be folded."""
    (outcome,) = outcomes_of([Attempt(KEYS[0], NOON, failure="melted", message="m")], Run())
    assert not outcome.final


def test_what_is_known_of_a_cost_stays_known():
    """A text that cost 0.50 and then got an answer without usage cost an unknown sum, of which 0.50 are known."""
    priced = replace(attempt_of("off_label", paid=True), cost_usd=Decimal("0.5"))
    unseen = Attempt(KEYS[0], NOON, label="sport", answered=True, unseen_usd=Decimal("0.1"))
    (outcome,) = outcomes_of([priced, unseen], Run())
    assert (outcome.cost_usd, outcome.known_usd, outcome.unpriced) == (None, Decimal("0.5"), 1)
    assert outcome.unseen_usd == Decimal("0.1")


def test_a_text_remembers_what_was_wrong_with_its_latest_answer():
    """Also where a request in vain came after it."""
    lost = Attempt(KEYS[0], NOON, failure="timeout", message="m")
    answers = [attempt_of("truncated", paid=True), attempt_of("off_label", paid=True)]
    (outcome,) = outcomes_of([*answers, lost], Run())
    assert (outcome.last, outcome.problem, outcome.answers) == (lost, "off_label", 2)


def test_the_tier_is_the_latest_answers():
    """A request that failed has none, and leaves it as it was."""
    answer = replace(attempt_of("off_label", paid=True), service_tier="priority")
    (outcome,) = outcomes_of([answer, attempt_of("rate_limited", paid=False)], Run())
    assert outcome.service_tier == "priority"


def test_an_answer_without_usage_makes_the_cost_unknown_and_not_zero():
    """An endpoint that sends no usage was paid all the same; an answer that never came is counted as unseen instead."""
    answered = Attempt(KEYS[0], NOON, label="sport", answered=True)
    lost = Attempt(KEYS[0], NOON, failure="timeout", message="m")
    (outcome,) = outcomes_of([answered], Run())
    assert (outcome.cost_usd, outcome.unseen) == (None, 1)
    (outcome,) = outcomes_of([lost], Run())
    assert (outcome.cost_usd, outcome.unseen) == (Decimal(0), 1)


@pytest.mark.parametrize(
    ("kinds", "ended"),
    [
        (["timeout"] * 4, False),
        (["timeout"] * 5, True),
        (["off_label"], False),
        (["off_label", "off_label"], True),
        (["interrupted"], False),
        (["content_filter"], True),
        (["off_label", "timeout", "timeout"], False),
    ],
)
def test_a_text_that_was_not_tried_to_the_end_has_not_ended(kinds, ended):
    """A run that stops in the middle leaves such texts pending; five requests or two answers are the end."""
    attempts_made = [
        Attempt(KEYS[0], NOON, failure=kind, message="m", answered=kind == "off_label") for kind in kinds
    ]
    (outcome,) = outcomes_of(attempts_made, Run(max_attempts=5, max_answers=2))
    assert outcome.ended == ended


def test_answers_in_other_parts_count_and_are_no_requests_of_this_one():
    """After an answer in a batch one more without a label is the end; a provider's failures are counted as without it."""
    told = {"message": "m", "answers_before": 1}
    answer = Attempt(KEYS[0], NOON, failure="off_label", answered=True, **told)
    (outcome,) = outcomes_of([answer], Run(max_answers=2))
    assert (outcome.final, outcome.ended, outcome.requests, outcome.answers) == (True, True, 1, 1)
    refusals = [Attempt(KEYS[0], NOON, failure="rate_limited", usage=Usage(), **told)] * 4
    (outcome,) = outcomes_of(refusals, Run(max_attempts=5))
    assert (outcome.final, outcome.ended) == (False, False)
    (outcome,) = outcomes_of([*refusals, refusals[0]], Run(max_attempts=5))
    assert (outcome.final, outcome.ended) == (False, True)


def test_what_was_answered_before_counts_wherever_it_is_told():
    """Of a text's attempts the first may be one that a dead process had only noted, which knows nothing of earlier runs."""
    noted = Attempt(KEYS[0], NOON, failure="interrupted", message="m")
    answer = Attempt(KEYS[0], NOON, failure="off_label", message="m", answered=True, answers_before=2)
    (outcome,) = outcomes_of([noted, answer], Run(max_answers=3))
    assert outcome.final


def test_what_found_no_connection_is_no_request():
    """It reached nobody and is in no provider's count; one that was sent, and then lost, is."""
    found_nobody = Attempt(KEYS[0], NOON, failure="connection", usage=Usage(), cost_usd=Decimal(0))
    lost = Attempt(KEYS[0], NOON, failure="connection", unseen_usd=Decimal("0.01"))
    (outcome,) = outcomes_of([found_nobody, lost, found_nobody], Run())
    assert (outcome.requests, outcome.unseen) == (1, 1)
