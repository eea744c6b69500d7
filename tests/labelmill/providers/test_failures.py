"""Failures: every way a provider disappoints has its kind and its policy, over real HTTP and through the real chain."""

import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from labelmill.live.guard import RequestFailed
from labelmill.providers.failures import failure_of, retry_after_seconds
from labelmill.question.failures import POLICY_OF_KIND, Failure, Policy
from practice import FaultKind, PracticeSettings

FAULTS = {
    FaultKind.RATE_LIMITED: ("rate_limited", Policy.RETRY, False),
    FaultKind.RATE_LIMITED_BARE: ("rate_limited", Policy.RETRY, False),
    FaultKind.SERVER_ERROR: ("provider_error", Policy.RETRY, False),
    FaultKind.UNAVAILABLE: ("overloaded", Policy.RETRY, False),
    FaultKind.CONNECTION_RESET: ("connection", Policy.RETRY, True),
    FaultKind.HANG: ("timeout", Policy.RETRY, True),
    FaultKind.BAD_JSON: ("bad_response", Policy.RETRY, True),
    FaultKind.CUT_OFF: ("bad_response", Policy.RETRY, True),
    FaultKind.TRUNCATED: ("truncated", Policy.ASK_AGAIN, None),
    FaultKind.OFF_LABEL: ("off_label", Policy.ASK_AGAIN, None),
    FaultKind.EMPTY: ("empty_answer", Policy.ASK_AGAIN, None),
    FaultKind.REFUSAL: ("refused", Policy.ASK_AGAIN, None),
    FaultKind.CONTENT_FILTER: ("content_filter", Policy.GIVE_UP, False),
    FaultKind.TOO_LONG: ("too_long", Policy.GIVE_UP, False),
}
"""Kind, policy, and whether an exception may have cost something (None where an answer came)."""


def failure_from(chain, text="the match"):
    """The failure that a chain ends in when the request got no answer."""
    with pytest.raises(RequestFailed) as raised:
        chain.invoke({"text": text}, {"metadata": {"most_attempts": 1}})
    return raised.value.failure


def test_every_fault_has_an_expectation_here():
    """The table covers all that the practice provider can play."""
    assert set(FAULTS) == set(FaultKind)


@pytest.mark.parametrize("output", ["text", "schema"])
@pytest.mark.parametrize("fault", FaultKind)
def test_each_fault_has_its_kind_and_policy_and_the_next_attempt_its_label(
    practice, job_of, chain_at, fault, output
):
    """In both output modes: one request, the right kind and policy, and a label on the second attempt."""
    practice.configure(PracticeSettings(faults={fault: 1.0}, retry_after_seconds=0.02))
    timeout_seconds = 0.3 if fault is FaultKind.HANG else 30
    job = job_of(model={"output": output, "timeout_seconds": timeout_seconds, "max_tokens": 50})
    chain = chain_at(job, practice.base_url)
    kind, policy, paid = FAULTS[fault]
    if paid is None:
        failure = chain.invoke({"text": "the match"})
    else:
        failure = failure_from(chain)
        assert failure.may_have_been_paid is paid
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.policy) == (kind, policy)
    assert failure.message
    assert practice.totals()["requests"] == 1
    if fault is FaultKind.RATE_LIMITED:
        assert failure.retry_after_seconds == pytest.approx(0.02)
    elif fault is FaultKind.RATE_LIMITED_BARE:
        assert failure.retry_after_seconds is None
    practice.configure(PracticeSettings())
    assert chain.invoke({"text": "the match"}) == "sport"


@pytest.mark.parametrize(
    ("settings", "status", "words"),
    [
        ({"required_key": "another"}, "401", "Incorrect API key provided to the practice provider."),
        ({"known_models": ("m-1",)}, "404", "The model `gpt-4o-mini` does not exist"),
        ({"insufficient_quota_after": 0}, "429", "You exceeded your current quota"),
    ],
)
def test_what_no_row_can_survive_is_known_for_it_in_the_providers_own_words(
    practice, job_of, chain_at, settings, status, words
):
    """A wrong key, an unknown model and a spent quota are about the account, told as the provider told them, and cost nothing."""
    practice.configure(PracticeSettings(**settings))
    failure = failure_from(chain_at(job_of(), practice.base_url))
    assert (failure.kind, failure.is_account, failure.may_have_been_paid) == ("denied", True, False)
    assert status in failure.message
    assert words in failure.message


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, {"error": {"message": "bad key", "code": "invalid_api_key"}}, "bad key"),
        (
            402,
            {"error": {"message": "Insufficient Balance", "code": "invalid_request_error"}},
            "Insufficient Balance",
        ),
        (403, {"error": {"message": "not in your country", "code": None}}, "not in your country"),
        (404, {"detail": "Not Found"}, "Not Found"),
        (404, b"<html>nginx</html>", "nginx"),
        (429, {"error": {"message": "no money left", "code": "insufficient_quota"}}, "no money left"),
        (429, {"error": {"message": "limit hit", "code": "billing_hard_limit_reached"}}, "limit hit"),
        (400, {"error": {"message": "no such model", "code": "model_not_found"}}, "no such model"),
        (400, {"error": {"message": "not max_tokens", "code": "unsupported_parameter"}}, "not max_tokens"),
        (400, {"error": {"message": "only 1", "code": "unsupported_value"}}, "only 1"),
    ],
)
def test_a_refusal_may_be_everyones(scripted, job_of, chain_at, status, body, said):
    """Keys, payment, access, addresses, models and settings: a refusal in the provider's words, whatever shape its body has."""
    scripted.reply((status, body))
    failure = failure_from(chain_at(job_of(), scripted.base_url))
    assert (failure.kind, failure.policy) == ("denied", Policy.DOUBT)
    assert said in failure.message


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, {"message": "m", "code": "content_filter"}, "content_filter"),
        (400, {"message": "m", "code": "content_policy_violation"}, "content_filter"),
        (400, {"message": "m", "code": "data_inspection_failed"}, "content_filter"),
        (400, {"message": "m", "code": "context_length_exceeded"}, "too_long"),
        (400, {"message": "This model's maximum context length is 8 tokens.", "code": 400}, "too_long"),
        (400, {"message": "The prompt is TOO LONG"}, "too_long"),
        (400, {"message": "Your input exceeds the context window of this model"}, "too_long"),
        (413, {"message": "m"}, "too_long"),
        (429, {"message": "Request too large for gpt-4o: Limit 3, Requested 5"}, "too_long"),
        (
            429,
            {"message": "Rate limit reached, the queue is too long", "code": "rate_limit_exceeded"},
            "rate_limited",
        ),
        (408, {"message": "m"}, "provider_error"),
        (409, {"message": "m"}, "provider_error"),
        (500, {"message": "this took too long"}, "provider_error"),
        (503, {"message": "busy"}, "overloaded"),
        (504, {"message": "m"}, "overloaded"),
        (529, {"message": "overloaded"}, "overloaded"),
        (400, {"message": "m", "code": "invalid"}, "denied"),
        (422, {"message": "m", "code": {"nested": 1}}, "denied"),
        (400, {"message": None, "code": ["a"]}, "denied"),
        (418, {}, "denied"),
    ],
)
def test_other_errors_are_told_apart_by_status_code_and_words(
    scripted, job_of, chain_at, status, error, kind
):
    """What other providers answer gets the kind it means, and an odd body is no surprise."""
    scripted.reply((status, {"error": error}))
    failure = failure_from(chain_at(job_of(), scripted.base_url))
    assert isinstance(failure, Failure)
    assert failure.kind == kind
    assert len(scripted.bodies) == 1


def test_a_providers_words_are_kept_short_and_writable(scripted, job_of, chain_at):
    """Half a surrogate pair in an error's message, as gateways leave that cut texts, can be written to any file."""
    cut = b'{"error": {"message": "bad text: \\ud83d' + b"x" * 5000 + b'", "code": null}}'
    scripted.reply((400, cut), (403, cut))
    chain = chain_at(job_of(), scripted.base_url)
    for _ in range(2):
        message = failure_from(chain).message
        assert "bad text: ?x" in message
        assert len(message.encode()) < 700


def test_a_closed_port_costs_nothing(job_of, chain_at):
    """A request that never got through is a connection failure, and can't have been paid."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    failure = failure_from(chain_at(job_of(), f"http://127.0.0.1:{port}/v1"))
    assert failure.kind == "connection"
    assert "refused" in failure.message
    assert not failure.may_have_been_paid


@pytest.mark.parametrize("key", ["sk-line\nbreak", "sk-密钥"])
def test_a_key_that_can_not_be_sent_stops_the_run_and_is_not_shown(scripted, job_of, chain_at, key):
    """A key with a character that HTTP doesn't allow is the run's failure, costs nothing, and stays secret."""
    failure = failure_from(chain_at(job_of(), scripted.base_url, key=key))
    assert (failure.kind, failure.is_account) == ("denied", True)
    assert "key" in failure.message
    assert "sk-" not in failure.message
    assert not failure.may_have_been_paid
    assert scripted.bodies == []


def test_an_address_without_a_protocol_stops_the_run(job_of, chain_at):
    """Every row would fail on it, and nothing was sent."""
    failure = failure_from(chain_at(job_of(), "localhost:9/v1"))
    assert (failure.kind, failure.is_account) == ("denied", True)
    assert "localhost" in failure.message
    assert not failure.may_have_been_paid


def test_an_unknown_exception_is_a_bad_response_that_may_have_been_paid():
    """What is raised while an answer is read counts as an answer that can't be read."""
    assert failure_of(ValueError("boom")) == Failure(
        "bad_response", "ValueError: boom", may_have_been_paid=True
    )


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "3"}, 3.0),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "Wed, 99 Oct 2015 07:28:00 GMT"}, None),
    ],
)
def test_the_wait_a_provider_asks_for_is_read_in_all_its_forms(headers, seconds):
    """Milliseconds come first, then seconds or a date; nonsense is no wait, and none is negative."""
    assert retry_after_seconds(headers) == seconds


def test_a_date_to_come_back_is_a_wait_until_then():
    """`Retry-After` as an HTTP date is counted from now."""
    until = datetime.now(UTC) + timedelta(hours=1)
    wait = retry_after_seconds({"retry-after": format_datetime(until, usegmt=True)})
    assert wait is not None
    assert 3000 < wait <= 3600


def test_both_headers_are_read_from_a_real_answer(scripted, job_of, chain_at):
    """The headers' case doesn't matter, and server errors may ask to wait as well as rate limits."""
    scripted.reply(
        (429, {"error": {"message": "m"}}, {"Retry-After": "2"}),
        (503, {"error": {"message": "m"}}, {"Retry-After-Ms": "30"}),
    )
    job = job_of()
    assert failure_from(chain_at(job, scripted.base_url)).retry_after_seconds == 2.0
    assert failure_from(chain_at(job, scripted.base_url)).retry_after_seconds == 0.03


def test_every_kind_has_a_policy():
    """A failure of any kind knows what is done about it."""
    for kind in POLICY_OF_KIND:
        assert Failure(kind, "m").policy is POLICY_OF_KIND[kind]
