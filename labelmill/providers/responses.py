"""A response's body: its JSON, however it was packed.

A server may stream though nobody asked it to; what it streamed is put together, so that it is read and not paid again.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from labelmill.providers.completions import answer_of_completion
from labelmill.providers.failures import NOBODY_BEHIND_STATUSES, failure_of_response
from labelmill.question.answers import Answer
from labelmill.question.failures import Failure

_FIRST_ERROR = 400
WEB_PAGE = Failure(
    "denied", "answered with a web page, not with JSON; base_url should end in /v1 as a rule", is_account=True
)
"""Told of an endpoint whose address leads to its website. No model has answered there, and nobody is paid."""

_PAGE = re.compile(r"<(?:!doctype html|html|head|body)\b", re.IGNORECASE)
_PAGE_CHARACTERS = 1000
_LINE_END = re.compile(r"\r\n|\n|\r")
_FIELDS = ("data:", "event:", "id:", "retry:", ":")
_UNTOLD = (None, "", "null")
"""What stands for the finish reason in the chunks before the last: Ollama's and SGLang's was empty (ollama/ollama#4357)."""
_MOST_DIGITS = 4000
_SHOWN_CHARACTERS = 80
_BLANKS = " \t\r\n\0\ufeff"


def body_in(content: bytes, content_type: str | None = None) -> object:
    """The JSON that a response holds, or the completion that its stream of events amounts to. It never raises.

    Returns:
        The JSON's value, where `answer_of_completion` tells what it says; a `Failure` where there is none.
    """
    text = _text_of(content)
    if not text:
        return Failure("bad_response", "the answer has no body", may_have_been_paid=True)
    try:
        return _json_in(text)
    except (ValueError, RecursionError):
        pass
    kind = (content_type or "").partition(";")[0].strip().casefold()
    if kind == "text/event-stream" or text.startswith(_FIELDS):
        streamed = answer_of_stream(text)
        if streamed is not None:
            return streamed
    if text.startswith("<") and (kind == "text/html" or _PAGE.search(text, 0, _PAGE_CHARACTERS)):
        return WEB_PAGE
    shown = repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…")
    return Failure("bad_response", f"the answer is no JSON: {shown}", may_have_been_paid=True)


def answer_of_stream(body: bytes | str) -> dict[str, Any] | None:
    """The chat completion that a whole stream of server-sent events amounts to; None where it holds no event of JSON.

    The chunks' deltas are joined, the last finish reason and the last usage count. A stream without a finish reason broke
    off, whether or not it says `[DONE]` at its end (some gateways always do): it gets an error, and is no answer.
    """
    text = body if isinstance(body, str) else _text_of(body)
    completion: dict[str, Any] | None = None
    joined = _Choice()
    for chunk in _chunks_in(text):
        completion = completion or {}
        for name, value in chunk.items():
            if value not in (None, {}) and name != "choices":
                completion[name] = value
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, Mapping) and choice.get("index") in (0, None):
                joined.add(choice)
    if completion is not None and joined.has_begun:
        completion["choices"] = [joined.as_choice()]
        if joined.usage:
            completion.setdefault("usage", joined.usage)
    return completion


class _Choice:
    """A choice, as it grows from its chunks."""

    def __init__(self) -> None:
        self.has_begun = False
        self.usage: Mapping[str, Any] = {}
        self._words: dict[str, list[str]] = {}
        self._parts: list[Any] = []
        self._arguments: dict[int, list[str]] = {}
        self._logprobs: list[Any] = []
        self._rest: dict[str, Any] = {}

    def add(self, chunk: Mapping[str, Any]) -> None:
        """Take a chunk in."""
        self.has_begun = True
        for name in ("finish_reason", "error"):
            if chunk.get(name) not in _UNTOLD:
                self._rest[name] = chunk[name]
        if isinstance(chunk.get("usage"), Mapping):  # Moonshot's stands here
            self.usage = chunk["usage"]
        logprobs = chunk.get("logprobs")
        if isinstance(logprobs, Mapping) and isinstance(logprobs.get("content"), list):
            self._logprobs += logprobs["content"]
        delta = chunk.get("delta")
        if not isinstance(delta, Mapping) and isinstance(chunk.get("message"), Mapping):
            delta = chunk["message"]  # the whole answer, at the end or in one event
            self._words, self._parts, self._arguments = {}, [], {}
        if isinstance(delta, Mapping):
            self._add_delta(delta)
        self._add_words("content", chunk.get("text"))

    def _add_delta(self, delta: Mapping[str, Any]) -> None:
        for name in ("content", "reasoning_content", "reasoning", "refusal"):
            self._add_words(name, delta.get(name))
        if isinstance(delta.get("content"), list):  # Mistral's parts
            self._parts += delta["content"]
        calls = delta.get("tool_calls")
        for position, call in enumerate(calls if isinstance(calls, list) else ()):
            if isinstance(call, Mapping):
                index = call.get("index", position)
                self._add_arguments(index if isinstance(index, int) else position, call.get("function"))
        self._add_arguments(-1, delta.get("function_call"))

    def _add_words(self, name: str, words: object) -> None:
        if isinstance(words, str):
            self._words.setdefault(name, []).append(words)

    def _add_arguments(self, index: int, function: object) -> None:
        words = function.get("arguments") if isinstance(function, Mapping) else None
        if isinstance(words, str):
            self._arguments.setdefault(index, []).append(words)

    def as_choice(self) -> dict[str, Any]:
        """The choice as a completion has it."""
        message: dict[str, Any] = {name: "".join(words) for name, words in self._words.items()}
        if self._parts:
            message["content"] = [*self._parts, message.get("content", "")]
        message["tool_calls"] = [
            {"function": {"arguments": "".join(words)}} for words in self._arguments.values()
        ]
        choice: dict[str, Any] = {"index": 0, "message": message, **self._rest}
        if self._logprobs:
            choice["logprobs"] = {"content": self._logprobs}
        if "finish_reason" not in choice:
            choice.setdefault(
                "error", Failure("bad_response", "the stream broke off before the answer's end")
            )
        return choice


def _chunks_in(text: str) -> Iterator[Mapping[str, Any]]:
    """The events' objects. Some servers leave out the blank lines between events, others wrap an event's lines."""
    data: list[str] = []
    event = ""
    for line in [*_LINE_END.split(text), ""]:
        name, _, value = line.partition(":")
        if name == "data":
            data.append(value.strip())
        elif name == "event":
            event = value.strip()
        elif not line:
            yield from (_error_of(chunk) if event == "error" else chunk for chunk in _objects_in(data))
            data, event = [], ""


def _objects_in(data: list[str]) -> Iterator[Mapping[str, Any]]:
    whole = _object_in("\n".join(data)) if data else None
    if whole is not None:
        yield whole
    elif len(data) > 1:
        yield from (found for line in data if (found := _object_in(line)) is not None)


def _object_in(data: str) -> Mapping[str, Any] | None:
    try:
        value = _json_in(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, Mapping) else None


def _error_of(chunk: Mapping[str, Any]) -> Mapping[str, Any]:
    return chunk if chunk.get("error") else {"error": chunk}


def _json_in(text: str) -> object:
    return json.loads(text, parse_int=_number)


def _number(digits: str) -> int | float:
    """An integer, and infinity for one of more digits than Python reads."""
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


def _text_of(content: bytes) -> str:
    """UTF-8, or whatever JSON may stand in; bytes that are none of it show as U+FFFD and cost their character only."""
    encoding = json.detect_encoding(content)
    return content.decode(encoding, errors="replace").strip(_BLANKS)


@dataclass(frozen=True)
class Response:
    """An HTTP response as it came: nothing in it has been interpreted yet. `seconds` is how long it took."""

    status: int
    content: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float | None = None


def ending_of(response: Response) -> Answer | Failure:
    """What a response amounts to before anyone has looked at its labels: an answer, or why there is none."""
    body = body_in(response.content, response.headers.get("content-type"))
    if response.status >= _FIRST_ERROR:
        fallback = response.content[:2000].decode(errors="replace")
        said = None if isinstance(body, Failure) else body
        failure = failure_of_response(response.status, said, fallback, response.headers)
        away = failure.kind == "provider_error" and response.status in NOBODY_BEHIND_STATUSES
        return replace(failure, kind="overloaded") if away else failure
    if isinstance(body, Failure):
        return body
    return replace(answer_of_completion(body), seconds=response.seconds)
