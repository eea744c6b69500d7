"""Every fault looks to OpenAI's client as a real provider's would."""

import json
import time

import openai
import pytest

from practice import FaultKind, PracticeSettings

SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "answer",
        "schema": {"type": "object", "properties": {"label": {"type": "string", "enum": ["技术", "体育"]}}},
    },
}


def struck_by(practice, kind, **settings):
    """Let this fault meet every first attempt."""
    practice.configure(PracticeSettings(faults={kind: 1.0}, **settings))


@pytest.mark.parametrize(
    ("kind", "seen"),
    [
        (FaultKind.RATE_LIMITED, (openai.RateLimitError, "rate_limit_exceeded", "429")),
        (FaultKind.RATE_LIMITED_BARE, (openai.RateLimitError, "rate_limit_exceeded", "429")),
        (FaultKind.SERVER_ERROR, (openai.InternalServerError, "server_error", "500")),
        (FaultKind.UNAVAILABLE, (openai.InternalServerError, "overloaded", "503")),
        (FaultKind.CONTENT_FILTER, (openai.BadRequestError, "content_filter", "400")),
        (FaultKind.TOO_LONG, (openai.BadRequestError, "context_length_exceeded", "400")),
        (FaultKind.CONNECTION_RESET, (openai.APIConnectionError, None, "no_answer")),
    ],
)
def test_an_error_strikes_once_and_the_next_attempt_is_answered(practice, ask, kind, seen):
    """The first attempt fails as it should and costs nothing; the second gets its label."""
    error, code, status = seen
    struck_by(practice, kind)
    with pytest.raises(error) as failed:
        ask()
    assert failed.value.code == code
    assert practice.totals()["answered"] == 0
    assert ask().choices[0].message.content == "体育"
    totals = practice.totals()
    assert totals["faults"] == {kind.value: 1}
    assert totals["by_status"] == {status: 1, "200": 1}


def test_a_stubborn_fault_never_ends(practice, ask):
    """A stubborn fault strikes again and again."""
    practice.configure(PracticeSettings(stubborn_faults={FaultKind.SERVER_ERROR: 1.0}))
    for _ in range(3):
        with pytest.raises(openai.InternalServerError):
            ask()


def test_rate_limits_tell_when_to_come_back_or_do_not(practice, ask):
    """One rate limit gives both retry headers, the bare one none."""
    struck_by(practice, FaultKind.RATE_LIMITED, retry_after_seconds=0.25)
    with pytest.raises(openai.RateLimitError) as told:
        ask("one")
    assert told.value.response.headers["retry-after-ms"] == "250"
    assert told.value.response.headers["retry-after"] == "1"
    struck_by(practice, FaultKind.RATE_LIMITED_BARE)
    with pytest.raises(openai.RateLimitError) as bare:
        ask("two")
    assert not {"retry-after", "retry-after-ms"} & set(bare.value.response.headers)


def test_a_hang_outlasts_the_client_and_leaves_nothing_in_flight(practice, ask):
    """A client that gives up gets a timeout, and the server lets its request go."""
    struck_by(practice, FaultKind.HANG)
    with pytest.raises(openai.APITimeoutError):
        ask(timeout=0.2)
    deadline = time.monotonic() + 5
    while practice.totals()["in_flight"] and time.monotonic() < deadline:
        time.sleep(0.02)
    totals = practice.totals()
    assert (totals["in_flight"], totals["answered"], totals["by_status"]) == (0, 0, {"no_answer": 1})


def test_a_short_hang_is_answered_in_the_end(practice, ask):
    """A patient client gets its label late."""
    struck_by(practice, FaultKind.HANG, hang_seconds=0.2)
    started = time.monotonic()
    assert ask().choices[0].message.content == "体育"
    assert time.monotonic() - started >= 0.2


def test_an_answer_that_is_not_json_is_billed_unseen(practice, ask):
    """A 200 that cannot be read costs tokens the client never hears of."""
    struck_by(practice, FaultKind.BAD_JSON)
    with pytest.raises(json.JSONDecodeError):
        ask()
    assert_unseen(practice)


def test_an_answer_cut_off_is_billed_unseen(practice, ask):
    """A body that ends early is a connection error, and costs tokens the client never hears of."""
    struck_by(practice, FaultKind.CUT_OFF)
    with pytest.raises(openai.APIConnectionError):
        ask()
    assert_unseen(practice)


def assert_unseen(practice):
    """One request was billed, and its usage was not seen."""
    totals = practice.totals()
    assert totals["answered"] == totals["input_tokens"] == 0
    assert totals["unseen_input_tokens"] > 0
    assert totals["unseen_output_tokens"] == 1
    assert totals["by_status"] == {"200": 1}


def test_a_truncated_answer_says_so(practice, ask):
    """Half an answer ends for its length, and is paid."""
    struck_by(practice, FaultKind.TRUNCATED)
    answer = ask()
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("体", "length")
    assert practice.totals()["output_tokens"] == answer.usage.completion_tokens == 1


def test_an_off_label_answer_is_no_label(practice, ask):
    """The wrong word comes in the right shape."""
    struck_by(practice, FaultKind.OFF_LABEL)
    assert ask("one").choices[0].message.content == "off-label-by-practice"
    assert (
        ask("two", response_format=SCHEMA).choices[0].message.content == '{"label": "off-label-by-practice"}'
    )


def test_an_empty_answer_is_paid_for_its_input(practice, ask):
    """Nothing comes back, and the input is billed."""
    struck_by(practice, FaultKind.EMPTY)
    answer = ask()
    assert answer.choices[0].message.content == ""
    assert practice.totals()["input_tokens"] == answer.usage.prompt_tokens


def test_a_refusal_is_told_as_one(practice, ask):
    """A refusal stands in its own field; a schema's answer has no content besides."""
    struck_by(practice, FaultKind.REFUSAL)
    plain = ask("one").choices[0].message
    assert plain.content == plain.refusal == "I'm sorry, I can't help with that."
    schemed = ask("two", response_format=SCHEMA).choices[0].message
    assert (schemed.content, schemed.refusal) == (None, plain.refusal)
