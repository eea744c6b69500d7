"""The throttle, in front of a real provider."""

import logging

import pytest

from labelmill.errors import RunStopped
from labelmill.model.adaptive import FixedLimit
from labelmill.model.chain import Toll, chain_of
from labelmill.model.throttle import Throttle
from labelmill.money.budget import Budget
from labelmill.practice import PracticeSettings


@pytest.fixture
def ask(practice, job_of):
    """Ask the practice provider so many texts through a throttle of the job's; returns results and totals."""

    def ask_all(settings, texts, **run):
        practice.configure(settings)
        practice.reset()
        job = job_of(run=run)
        throttle = Throttle(job.run)
        chain = chain_of(job, practice.base_url, "none", Toll(throttle, Budget(None), None))
        inputs = [{"text": f"match {number}"} for number in range(texts)]
        results = chain.batch(inputs, config={"max_concurrency": 32}, return_exceptions=True)
        return results, practice.totals(), throttle

    return ask_all


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


def test_a_429_cuts_concurrency_once(ask, caplog):
    """A burst of 429s is one cut, and the texts' other requests still succeed."""
    settings = PracticeSettings(faults={"rate_limited": 0.3}, retry_after_seconds=0.1)
    with caplog.at_level(logging.INFO, logger="labelmill.model.throttle"):
        results, totals, _ = ask(settings, 60, max_concurrency=10)
    assert totals["by_status"]["429"] == sum(not isinstance(result, str) for result in results) > 5
    assert caplog.messages[0] == "8 requests in flight instead of 10: the provider answered 429"
    assert sum("429" in message for message in caplog.messages) == 1


def test_nothing_is_sent_once_the_run_has_stopped(ask, practice, job_of):
    """After a stop every request raises it, and the provider sees none."""
    _, _, throttle = ask(PracticeSettings(), 1)
    practice.reset()
    throttle.gate.stop(RunStopped("cancelled", "enough"))
    chain = chain_of(job_of(), practice.base_url, "none", Toll(throttle, Budget(None), None))
    results = chain.batch([{"text": "match"}] * 5, return_exceptions=True)
    assert [type(result) for result in results] == [RunStopped] * 5
    assert practice.totals()["requests"] == 0


def test_a_fixed_limit_is_held_whatever_the_provider_answers(practice, job_of):
    """A throttle told to hold five in flight holds five from the first request on, through 429s and growth."""
    practice.configure(PracticeSettings(faults={"rate_limited": 0.3}, latency_seconds=0.2))
    practice.reset()
    job = job_of(run={"max_concurrency": 2})
    throttle = Throttle(job.run)
    throttle.use(FixedLimit.of(5))
    chain = chain_of(job, practice.base_url, "none", Toll(throttle, Budget(None), None))
    inputs = [{"text": f"match {number}"} for number in range(60)]
    chain.batch(inputs, config={"max_concurrency": 32}, return_exceptions=True)
    totals = practice.totals()
    assert totals["by_status"]["429"] > 5
    assert totals["peak_in_flight"] == throttle.gate.limit == 5
