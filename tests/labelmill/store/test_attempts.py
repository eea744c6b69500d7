"""Attempts: written and read again as they were, and added up to what is known of a text."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelmill.job.model import Run
from labelmill.model.failures import POLICY_OF_KIND, Policy
from labelmill.money.usage import Usage
from labelmill.store.attempts import Attempt, is_final, outcomes_of

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
KEYS = [f"v1:{number:032x}" for number in range(4)]
money = st.integers(0, 10**9).map(lambda units: Decimal(units) / 10**12)
usages = st.builds(Usage, st.integers(0, 9999), st.integers(0, 99), st.integers(0, 99))


@st.composite
def attempts(draw):
    """An attempt of any kind."""
    key = draw(st.sampled_from(KEYS))
    at = NOON + timedelta(microseconds=draw(st.integers(0, 10**12)))
    match draw(st.sampled_from(["label", "answer", "unseen", "free"])):
        case "label":
            return Attempt(key, at, label="sport", answered=True, usage=draw(usages), cost_usd=draw(money))
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
        {"row_key": "k"},
        {"row_key": "k", "at_utc": "yesterday"},
        {"row_key": "k", "at_utc": 5},
        {"at_utc": NOON.isoformat()},
        {"row_key": "k", "at_utc": NOON.isoformat(), "from_the_future": 1},
        {"row_key": "k", "at_utc": NOON.isoformat(), "cost_usd": "much"},
        {"row_key": "k", "at_utc": NOON.isoformat(), "usage": {"tokens": 1}},
        {"row_key": "k", "at_utc": NOON.isoformat(), "usage": 7},
    ],
)
def test_anything_else_is_refused(values):
    """What isn't an attempt raises one of the errors that reading a journal expects."""
    with pytest.raises((KeyError, TypeError, ValueError, ArithmeticError)):
        Attempt.from_json(values)


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
        assert outcome.cost_usd == (None if None in costs else sum(costs, Decimal(0)))
        assert outcome.final == is_final(own[-1], sum(attempt.answered for attempt in own), max_answers)
    interleaved = sorted(many, key=lambda attempt: attempt.row_key)
    assert {o.last.row_key: o for o in outcomes_of(interleaved, Run(max_answers=max_answers))} == {
        o.last.row_key: o for o in outcomes
    }


@pytest.mark.parametrize("kind", sorted(POLICY_OF_KIND))
def test_a_text_is_done_with_as_its_last_failures_policy_says(kind):
    """Provider failures are asked again next run, permanent ones never, answers until enough were paid."""
    attempt = Attempt(KEYS[0], NOON, failure=kind, message="m")
    finals = [is_final(attempt, answers, 2) for answers in (0, 1, 2, 3)]
    assert (
        finals
        == {
            Policy.RETRY: [False] * 4,
            Policy.GIVE_UP: [True] * 4,
            Policy.ASK_AGAIN: [False, False, True, True],
        }[POLICY_OF_KIND[kind]]
    )
    assert is_final(Attempt(KEYS[0], NOON, label="sport"), 1, 2)


def test_a_kind_of_another_version_is_asked_again_and_breaks_nothing():
    """A journal that a later or earlier Labelmill left can always be folded."""
    (outcome,) = outcomes_of([Attempt(KEYS[0], NOON, failure="melted", message="m")], Run())
    assert not outcome.final


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
    (outcome,) = outcomes_of([Attempt(KEYS[0], NOON, failure="off_label", answered=True, **told)], Run())
    assert (outcome.final, outcome.ended, outcome.requests) == (True, True, 1)
    timeouts = [Attempt(KEYS[0], NOON, failure="timeout", **told)] * 4
    (outcome,) = outcomes_of(timeouts, Run(max_attempts=5))
    assert (outcome.final, outcome.ended) == (False, False)
    (outcome,) = outcomes_of([*timeouts, timeouts[0]], Run(max_attempts=5))
    assert (outcome.final, outcome.ended) == (False, True)
