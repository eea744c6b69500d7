"""A chat completion as server-sent events, a token at a time."""

from collections.abc import Iterator
from typing import Any

from practice.connection import encoded
from practice.tokens import split_tokens


def events_of(completion: dict[str, Any], *, includes_usage: bool) -> Iterator[bytes]:
    """The events of a completion that has one choice; the last but one tells its tokens where that is wanted."""
    choice = completion["choices"][0]
    kept = {name: completion[name] for name in ("id", "created", "model", "system_fingerprint")}
    # Null until the end, as OpenAI sends it where tokens are to be told.
    told = {"usage": None} if includes_usage else {}
    frame = kept | {"object": "chat.completion.chunk", **told}
    for delta, logprobs in _deltas(choice):
        part = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": None}
        yield _event(frame | {"choices": [part]})
    end = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": choice["finish_reason"]}
    yield _event(frame | {"choices": [end]})
    if includes_usage:
        yield _event(frame | {"choices": [], "usage": completion["usage"]})
    yield b"data: [DONE]\n\n"


def _deltas(choice: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
    """What each event adds to the message, and how likely it was where that was asked for."""
    message = choice["message"]
    yield (
        {"role": message["role"], "content": None if message["content"] is None else "", "refusal": None},
        None,
    )
    likely = (choice["logprobs"] or {}).get("content") or []
    if likely and message["content"]:
        for entry in likely:
            yield {"content": entry["token"]}, {"content": [entry], "refusal": None}
    else:
        for token in split_tokens(message["content"] or ""):
            yield {"content": token}, None
    for index, call in enumerate(message.get("tool_calls", ())):
        begun = {**call, "function": {"name": call["function"]["name"], "arguments": ""}}
        yield {"tool_calls": [{"index": index, **begun}]}, None
        for token in split_tokens(call["function"]["arguments"]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": token}}]}, None
    if message["refusal"]:
        yield {"refusal": message["refusal"]}, None


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + encoded(body) + b"\n\n"
