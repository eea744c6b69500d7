"""The throttle, in front of a real provider and among real threads."""

import logging
import threading
import time
from contextlib import ExitStack

import pytest

from labelmill.errors import RunStopped
from labelmill.job.model import Run
from labelmill.live.adaptive import FixedLimit
from labelmill.live.throttle import Throttle
from labelmill.question.failures import Failure
from practice import PracticeSettings

PATIENCE_SECONDS = 10
REFUSED = Failure("connection", "Connection refused")


class Clock:
    """A clock that all but stands still unless it is moved."""

    now = 1000.0

    def __call__(self):
        """Tell the time."""
        self.now += 1e-6
        return self.now


@pytest.fixture
def clock():
    """Build a clock."""
    return Clock()


@pytest.fixture
def ask(practice, job_of, chain_at, guard_of):
    """Ask the practice provider so many texts through a throttle of the job's; returns results and totals."""

    def ask_all(settings, texts, **run):
        practice.configure(settings)
        practice.reset()
        job = job_of(run=run)
        throttle = Throttle(job.run)
        chain = chain_at(job, practice.base_url, guard=guard_of(job, throttle=throttle))
        inputs = [{"text": f"match {number}"} for number in range(texts)]
        results = chain.batch(
            inputs, config={"max_concurrency": 32, "metadata": {"most_attempts": 1}}, return_exceptions=True
        )
        return results, practice.totals(), throttle

    return ask_all


def fail(throttle, failure, times=1, headers=None):
    """Let so many requests fail, one after the other."""
    for _ in range(times):
        with throttle.admit(0, 100, 10) as permit:
            throttle.failed(permit, failure, headers or {})


def answer(throttle, times=1):
    """Let so many requests be answered, one after the other."""
    for _ in range(times):
        with throttle.admit(0, 100, 10) as permit:
            throttle.answered(permit, None, {})


@pytest.mark.slow
def test_an_announced_request_limit_is_kept_without_a_429(ask):
    """A limit that the provider announces and enforces is learned from its headers before it is passed."""
    settings = PracticeSettings(requests_per_minute=1800, burst_seconds=1.0, latency_seconds=0.1)
    results, totals, _ = ask(settings, 90)
    assert results == ["sport"] * 90
    assert totals["by_status"] == {"200": 90}


def test_an_announced_token_limit_is_kept_without_a_429(ask):
    """The same for tokens, which are estimated before a request and trued up after it."""
    settings = PracticeSettings(tokens_per_minute=120_000, burst_seconds=1.0, latency_seconds=0.1)
    results, totals, _ = ask(settings, 60)
    assert results == ["sport"] * 60
    assert totals["by_status"].get("429", 0) <= 1


def test_the_jobs_own_limit_is_kept(ask):
    """Requests beyond the job's own limit are held back, though the provider would take them."""
    _, totals, _ = ask(PracticeSettings(), 40, max_requests_per_minute=1200)
    took = totals["last_departure_seconds"] - totals["first_arrival_seconds"]
    assert took >= (40 - 1200 / 60 - 1) * 60 / 1200


def test_an_isolated_429_holds_up_no_other_request(clock):
    """However long the provider asks one of many to wait, the others go at once, and the limit stays."""
    throttle = Throttle(Run(), clock)
    answer(throttle, 20)
    fail(throttle, Failure("rate_limited", "slow down", 60.0))
    answer(throttle, 20)
    assert throttle.limit == 32
    assert throttle.pause() is None


def test_an_isolated_429_leaves_the_allowance_that_the_headers_announce(clock):
    """Where the provider says that there is room for 500 more requests, one 429 doesn't use up the bucket."""
    throttle = Throttle(Run(), clock)
    room = {"x-ratelimit-limit-requests": "600", "x-ratelimit-remaining-requests": "500"}
    with throttle.admit(0, 100, 10) as permit:
        throttle.answered(permit, None, room)
    fail(throttle, Failure("rate_limited", "slow down", 60.0), headers=room)
    answer(throttle, 100)


def test_429s_for_most_of_the_requests_cut_concurrency_and_are_told_once(clock, caplog):
    """A server with four slots, and sixteen at once: one line says how many of how many it turned away."""
    throttle = Throttle(Run(), clock)
    with caplog.at_level(logging.INFO, logger="labelmill.live.throttle"), ExitStack() as slots:
        permits = [slots.enter_context(throttle.admit(0, 100, 10)) for _ in range(16)]
        for permit in permits[4:]:
            throttle.failed(permit, Failure("rate_limited", "slow down"), {})
        assert caplog.messages == []  # it may be an outage, and is told as that
        throttle.answered(permits[0], None, {})
    assert throttle.limit == 8
    told = "Lowered concurrency from 16 to 8: 12 of the last 16 requests did not get through (429)"
    assert caplog.messages == [told]


def test_nothing_is_sent_once_the_run_has_stopped(ask, practice, job_of, chain_at, guard_of):
    """After a stop every request raises it, and the provider sees none."""
    _, _, throttle = ask(PracticeSettings(), 1)
    practice.reset()
    throttle.stop_signal.stop(RunStopped("cancelled", "enough"))
    chain = chain_at(job_of(), practice.base_url, guard=guard_of(job_of(), throttle=throttle))
    results = chain.batch([{"text": "match"}] * 5, return_exceptions=True)
    assert [type(result) for result in results] == [RunStopped] * 5
    assert practice.totals()["requests"] == 0


@pytest.mark.slow
def test_a_fixed_limit_is_held_whatever_the_provider_answers(practice, job_of, chain_at, guard_of):
    """A throttle told to hold five in flight holds five from the first request on, through 429s and growth."""
    practice.configure(PracticeSettings(faults={"rate_limited": 0.3}, latency_seconds=0.2))
    practice.reset()
    job = job_of(run={"max_concurrency": 2})
    throttle = Throttle(job.run)
    throttle.use(FixedLimit.of(5))
    chain = chain_at(job, practice.base_url, guard=guard_of(job, throttle=throttle))
    inputs = [{"text": f"match {number}"} for number in range(60)]
    chain.batch(
        inputs, config={"max_concurrency": 32, "metadata": {"most_attempts": 1}}, return_exceptions=True
    )
    totals = practice.totals()
    assert totals["by_status"]["429"] > 5
    assert totals["peak_in_flight"] == throttle.limit == 5


def test_an_outage_is_seen_told_and_over_with_the_first_answer(clock, caplog):
    """Nothing gets through: a state, words for the bar, a warning; then the provider answers, and it goes on."""
    throttle = Throttle(Run(), clock)
    fail(throttle, REFUSED, 3)
    assert throttle.is_out
    assert throttle.pause() is None  # it may be over in a moment
    clock.now += 2.5
    assert "paused: nothing has got through since " in throttle.pause()
    assert throttle.pause().endswith(", trying every few seconds")
    with caplog.at_level(logging.INFO, logger="labelmill.live.throttle"):
        fail(throttle, REFUSED)
        clock.now += 5
        answer(throttle)
    assert not throttle.is_out
    assert throttle.pause() is None
    assert caplog.messages == [
        "Nothing gets through (Connection refused); paused, trying again every few seconds, for up to 10 min",
        "The provider answers again after 8 s; going on",
    ]


def test_a_long_wait_is_told_with_its_end(clock, caplog):
    """Where all are asked to wait for five minutes, people are told at once, and until when."""
    throttle = Throttle(Run(), clock)
    with caplog.at_level(logging.INFO, logger="labelmill.live.throttle"):
        for _ in range(3):
            fail(throttle, Failure("rate_limited", "too many tokens this hour", 300.0))
    assert caplog.messages[-1].startswith(
        "Nothing gets through (too many tokens this hour); paused, trying again in 5 min"
    )
    clock.now += 60
    assert ", next try at " in throttle.pause()


@pytest.mark.parametrize("kind", ["denied", "bad_request", "content_filter"])
def test_a_provider_that_refuses_a_text_is_there(clock, kind):
    """A refusal ends an outage as an answer does, though nothing grows by it."""
    throttle = Throttle(Run(), clock)
    fail(throttle, REFUSED, 3)
    clock.now += 2.5
    fail(throttle, Failure(kind, "no"))
    assert not throttle.is_out


def test_a_failure_counts_against_its_text_unless_it_is_everyones(clock):
    """What happens to one of many is its own; what happens during an outage is nobody's."""
    throttle = Throttle(Run(), clock)
    answer(throttle, 20)
    with throttle.admit(0, 100, 10) as permit:
        assert throttle.failed(permit, REFUSED, {})
    answer(throttle, 20)
    fail(throttle, REFUSED, 2)
    with throttle.admit(0, 100, 10) as permit:
        assert not throttle.failed(permit, REFUSED, {})
    assert throttle.is_out


def test_the_run_is_stopped_in_the_providers_words_when_patience_is_over(clock):
    """After ten minutes of probes the run is stopped, and says what the provider last said."""
    throttle = Throttle(Run(), clock)
    fail(throttle, Failure("overloaded", "503: the model is loading"), 3)
    while throttle.stop_signal.stopped is None:
        clock.now += 15.0
        fail(throttle, Failure("overloaded", "503: the model is loading"))
    stopped = throttle.stop_signal.stopped
    assert (stopped.reason, clock.now) == ("failed", pytest.approx(1600, abs=16))
    words = "nothing got through for 10 min; the provider's last words: 503: the model is loading"
    assert stopped.message == words
    with pytest.raises(RunStopped, match="the model is loading"):
        answer(throttle)


@pytest.mark.slow
def test_during_an_outage_threads_wait_and_a_stop_ends_their_wait_at_once():
    """Of many threads one probe is in flight; Ctrl-C wakes all others without waiting for it."""
    throttle = Throttle(Run())
    fail(throttle, REFUSED, 3)
    inside, stopped, lock = [], [], threading.Lock()
    leave = threading.Event()

    def go():
        try:
            with throttle.admit(0, 100, 10) as permit:
                with lock:
                    inside.append(permit)
                leave.wait()
        except RunStopped as reason:
            with lock:
                stopped.append(reason)

    threads = [threading.Thread(target=go) for _ in range(20)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not inside:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    throttle.stop_signal.stop(RunStopped("cancelled", "Ctrl-C"))
    while len(stopped) < 19:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(inside) == 1
    leave.set()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()


def test_a_request_that_is_never_sent_gives_its_slot_back(clock):
    """A probe that ends in neither an answer nor a failure, as at the budget's end, makes room for the next."""
    throttle = Throttle(Run(), clock)
    fail(throttle, REFUSED, 3)
    clock.now += 2.5
    for _ in range(3):
        with throttle.admit(0, 100, 10):
            pass
    answer(throttle)
    assert not throttle.is_out
