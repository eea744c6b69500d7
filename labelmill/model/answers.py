"""Answers: what a model said about one text, and the label or the failure it amounts to."""

import json
import math
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from langchain_core.messages import AIMessage

from labelmill.model.failures import Failure
from labelmill.money.usage import Usage, service_tier_of, tokens_told_in_total, usage_of

SECONDS = "answer_seconds"
"""Where a message's metadata says how long its answer took."""

PARSER_VERSION = 1
"""Part of the task key: a change in how answers become labels asks for every label anew."""

_WRAPPING = " \"'`*“”‘’「」『』《》【】[]()"
_ENDING = _WRAPPING + ".。"
_ROOM_CHARACTERS = 1000
_SHOWN_CHARACTERS = 80


@dataclass(frozen=True)
class Answer:
    """One paid answer, as the journal keeps it: nothing in it has been interpreted yet.

    `confidence` is the probability of the answer's tokens, or None where none were asked for; `usage` is None where
    the provider sent none; `seconds` is how long it took from the request being sent, without waits before it.
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
    """Take from a chat completion, whatever it holds, what Labelmill keeps of an answer. It never raises."""
    whole = body if isinstance(body, Mapping) else {}
    choices = whole.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], Mapping) else {}
    said = choice.get("message")
    message: Mapping[str, Any] = said if isinstance(said, Mapping) else {}
    content = message.get("content")
    return Answer(
        content=content if isinstance(content, str) else "",
        refusal=message.get("refusal") if isinstance(message.get("refusal"), str) else None,
        finish_reason=choice.get("finish_reason") if isinstance(choice.get("finish_reason"), str) else None,
        model=whole.get("model") if isinstance(whole.get("model"), str) else None,
        confidence=None,
        usage=usage_of(body),
        service_tier=service_tier_of(body),
        total_tokens=tokens_told_in_total(body),
        error=None if choice else Failure("bad_response", "the answer has no choices"),
    )


def answer_of(message: AIMessage) -> Answer:
    """Take from a LangChain message what Labelmill keeps of an answer."""
    facts = message.response_metadata
    return Answer(
        content=message.text,
        refusal=message.additional_kwargs.get("refusal"),
        finish_reason=facts.get("finish_reason"),
        model=facts.get("model_name"),
        confidence=_probability(facts.get("logprobs")),
        usage=Usage.from_message(message.usage_metadata),
        seconds=facts.get(SECONDS),
    )


def _probability(logprobs: Mapping[str, Any] | None) -> float | None:
    tokens = (logprobs or {}).get("content")
    return math.exp(sum(token["logprob"] for token in tokens)) if tokens else None


class LabelSet:
    """The labels of a job, and the one way an answer is matched with them: exactly, after normalising."""

    def __init__(self, names: Iterable[str]) -> None:
        self._name_of = {normalise(name): name for name in names}
        # Decomposed, a character is a few; and normalising takes the square of the time for some texts.
        self._longest = _ROOM_CHARACTERS + 4 * max(map(len, self._name_of), default=0)

    def match(self, text: str) -> str | None:
        """The label that `text` names; None where it names none. Never the nearest."""
        if len(text) > self._longest:
            return None
        said = normalise(text)
        bare = said.strip(_WRAPPING)
        # A label's own marks come first: "No." is not "No".
        readings = (said, bare, bare.rstrip(_ENDING))
        return next((self._name_of[reading] for reading in readings if reading in self._name_of), None)


def normalise(text: str) -> str:
    """Fold what doesn't tell labels apart: case, width, and white space around and between words."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def label_or_failure(
    answer: Answer, labels: LabelSet, reading: Literal["text", "schema", "either"]
) -> str | Failure:
    """Read an answer: the label it names, or why it names none."""
    if answer.refusal:
        return Failure("refused", f"the model refused: {_shown(answer.refusal)}")
    if answer.finish_reason == "content_filter":
        return Failure("content_filter", "the provider's filter withheld the answer")
    said = [] if reading == "text" else [_label_in_json(answer.content)]
    if reading != "schema":
        said.append(answer.content)
    label = next((found for text in said if text is not None and (found := labels.match(text))), None)
    if label is not None and answer.finish_reason != "length":
        return label
    if answer.finish_reason == "length":
        return Failure("truncated", f"the answer was cut off at max_tokens: {_shown(answer.content)}")
    if not answer.content.strip():
        return Failure("empty_answer", "the model answered with nothing")
    return Failure("off_label", f"not one of the labels: {_shown(answer.content)}")


def _label_in_json(content: str) -> str | None:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):  # a thousand brackets are no label either
        return None
    label = value.get("label") if isinstance(value, dict) else None
    return label if isinstance(label, str) else None


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…")
