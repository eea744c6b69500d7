"""The circuit breaker: whose a failure is, and when a run is over."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelmill.live.breaker import REFUSALS_IN_A_ROW, REFUSALS_OF_A_TEXT, WINDOW, CircuitBreaker
from labelmill.question.failures import OVERLOAD_KINDS, Failure

ERROR = Failure("provider_error", "500: oh no")
FLAGGED = Failure("denied", "403: your input was flagged")
NO_MONEY = Failure("denied", "429: 余额不足", is_account=True)


def add(breaker, key, failure, number=None, **facts):
    """Count a request that is back before the next goes out, unless its number says otherwise."""
    number = breaker.number_request() if number is None else number
    return breaker.add(key, failure, number=number, **facts)


def answer(breaker, times=1, key="other"):
    """Let others be answered."""
    for number in range(times):
        assert add(breaker, f"{key} {number}", None, answered=True) is None


def refuse(breaker, key, failure=FLAGGED, **facts):
    """Let a text be refused; returns what the refusal is taken for, and the sentence that ends the run."""
    judged = breaker.judged(key, failure, **facts)
    return judged, add(breaker, key, judged, answered=False)


def test_a_run_in_which_most_requests_fail_is_stopped_with_a_sentence():
    """When more of the last requests failed than allowed, the breaker says so, with the kinds and the provider's words."""
    breaker = CircuitBreaker(0.5)
    said = [
        add(breaker, str(number), ERROR if number % 3 else None, answered=not number % 3)
        for number in range(WINDOW)
    ]
    assert said[:-1] == [None] * (WINDOW - 1)
    assert said[-1].startswith(
        "66 of the last 100 requests failed (66 provider_error), so the rest was not asked"
    )
    assert '"500: oh no"' in said[-1]


def test_the_sentence_quotes_three_different_messages_at_most():
    """The most frequent come first, and none twice."""
    breaker = CircuitBreaker(0.5)
    said = None
    for number in range(WINDOW):
        message = f"message {min(number % 10, 3 + number % 7)}"
        said = add(breaker, str(number), Failure("off_label", message), answered=True)
    assert said.count('"') == 6


def test_a_few_failures_at_the_start_decide_nothing():
    """Fewer requests than the window are too few to judge."""
    breaker = CircuitBreaker(0.5)
    assert all(add(breaker, str(n), ERROR, answered=False) is None for n in range(WINDOW - 1))


@pytest.mark.parametrize("kind", sorted(OVERLOAD_KINDS - {"timeout"}))
def test_what_waiting_mends_does_not_count_and_old_failures_are_forgotten(kind):
    """Overload leaves the window alone, and a provider that recovers is trusted again."""
    breaker = CircuitBreaker(0.5)
    for number in range(WINDOW // 2):
        add(breaker, str(number), ERROR, answered=False)
    assert all(add(breaker, "k", Failure(kind, "m"), answered=False) is None for _ in range(WINDOW * 2))
    answer(breaker, WINDOW)
    assert all(add(breaker, str(n), ERROR, answered=False) is None for n in range(WINDOW // 2))


def test_while_everything_is_paused_nothing_counts():
    """The probes of an outage fail one after the other, and the throttle's patience ends it, not the breaker."""
    breaker = CircuitBreaker(0.5)
    failure = Failure("timeout", "m")
    assert all(add(breaker, str(n), failure, answered=False, paused=True) is None for n in range(WINDOW * 2))


def test_one_never_stops():
    """A fraction of 1 turns the window off."""
    breaker = CircuitBreaker(1.0)
    assert all(add(breaker, str(n), ERROR, answered=False) is None for n in range(WINDOW * 2))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_what_one_text_gets_while_others_are_answered_is_its_own(status):
    """A text that is refused again and again, with answers to others in between, fails for good; the run goes on."""
    breaker = CircuitBreaker(0.5)
    failure = Failure("denied", f"{status}: flagged", is_account=status == 401)
    kinds = []
    for _ in range(REFUSALS_OF_A_TEXT):
        answer(breaker, 5)
        judged, sentence = refuse(breaker, "flagged", failure)
        kinds.append(judged.kind)
        assert sentence is None
    assert kinds == ["denied"] * (REFUSALS_OF_A_TEXT - 1) + ["bad_request"]
    assert breaker.end() is None


def test_a_moment_of_refusals_is_nobodys_own():
    """A gateway that is rolled out answers 404 for a moment: many texts get it once, and none of them fails for good."""
    breaker = CircuitBreaker(0.5)
    answer(breaker, 10)
    assert {refuse(breaker, str(n), Failure("denied", "404"))[0].kind for n in range(32)} == {"denied"}
    answer(breaker, 10)
    assert refuse(breaker, "0", Failure("denied", "404"))[0].kind == "denied"


def test_what_all_get_over_their_account_ends_the_run_in_the_providers_words():
    """A spent quota is known after a few refusals with no answer in between, and the sentence says what the provider said."""
    breaker = CircuitBreaker(0.5)
    answer(breaker, 50)
    said = [refuse(breaker, str(number), NO_MONEY)[1] for number in range(REFUSALS_IN_A_ROW)]
    assert said[:-1] == [None] * (REFUSALS_IN_A_ROW - 1)
    assert "余额不足" in said[-1]


def test_a_key_that_some_backends_refuse_does_not_end_the_run():
    """Behind a gateway some backends may be out of credit: while others answer, it is not everyone's."""
    breaker = CircuitBreaker(0.5)
    for number in range(200):
        answer(breaker, 2)
        assert refuse(breaker, str(number), NO_MONEY)[1] is None


def test_a_text_counts_once_however_often_it_is_refused():
    """30 flagged texts that are asked three times each at the end of a run are 30 failures, not 90."""
    breaker = CircuitBreaker(0.5)
    answer(breaker, 170)
    for _ in range(3):
        for number in range(30):
            assert refuse(breaker, f"flagged {number}")[1] is None
        answer(breaker, 1)


def test_a_text_counts_once_also_where_nothing_was_answered_in_between():
    """Thirty refused texts that are asked again before a slow model has answered others are thirty, and not everyone."""
    breaker = CircuitBreaker(0.5)
    for _ in range(4):
        for number in range(30):
            assert refuse(breaker, f"refused {number}")[1] is None
    answer(breaker, WINDOW)


def test_where_all_that_came_were_refusals_the_run_has_failed():
    """A job with a few texts left, all refused, ends in the provider's words; one with an answer, or without a refusal, doesn't."""
    alone = CircuitBreaker(0.5)
    judged, _ = refuse(alone, "the only one", last=True)
    assert judged.kind == "denied"
    assert "your input was flagged" in alone.end()
    among_others = CircuitBreaker(0.5)
    answer(among_others, 9)
    assert refuse(among_others, "the last one", last=True)[0].kind == "bad_request"
    assert among_others.end() is None
    assert CircuitBreaker(0.5).end() is None


def test_many_texts_refused_at_the_very_end_are_not_given_up():
    """Whether the last texts were refused for themselves or for everyone isn't known: the next run asks again."""
    breaker = CircuitBreaker(0.5)
    answer(breaker, 9)
    kinds = [refuse(breaker, str(number), last=True)[0].kind for number in range(REFUSALS_OF_A_TEXT + 2)]
    assert kinds[REFUSALS_OF_A_TEXT - 1 :] == ["denied"] * 3
    assert breaker.end() is None


def test_a_text_that_an_earlier_run_refused_among_answers_does_not_block_the_next():
    """Asked alone the next day and refused again, it is its own; not so with the account, or beside new texts."""
    breaker = CircuitBreaker(0.5)
    assert refuse(breaker, "k", earlier_refusals=1, last=True)[0].kind == "bad_request"
    assert breaker.end() is None
    assert refuse(CircuitBreaker(0.5), "k", NO_MONEY, earlier_refusals=1, last=True)[0].kind == "denied"
    mixed = CircuitBreaker(0.5)
    refuse(mixed, "new", last=True)
    assert refuse(mixed, "k", earlier_refusals=1, last=True)[0].kind == "denied"


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.sampled_from(["answer", "flagged", "account", "error"])),
        max_size=60,
    )
)
def test_only_a_refusal_ever_becomes_another_kind(events):
    """Whatever the order of events, errors stay what they are, and a text is its own refusal's owner only when refused."""
    breaker = CircuitBreaker(1.0)
    for key, event in events:
        if event == "answer":
            answer(breaker, 1, key)
            continue
        failure = {"flagged": FLAGGED, "account": NO_MONEY, "error": ERROR}[event]
        judged, _ = refuse(breaker, key, failure)
        assert judged.message == failure.message
        assert judged.kind == failure.kind or (failure.kind, judged.kind) == ("denied", "bad_request")


def test_answers_that_were_only_slow_do_not_hide_that_the_account_is_used_up():
    """Requests that went out before are no sign that the account still pays; one that went out after is."""
    breaker = CircuitBreaker(0.5)
    slow = [breaker.number_request() for _ in range(8)]
    for text in range(REFUSALS_IN_A_ROW - 1):
        assert refuse(breaker, f"text {text}", NO_MONEY)[1] is None
        assert add(breaker, f"slow {text}", None, slow.pop() if slow else 0, answered=True) is None
    answer(breaker)
    for text in range(REFUSALS_IN_A_ROW - 1):
        assert refuse(breaker, f"later text {text}", NO_MONEY)[1] is None
        assert add(breaker, f"slow again {text}", None, 1, answered=True) is None
    assert "余额不足" in refuse(breaker, "last", NO_MONEY)[1]


def test_answers_to_other_processes_count_as_ones_own():
    """What a text is refused while only other processes get answers is its own, and the run does not end over it."""
    breaker = CircuitBreaker(0.5)
    for _ in range(REFUSALS_OF_A_TEXT):
        judged, _ = refuse(breaker, "a")
        breaker.hear(5)
    assert judged.kind == "bad_request"
    assert breaker.has_answers
    assert breaker.own_answers == 0
    assert breaker.end() is None


def test_a_run_whose_processes_were_all_refused_ends_in_those_words():
    """The run's own process asks nobody; it ends by what its workers were refused with."""
    worker, run = CircuitBreaker(0.5), CircuitBreaker(0.5)
    refuse(worker, "a")
    assert run.end() is None
    run.hear(worker.own_answers, worker.undecided)
    assert run.end() == worker.end() is not None


def test_processes_look_back_on_the_requests_of_all():
    """A run in which most requests fail is stopped after a hundred of them, whichever process sent them; none is counted twice."""
    one, other = CircuitBreaker(0.5), CircuitBreaker(0.5)
    failure = Failure("provider_error", "500: broken")
    for number in range(WINDOW - 1):
        assert add(one, f"a{number}", failure, answered=False) is None
    told = one.take_untold()
    assert len(told) == WINDOW - 1
    assert one.take_untold() == ()
    other.hear(0, seen=told)
    assert "of the last 100 requests failed" in add(other, "b", failure, answered=False)
    assert len(other.take_untold()) == 1
