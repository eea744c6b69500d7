"""The bucket that mirrors a provider's rate limit."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelmill.live.rate_limits import Announced, Bucket


def take(bucket, amount, now):
    """Wait as long as the bucket says, and take; returns the wait."""
    wait = bucket.wait_for(amount, now)
    bucket.take(amount, now + wait)
    return wait


def test_without_a_limit_nothing_waits():
    """Until a limit is known, everything goes at once."""
    bucket = Bucket.capped(None, 0.0)
    assert [take(bucket, 1, 0.0) for _ in range(1000)] == [0.0] * 1000


@given(st.lists(st.floats(0, 2), min_size=50, max_size=200))
def test_no_minute_holds_more_than_the_cap_and_a_seconds_worth(pauses):
    """Whatever the pauses between requests, any minute sends at most the cap plus one second's worth."""
    cap, now, sent = 120, 0.0, []
    bucket = Bucket.capped(cap, now)
    for pause in pauses:
        now += pause
        now += take(bucket, 1, now)
        sent.append(now)
    for start in sent:
        assert sum(start <= moment < start + 60 for moment in sent) <= cap + cap / 60 + 1


@pytest.mark.parametrize("window", [1, 10, 60])
def test_a_run_that_never_pauses_keeps_the_cap_in_any_window(window):
    """Providers that count the last ten seconds, or the last minute, turn none of its requests away, the first ones neither."""
    cap, now, sent = 1200, 0.0, []
    bucket = Bucket.capped(cap, now)
    for _ in range(2 * cap):
        now += take(bucket, 1, now)
        sent.append(now)
    for first in sent:
        assert sum(first <= moment < first + window - 1e-6 for moment in sent) <= cap * window / 60
    assert sent[-1] == pytest.approx(120, rel=0.01)


def test_what_a_provider_announces_is_taken_over():
    """The first announcement sets rate, burst and level, less what is on its way."""
    bucket = Bucket.capped(None, 0.0)
    bucket.learn(Announced(per_minute=60, remaining=5), outstanding=3, now=0.0)
    assert [take(bucket, 1, 0.0) for _ in range(2)] == [0.0, 0.0]
    assert [take(bucket, 1, float(now)) for now in range(3)] == pytest.approx([1.0, 1.0, 1.0])


def test_an_announcement_corrects_upward_only_where_it_knows_of_all():
    """One that leaves more than we think is stale unless nothing else is under way; one that leaves less is others' use of the key."""
    bucket = Bucket.capped(None, 0.0)
    bucket.learn(Announced(60, 10), outstanding=0, now=0.0)
    bucket.learn(Announced(60, 50), outstanding=0, now=0.0)
    assert bucket.level == 10
    bucket.learn(Announced(60, 50), outstanding=1, now=0.0, knows_all=True)
    assert bucket.level == 49
    bucket.learn(Announced(60, 2), outstanding=0, now=0.0)
    assert bucket.level == 2


def test_the_jobs_own_limit_holds_where_the_provider_allows_more():
    """An announced limit above the job's own changes nothing."""
    bucket = Bucket.capped(60, 0.0)
    bucket.learn(Announced(10_000, 9_999), outstanding=0, now=0.0)
    assert bucket.per_minute == 60


def test_a_429_empties_the_bucket():
    """After a 429 the next request waits, whatever we thought was left."""
    bucket = Bucket.capped(None, 0.0)
    bucket.learn(Announced(60, 30), outstanding=0, now=0.0)
    bucket.empty(0.0)
    assert bucket.wait_for(1, 0.0) == pytest.approx(1.0)


def test_estimates_are_trued_up():
    """What was taken too much comes back, and what was taken too little is made up for."""
    bucket = Bucket.capped(None, 0.0)
    bucket.learn(Announced(6000, 1000), outstanding=0, now=0.0)
    assert take(bucket, 800, 0.0) == 0.0
    bucket.take(-300, 0.0)
    assert bucket.level == 500
    bucket.take(700, 0.0)
    assert bucket.wait_for(0, 0.0) == pytest.approx(2.0)
    assert not math.isinf(bucket.capacity)


def test_what_is_larger_than_the_bucket_goes_once_it_is_full():
    """A long text is not held back for ever; what comes after it waits until it is made up for."""
    bucket = Bucket.capped(60, 0.0)
    assert take(bucket, 30, 0.0) == 0.0
    assert bucket.wait_for(1, 0.0) == pytest.approx(30.0)


@given(st.floats(0.5, 5000), st.floats(0.1, 5000), st.floats(0, 1e9))
def test_after_the_wait_the_amount_may_be_taken(cap, amount, now):
    """Rounding never leaves a wait of next to nothing, for which a clock with less precision would not move."""
    bucket = Bucket.capped(cap, now)
    take(bucket, amount, now)
    wait = bucket.wait_for(amount, now)
    assert bucket.wait_for(amount, now + wait) < max(1e-6, 1e-12 * now)
