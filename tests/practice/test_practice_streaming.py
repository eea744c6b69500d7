"""Answers stream as OpenAI's do, and its clients read them."""

import json

import openai
import pytest
from langchain_openai import ChatOpenAI

from practice import FaultKind, PracticeSettings

TOOL = {
    "type": "function",
    "function": {
        "name": "label",
        "parameters": {
            "type": "object",
            "properties": {"label": {"type": "string", "enum": ["体育", "技术"]}},
        },
    },
}


def test_a_stream_is_the_answer_a_token_at_a_time(ask, long_labels, practice):
    """Joined, the pieces are the answer that comes whole; the last but one tells the same tokens."""
    whole = ask(system=long_labels)
    chunks = list(ask(system=long_labels, stream=True, stream_options={"include_usage": True}))
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert [piece for piece in pieces if piece] == ["体育", "新闻"]
    assert whole.choices[0].message.content == "体育新闻"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices] == [None, None, None, "stop"]
    assert chunks[-1].usage == whole.usage
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * 4
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    totals = practice.totals()
    assert (totals["answered"], totals["output_tokens"]) == (2, 4)
    assert totals["unseen_output_tokens"] == 0


def test_a_stream_without_usage_is_billed_unseen(ask, practice):
    """Nobody tells the client its tokens, and they cost all the same."""
    chunks = list(ask(stream=True))
    assert all(chunk.usage is None for chunk in chunks)
    totals = practice.totals()
    assert (totals["answered"], totals["unseen_output_tokens"]) == (0, 1)


def test_logprobs_and_tool_calls_stream(ask, client):
    """Each token comes with its own probability; the arguments of a call come in pieces."""
    chunks = ask(stream=True, logprobs=True, top_logprobs=2)
    told = [chunk.choices[0].logprobs for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert [entry.token for each in told for entry in each.content] == ["体育"]
    messages = [{"role": "user", "content": "足球"}]
    with client.chat.completions.stream(model="m", messages=messages, tools=[TOOL]) as stream:
        answer = stream.get_final_completion()
    (call,) = answer.choices[0].message.tool_calls
    assert (call.function.name, set(json.loads(call.function.arguments))) == ("label", {"label"})
    assert answer.choices[0].finish_reason == "tool_calls"


def test_langchain_streams(practice):
    """ChatOpenAI joins the pieces and adds up the tokens."""
    model = ChatOpenAI(model="m", base_url=practice.base_url, api_key="k", max_retries=0, stream_usage=True)
    chunks = list(model.stream([("system", "- 技术: 软件\n- 体育: 足球"), ("user", "新软件")]))
    message = chunks[0]
    for chunk in chunks[1:]:
        message += chunk
    assert (message.content, message.usage_metadata["output_tokens"]) == ("技术", 1)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (FaultKind.SERVER_ERROR, openai.InternalServerError),
        (FaultKind.CONNECTION_RESET, openai.APIConnectionError),
        (FaultKind.CUT_OFF, Exception),
        (FaultKind.BAD_JSON, None),
    ],
)
def test_faults_meet_streams_too(ask, practice, fault, error):
    """An error comes in the stream's place; one that is cut ends early, and a second attempt is whole."""
    practice.configure(PracticeSettings(faults={fault: 1.0}))
    if error is None:
        # What is left of it is no end of an answer.
        assert not [chunk for chunk in ask(stream=True) if chunk.choices and chunk.choices[0].finish_reason]
    else:
        with pytest.raises(error):
            list(ask(stream=True))
    again = ask(stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in again) == "体育"


@pytest.mark.parametrize("kind", ["empty", "refusal", "truncated"])
def test_answers_that_are_no_label_stream(ask, practice, kind):
    """Empty, refused and cut answers have the pieces and the ending that they have when they come whole."""
    practice.configure(PracticeSettings(stubborn_faults={kind: 1.0}))
    whole = ask().choices[0]
    chunks = list(ask(stream=True))
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    refused = "".join(chunk.choices[0].delta.refusal or "" for chunk in chunks)
    assert (said, refused) == (whole.message.content, whole.message.refusal or "")
    assert chunks[-1].choices[0].finish_reason == whole.finish_reason
