"""Answers: what a model said about one text, and the label or the failure it amounts to.

Two steps, each total: `answer_of_completion` takes from a body, whatever it holds, what is kept of an answer;
`label_or_failure` decides, as a table, from its error, its refusal, why it ended, and what it says.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from labelmill.money.usage import Usage
from labelmill.question.failures import Failure
from labelmill.question.reading import LabelSet, Spoken, named_in_json, spoken_in

PARSER_VERSION = 1
"""Part of the task key: raising it asks for every label anew, and pays for it again.

A reading that takes other envelopes off than before leaves it as it is: what was a label is one, but for labels that are
made of brackets or were cut off unseen, and what was none is in the ledger as such. It is raised where the labels in the
ledgers would be wrong as a rule.
"""

_SHOWN_CHARACTERS = 80


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


def label_or_failure(answer: Answer, labels: LabelSet) -> str | Failure:
    """Read an answer: the label it names, as plain text or in a schema's JSON, or why it names none.

    What ended in a way that isn't known is the provider's failure and never a label, for it may be the beginning of
    another one.

    Args:
        answer: what was said.
        labels: the job's.
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
            return _read(answer, labels, is_whole=ending is Ending.WHOLE)


def _read(answer: Answer, labels: LabelSet, *, is_whole: bool) -> str | Failure:
    spoken = spoken_in(answer.content)
    text = spoken.text if spoken.has_thoughts and labels.named(answer.content) is None else answer.content
    if spoken.is_thinking and not text:
        return Failure("truncated", "the answer ended within its thoughts; raise model.max_tokens")
    if not text.strip() and not answer.arguments:
        return (is_whole and _read_thoughts(answer, labels)) or _nothing_said(
            answer, spoken, is_whole=is_whole
        )
    in_text = labels.match(text)
    in_json = set() if in_text else named_in_json(text, labels)
    for words in answer.arguments:
        in_json |= named_in_json(words, labels)
    named = in_json if in_text is None else in_json | {in_text}
    label = next(iter(named)) if len(named) == 1 else None
    if label is None:
        return Failure(
            "off_label", f"not one of the labels: {_shown(text if text.strip() else answer.arguments[0])}"
        )
    if not is_whole and not in_json and labels.begins_another(label):
        return Failure(
            "truncated",
            f"the provider does not say whether the answer is whole, and another label begins with {_shown(text)}",
        )
    return label


def _read_thoughts(answer: Answer, labels: LabelSet) -> str | None:
    """The label that stands where a server puts thoughts, by itself; never one among others' words.

    Some servers take an answer without thoughts for a thought (vllm-project/vllm#19222, #17349; QwenLM/Qwen3#1297).
    """
    text = spoken_in(answer.reasoning).text
    label = labels.match(text)
    if label is not None:
        return label
    named = named_in_json(text, labels, alone=True)
    return next(iter(named)) if len(named) == 1 else None


def _nothing_said(answer: Answer, spoken: Spoken, *, is_whole: bool) -> Failure:
    if spoken.has_thoughts or answer.reasoning.strip():
        # What ended by itself had room enough: more of it is no help.
        advice = "docs/model-settings.md says how to have none" if is_whole else "raise model.max_tokens"
        return Failure("empty_answer", f"the answer held thoughts only, and no label; {advice}")
    return Failure("empty_answer", "the model answered with nothing")


def _cut_off(answer: Answer) -> Failure:
    spoken = spoken_in(answer.content)
    thoughts = answer.reasoning.strip() or (answer.usage is not None and answer.usage.reasoning_tokens)
    if spoken.is_thinking or (thoughts and not spoken.text.strip()):
        return Failure("truncated", "the answer was cut off within its thoughts; raise model.max_tokens")
    reason = answer.finish_reason or ""
    where = "at max_tokens" if reason.casefold() in _AT_MAX_TOKENS else f"with the finish reason {reason!r}"
    return Failure("truncated", f"the answer was cut off {where}: {_shown(spoken.text)}")


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…")
