"""The throttle's decisions, over minutes and hours of simulated time, against providers that misbehave.

The reports named are where somebody met the thing; the inputs are our own.
"""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_provider import Provider, Simulation

from labelmill.live.adaptive import FixedLimit
from labelmill.live.outage import LONGEST_PROBE_SECONDS, PROBE_SECONDS

pytestmark = pytest.mark.slow

FOR_GOOD = 1e9


def labeled_all(simulation):
    """Whether every text got its label."""
    return (
        len(simulation.labeled) == simulation.texts and not simulation.failed and simulation.stopped is None
    )


def ideal_seconds(provider, **options):
    """How long the same texts take with all slots in use and no failure."""
    healthy = Provider(seconds=provider.seconds, sigma=provider.sigma, slots=provider.slots)
    run = Simulation(healthy, **options)
    run.pace.use(FixedLimit.of(min(run.run.max_concurrency, provider.slots)))
    return run.go().now


def probes_apart(simulation):
    """The shortest time between two requests that were sent while nothing got through."""
    return min(
        (after - before for before, after in zip(simulation.out, simulation.out[1:], strict=False)),
        default=math.inf,
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ["rate_limited", "overloaded", "provider_error", "connection"])
def test_isolated_failures_hold_nobody_up(kind, seed):
    """One request in fifty fails at random: 1.1 of the ideal time at most, and no wait for the others."""
    provider = Provider(sigma=0.8, isolated={kind: 0.02}, isolated_retry_after_seconds=2.0)
    ideal = ideal_seconds(provider, texts=2000, seed=seed)
    run = Simulation(provider, texts=2000, seed=seed).go()
    assert labeled_all(run)
    # A text that fails near the end comes late, whatever anybody does.
    assert run.now <= 1.1 * ideal + 2.0
    assert run.pace.limit.limit == 32


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("most", "seconds"), [(32, 0.3), (256, 1.0), (256, 4.0)])
def test_a_healthy_provider_is_kept_as_busy_as_the_job_asks(most, seconds, seed):
    """Answers with a long tail: 1.02 of the time that all places take from the first moment on."""
    provider = Provider(seconds=seconds, sigma=0.8)
    run = Simulation(provider, texts=2000, seed=seed, max_concurrency=most).go()
    assert labeled_all(run)
    assert run.now <= 1.02 * ideal_seconds(provider, texts=2000, seed=seed, max_concurrency=most)


@pytest.mark.parametrize("slots", [4, 16, 100])
@pytest.mark.parametrize("asks", [None, 1.0])
def test_a_limit_opened_too_far_costs_one_burst_and_no_text(slots, asks):
    """256 at once where so many are taken: hardly more than these are turned away, and none of the texts suffers."""
    provider = Provider(sigma=0.5, slots=slots, queue=0, retry_after_seconds=asks)
    run = Simulation(provider, texts=3000, max_concurrency=256).go()
    assert labeled_all(run)
    assert run.wasted <= 256 + 0.25 * 3000
    assert run.now <= 1.3 * ideal_seconds(provider, texts=3000, max_concurrency=256) + 6 * (asks or 0.0)


def test_a_server_that_queues_what_it_has_no_slot_for_is_not_given_more_than_it_can_answer_in_time():
    """Four slots of a second and a time-out of 20 s, where the job asks for 256 at once: hardly more time out than can wait."""
    provider = Provider(seconds=1.0, sigma=0.3, slots=4)
    run = Simulation(provider, texts=1000, timeout_seconds=20.0, max_concurrency=256).go()
    assert labeled_all(run)
    assert run.ends["timeout"] <= 150
    assert run.now <= 1.5 * 250


@pytest.mark.parametrize(("per_minute", "most"), [(60, 32), (60, 256), (600, 256), (6000, 256)])
def test_an_announced_limit_is_used_and_never_met_however_many_the_job_asks_for(per_minute, most):
    """The first answers tell of it, and from then on it holds: 98% of it is used without a 429."""
    texts = 4 * per_minute
    provider = Provider(sigma=0.5, per_minute=per_minute, burst=max(60, per_minute / 60), announces=True)
    run = Simulation(provider, texts=texts, max_concurrency=most).go()
    assert labeled_all(run)
    assert run.wasted == 0
    assert run.now <= (texts - provider.burst) * 60 / per_minute / 0.98 + 3.0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.3])
def test_failures_that_no_cut_would_mend_do_not_slow_a_run_to_a_crawl(fraction, seed):
    """A gateway that fails up to three in ten at random, however few are in flight (litellm's pull request 5698)."""
    provider = Provider(sigma=0.8, isolated={"overloaded": fraction})
    run = Simulation(provider, texts=2000, seed=seed).go()
    assert len(run.failed) <= 2 * 2000 * fraction**5 + 2
    assert run.now <= 5 * ideal_seconds(provider, texts=2000, seed=seed)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("goes_on_working", [False, True])
def test_time_outs_of_a_server_with_one_slot_cut_to_what_it_manages(goes_on_working, seed):
    """One slot of half a second, time-outs after 4 s, 16 in flight (docetl#23), also where it works on what was abandoned.

    (oMLX#785 tells of such a queue: client times out, its request stays, the retry comes on top.)
    """
    provider = Provider(seconds=0.5, sigma=0.1, slots=1, works_on_what_was_abandoned=goes_on_working)
    run = Simulation(provider, texts=100, timeout_seconds=4.0, seed=seed).go()
    assert labeled_all(run)
    assert run.ends["timeout"] <= 60
    assert run.now <= 2 * 50


@pytest.mark.parametrize("slots", [1, 4, 16])
@pytest.mark.parametrize("kind", ["rate_limited", "overloaded", "connection"])
@pytest.mark.parametrize("asks", [None, 1.0, 10.0])
def test_a_server_that_turns_away_what_it_has_no_slot_for_is_kept_busy(slots, kind, asks):
    """It takes so many at once and refuses the rest (ollama#4124, #4159): all are labeled and few are refused."""
    provider = Provider(sigma=0.5, slots=slots, queue=0, turns_away_with=kind, retry_after_seconds=asks)
    run = Simulation(provider, texts=400).go()
    assert labeled_all(run)
    assert run.wasted <= 400
    # Connections that are refused may be an outage: that is tried until the next answer comes.
    factor = 2.5 if kind == "connection" else 1.7
    assert run.now <= factor * ideal_seconds(provider, texts=400) + 6 * (asks or 0.0)


@pytest.mark.parametrize("kind", ["connection", "overloaded", "rate_limited", "timeout"])
@pytest.mark.parametrize("seconds", [6.0, 60.0, 300.0])
def test_a_restart_costs_minutes_and_not_the_run(kind, seconds):
    """All is labeled, a request per probe is sent meanwhile, and it goes on soon after the provider is back."""
    provider = Provider(sigma=0.5, down=((3.0, 3.0 + seconds, kind),))
    run = Simulation(provider, texts=2000, timeout_seconds=20.0).go()
    assert labeled_all(run)
    assert probes_apart(run) >= PROBE_SECONDS
    # Those in flight, what the cuts on the way down let through, and the probes.
    assert run.wasted <= 100 + seconds / PROBE_SECONDS
    late = LONGEST_PROBE_SECONDS + 2 * 20.0 * (kind == "timeout")
    assert run.now <= ideal_seconds(provider, texts=2000) * 1.8 + seconds + late
    assert all(attempts < 5 for attempts in run.attempts.values())


def test_after_an_outage_requests_come_back_one_then_two_then_four():
    """The provider that has just come up isn't met by all that waited."""
    provider = Provider(down=((3.0, 33.0, "connection"),))
    run = Simulation(provider, texts=2000).go()
    back = next(moment for moment in run.sent_at if moment >= 33.0)
    sent = [
        sum(back + n * 0.3 - 0.01 <= at < back + (n + 1) * 0.3 - 0.01 for at in run.sent_at) for n in range(5)
    ]
    assert sent == [1, 2, 4, 8, 16]


@pytest.mark.parametrize("kind", ["connection", "overloaded", "rate_limited", "timeout"])
@pytest.mark.parametrize("minutes", [0.0, 1.0, 10.0, 60.0])
def test_a_run_ends_when_its_patience_is_over_in_the_providers_words(kind, minutes):
    """Nothing gets through any more: the run ends within a probe of its patience, and no text has used up its attempts."""
    provider = Provider(sigma=0.5, down=((3.0, FOR_GOOD, kind),))
    run = Simulation(provider, texts=2000, timeout_seconds=10.0, patience_minutes=minutes).go()
    assert f"the words of {kind}" in run.stopped
    assert not run.failed
    assert 60 * minutes <= run.now - 3.0 <= 60 * minutes + LONGEST_PROBE_SECONDS + 3 * 10.0
    assert probes_apart(run) >= PROBE_SECONDS
    assert len(run.out) <= 2 + 60 * minutes / 10


def test_a_quota_for_a_day_ends_the_run_at_once():
    """Where nothing gets through and the provider asks to wait for hours, nobody waits (openai-node#1840, kimi-code#1857)."""
    provider = Provider(
        sigma=0.5, down=((3.0, FOR_GOOD, "rate_limited"),), down_retry_after_seconds=23 * 3600
    )
    run = Simulation(provider, texts=2000).go()
    assert run.now < 5.0
    assert "asks to wait 23 h" in run.stopped
    assert "the words of rate_limited" in run.stopped


def test_a_long_wait_of_one_is_its_own_matter():
    """One in fifty is told to wait for a day while the others are answered: they go on."""
    provider = Provider(sigma=0.5, isolated={"rate_limited": 0.02}, isolated_retry_after_seconds=23 * 3600)
    run = Simulation(provider, texts=1000).go(until=60.0)
    assert run.stopped is None
    assert len(run.labeled) > 960


def test_a_wait_that_all_are_asked_for_is_waited_for_once():
    """Everyone is told to come back in 20 s: nobody asks before, and one request asks then."""
    provider = Provider(sigma=0.5, down=((3.0, 23.0, "rate_limited"),), down_retry_after_seconds=20.0)
    run = Simulation(provider, texts=2000).go()
    assert labeled_all(run)
    turned_away = max(at for at in run.sent_at if at < 5.0)
    assert min(at for at in run.sent_at if at > turned_away) >= 23.0
    assert run.ends["rate_limited"] <= 50


def test_a_shorter_wait_does_not_cut_a_longer_one_short():
    """The longest of the waits asked for holds (litellm#40130)."""
    run = Simulation(Provider(), texts=10)
    run.pace.paused_until = 100.0
    run.provider.down = ((0.0, 200.0, "rate_limited"),)
    run.provider.down_retry_after_seconds = 1.0
    run.go()
    assert run.sent_at[0] >= 100.0


@pytest.mark.parametrize("per_minute", [60, 200, 600, 3000])
@pytest.mark.parametrize("asks", [None, 5.0])
def test_an_allowance_that_nobody_announces_is_found(per_minute, asks):
    """429s without a header on limits: the allowance is used, and the requests beyond it stay few."""
    provider = Provider(sigma=0.5, per_minute=per_minute, burst=per_minute / 60, retry_after_seconds=asks)
    texts = min(1000, 3 * per_minute)
    run = Simulation(provider, texts=texts).go()
    assert len(run.failed) <= texts // 100
    assert run.wasted <= 0.7 * texts
    assert run.now <= 2 * texts * 60 / per_minute + 10


def test_an_allowance_that_is_announced_is_kept():
    """With OpenAI's headers next to nothing is turned away, and next to nothing of the limit is left unused."""
    run = Simulation(Provider(sigma=0.5, per_minute=600, burst=10, announces=True), texts=1000).go()
    assert labeled_all(run)
    assert run.wasted <= 10
    assert run.now <= 1.03 * 100


@pytest.mark.parametrize("kind", ["rate_limited", "overloaded", "timeout", "connection", "provider_error"])
@pytest.mark.parametrize("down", [(), ((3.0, 33.0, "connection"),)])
def test_texts_on_which_the_provider_breaks_are_no_outage(kind, down):
    """Once they alone are left, nothing gets through: they fail by themselves, and the run goes on to its end."""
    provider = Provider(sigma=0.5, stubborn={kind: 0.04}, down=down)
    run = Simulation(provider, texts=600, timeout_seconds=10.0).go()
    assert run.stopped is None
    assert 10 <= len(run.failed) <= 40
    assert len(run.failed) + len(run.labeled) == 600
    assert all(run.attempts[text] == 5 for text in run.failed)


def test_a_fixed_limit_neither_cuts_nor_pauses():
    """A comparison's strategy sends what it is told to, whatever comes back."""
    run = Simulation(Provider(down=((0.0, FOR_GOOD, "connection"),)), texts=100)
    run.pace.use(FixedLimit.of(5))
    run.go()
    assert run.stopped is None
    assert len(run.failed) == 100
    assert run.ends["connection"] == 500


def test_a_night_of_ups_and_downs_is_told_in_a_few_lines():
    """Whatever happens, there is about a line a minute, and each is a sentence."""
    down = tuple((20.0 * n, 20.0 * n + 8.0, "connection") for n in range(1, 200))
    run = Simulation(Provider(seconds=2.0, sigma=0.5, slots=6, queue=0, down=down), texts=8000).go()
    assert labeled_all(run)
    assert 5 <= len(run.lines) <= 10 + run.now / 30
    assert all(
        line.startswith(("Raised ", "Lowered ", "Nothing gets ", "The provider ")) for line in run.lines
    )


servers = st.builds(
    Provider,
    seconds=st.sampled_from([0.05, 0.3, 2.0]),
    sigma=st.sampled_from([0.0, 0.8]),
    slots=st.sampled_from([1, 2, 4, 30, math.inf]),
    queue=st.sampled_from([0, 3, math.inf]),
    turns_away_with=st.sampled_from(["rate_limited", "overloaded", "connection"]),
    retry_after_seconds=st.sampled_from([None, 0.0, 1.0, 30.0, 3600.0]),
    down=st.lists(
        st.tuples(
            st.floats(0, 100),
            st.floats(0, 400),
            st.sampled_from(["connection", "overloaded", "timeout", "rate_limited", "provider_error"]),
        ),
        max_size=3,
    ).map(lambda spans: tuple((begins, begins + lasts, kind) for begins, lasts, kind in spans)),
    down_retry_after_seconds=st.sampled_from([None, 5.0, 3600.0]),
    isolated=st.dictionaries(
        st.sampled_from(
            ["rate_limited", "overloaded", "timeout", "connection", "provider_error", "bad_request", "denied"]
        ),
        st.floats(0, 0.1),
        max_size=3,
    ),
    stubborn=st.dictionaries(
        st.sampled_from(["rate_limited", "timeout", "connection"]), st.floats(0, 0.1), max_size=2
    ),
    per_minute=st.sampled_from([30, 600, math.inf, math.inf]),
    announces=st.booleans(),
    works_on_what_was_abandoned=st.booleans(),
)


@settings(max_examples=100, deadline=None)
@given(servers, st.sampled_from([1, 3, 32, 200]), st.integers(1, 120), st.integers(0, 9))
def test_whatever_the_provider_does_every_run_comes_to_an_end(server, concurrency, texts, seed):
    """No deadlock, no more in flight than the job allows, no text asked without end, one request per probe."""
    if server.announces and math.isinf(server.per_minute):
        server.announces = False
    run = Simulation(server, texts=texts, seed=seed, max_concurrency=concurrency, timeout_seconds=10.0).go(
        until=1e6
    )
    assert run.stopped or len(run.labeled) + len(run.failed) == texts
    assert run.peak <= concurrency
    assert run.in_flight >= 0
    assert probes_apart(run) >= PROBE_SECONDS - 1e-6
