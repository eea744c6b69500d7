"""A chat completion, however it came, as what is kept of an answer.

    bytes  ->  body_in: their JSON, however it was packed  ->  answer_of_completion: an `Answer`

A server may stream though nobody asked it to; what it streamed is put together, so that it is read and not paid again.
"""

import json
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from labelmill.money.usage import Usage, service_tier_of, tokens_told_in_total, usage_of
from labelmill.providers.environment import without_credentials
from labelmill.providers.failures import NOBODY_BEHIND_STATUSES, HideKey, failure_of, failure_of_response
from labelmill.providers.protocol import Reply
from labelmill.providers.refusals import Sent, field_refusal
from labelmill.providers.wire import json_of, mapping_in
from labelmill.providers.wordings import error_in, meaning_of
from labelmill.question.answers import Answer
from labelmill.question.failures import Failure, storable
from labelmill.question.reading import spoken_in

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

_FIRST_ERROR = 400
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
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


def reply_of(  # noqa: PLR0913  (a response has these parts)
    status: int,
    content: bytes,
    headers: Mapping[str, str],
    seconds: float,
    sent: Sent | None = None,
    *,
    read: Callable[[object], Answer] | None = None,
) -> Reply:
    """What a response amounts to before anyone has looked at its labels. It never raises.

    Args:
        status: its status.
        content: its body.
        headers: its headers.
        seconds: how long it took.
        sent: what it came to, which a refusal may name a field of.
        read: takes an answer from the body of a dialect of its own; a chat completion's unless given.
    """
    body = body_in(content, headers.get("content-type"))
    if status >= _FIRST_ERROR:
        said = None if isinstance(body, Failure) else body
        failure = failure_of_response(status, said, content[:2000].decode(errors="replace"), headers, sent)
        if failure.kind == "provider_error" and status in NOBODY_BEHIND_STATUSES:
            failure = replace(failure, kind="overloaded")
        return Reply(failure, headers)
    if status in _REDIRECTS:
        return Reply(_redirect_to(headers.get("location")), headers)
    if isinstance(body, Failure):
        return Reply(body, headers)
    answer = answer_of_completion(body) if read is None else _kept(read(body))
    if answer.error is not None and answer.usage is None and not answer.content:
        # Gateways put their upstream's error into a 200.
        told = error_in(body)
        refusal = field_refusal(answer.error, _FIRST_ERROR, told.code, told.kind, told.words, sent)
        if refusal is not None:
            return Reply(refusal, headers)
    return Reply(replace(answer, seconds=seconds), headers)


def _redirect_to(location: str | None) -> Failure:
    """Not followed: the key would go along to another host, and many clients make a GET of it."""
    told = without_credentials((location or "another address").partition("?")[0])
    sentence = (
        f"answered with a redirect to {storable(told)}, which is not followed; name that address in base_url"
    )
    return Failure("denied", sentence, is_account=True)


def _kept(answer: Answer) -> Answer:
    """An answer of another dialect, with nothing in it that can't be kept."""
    return replace(
        answer,
        content=_storable(answer.content),
        refusal=answer.refusal and _storable(answer.refusal),
        finish_reason=_finish_reason(answer.finish_reason),
        model=_name(answer.model),
        reasoning=_storable(answer.reasoning),
        arguments=tuple(map(_storable, answer.arguments)),
    )


def reply_to(
    ask: Callable[[], Any],
    hide_key: Callable[[Any], Any],
    sent: Sent | None = None,
    *,
    named: Callable[[Mapping[str, str]], Mapping[str, str]] = lambda headers: headers,
    read: Callable[[object], Answer] | None = None,
) -> Reply:
    """What comes of a request that a provider's client sends, whatever that is. It never raises.

    What comes back is read by Labelmill itself: clients raise over what they don't expect, paid or not.

    Args:
        ask: sends it, and returns the client's response as it came.
        hide_key: takes the key out of words and of bodies.
        sent: as in `reply_of`.
        named: gives the response's headers the names that others have for them.
        read: as in `reply_of`.
    """
    began, failed = time.monotonic(), None
    try:
        came = ask()
    except Exception as error:  # noqa: BLE001  (something was sent, and may have been paid)
        came, failed = getattr(error, "response", None), error
    try:
        content = hide_key(came.content)
    except Exception as error:  # noqa: BLE001  (there is no response, or its body could not be read)
        return Reply(failure_of(failed or error, hide_key))
    seconds = time.monotonic() - began
    return reply_of(came.status_code, content, named(came.headers), seconds, sent, read=read)


def body_in(content: bytes, content_type: str | None = None) -> object:
    """The JSON that a response holds, or the completion that its stream of events amounts to. It never raises.

    Returns:
        The JSON's value, where `answer_of_completion` tells what it says; a `Failure` where there is none.
    """
    text = _decoded(content)
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
    return Failure("bad_response", f"the answer is not JSON: {shown}", may_have_been_paid=True)


def answer_of_stream(body: bytes | str) -> dict[str, Any] | None:
    """The chat completion that a whole stream of server-sent events amounts to; None where it holds no event of JSON.

    The chunks' deltas are joined, the last finish reason and the last usage count. A stream without a finish reason broke
    off, whether or not it says `[DONE]` at its end (some gateways always do): it gets an error, and is no answer.
    """
    text = body if isinstance(body, str) else _decoded(body)
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
            choice.setdefault("error", unreadable("the stream broke off before the end of the answer"))
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


def _decoded(content: bytes) -> str:
    """UTF-8, or whatever JSON may stand in; bytes that are none of it show as U+FFFD and cost their character only."""
    encoding = json.detect_encoding(content)
    return content.decode(encoding, errors="replace").strip(_BLANKS)


# ---- a completion's parts

_NAME_CHARACTERS = 200


def answer_of_completion(body: object) -> Answer:
    """Take from the body of a 200 what Labelmill keeps of an answer. It never raises.

    Args:
        body: a chat completion, or a legacy one, or anything in its place; a `Failure` where there was no JSON.
    """
    if isinstance(body, Failure):
        return Answer("", None, None, None, None, None, error=body)
    # Google's OpenAI interface sends its errors in a list of one.
    whole = mapping_in(body[0] if isinstance(body, list) and len(body) == 1 else body)
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
        else probability_of(choice.get("logprobs")),
        usage=usage_of(whole),
        reasoning=_storable(reasoning),
        arguments=tuple(_storable(words) for words in _arguments_in(message)),
        error=_error_in(whole, choice),
        service_tier=service_tier_of(whole),
        total_tokens=tokens_told_in_total(whole),
    )


def answer_of(message: "AIMessage", hide_key: HideKey = str) -> Answer:
    """Take from a LangChain message what Labelmill keeps of an answer."""
    facts, more = mapping_in(message.response_metadata), mapping_in(message.additional_kwargs)
    content, thoughts = _words_in(message.content)
    try:
        usage = Usage.from_message(message.usage_metadata)
    except (KeyError, TypeError, AttributeError):
        usage = None
    if usage is not None and usage.input_tokens <= 0:  # a request always has input
        usage = None
    refusal = _refusal_in(more)
    reason = next((facts[name] for name in _REASONS if facts.get(name)), None)
    return Answer(
        content=_storable(hide_key(content)),
        refusal=refusal and hide_key(refusal),
        finish_reason=_finish_reason(reason),
        model=_name(next((facts[name] for name in ("model_name", "model") if facts.get(name)), None)),
        confidence=probability_of(facts.get("logprobs")),
        usage=usage,
        reasoning=_storable(hide_key(_words_in(more.get("reasoning_content"))[0] or thoughts)),
        arguments=tuple(_storable(hide_key(json_of(call.get("args")))) for call in message.tool_calls),
    )


_REASONS = ("finish_reason", "stop_reason", "stopReason", "done_reason")
"""Where LangChain's models put why an answer ended: OpenAI's and Google's, Anthropic's, Bedrock's, Ollama's."""


def _first(choices: object) -> Mapping[str, Any]:
    return mapping_in(choices[0]) if isinstance(choices, list) and choices else {}


def _words_in(content: object) -> tuple[str, str]:
    """A content's text and its thoughts: it is text, or a list of parts (Mistral's and Anthropic's thoughts are parts)."""
    if isinstance(content, str):
        return content, ""
    if isinstance(content, Mapping) and not isinstance(content.get("text"), str) and "type" not in content:
        return json_of(content), ""  # a server that has parsed the schema's JSON already
    said: list[str] = []
    thoughts: list[str] = []
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            said.append(part)
        elif isinstance(part, Mapping):
            kind = part.get("type")
            if kind in _THOUGHT_PARTS:
                thoughts += [
                    _text_of_part(part.get(name)) for name in ("thinking", "reasoning", "text", "summary")
                ]
            elif kind is None or kind in _TEXT_PARTS:
                said.append(_text_of_part(part.get("text")))
    return "".join(said), "".join(thoughts)


_TEXT_PARTS = ("text", "output_text")
_THOUGHT_PARTS = ("thinking", "reasoning", "reasoning_content", "thought")


def _text_of_part(value: object) -> str:
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
    words = refusal if isinstance(refusal, str) else json_of(refusal)
    return _storable(words) if words.strip() else None


def _finish_reason(reason: object) -> str | None:
    """SGLang's own is an object with a type. What is no text is no ending that is known."""
    if isinstance(reason, Mapping):
        reason = reason.get("type", reason)
    if reason is None:
        return None
    return _name(reason) if isinstance(reason, str) else _storable(json_of(reason)[:_NAME_CHARACTERS]) or "?"


def _name(value: object) -> str | None:
    return storable(_storable(value[:_NAME_CHARACTERS])) if isinstance(value, str) else None


def _arguments_in(message: Mapping[str, Any]) -> list[str]:
    """The JSON of the arguments of each tool call, and of the legacy function call."""
    calls = message.get("tool_calls")
    functions = [mapping_in(call).get("function") for call in calls] if isinstance(calls, list) else []
    arguments = [
        mapping_in(function).get("arguments") for function in [*functions, message.get("function_call")]
    ]
    return [words if isinstance(words, str) else json_of(words) for words in arguments if words]


def probability_of(logprobs: object) -> float | None:
    """The probability of the answer's tokens; None where the endpoint tells none, or what can be none."""
    told = mapping_in(logprobs).get("content")
    if not isinstance(told, list) or not told:
        return None
    each = [mapping_in(token).get("logprob") for token in told]
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
            return error_within({"error": told})
    if not choice:
        is_told = whole.get("object") == "error" or any(whole.get(name) for name in _MESSAGE_FIELDS)
        return error_within(whole) if is_told else unreadable("the answer has no choices")
    if not any(isinstance(choice.get(name), kind) for name, kind in _MESSAGES.items()):
        return unreadable("the answer has a choice without a message")
    return None


def unreadable(words: str) -> Failure:
    """What stands where an answer should be, and tells neither an error nor what was said: it may have been paid."""
    return Failure("bad_response", words, may_have_been_paid=True)


def _message_in(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping_in(choice.get("message")) or mapping_in(choice.get("delta"))


_MESSAGES: Mapping[str, type] = {"message": Mapping, "delta": Mapping, "text": str}
"""What a choice may have its answer in: a completion, a chunk that a server sent by itself, a legacy completion."""


_MESSAGE_FIELDS = ("message", "msg", "detail")
"""Where gateways put an error's words that answer 200 whatever happens."""

_ERROR_STATUSES = range(400, 600)


def error_within(error: object) -> Failure:
    """An error within a 200: what its code and words mean. A code may be a status, as OpenRouter's is.

    What is known costs what it costs under a status of its own. What isn't known is the provider's failure, and may have been
    paid.
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
    return Failure("provider_error", told, may_have_been_paid=True)


_STATUS_DIGITS = 3
_OK = 200


def _storable(text: str) -> str:
    """A text that can be written to a file and to a table: halves of characters and NULs become U+FFFD."""
    if text.isprintable():  # neither is
        return text
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
