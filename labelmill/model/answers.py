"""Answers: what a model said about one text, and the label or the failure it amounts to.

Two steps, each total: `answer_of_completion` takes from a body, whatever it holds, what is kept of an answer;
`label_or_failure` decides, as a table, from its error, its refusal, why it ended, and what it says.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Literal

from langchain_core.messages import AIMessage

from labelmill.model.envelopes import Spoken, spoken_in
from labelmill.model.failures import Failure, failure_of_response, storable
from labelmill.model.reading import LabelSet, named_in_json
from labelmill.model.wordings import error_in, meaning_of
from labelmill.money.usage import Usage, service_tier_of, tokens_told_in_total, usage_of

SECONDS = "answer_seconds"
"""Where a message's metadata says how long its answer took."""

PARSER_VERSION = 1
"""Part of the task key: raising it asks for every label anew, and pays for it again.

A reading that takes other envelopes off than before leaves it as it is: what was a label is one, but for labels that are
made of brackets or were cut off unseen, and what was none is in the ledger as such. It is raised where the labels in the
ledgers would be wrong as a rule.
"""

_SHOWN_CHARACTERS = 80
_NAME_CHARACTERS = 200


class Ending(Enum):
    """What a finish reason says of an answer."""

    WHOLE = "whole"
    UNTOLD = "untold"
    CUT_OFF = "cut_off"
    FILTERED = "filtered"
    REFUSED = "refused"


_REASONS: Mapping[Ending, tuple[str, ...]] = {
    Ending.WHOLE: (
        # OpenAI's API reference, and most others. Gemini: STOP.
        *("stop", "tool_calls", "function_call"),
        # Anthropic's API reference; xAI sends the first through OpenAI's interface (genkit-ai/genkit#6259).
        *("end_turn", "stop_sequence", "tool_use"),
        # Text Generation Inference and watsonx; Together; AI21; Cohere's first API; Bedrock's Titan.
        *("eos_token", "eos", "endoftext", "complete", "finish"),
    ),
    Ending.UNTOLD: (
        # KoboldCpp sent the word, or left the reason out (PowerShell/AIShell#350); OpenAI itself sent null in one answer
        # of fifteen (64bit/async-openai#46). LMDeploy does for an answer that it gave up (InternLM/xtuner#1755).
        *("", "null", "none"),
    ),
    Ending.CUT_OFF: (
        # OpenAI; Anthropic and Gemini (MAX_TOKENS); Mistral; Anthropic and Zhipu; OpenAI's Responses; Cohere; watsonx.
        *("length", "max_tokens", "model_length", "model_context_window_exceeded", "max_output_tokens"),
        *("error_limit", "token_limit"),
        # vLLM gives up an answer that repeats itself: asked again as it is, the model would do it again.
        "repetition",
    ),
    Ending.FILTERED: (
        # OpenAI and Azure; Vercel's gateway; Zhipu (anomalyco/opencode#44092); Bedrock; Cohere.
        *("content_filter", "content-filter", "sensitive"),
        *("content_filtered", "guardrail_intervened", "error_toxic"),
        # Gemini's FinishReason.
        *("safety", "recitation", "blocklist", "prohibited_content", "spii", "language", "image_safety"),
    ),
    # Anthropic.
    Ending.REFUSED: ("refusal",),
}
ENDING_OF_REASON: Mapping[str, Ending] = {
    reason: end for end, reasons in _REASONS.items() for reason in reasons
}
"""The finish reasons that are known, in lower case. Whatever else a provider sends, the answer broke off."""
_AT_MAX_TOKENS = frozenset({"length", "max_tokens", "max_output_tokens"})


@dataclass(frozen=True)
class Answer:
    """One paid answer, as the journal keeps it: nothing in it has been interpreted yet.

    `confidence` is the probability of the answer's tokens, or None where none were asked for or thoughts' are among
    them; `usage` is None where the provider sent none; `seconds` is how long it took from the request being sent,
    without waits before it.
    `reasoning` holds thoughts that came beside the content, `arguments` the JSON of tool calls, `error` what the
    provider reports instead of an answer or beside it.
    """

    content: str
    refusal: str | None
    finish_reason: str | None
    model: str | None
    confidence: float | None
    usage: Usage | None
    seconds: float | None = None
    reasoning: str = ""
    arguments: tuple[str, ...] = ()
    error: Failure | None = None
    service_tier: str | None = None
    total_tokens: int | None = None


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


def label_or_failure(
    answer: Answer, labels: LabelSet, reading: Literal["text", "schema", "either"]
) -> str | Failure:
    """Read an answer: the label it names, or why it names none.

    What ended in a way that isn't known is the provider's failure and never a label, for it may be the beginning of
    another one.

    Args:
        answer: what was said.
        labels: the job's.
        reading: whether a label is read from plain text, from the schema's JSON, or from either.
    """
    if answer.error:
        return answer.error
    ending = ENDING_OF_REASON.get((answer.finish_reason or "").strip().casefold())
    if answer.refusal or ending is Ending.REFUSED:
        return Failure("refused", f"the model refused: {_shown(answer.refusal or answer.content)}")
    match ending:
        case None:
            reason = _shown(answer.finish_reason or "")
            return Failure(
                "provider_error", f"the provider broke the answer off, with the finish reason {reason}"
            )
        case Ending.FILTERED:
            return Failure("content_filter", "the provider's filter withheld the answer")
        case Ending.CUT_OFF:
            return _cut_off(answer)
        case _:
            return _read(answer, labels, reading, is_whole=ending is Ending.WHOLE)


def _read(
    answer: Answer, labels: LabelSet, reading: Literal["text", "schema", "either"], *, is_whole: bool
) -> str | Failure:
    spoken = spoken_in(answer.content)
    text = spoken.text if spoken.has_thoughts and labels.named(answer.content) is None else answer.content
    if spoken.is_thinking and not text:
        return Failure("truncated", "the answer ended within its thoughts; raise model.max_tokens")
    arguments = () if reading == "text" else answer.arguments
    if not text.strip() and not arguments:
        return (is_whole and _read_thoughts(answer, labels, reading)) or _nothing_said(answer, spoken)
    in_text = None if reading == "schema" else labels.match(text)
    in_json = set() if reading == "text" or in_text else named_in_json(text, labels)
    for words in arguments:
        in_json |= named_in_json(words, labels)
    named = in_json if in_text is None else in_json | {in_text}
    label = next(iter(named)) if len(named) == 1 else None
    if label is None:
        return Failure(
            "off_label", f"not one of the labels: {_shown(text if text.strip() else arguments[0])}"
        )
    if not is_whole and not in_json and labels.begins_another(label):
        return Failure(
            "truncated",
            f"the provider does not say whether the answer is whole, and another label begins with {_shown(text)}",
        )
    return label


def _read_thoughts(
    answer: Answer, labels: LabelSet, reading: Literal["text", "schema", "either"]
) -> str | None:
    """The label that stands where a server puts thoughts, by itself; never one among others' words.

    Some servers take an answer without thoughts for a thought (vllm-project/vllm#19222, #17349; QwenLM/Qwen3#1297).
    """
    text = spoken_in(answer.reasoning).text
    label = None if reading == "schema" else labels.match(text)
    if label is not None or reading == "text":
        return label
    named = named_in_json(text, labels, alone=True)
    return next(iter(named)) if len(named) == 1 else None


def _nothing_said(answer: Answer, spoken: Spoken) -> Failure:
    if spoken.has_thoughts or answer.reasoning.strip():
        return Failure("empty_answer", "the answer held thoughts only, and no label; raise model.max_tokens")
    return Failure("empty_answer", "the model answered with nothing")


def _cut_off(answer: Answer) -> Failure:
    spoken = spoken_in(answer.content)
    if spoken.is_thinking or (answer.reasoning.strip() and not spoken.text.strip()):
        return Failure("truncated", "the answer was cut off within its thoughts; raise model.max_tokens")
    reason = answer.finish_reason or ""
    where = "at max_tokens" if reason.casefold() in _AT_MAX_TOKENS else f"with the finish reason {reason!r}"
    return Failure("truncated", f"the answer was cut off {where}: {_shown(spoken.text)}")


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…")


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
