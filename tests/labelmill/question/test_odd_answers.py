"""Answers as real servers send them, through the chain over real HTTP: each is paid once, or retried as a failure."""

import json

import pytest

from labelmill.live.guard import RequestFailed
from labelmill.question.failures import Failure

USAGE = {"prompt_tokens": 90, "completion_tokens": 5, "total_tokens": 95}


def body(content="sport", finish_reason="stop", *, message=None, **choice):
    """A completion's bytes."""
    said = {"role": "assistant", "content": content, **(message or {})}
    return json.dumps(
        {
            "model": "m",
            "choices": [{"message": said, "finish_reason": finish_reason, **choice}],
            "usage": USAGE,
        }
    ).encode()


def stream(*parts, end="stop"):
    """The same as a stream that nobody asked for."""
    chunks = [
        {"model": "m", "choices": [{"delta": {"content": part}, "finish_reason": None}]} for part in parts
    ]
    if end:
        chunks.append({"choices": [{"delta": {}, "finish_reason": end}], "usage": USAGE})
    return (
        b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"
    )


@pytest.mark.parametrize(
    ("content", "output"),
    [
        (body("<think>\n\n</think>\n\nsport"), "text"),
        (body("Money? No, a match.</think>sport<|im_end|>"), "text"),
        (body(None, message={"reasoning_content": "\n\nsport"}), "text"),
        (body("sport", message={"role": "model", "reasoning": "money?"}), "text"),
        (body([{"type": "text", "text": "**Sport**."}]), "text"),
        (body("标签：「sport」。"), "text"),
        (body("- sport: football, match, team"), "text"),
        (body('```json\n{"label": "sport"}\n```'), "schema"),
        (body('The label is {"label": "sport"}.'), "schema"),
        (
            body(
                None, "tool_calls", message={"tool_calls": [{"function": {"arguments": {"label": "sport"}}}]}
            ),
            "schema",
        ),
        (b"\xef\xbb\xbf\n" + body(), "text"),
        (stream("spo", "rt"), "text"),
        (stream('{"label"', ': "sport"}'), "schema"),
    ],
    ids=lambda value: ascii(value[:60]) if isinstance(value, bytes) else value,
)
def test_an_odd_answer_is_read_the_first_time(scripted, job_of, chain_at, content, output):
    """One request, one label, however the answer was packed."""
    scripted.reply((200, content))
    chain = chain_at(job_of(model={"output": output}), scripted.base_url)
    assert (chain.invoke({"text": "x"}), len(scripted.bodies)) == ("sport", 1)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (body(finish_reason="length"), "truncated"),
        (body("<think>sport"), "truncated"),
        (body("", message={"reasoning_content": "It could be sport, I think"}), "empty_answer"),
        (body(message={"refusal": {"reason": "no"}}), "refused"),
        (body(finish_reason="sensitive"), "content_filter"),
        (body("sport\nmoney"), "off_label"),
        (body(finish_reason="insufficient_system_resource"), "provider_error"),
        (body(finish_reason="error", error={"code": 502, "message": "upstream"}), "provider_error"),
        (body("", error={"code": 429, "message": "Rate limit exceeded"}), "rate_limited"),
        (json.dumps({"choices": [], "usage": USAGE}).encode(), "bad_response"),
        (json.dumps({"error": {"message": "余额不足", "code": "1113"}}).encode(), "denied"),
        (stream("sport", end=None), "bad_response"),
        (b"<!DOCTYPE html><html>Welcome</html>", "denied"),
        (b"sport", "bad_response"),
    ],
    ids=lambda value: ascii(value[:60]) if isinstance(value, bytes) else value,
)
def test_what_is_no_whole_answer_is_never_a_label(scripted, job_of, chain_at, content, kind):
    """A broken-off, filtered, empty or impossible answer is the failure that it is, though it says a label."""
    scripted.reply((200, content))
    chain = chain_at(job_of(), scripted.base_url)
    try:
        result = chain.invoke({"text": "x"}, {"metadata": {"most_attempts": 1}})
    except RequestFailed as failed:
        result = failed.failure
    assert isinstance(result, Failure)
    assert (result.kind, len(scripted.bodies)) == (kind, 1)
