"""Reading what other providers send: total functions, whatever JSON stands in place of the expected."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelmill.money.usage import Usage
from labelmill.providers import anthropic, gemini, openai, wire
from labelmill.providers.anthropic import answer_of_message
from labelmill.providers.batches import answers_in
from labelmill.providers.gemini import answer_of_response
from labelmill.providers.protocol import BatchStatus
from labelmill.question.answers import Answer

NAMES = [
    *(
        "content",
        "type",
        "text",
        "thinking",
        "input",
        "stop_reason",
        "usage",
        "input_tokens",
        "output_tokens",
    ),
    *("cache_read_input_tokens", "model", "error", "message", "result", "candidates", "parts", "thought"),
    *("finishReason", "promptFeedback", "blockReason", "usageMetadata", "promptTokenCount", "functionCall"),
    *("candidatesTokenCount", "args", "response", "metadata", "key", "code", "status", "state", "batchStats"),
    *("request_counts", "processing_status", "errors", "data", "id", "created_at", "createTime"),
]
KINDS = ["text", "thinking", "tool_use", "succeeded", "errored", "expired", "refusal", "STOP", "ended"]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(KINDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=20,
)


def assert_is_whole(answer):
    """An answer whose every part is of its kind."""
    assert isinstance(answer, Answer)
    assert isinstance(answer.content, str)
    assert isinstance(answer.reasoning, str)
    assert all(isinstance(one, str) for one in answer.arguments)
    for part in (answer.refusal, answer.finish_reason, answer.model):
        assert part is None or isinstance(part, str)
    if answer.usage is not None:
        assert answer.usage.input_tokens > 0
        assert answer.usage.output_tokens >= 0
        assert 0 <= answer.usage.cached_input_tokens <= answer.usage.input_tokens


@given(body=anything)
def test_any_json_is_read_as_an_answer(body):
    """It never raises, and what can't be so is no part of it."""
    assert_is_whole(answer_of_message(body))
    assert_is_whole(answer_of_response(body))


@pytest.mark.slow
@given(
    results=st.lists(
        st.dictionaries(st.sampled_from(["custom_id", *NAMES]), anything, max_size=4), max_size=4
    )
)
@pytest.mark.parametrize(
    ("row_of", "key"),
    [(openai.row_of, "custom_id"), (anthropic.row_of, "custom_id"), (gemini.row_of, "metadata")],
)
def test_any_result_is_told_as_one_answer_or_one_error(row_of, key, results):
    """Of our row; others are passed over."""
    ours = [{**result, key: {"key": "r"} if key == "metadata" else "r"} for result in results]
    told = list(answers_in(map(row_of, [*results, *ours]), {"r": "v1:a"}))
    assert len(told) == bool(ours)
    assert all((row.answer is None) != (row.error is None) for row in told)


@given(batch=st.dictionaries(st.sampled_from(NAMES), anything, max_size=6))
def test_any_batch_has_a_state_or_is_told_to_have_none(batch):
    """Nothing but ValueError, which is taken for "can't be looked at now"."""
    for state_of in (openai.state_of, anthropic.state_of, gemini.state_of):
        try:
            state = state_of(batch)
        except ValueError:
            continue
        assert isinstance(state.status, BatchStatus)
        assert min(state.total, state.completed, state.failed) >= 0


@given(value=anything)
def test_any_value_is_read_as_a_count_an_id_and_a_moment(value):
    """Or as none."""
    assert wire.count_in(value) >= 0
    assert wire.name_in(value) is None or wire.name_in(value)
    moment = wire.moment_in(value)
    assert moment is None or moment.tzinfo is not None
    assert isinstance(wire.words_in(value), str)


@pytest.mark.parametrize(
    ("value", "count"),
    [(5, 5), ("5", 5), (5.0, 5), ("x", 0), (None, 0), (-1, 0), (True, 0), (float("inf"), 0), (10**400, 0)],
)
def test_a_count_may_be_written_as_text(value, count):
    """As Google writes 64-bit numbers; what is none counts nothing."""
    assert wire.count_in(value) == count


def message(*blocks, **fields):
    """A message of Anthropic's."""
    usage = {"input_tokens": 10, "output_tokens": 2}
    return {"model": "claude", "stop_reason": "end_turn", "content": list(blocks), "usage": usage, **fields}


def test_a_message_is_read_part_by_part():
    """Text joined, thoughts apart, a tool's arguments, usage with what was cached and written."""
    usage = {
        "input_tokens": 10,
        "cache_read_input_tokens": 5,
        "cache_creation_input_tokens": 3,
        "output_tokens": 2,
    }
    answer = answer_of_message(
        message(
            {"type": "thinking", "thinking": "hm, sport?"},
            {"type": "redacted_thinking", "data": "x"},
            {"type": "text", "text": "mon"},
            {"type": "text", "text": "ey"},
            {"type": "tool_use", "input": {"label": "体育"}},
            usage=usage,
        )
    )
    assert (answer.content, answer.reasoning, answer.error) == ("money", "hm, sport?", None)
    assert [json.loads(one) for one in answer.arguments] == [{"label": "体育"}]
    assert (answer.usage.input_tokens, answer.usage.cached_input_tokens) == (18, 5)


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("pause_turn", "pause_turn"),
        ("later_invention", "later_invention"),
        (None, None),
        (7, None),
    ],
)
def test_why_a_message_ended_is_told_in_openais_words(said, read):
    """And in its own where OpenAI has none: what isn't known is not called a good ending."""
    assert (
        answer_of_message(message({"type": "text", "text": "sport"}, stop_reason=said)).finish_reason == read
    )


@pytest.mark.parametrize(
    "usage", [None, {}, {"input_tokens": 0, "output_tokens": 0}, {"input_tokens": -1}, "x", []]
)
def test_usage_that_can_not_be_so_is_no_usage(usage):
    """Nobody has seen the tokens: they count at their worst case."""
    assert answer_of_message(message({"type": "text", "text": "sport"}, usage=usage)).usage is None
    told = {"promptTokenCount": (usage or {}).get("input_tokens")} if isinstance(usage, dict) else usage
    assert answer_of_response({"candidates": [{}], "usageMetadata": told}).usage is None


def response(*parts, reason="STOP", **fields):
    """A response of Gemini's."""
    return {
        "candidates": [{"content": {"parts": list(parts)}, "finishReason": reason}],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 2},
        **fields,
    }


def test_a_response_is_read_part_by_part():
    """Text joined, thoughts apart and paid as output, a call's arguments."""
    answer = answer_of_response(
        response(
            {"text": "hm", "thought": True},
            {"text": "mon"},
            {"text": "ey"},
            {"functionCall": {"name": "f", "args": {"label": "x"}}},
            usageMetadata={"promptTokenCount": 10, "candidatesTokenCount": 2, "thoughtsTokenCount": 7},
        )
    )
    assert (answer.content, answer.reasoning, answer.error) == ("money", "hm", None)
    assert [json.loads(one) for one in answer.arguments] == [{"label": "x"}]
    assert answer.usage == Usage(10, 0, 9, reasoning_tokens=7)


@pytest.mark.parametrize(
    ("reason", "read"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SPII", "content_filter"),
        ("OTHER", "other"),
        (None, None),
    ],
)
def test_why_a_response_ended_is_told_in_openais_words(reason, read):
    """And in its own where OpenAI has none."""
    assert answer_of_response(response({"text": "sport"}, reason=reason)).finish_reason == read


@pytest.mark.parametrize("body", [None, [], "x", {}, {"error": None}, {"content": None}])
def test_what_is_no_message_is_a_bad_response(body):
    """It may have been paid: what stood there was not understood."""
    for answer in (answer_of_message(body), answer_of_response(body)):
        assert (answer.error.kind, answer.error.may_have_been_paid) == ("bad_response", True)


@pytest.mark.parametrize(
    ("read", "error", "kind", "may_have_been_paid"),
    [
        (answer_of_message, {"type": "overloaded_error", "message": "Overloaded"}, "overloaded", False),
        (answer_of_message, {"type": "rate_limit_error", "message": "slower"}, "rate_limited", False),
        (answer_of_message, {"message": "broken"}, "provider_error", True),
        (
            answer_of_response,
            {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "x"},
            "rate_limited",
            False,
        ),
        (answer_of_response, {"code": 504, "status": "DEADLINE_EXCEEDED", "message": "x"}, None, True),
        (answer_of_response, {"message": "broken"}, "provider_error", True),
    ],
)
def test_an_error_in_an_answers_place_means_what_it_means_under_a_status(
    read, error, kind, may_have_been_paid
):
    """In the provider's words; only what is known to cost nothing costs nothing."""
    failure = read({"type": "error", "error": error}).error
    assert failure.kind == (kind or failure.kind)
    assert failure.may_have_been_paid is may_have_been_paid
    assert error["message"] in failure.message


def test_what_is_nested_too_deeply_is_left_out():
    """A thousand brackets are no arguments."""
    deep = current = []
    for _ in range(100_000):
        current.append([])
        current = current[0]
    answer = answer_of_message(message({"type": "tool_use", "input": deep}))
    assert answer.arguments == ("",)
