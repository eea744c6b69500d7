"""The breaker."""

from labelmill.model.breaker import WINDOW, Breaker


def test_a_run_in_which_most_requests_fail_is_stopped_with_a_sentence():
    """When more of the last requests failed than allowed, the breaker says so, with the kinds."""
    breaker = Breaker(0.5)
    said = [breaker.add("timeout" if number % 3 else None) for number in range(WINDOW)]
    assert said[:-1] == [None] * (WINDOW - 1)
    assert said[-1] == "66 of the last 100 requests failed (66 timeout); the rest was not asked"


def test_a_few_failures_at_the_start_decide_nothing():
    """Fewer requests than the window are too few to judge."""
    breaker = Breaker(0.5)
    assert [breaker.add("timeout") for _ in range(WINDOW - 1)] == [None] * (WINDOW - 1)


def test_rate_limits_do_not_count_and_old_failures_are_forgotten():
    """429s leave the window alone, and a provider that recovers is trusted again."""
    breaker = Breaker(0.5)
    for _ in range(WINDOW // 2):
        breaker.add("provider_error")
    assert all(breaker.add("rate_limited") is None for _ in range(WINDOW * 2))
    assert all(breaker.add(None) is None for _ in range(WINDOW))
    assert all(breaker.add("provider_error") is None for _ in range(WINDOW // 2))


def test_one_never_stops():
    """A fraction of 1 turns the breaker off."""
    breaker = Breaker(1.0)
    assert all(breaker.add("timeout") is None for _ in range(WINDOW * 2))


def test_an_endpoint_that_is_not_there_is_noticed_early():
    """When the first requests can't even connect, the run stops long before the window is full."""
    breaker = Breaker(0.5)
    said = [breaker.add("connection") for _ in range(20)]
    assert said[:-1] == [None] * 19
    assert said[-1].startswith("nothing answers")
    one_answer = Breaker(0.5)
    one_answer.add(None)
    assert [one_answer.add("connection") for _ in range(30)] == [None] * 30
