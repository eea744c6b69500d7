"""A chat completion's body, whatever it holds, as what is kept of an answer."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from langchain_core.messages import AIMessage

from labelmill.money.usage import Usage, service_tier_of, tokens_told_in_total, usage_of
from labelmill.providers.failures import failure_of_response
from labelmill.providers.wordings import error_in, meaning_of
from labelmill.question.answers import Answer
from labelmill.question.failures import Failure, storable
from labelmill.question.reading import spoken_in

SECONDS = "answer_seconds"
"""Where a message's metadata says how long its answer took."""

_NAME_CHARACTERS = 200


def answer_of_completion(body: object) -> Answer:
    """Take from the body of a 200 what Labelmill keeps of an answer. It never raises.

    Args:
        body: a chat completion, or a legacy one, or anything in its place; a `Failure` where there was no JSON.
    """
    if isinstance(body, Failure):
        return Answer("", None, None, None, None, None, error=body)
    # Google's OpenAI interface sends its errors in a list of one.
    whole = _mapping(body[0] if isinstance(body, list) and len(body) == 1 else body)
    choice = _first(whole.get("choices"))
    message = _message_in(choice)
    content, thoughts = _words_in(
        choice.get("text") if message.get("content") is None else message["content"]
    )
    reasoning = next(
        (
            words
            for name in ("reasoning_content", "reasoning")
            if (words := "".join(_words_in(message.get(name))))
        ),
        thoughts,
    )
    return Answer(
        content=_storable(content),
        refusal=_refusal_in(message),
        finish_reason=_finish_reason(choice.get("finish_reason")),
        model=_name(whole.get("model")),
        confidence=None
        if reasoning or spoken_in(content).has_thoughts
        else _probability(choice.get("logprobs")),
        usage=usage_of(whole),
        reasoning=_storable(reasoning),
        arguments=tuple(_storable(words) for words in _arguments_in(message)),
        error=_error_in(whole, choice),
        service_tier=service_tier_of(whole),
        total_tokens=tokens_told_in_total(whole),
    )


def answer_of(message: AIMessage) -> Answer:
    """Take from a LangChain message what Labelmill keeps of an answer."""
    facts, more = _mapping(message.response_metadata), _mapping(message.additional_kwargs)
    content, thoughts = _words_in(message.content)
    try:
        usage = Usage.from_message(message.usage_metadata)
    except (KeyError, TypeError, AttributeError):
        usage = None
    seconds = facts.get(SECONDS)
    return Answer(
        content=_storable(content),
        refusal=_refusal_in(more),
        finish_reason=_finish_reason(facts.get("finish_reason")),
        model=_name(facts.get("model_name")),
        confidence=_probability(facts.get("logprobs")),
        usage=usage,
        seconds=seconds if isinstance(seconds, float) else None,
        reasoning=_storable(_words_in(more.get("reasoning_content"))[0] or thoughts),
        arguments=tuple(_storable(_json_of(call.get("args"))) for call in message.tool_calls),
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _first(choices: object) -> Mapping[str, Any]:
    return _mapping(choices[0]) if isinstance(choices, list) and choices else {}


def _words_in(content: object) -> tuple[str, str]:
    """A content's text and its thoughts: it is text, or a list of parts (Mistral's and Anthropic's thoughts are parts)."""
    if isinstance(content, str):
        return content, ""
    if isinstance(content, Mapping) and not isinstance(content.get("text"), str) and "type" not in content:
        return _json_of(content), ""  # a server that has parsed the schema's JSON already
    said: list[str] = []
    thoughts: list[str] = []
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            said.append(part)
        elif isinstance(part, Mapping):
            kind = part.get("type")
            if kind in _THOUGHT_PARTS:
                thoughts += [
                    _text_of(part.get(name)) for name in ("thinking", "reasoning", "text", "summary")
                ]
            elif kind is None or kind in _TEXT_PARTS:
                said.append(_text_of(part.get("text")))
    return "".join(said), "".join(thoughts)


_TEXT_PARTS = ("text", "output_text")
_THOUGHT_PARTS = ("thinking", "reasoning", "reasoning_content", "thought")


def _text_of(value: object) -> str:
    """A part's text, which Mistral's thoughts have in parts of their own."""
    items = value if isinstance(value, list) else [value]
    texts = (item.get("text") if isinstance(item, Mapping) else item for item in items)
    return "".join(text for text in texts if isinstance(text, str))


def _refusal_in(message: Mapping[str, Any]) -> str | None:
    """A refusal in words; one of another form counts as well."""
    parts = message.get("content")
    told = (
        [part.get("refusal") for part in parts if isinstance(part, Mapping)]
        if isinstance(parts, list)
        else []
    )
    refusal = next((said for said in [message.get("refusal"), *told] if said), None)
    if refusal is None:
        return None
    words = refusal if isinstance(refusal, str) else _json_of(refusal)
    return _storable(words) if words.strip() else None


def _finish_reason(reason: object) -> str | None:
    """SGLang's own is an object with a type. What is no text is no ending that is known."""
    if isinstance(reason, Mapping):
        reason = reason.get("type", reason)
    if reason is None:
        return None
    return _name(reason) if isinstance(reason, str) else _storable(_json_of(reason)[:_NAME_CHARACTERS]) or "?"


def _name(value: object) -> str | None:
    return storable(_storable(value[:_NAME_CHARACTERS])) if isinstance(value, str) else None


def _arguments_in(message: Mapping[str, Any]) -> list[str]:
    """The JSON of the arguments of each tool call, and of the legacy function call."""
    calls = message.get("tool_calls")
    functions = [_mapping(call).get("function") for call in calls] if isinstance(calls, list) else []
    arguments = [
        _mapping(function).get("arguments") for function in [*functions, message.get("function_call")]
    ]
    return [words if isinstance(words, str) else _json_of(words) for words in arguments if words]


def _json_of(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return ""


def _probability(logprobs: object) -> float | None:
    """The probability of the answer's tokens; None where the endpoint tells none, or what can be none."""
    told = _mapping(logprobs).get("content")
    if not isinstance(told, list) or not told:
        return None
    each = [_mapping(token).get("logprob") for token in told]
    if not all(
        isinstance(value, int | float) and not isinstance(value, bool) and value <= 0 for value in each
    ):
        return None
    try:
        total = math.fsum(value for value in each if isinstance(value, int | float))
    except (OverflowError, ValueError):
        return None
    return math.exp(total) if math.isfinite(total) else None


def _error_in(whole: Mapping[str, Any], choice: Mapping[str, Any]) -> Failure | None:
    """What the provider reports instead of an answer, or beside one that it broke off."""
    for told in (whole.get("error"), choice.get("error")):
        if isinstance(told, Failure):
            return told
        if told:
            return _failure_of({"error": told})
    if not choice:
        is_told = whole.get("object") == "error" or any(whole.get(name) for name in _MESSAGE_FIELDS)
        return _failure_of(whole) if is_told else Failure("bad_response", "the answer has no choices")
    if not any(isinstance(choice.get(name), kind) for name, kind in _MESSAGES.items()):
        return Failure("bad_response", "the answer has a choice without a message")
    return None


def _message_in(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    return _mapping(choice.get("message")) or _mapping(choice.get("delta"))


_MESSAGES: Mapping[str, type] = {"message": Mapping, "delta": Mapping, "text": str}
"""What a choice may have its answer in: a completion, a chunk that a server sent by itself, a legacy completion."""


_MESSAGE_FIELDS = ("message", "msg", "detail")
"""Where gateways put an error's words that answer 200 whatever happens."""

_ERROR_STATUSES = range(400, 600)


def _failure_of(error: object) -> Failure:
    """An error within a 200: what its code and words mean. A code may be a status, as OpenRouter's is.

    What isn't known is the provider's failure.
    """
    said = error_in(error)
    code = said.code or ""
    status = int(code) if code.isdecimal() and len(code) == _STATUS_DIGITS else 0
    words = storable(
        f"{code}: {said.words}" if code and said.words else said.words or code or "without words"
    )
    told = f"the provider reports an error in its answer: {words}"
    if status in _ERROR_STATUSES or meaning_of(None, said.code, said.kind, said.words) is not None:
        return replace(failure_of_response(status or _OK, error), message=told)
    return Failure("provider_error", told)


_STATUS_DIGITS = 3
_OK = 200


def _storable(text: str) -> str:
    """A text that can be written to a file and to a table: halves of characters and NULs become U+FFFD."""
    if text.isprintable():  # neither is
        return text
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
