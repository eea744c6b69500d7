"""Concurrency that adapts."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelmill.live.adaptive import (
    FIRST_LIMIT,
    ISOLATED_FRACTION,
    MOST_FIRST,
    SMALLEST,
    AdaptiveLimit,
    FixedLimit,
)


def send(limit, count):
    """Let so many requests go out."""
    return [limit.sent() for _ in range(count)]


def answer(limit, requests, in_flight=None):
    """Answer requests, with all slots busy unless told otherwise."""
    for sent in requests:
        limit.answered(sent, limit.limit if in_flight is None else in_flight)


def turn_away(limit, requests, kind="rate_limited"):
    """Turn requests away; returns the reasons given for a lower limit."""
    return [reason for sent in requests if (reason := limit.overloaded(sent, kind))]


def test_slow_start_doubles_up_to_the_ceiling():
    """Each clean, well used round doubles the limit until the job's own is reached, where nothing opens it at once."""
    limit = AdaptiveLimit.below(60)
    seen = [limit.limit]
    for _ in range(4):
        answer(limit, send(limit, limit.limit))
        seen.append(limit.limit)
    assert seen == [FIRST_LIMIT, 32, 60, 60, 60]


@pytest.mark.parametrize(
    ("ceiling", "first"), [(1, 1), (16, 16), (32, 16), (128, 32), (256, MOST_FIRST), (1000, MOST_FIRST)]
)
def test_the_more_a_job_asks_for_the_more_go_first(ceiling, first):
    """16 where it leaves the default, and never as many as the 60 requests a minute of a small account."""
    assert AdaptiveLimit.below(ceiling).limit == first


def test_a_first_answer_without_trouble_opens_the_limit_as_far_as_it_is_safe():
    """At once, and further with the next; not after a cut, and not where more fails than by chance."""
    limit = AdaptiveLimit.below(200)
    requests = send(limit, limit.limit)
    answer(limit, requests[:1])
    assert limit.open(120.0) == "the first answers came without trouble"
    assert limit.limit == 120
    assert (limit.open(100.0), limit.limit) == (None, 120)
    limit.open(1000.0)
    assert limit.limit == 200
    limit = AdaptiveLimit.below(200)
    requests = send(limit, limit.limit)
    for sent in requests[:6]:
        limit.errored(sent)
    answer(limit, requests[6:7])
    assert (limit.open(1000.0), limit.limit) == (None, 48)
    turn_away(limit, requests[7:])
    before = limit.limit
    answer(limit, send(limit, 1))
    assert (limit.open(1000.0), limit.limit) == (None, before)


def test_a_limit_that_was_opened_too_far_falls_back_to_what_had_held_and_doubles():
    """A server with 48 slots turns away 208 of 256, once: the next try is twice 48, and the one after that a little more."""
    limit = AdaptiveLimit.below(256)
    first = send(limit, limit.limit)
    answer(limit, first[:1])
    limit.open(1000.0)
    turn_away(limit, send(limit, 209))
    assert limit.limit == MOST_FIRST
    answer(limit, first[1:])
    answer(limit, send(limit, limit.limit))  # the round in which the last of the episode came back
    answer(limit, send(limit, limit.limit))
    assert limit.limit == 2 * MOST_FIRST
    both = send(limit, limit.limit)
    answer(limit, both[:48])
    turn_away(limit, both[48:])
    assert limit.limit == MOST_FIRST
    answer(limit, send(limit, limit.limit))
    answer(limit, send(limit, limit.limit))
    assert limit.limit == 50


def test_an_opened_limit_that_has_held_is_cut_as_any_other():
    """After a round of answers it is no longer a try, and all that is turned away cuts it by half."""
    limit = AdaptiveLimit.below(256)
    answer(limit, send(limit, 1))
    limit.open(1000.0)
    answer(limit, send(limit, 256))
    turn_away(limit, send(limit, 256))
    assert limit.limit == 128


def test_a_limit_that_is_not_reached_does_not_grow():
    """Rounds that use half the slots say nothing about more."""
    limit = AdaptiveLimit.below(60)
    answer(limit, send(limit, FIRST_LIMIT), in_flight=FIRST_LIMIT // 2)
    assert limit.limit == FIRST_LIMIT


@pytest.mark.parametrize("kind", ["rate_limited", "overloaded", "timeout", "connection"])
def test_every_sign_of_overload_cuts_by_what_did_not_get_through(kind):
    """A quarter of the last requests turned away cuts the limit by a quarter, all of them by half."""
    limit = AdaptiveLimit(ceiling=100, size=40)
    requests = send(limit, 40)
    answer(limit, requests[:30])
    reasons = turn_away(limit, requests[30:], kind)
    assert limit.limit == 30
    assert "10 of the last 40 requests did not get through" in reasons[-1]
    limit = AdaptiveLimit(ceiling=100, size=40)
    turn_away(limit, send(limit, 40), kind)
    assert limit.limit == 20


@pytest.mark.parametrize("seconds_apart", [1, 7, 31])
def test_isolated_failures_cut_nothing_and_do_not_cost_the_rounds_growth(seconds_apart):
    """One in thirty turned away, wherever it stands, leaves the limit to grow as if nothing had happened."""
    limit = AdaptiveLimit.below(1000)
    for number in range(600):
        sent = limit.sent()
        if number % 31 == seconds_apart % 31:
            assert limit.overloaded(sent, "rate_limited") is None
        else:
            answer(limit, [sent])
    assert limit.limit >= 256


def test_those_on_their_way_get_through_so_far():
    """Three that come back at once are not all there is: thirty others sent before them are being served."""
    limit = AdaptiveLimit(ceiling=100, size=40)
    requests = send(limit, 33)
    turn_away(limit, requests[30:])
    assert limit.limit == 40


def test_time_outs_are_judged_beside_what_was_sent_with_them():
    """Those that hang come back long after the others: a handful among hundreds is isolated, though they come together."""
    limit = AdaptiveLimit(ceiling=32, size=32)
    hanging = []
    for number in range(640):
        sent = limit.sent()
        if number % 32 == 0:
            hanging.append(sent)
        else:
            limit.answered(sent, 32)
    turn_away(limit, hanging, "timeout")
    assert limit.limit == 32


def test_an_episode_is_the_requests_sent_before_its_cut():
    """What was in flight at the cut refines it and never cuts again; what is sent after begins another."""
    limit = AdaptiveLimit(ceiling=100, size=100)
    requests = send(limit, 100)
    turn_away(limit, requests)
    assert limit.limit == 50
    late = send(limit, 50)
    turn_away(limit, late)
    assert limit.limit == 25


def test_a_limit_is_cut_however_long_the_provider_asks_to_wait():
    """Sustained 429s walk the limit down: no wait that is asked for holds it up (inspect_ai's issue 5137)."""
    limit = AdaptiveLimit(ceiling=100, size=100)
    for _ in range(60):
        turn_away(limit, send(limit, limit.limit))
    assert limit.limit == 1
    assert limit.size == SMALLEST
    assert limit.spacing_seconds == pytest.approx(3.5)


def test_time_outs_never_space_requests_apart():
    """A single request at a time that times out does not do so for the number in flight."""
    limit = AdaptiveLimit(ceiling=100, size=100)
    for _ in range(200):
        turn_away(limit, send(limit, limit.limit), "timeout")
    assert (limit.size, limit.spacing_seconds) == (1.0, 0.0)


def test_after_a_cut_growth_is_slow_and_slower_near_what_was_too_much():
    """Once a limit was met, a clean round adds a twentieth; a fiftieth just below the limit that was too much."""
    limit = AdaptiveLimit(ceiling=1000, size=200)
    turn_away(limit, send(limit, 200))
    answer(limit, send(limit, limit.limit))  # the round in which the last of the episode came back
    sizes = []
    for _ in range(30):
        answer(limit, send(limit, limit.limit))
        sizes.append(limit.size)
    assert sizes[0] == pytest.approx(105)
    near = [after / before for before, after in pairwise(sizes) if 160 < before <= 200]
    assert near == pytest.approx([1.02] * len(near))
    assert len(near) > 5


def test_a_cut_that_changes_nothing_is_taken_back():
    """Where a fifth fails at random however few are in flight, the limit comes back and that much is put up with."""
    limit = AdaptiveLimit(ceiling=32, size=32)
    for number in range(4000):
        sent = limit.sent()
        if number % 5 == 0:
            limit.overloaded(sent, "overloaded")
        else:
            limit.answered(sent, limit.limit)
    assert limit.limit == 32
    assert limit.tolerated_fraction > 0.2


def test_other_failures_pause_growth_and_cut_nothing():
    """A round with many server errors leaves the limit; a few of them are as good as none."""
    limit = AdaptiveLimit.below(60)
    for sent in send(limit, 4):
        limit.errored(sent)
    answer(limit, send(limit, FIRST_LIMIT))
    assert limit.limit == FIRST_LIMIT
    limit.errored(limit.sent())
    answer(limit, send(limit, FIRST_LIMIT))
    assert limit.limit == 2 * FIRST_LIMIT


def test_after_an_outage_it_starts_small_and_doubles_up_to_what_it_held():
    """One request, then two, four and so on; above what was held before, growth is slow."""
    limit = AdaptiveLimit(ceiling=100, size=24)
    limit.start_again(24)
    seen = [limit.limit]
    for _ in range(6):
        answer(limit, send(limit, limit.limit))
        seen.append(limit.limit)
    assert seen == [1, 2, 4, 8, 16, 24, 25]


def test_a_fixed_limit_is_held():
    """Neither answers nor failures change it."""
    limit = FixedLimit.of(5)
    answer(limit, send(limit, 50))
    turn_away(limit, send(limit, 50))
    assert limit.limit == 5


@given(st.integers(1, 200), st.lists(st.tuples(st.integers(0, 30), st.sampled_from("aaarstc."))))
def test_whatever_comes_back_in_whatever_order_the_limit_stays_in_its_bounds(ceiling, events):
    """Between 1 and the ceiling; failures never raise it, and nothing but answers lets it grow."""
    limit = AdaptiveLimit.below(ceiling)
    on_their_way = send(limit, 3)
    kinds = {"r": "rate_limited", "s": "overloaded", "t": "timeout", "c": "connection"}
    for position, event in events:
        before, tolerated = limit.size, limit.tolerated_fraction
        sent = on_their_way.pop(position % len(on_their_way))
        if event == "a":
            limit.answered(sent, limit.limit)
        elif event == ".":
            limit.errored(sent)
        else:
            limit.overloaded(sent, kinds[event])
        if event != "a":
            assert limit.size <= before or limit.tolerated_fraction > tolerated >= ISOLATED_FRACTION
        on_their_way += send(limit, 1 + (position % 2))
        assert 1 <= limit.limit <= max(1, ceiling)
        assert SMALLEST <= limit.size <= ceiling
