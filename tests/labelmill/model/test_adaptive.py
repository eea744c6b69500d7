"""Concurrency that adapts."""

from labelmill.model.adaptive import FIRST_LIMIT, AdaptiveLimit


def _round(limit, in_flight=None):
    for _ in range(limit.limit):
        limit.answered(limit.limit if in_flight is None else in_flight)


def test_slow_start_doubles_up_to_the_ceiling():
    """Each clean, well used round doubles the limit until the job's own is reached."""
    limit = AdaptiveLimit.below(100)
    seen = [limit.limit]
    for _ in range(4):
        _round(limit)
        seen.append(limit.limit)
    assert seen == [FIRST_LIMIT, 32, 64, 100, 100]


def test_a_limit_that_is_not_reached_does_not_grow():
    """Rounds that use half the places say nothing about more."""
    limit = AdaptiveLimit.below(100)
    _round(limit, in_flight=FIRST_LIMIT // 2)
    assert limit.limit == FIRST_LIMIT


def test_a_burst_of_429s_is_one_episode_and_one_cut():
    """Many 429s at once cut the limit once; those of a later episode cut it again, but never below one."""
    limit = AdaptiveLimit(ceiling=100, limit=100)
    assert [limit.rate_limited(now, None) for now in (0.0, 0.1, 5.0)] == [True, False, False]
    assert limit.limit == 80
    assert limit.rate_limited(20.0, 60.0)
    assert not limit.rate_limited(75.0, None)
    for episode in range(100, 10_000, 20):
        limit.rate_limited(float(episode), None)
    assert limit.limit == 1


def test_after_a_429_growth_is_slow():
    """Once a limit was met, a clean round adds a twentieth rather than doubling."""
    limit = AdaptiveLimit(ceiling=100, limit=50)
    limit.rate_limited(0.0, None)
    _round(limit)
    assert limit.limit == 42


def test_other_failures_pause_growth_and_cut_nothing():
    """A server error starts the round anew and leaves the limit."""
    limit = AdaptiveLimit.below(100)
    for _ in range(FIRST_LIMIT - 1):
        limit.answered(FIRST_LIMIT)
    limit.troubled()
    limit.answered(FIRST_LIMIT)
    assert limit.limit == FIRST_LIMIT
