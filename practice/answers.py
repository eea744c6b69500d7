"""What the practice provider answers: a label the scorer chose, in the shape of a chat completion."""

import math
import time
from dataclasses import dataclass
from typing import Any

from practice.question import Question
from practice.scorer import probabilities_of, score_labels
from practice.settings import FaultKind
from practice.tokens import split_tokens

NO_LABELS = "practice"
"""The answer where no labels are given."""

OFF_LABEL = "off-label-by-practice"
"""The answer of the fault `off_label`."""

REFUSAL = "I'm sorry, I can't help with that."

FINGERPRINT = "practice-not-a-language-model"

_LEAST_PROBABILITY = 1e-30


@dataclass(frozen=True)
class Answer:
    """An answer in practice's tokens; each place has its candidates and their probabilities."""

    tokens: tuple[str, ...]
    candidates: tuple[dict[str, float], ...]
    finish_reason: str = "stop"
    refusal: str | None = None

    @property
    def content(self) -> str:
        """The answer's text."""
        return "".join(self.tokens)

    def cut(self, most: int) -> "Answer":
        """The answer's first tokens."""
        return Answer(self.tokens[:most], self.candidates[:most], "length", self.refusal)

    def half(self) -> "Answer":
        """The answer's first half: of a single token, half its characters."""
        if len(self.tokens) != 1:
            return self.cut(len(self.tokens) // 2)
        token = self.tokens[0][: len(self.tokens[0]) // 2]
        return Answer((token,), ({token: self.candidates[0][self.tokens[0]]},), "length", self.refusal)

    def cut_for(self, question: Question) -> "Answer":
        """The answer within the room that the question leaves it."""
        most = question.most_output_tokens
        return self if most is None or most >= len(self.tokens) else self.cut(most)


def answer_of(question: Question, fault: FaultKind | None) -> Answer:
    """The answer to a question, as the fault leaves it."""
    if fault is FaultKind.EMPTY:
        return Answer((), ())
    if fault is FaultKind.REFUSAL:
        answer = spoken(REFUSAL, refusal=REFUSAL)
    else:
        answer = _framed(question, *_chosen(question, fault))
    if fault is FaultKind.TRUNCATED:
        answer = answer.half()
    return answer.cut_for(question)


def label_of(question: Question) -> tuple[str, float]:
    """The label that a question's text should get, and its share of the probability."""
    value, probabilities = _chosen(question, None)
    return value, probabilities[value]


def spoken(text: str, share: float = 1.0, refusal: str | None = None) -> Answer:
    """A text as an answer of this probability."""
    tokens = tuple(split_tokens(text))
    shares = (share, *[1.0] * (len(tokens) - 1))
    candidates = tuple({token: each} for token, each in zip(tokens, shares, strict=False))
    return Answer(tokens, candidates, refusal=refusal)


def completion_of(question: Question, answer: Answer, request_id: str, cached_tokens: int) -> dict[str, Any]:
    """The body of the HTTP answer."""
    calls_tool = question.tool is not None and answer.refusal is None and bool(answer.tokens)
    choice = {
        "index": 0,
        "message": _tool_call(question, answer, request_id) if calls_tool else _message(question, answer),
        "logprobs": _logprobs(answer, question.top_logprobs) if question.logprobs_wanted else None,
        "finish_reason": "tool_calls"
        if calls_tool and answer.finish_reason == "stop"
        else answer.finish_reason,
    }
    output_tokens = len(answer.tokens)
    return {
        "id": request_id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": f"practice:{question.model}",
        "choices": [choice],
        "usage": {
            "prompt_tokens": question.input_tokens,
            "completion_tokens": output_tokens,
            "total_tokens": question.input_tokens + output_tokens,
            "prompt_tokens_details": {"cached_tokens": cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
        "system_fingerprint": FINGERPRINT,
    }


def _message(question: Question, answer: Answer) -> dict[str, Any]:
    refused_schema = answer.refusal is not None and question.schema_wanted
    content = None if refused_schema else answer.content
    return {"role": "assistant", "content": content, "refusal": answer.refusal}


def _tool_call(question: Question, answer: Answer, request_id: str) -> dict[str, Any]:
    called = {"name": question.tool, "arguments": answer.content}
    call = {"id": f"call_{request_id}", "type": "function", "function": called}
    return {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call]}


def _chosen(question: Question, fault: FaultKind | None) -> tuple[str, dict[str, float]]:
    """The value of the answer, and the probability of every value it could have had."""
    if fault is FaultKind.OFF_LABEL:
        return OFF_LABEL, {OFF_LABEL: 1.0}
    if not question.labels:
        return NO_LABELS, {NO_LABELS: 1.0}
    best, scores = score_labels(question.text, question.labels)
    return best, probabilities_of(scores)


def _framed(question: Question, value: str, probabilities: dict[str, float]) -> Answer:
    frame = question.frame
    before, after = spoken(frame.before), spoken(frame.after)
    tokens = tuple(split_tokens(frame.written(value)))
    candidates: tuple[dict[str, float], ...] = tuple({token: 1.0} for token in tokens)
    if question.logprobs_wanted:
        rivals = [(split_tokens(frame.written(name)), share) for name, share in probabilities.items()]
        candidates = tuple(_candidates(tokens, place, rivals) for place in range(len(tokens)))
    return Answer(before.tokens + tokens + after.tokens, before.candidates + candidates + after.candidates)


def _candidates(
    tokens: tuple[str, ...], place: int, rivals: list[tuple[list[str], float]]
) -> dict[str, float]:
    """How likely each token is here, given those before it; multiplied they give the label's share."""
    before = list(tokens[:place])
    masses = {tokens[place]: 0.0}
    total = 0.0
    for rival, share in rivals:
        if rival[:place] == before:
            total += share
            if len(rival) > place:
                masses[rival[place]] = masses.get(rival[place], 0.0) + share
    return {token: mass / total for token, mass in masses.items()} if total else {tokens[place]: 1.0}


def _logprobs(answer: Answer, most: int) -> dict[str, Any]:
    content = []
    for token, candidates in zip(answer.tokens, answer.candidates, strict=True):
        likely = sorted(candidates.items(), key=lambda candidate: -candidate[1])[:most]
        entry = _logprob(token, candidates[token])
        content.append(entry | {"top_logprobs": [_logprob(*candidate) for candidate in likely]})
    return {"content": content, "refusal": None}


def _logprob(token: str, probability: float) -> dict[str, Any]:
    return {
        "token": token,
        "logprob": math.log(max(probability, _LEAST_PROBABILITY)),
        "bytes": list(token.encode("utf-8", "surrogatepass")),
    }
