"""A prompt in a provider's cache: who writes it, who reads it, and when it is worth it."""

from hypothesis import given
from hypothesis import strategies as st

from labelmill.providers.prompt_cache import SharedPrompt, fewest_tokens_of, may_be_cached

LIFETIME = 270.0


class Clock:
    """A clock that a test sets."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        """The moment that was set."""
        return self.now


def test_the_first_request_asks_for_nothing_the_second_writes_and_the_others_wait_for_its_answer():
    """A run of one text pays no surcharge, and of many in flight only one does."""
    prompt = SharedPrompt(LIFETIME, Clock())
    first, writer, beside = prompt.begin(), prompt.begin(), prompt.begin()
    assert [first, writer, beside] == [(False, False), (True, True), (False, False)]
    prompt.end(first, answered=True)
    assert prompt.begin() == (False, False)
    prompt.end(writer, answered=True)
    assert prompt.begin() == (True, False)


def test_another_one_writes_where_the_first_got_no_answer_or_the_cache_has_expired():
    """Each use prolongs its life."""
    clock = Clock()
    prompt = SharedPrompt(LIFETIME, clock)
    prompt.end(prompt.begin(), answered=True)
    prompt.end(prompt.begin(), answered=False)
    writer = prompt.begin()
    assert writer == (True, True)
    prompt.end(writer, answered=True)
    clock.now = LIFETIME - 1
    prompt.end(prompt.begin(), answered=True)
    clock.now += LIFETIME - 1
    assert prompt.begin() == (True, False)
    clock.now += LIFETIME
    assert prompt.begin() == (True, True)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 600)), max_size=60))
def test_never_do_two_requests_write_at_once(steps):
    """Whatever order requests begin and end in, and whatever becomes of them."""
    clock = Clock()
    prompt, in_flight = SharedPrompt(LIFETIME, clock), []
    for begins, seconds in steps:
        clock.now += seconds
        if begins or not in_flight:
            in_flight.append(prompt.begin())
        else:
            prompt.end(in_flight.pop(0), answered=seconds < 300)
        assert sum(turn.writes for turn in in_flight) <= 1
        assert all(turn.asks for turn in in_flight if turn.writes)


def test_how_long_a_prompt_must_be_is_the_models():
    """The longest name that fits decides; of a model that isn't known, the shortest prompt may do."""
    assert fewest_tokens_of("claude-haiku-4-5-20251001") == 4096
    assert fewest_tokens_of("claude-opus-4-8") == 1024
    assert fewest_tokens_of("claude-opus-5-5") == 512
    assert fewest_tokens_of("claude-tomorrow") == 512
    assert not may_be_cached("x" * 2000, "claude-sonnet-4-5")
    assert may_be_cached("x" * 2048, "claude-sonnet-4-5")
