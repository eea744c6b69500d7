"""A worker's share of a run's pace: requests in flight, and requests and tokens per minute."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelmill.job.model import Run
from labelmill.live.limiter import NotYet
from labelmill.live.pace import Pace, Share
from labelmill.money.usage import Usage
from labelmill.question.failures import Failure


@given(most=st.integers(1, 1000), workers=st.integers(1, 64))
def test_shares_are_the_whole_and_nobody_has_none(most, workers):
    """All requests in flight are given out, evenly, and none of them twice."""
    workers = min(most, workers)
    shares = Share.among(most, workers)
    sizes = [share.max_concurrency for share in shares]
    assert sum(sizes) == most
    assert len(sizes) == workers
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 1
    assert math.isclose(sum(share.fraction for share in shares), 1)


def headers(per_minute, remaining):
    """What a provider announces."""
    return {"x-ratelimit-limit-requests": str(per_minute), "x-ratelimit-remaining-requests": str(remaining)}


class Provider:
    """A token bucket with a second's burst, which all workers of a run share."""

    def __init__(self, per_minute):
        self.per_minute, self.level, self.at, self.refused = per_minute, per_minute / 60, 0.0, 0

    def take(self, now):
        """Take a request, or refuse it; returns the headers, None where it was refused."""
        self.level = min(self.per_minute / 60, self.level + (now - self.at) * self.per_minute / 60)
        self.at = now
        if self.level < 1 - 1e-9:
            self.refused += 1
            return None
        self.level -= 1
        return headers(self.per_minute, math.floor(self.level))


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_use_an_announced_limit_together(workers):
    """Over five simulated minutes they send what is announced, whichever worker hears it when, and are hardly turned away."""
    per_minute, seconds, latency, step = 1200, 300.0, 0.4, 0.005
    provider = Provider(per_minute)
    paces = [Pace(Run(max_concurrency=24), 0.0) for _ in range(workers)]
    for pace, share in zip(paces, Share.among(24, workers), strict=True):
        pace.take(share, 0.0)
    on_their_way, sent, now = [], 0, 0.0
    while now < seconds:
        while on_their_way and on_their_way[0][0] <= now:
            _, pace, permit, told = on_their_way.pop(0)
            if told is None:
                pace.failed(permit, Failure("rate_limited", "slow down"), {}, now)
            else:
                pace.answered(permit, Usage(10, 2), told, now)
            pace.ended(permit)
        for pace in paces:
            while not isinstance(permit := pace.next_permit(40, 5, now), NotYet):
                told = provider.take(now)
                sent += told is not None
                on_their_way.append((now + latency, pace, permit, told))
        now += step
    assert provider.refused <= 0.01 * sent
    assert sent >= 0.95 * per_minute * seconds / 60


def test_a_larger_share_goes_on_from_what_was_learned():
    """Who is handed the others' share may send twice as much of a limit that it has learned of half of, and of the job's own."""
    pace = Pace(Run(max_concurrency=8, max_tokens_per_minute=60_000), 0.0)
    pace.take(Share(4, 0.5), 0.0)
    permit = pace.next_permit(10, 5, 1.0)
    pace.answered(permit, Usage(10, 2), headers(600, 0), 1.0)
    pace.ended(permit)
    waits = [pace.next_permit(10, 5, 1.0).seconds]
    pace.take(Share(8), 1.0)
    waits.append(pace.next_permit(10, 5, 1.0).seconds)
    assert waits[0] == pytest.approx(2 * waits[1], rel=0.5)
    assert pace.limit.ceiling == 8


@pytest.mark.parametrize("workers", [2, 3, 5])
def test_as_many_requests_go_first_as_with_one_process(workers):
    """What is sent before anything is known of the provider is shared out too."""
    run = Run(max_concurrency=500)
    alone = Pace(run, 0.0).limit.limit
    paces = [Pace(run, 0.0) for _ in range(workers)]
    for pace, share in zip(paces, Share.among(500, workers), strict=True):
        pace.take(share, 0.0)
    assert alone - workers < sum(pace.limit.limit for pace in paces) <= alone
