"""Odd answers: what real models, servers and gateways send in place of a bare label, drawn from the seed.

An odd answer is billed as what it is. Where the client can't learn that bill from the body, or only its total, the totals
count it as unseen.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from practice.answers import REFUSAL, Answer, answer_of, completion_of, label_of, spoken
from practice.dice import roll
from practice.question import Question
from practice.settings import FaultKind, PracticeSettings


class OddKind(StrEnum):
    """A way in which a paid answer differs from the label that was asked for."""

    QUOTED = "quoted"
    """`"sport"`, `“体育”`."""

    BRACKETED = "bracketed"
    """`[sport]`, `【体育】`."""

    MARKED_UP = "marked_up"
    """`**sport**`, `- sport`."""

    FULL_STOP = "full_stop"
    """`sport.`, `体育。`"""

    FULL_WIDTH = "full_width"
    """`ｓｐｏｒｔ．`"""

    INVISIBLE = "invisible"
    """Characters that nobody sees, around the label."""

    PREFIXED = "prefixed"
    """`Label: sport`, `标签：体育`."""

    FENCED = "fenced"
    """In a code fence."""

    END_MARK = "end_mark"
    """The model's own end mark has leaked: `sport<|im_end|>`."""

    THOUGHTS_BEFORE = "thoughts_before"
    """Thoughts that name another label, and then the label."""

    SENTENCE = "sentence"
    """The label within a sentence: no label, for a sentence may say anything."""

    JSON = "json"
    """JSON where a bare label was asked for; where JSON was asked for, with words before it."""

    TWO_LABELS = "two_labels"
    """Two labels, and so none."""

    NEAR_LABEL = "near_label"
    """A word that is nearly a label, and none."""

    CUT_SHORT = "cut_short"
    """The beginning of the answer, with `finish_reason` "length"; where another label is one, that label."""

    BROKEN_OFF = "broken_off"
    """Another label, with a `finish_reason` that says that the answer broke off: not the model's word."""

    CHOICE_ERROR = "choice_error"
    """`finish_reason` "error", and an error within the choice."""

    ERROR_BODY = "error_body"
    """An error in a 200, with the tokens that it cost."""

    NO_CHOICES = "no_choices"
    """`choices: []`, with the tokens that they cost."""

    REFUSAL_OBJECT = "refusal_object"
    """A refusal that is no text."""

    THOUGHTS_BESIDE = "thoughts_beside"
    """Thoughts in `reasoning_content`."""

    CONTENT_PARTS = "content_parts"
    """The content as a list of parts."""

    ODD_ROLE = "odd_role"
    """A role other than `assistant`, or none."""

    NULL_LOGPROBS = "null_logprobs"
    """Log-probabilities that are null, or have one that is."""

    USAGE_CACHED_AT_TOP = "usage_cached_at_top"
    """Cached tokens where Moonshot tells them."""

    USAGE_SPLIT_BY_CACHE = "usage_split_by_cache"
    """Cached tokens as DeepSeek tells them."""

    USAGE_REASONING_OUTSIDE = "usage_reasoning_outside"
    """Reasoning tokens in the total alone, as some gateways to Gemini tell them."""

    USAGE_TOTAL_ONLY = "usage_total_only"
    """The total and no more: unseen."""

    USAGE_MISSING = "usage_missing"
    """No tokens told: unseen."""

    USAGE_ZERO = "usage_zero"
    """Zeros, which can't be so: unseen."""

    USAGE_TEXT = "usage_text"
    """Numbers as text: unseen."""


@dataclass(frozen=True)
class Completion:
    """A chat completion ready to go out, and what it is billed at.

    `is_told` says whether its body tells the bill, `is_right` whether it names the right label and no other. `odd` is None for one as OpenAI sends it.
    """

    body: dict[str, Any]
    cached_input_tokens: int
    output_tokens: int
    odd: OddKind | None
    is_told: bool
    is_right: bool


def odd_kind_of(
    settings: PracticeSettings, text_key: str, attempt: int, *, words_only: bool = False
) -> OddKind | None:
    """The oddity of the answer to this attempt (the first is 1) of a text, or None; each kind is as likely."""
    if roll(settings.seed, "odd answer", text_key, attempt) >= settings.odd_answers:
        return None
    kinds = [kind for kind in OddKind if kind in IN_WORDS or not words_only]
    return kinds[int(roll(settings.seed, "odd kind", text_key, attempt) * len(kinds))]


def completion_to(  # noqa: PLR0913  (all that decides about an answer)
    question: Question,
    settings: PracticeSettings,
    text_key: str,
    attempt: int,
    *,
    fault: FaultKind | None,
    cached_tokens: int,
    words_only: bool = False,
) -> Completion:
    """The answer to this attempt of a text: faulty, odd or plain, as the settings and the dice say.

    `words_only` leaves out what only OpenAI's form can express. A tool call is never odd.
    """
    odd = None
    if fault is None and question.tool is None:
        odd = odd_kind_of(settings, text_key, attempt, words_only=words_only)
    request_id = f"chatcmpl-practice-{text_key}-{attempt}"
    if odd is None:
        answer = answer_of(question, fault)
        body = completion_of(question, answer, request_id, cached_tokens)
        return Completion(body, cached_tokens, len(answer.tokens), None, is_told=True, is_right=fault is None)
    draw = roll(settings.seed, "odd form", text_key, attempt)
    return odd_completion(odd, question, request_id, cached_tokens, draw)


def odd_completion(
    odd: OddKind, question: Question, request_id: str, cached_tokens: int, draw: float
) -> Completion:
    """An answer of this kind; `draw`, in [0, 1), chooses among the forms that the kind has."""
    said, answer = _Said.of(question), answer_of(question, None)
    played: OddKind | None = odd
    if odd in _WORDS and said.names_another(words := _WORDS[odd](said, draw)):
        played = None  # with such labels nobody could tell what the model meant
    elif odd in _WORDS:
        answer = spoken(words, said.share).cut_for(question)
    elif odd in _ANSWERS:
        answer = _ANSWERS[odd](said, draw, answer).cut_for(question)
    sent = _Sent(completion_of(question, answer, request_id, cached_tokens), said, draw)
    if odd in _BODIES:
        _BODIES[odd](sent)
    return Completion(
        sent.body,
        sent.cached_tokens,
        sent.output_tokens,
        played,
        is_told=odd not in UNTOLD,
        is_right=played not in NOT_RIGHT and answer.finish_reason == "stop",
    )


@dataclass(frozen=True)
class _Said:
    """What a plain answer would say: the label, its probability and another label."""

    question: Question
    value: str
    share: float
    rival: str

    @classmethod
    def of(cls, question: Question) -> "_Said":
        value, share = label_of(question)
        rival = next((name for name, _ in question.labels if name != value), f"not {value}")
        return cls(question, value, share, rival)

    def framed(self, value: str) -> str:
        """A value in the form that was asked for."""
        frame = self.question.frame
        return frame.before + frame.written(value) + frame.after

    def names_another(self, words: str) -> bool:
        """Whether words are, as they stand, a label that the text should not get."""
        others = {name.casefold() for name, _ in self.question.labels} - {self.value.casefold()}
        return any(words.casefold() in {name, self.framed(name).casefold()} for name in others)


@dataclass
class _Sent:
    """A body on its way out, and what it is billed at."""

    body: dict[str, Any]
    said: _Said
    draw: float

    def __post_init__(self) -> None:
        usage = self.body["usage"]
        self.input_tokens: int = usage["prompt_tokens"]
        self.output_tokens: int = usage["completion_tokens"]
        self.cached_tokens: int = usage["prompt_tokens_details"]["cached_tokens"]

    @property
    def choice(self) -> dict[str, Any]:
        choice: dict[str, Any] = self.body["choices"][0]
        return choice

    @property
    def message(self) -> dict[str, Any]:
        message: dict[str, Any] = self.choice["message"]
        return message

    def tell(self, **usage: object) -> None:
        """Tell tokens as usual, but for what is given here."""
        usual = {
            "prompt_tokens": self.input_tokens,
            "completion_tokens": self.output_tokens,
            "total_tokens": self.input_tokens + self.output_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }
        self.body["usage"] = usual | usage


def _one_of(draw: float, *forms: Any) -> Any:
    return forms[int(draw * len(forms))]


_PAIRS = ('""', "''", "``", "“”", "‘’", "「」", "『』", "《》", "＂＂")
_BRACKETS = ("[]", "()", "【】", "（）", "［］")
_MARKS = (("**", "**"), ("*", "*"), ("__", "__"), ("`", "`"), ("- ", ""), ("* ", ""), ("1. ", ""))
_END_MARKS = ("<|im_end|>", "</s>", "<|eot_id|>", "<|endoftext|>", "<end_of_turn>", "<|end|>")
_FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)} | {0x20: 0x3000}
_THOUGHTS = "<think>\nIt may be {rival}. No.\n</think>\n\n"
_REASONING_TOKENS = 60


def _around(pairs: tuple[Any, ...]) -> Callable[[_Said, float], str]:
    def words(said: _Said, draw: float) -> str:
        before, after = _one_of(draw, *pairs)
        return said.framed(f"{before}{said.value}{after}")

    return words


def _fenced(said: _Said, _: float) -> str:
    language = "json" if said.question.frame.is_json else ""
    return f"```{language}\n{said.framed(said.value)}\n```"


def _json(said: _Said, _: float) -> str:
    if said.question.frame.is_json:
        return f"Here is the JSON:\n{said.framed(said.value)}"
    return json.dumps({"label": said.value}, ensure_ascii=False)


def _near_label(said: _Said, _: float) -> str:
    names = {name.casefold() for name, _ in said.question.labels}
    near = said.value
    while near.casefold() in names:
        near += said.value[-1]
    return said.framed(near)


_WORDS: Mapping[OddKind, Callable[[_Said, float], str]] = {
    OddKind.QUOTED: _around(_PAIRS),
    OddKind.BRACKETED: _around(_BRACKETS),
    OddKind.MARKED_UP: _around(_MARKS),
    OddKind.FULL_STOP: _around((("", "."), ("", "。"), ("", " ."))),
    OddKind.FULL_WIDTH: lambda said, _: said.framed(f"{said.value}.".translate(_FULL_WIDTH)),
    OddKind.INVISIBLE: _around((("\u200b", ""), ("\ufeff", "\u200d"), ("", "\u2060"))),
    OddKind.PREFIXED: _around((("Label: ", ""), ("Answer: ", ""), ("标签：", ""))),
    OddKind.FENCED: _fenced,
    OddKind.END_MARK: lambda said, draw: said.framed(said.value) + _one_of(draw, *_END_MARKS),
    OddKind.THOUGHTS_BEFORE: lambda said, _: _THOUGHTS.format(rival=said.rival) + said.framed(said.value),
    OddKind.SENTENCE: lambda said, _: said.framed(f"I think this is about {said.value}, not {said.rival}."),
    OddKind.JSON: _json,
    OddKind.TWO_LABELS: lambda said, draw: said.framed(
        said.value + _one_of(draw, ", ", " / ", "、", "\n") + said.rival
    ),
    OddKind.NEAR_LABEL: _near_label,
}


def _cut_short(said: _Said, _: float, plain: Answer) -> Answer:
    beginning = next(
        (name for name, _ in said.question.labels if said.value != name and said.value.startswith(name)), None
    )
    if beginning is None or said.question.frame.is_json:
        return plain.half()
    return replace(spoken(beginning), finish_reason="length")


def _broken_off(said: _Said, draw: float, _: Answer) -> Answer:
    reason = _one_of(draw, "insufficient_system_resource", "error", "abort", "network_error")
    return replace(spoken(said.framed(said.rival)), finish_reason=reason)


_ANSWERS: Mapping[OddKind, Callable[[_Said, float, Answer], Answer]] = {
    OddKind.CUT_SHORT: _cut_short,
    OddKind.BROKEN_OFF: _broken_off,
}


def _choice_error(sent: _Sent) -> None:
    # OpenRouter: https://openrouter.ai/docs/api-reference/errors-and-debugging
    sent.message["content"] = ""
    error = {"code": 502, "message": "The upstream provider gave up on the answer (a practice fault)."}
    sent.choice.update(finish_reason="error", error=error)


def _error_body(sent: _Sent) -> None:
    del sent.body["choices"]
    sent.body["error"] = {"message": "The answer was lost (a practice fault).", "type": "server_error"}


def _refusal_object(sent: _Sent) -> None:
    sent.message.update(content=None, refusal={"reason": "policy", "text": REFUSAL})


def _thoughts_beside(sent: _Sent) -> None:
    sent.message["reasoning_content"] = f"It may be {sent.said.rival}. No."
    sent.output_tokens += _REASONING_TOKENS
    sent.tell(completion_tokens_details={"reasoning_tokens": _REASONING_TOKENS})


def _content_parts(sent: _Sent) -> None:
    sent.message["content"] = [{"type": "text", "text": sent.message["content"]}]


def _odd_role(sent: _Sent) -> None:
    role = _one_of(sent.draw, "model", "bot", "", None, 5)
    sent.message["role"] = role
    if role is None:
        del sent.message["role"]


def _null_logprobs(sent: _Sent) -> None:
    null: dict[str, Any] = {"token": "", "logprob": None, "bytes": None, "top_logprobs": []}
    sent.choice["logprobs"] = _one_of(sent.draw, {"content": None}, {"content": [null]}, [], {})


def _cached(sent: _Sent) -> None:
    sent.cached_tokens = sent.input_tokens // 2


def _usage_cached_at_top(sent: _Sent) -> None:
    # https://platform.moonshot.ai/docs/api/chat
    _cached(sent)
    sent.tell(prompt_tokens_details=None, cached_tokens=sent.cached_tokens)


def _usage_split_by_cache(sent: _Sent) -> None:
    # https://api-docs.deepseek.com/guides/kv_cache
    _cached(sent)
    missed = sent.input_tokens - sent.cached_tokens
    sent.tell(
        prompt_tokens_details=None,
        prompt_cache_hit_tokens=sent.cached_tokens,
        prompt_cache_miss_tokens=missed,
    )


def _usage_reasoning_outside(sent: _Sent) -> None:
    shown = sent.output_tokens
    sent.output_tokens += _REASONING_TOKENS
    sent.tell(completion_tokens=shown)


def _usage_total_only(sent: _Sent) -> None:
    sent.body["usage"] = {"total_tokens": sent.input_tokens + sent.output_tokens}


def _usage_missing(sent: _Sent) -> None:
    sent.body["usage"] = None
    if sent.draw < 1 / 2:
        del sent.body["usage"]


def _usage_zero(sent: _Sent) -> None:
    sent.tell(prompt_tokens=0, completion_tokens=0, total_tokens=0)


def _usage_text(sent: _Sent) -> None:
    input_tokens, output_tokens = str(sent.input_tokens), str(sent.output_tokens)
    sent.tell(prompt_tokens=input_tokens, completion_tokens=output_tokens, total_tokens=output_tokens)


_BODIES: Mapping[OddKind | None, Callable[[_Sent], None]] = {
    OddKind.CHOICE_ERROR: _choice_error,
    OddKind.ERROR_BODY: _error_body,
    OddKind.NO_CHOICES: lambda sent: sent.body.update(choices=[]),
    OddKind.REFUSAL_OBJECT: _refusal_object,
    OddKind.THOUGHTS_BESIDE: _thoughts_beside,
    OddKind.CONTENT_PARTS: _content_parts,
    OddKind.ODD_ROLE: _odd_role,
    OddKind.NULL_LOGPROBS: _null_logprobs,
    OddKind.USAGE_CACHED_AT_TOP: _usage_cached_at_top,
    OddKind.USAGE_SPLIT_BY_CACHE: _usage_split_by_cache,
    OddKind.USAGE_REASONING_OUTSIDE: _usage_reasoning_outside,
    OddKind.USAGE_TOTAL_ONLY: _usage_total_only,
    OddKind.USAGE_MISSING: _usage_missing,
    OddKind.USAGE_ZERO: _usage_zero,
    OddKind.USAGE_TEXT: _usage_text,
}

IN_WORDS = frozenset({*_WORDS, OddKind.CUT_SHORT})
"""The kinds that every provider's form can express: Anthropic's and Gemini's too."""

UNTOLD = frozenset({OddKind.USAGE_TOTAL_ONLY, OddKind.USAGE_MISSING, OddKind.USAGE_ZERO, OddKind.USAGE_TEXT})
"""The kinds whose bill the client can't learn."""

NOT_RIGHT = frozenset(
    {
        OddKind.SENTENCE,
        OddKind.TWO_LABELS,
        OddKind.NEAR_LABEL,
        OddKind.CUT_SHORT,
        OddKind.BROKEN_OFF,
        OddKind.CHOICE_ERROR,
        OddKind.ERROR_BODY,
        OddKind.NO_CHOICES,
        OddKind.REFUSAL_OBJECT,
    }
)
"""The kinds that name no label that can be relied on."""
