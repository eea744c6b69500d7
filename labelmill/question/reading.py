"""Reading: which label a text names. Exactly one, or none; never the nearest.

What models and servers put around a label is data, and comes off one layer at a time. Texts are compared normalised, so
that one form of a mark stands for all: full-width `（`, `：`, `＂` are `(`, `:`, `"`, and an ellipsis is three dots. Chat
templates' marks are from the models' tokenizer files and from the reasoning parsers of vLLM (`vllm/reasoning`) and SGLang
(`sglang/srt/parser/reasoning_parser.py`); where a report showed one in an answer, it is named.
"""

import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

_THOUGHTS = (
    # Qwen3, DeepSeek-R1, GLM-4.5, MiniMax and most others; a template may put the opening into the prompt, so that
    # the answer has the closing alone (deepseek-ai/DeepSeek-R1#506). ByteDance's and MiniMax' have a prefix.
    (
        r"<(?:[a-z]{1,9}:)?(?:think|thinking|thoughts?|reasoning)>",
        r"</(?:[a-z]{1,9}:)?(?:think|thinking|thoughts?|reasoning)>",
    ),
    # Magistral, Ministral.
    (r"\[THINK\]", r"\[/THINK\]"),
    # Kimi-VL; Kimi K3.
    (r"◁think▷", r"◁/think▷"),
    (r"<\|open\|>think<\|sep\|>", r"<\|close\|>think<\|sep\|>"),
    # Gemma 4: `<|channel>thought\n...<channel|>`.
    (r"<\|channel>", r"<channel\|>"),
    # gpt-oss: everything but its final channel (kekzl/imp#768); with its marks dropped (Augustas11/macprovider#743).
    (
        r"<\|channel\|>(?!final)[a-z]*",
        r"<\|channel\|>final[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>|\A\s*analysis(?s:.*)assistantfinal",
    ),
    # Command A.
    (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),
    # OpenThinker, Sky-T1.
    (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
)
"""How thoughts begin and end in an answer's text, as patterns."""

_PAIRS = (
    *('""', "''", "``", "“”", "„“", "„”", "””", "‘’", "‚‘", "’’", "«»", "»«", "‹›", "〝〞", "「」", "『』"),
    *("《》", "〈〉", "⟨⟩", "⟪⟫", "【】", "〔〕", "〖〗"),
    *("[]", "()", "{}", "<>", "$$", "__", "**", "||"),
    ("**", "**"),
    ("__", "__"),
    ("~~", "~~"),
    ("```", "```"),
    *((f"```{language} ", "```") for language in ("text", "txt", "plaintext", "markdown", "json")),
    # A mathematician's habit: $\boxed{\text{sport}}$.
    (r"\boxed{", "}"),
    (r"\text{", "}"),
    # Hunyuan, Ernie and prompts of all kinds ask for the like.
    *(
        (f"<{tag}>", f"</{tag}>")
        for tag in ("answer", "label", "category", "class", "response", "output", "result")
    ),
    # GLM-4.1V to 4.6V (zai-org/GLM-V#133); Kimi K3; Command A.
    ("<|begin_of_box|>", "<|end_of_box|>"),
    ("<|open|>response<|sep|>", "<|close|>response<|sep|>"),
    ("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
)  # fmt: skip
"""Openings and their closings."""

_ENDINGS = ".。!?,;:、"

_PREFIXES = (
    *("label", "answer", "final answer", "category", "class", "classification", "result", "output"),
    *("标签", "类别", "分类", "答案", "最终答案", "结果", "輸出", "输出", "標籤", "類別", "分類"),
)
"""What may stand before a colon."""

_LEAKED_MARKS = (
    # ChatML: Qwen, Yi, Hermes; vLLM and llama.cpp leak it where the model's file names another end.
    *("<|im_end|>", "<|im_start|>assistant", "<|im_start|>", "<|endoftext|>"),
    # Llama 3 (OpenBMB/MiniCPM-V#373: dozens of them in a row), Llama 2, Mistral, Granite.
    *("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|begin_of_text|>"),
    *("<|start_header_id|>assistant<|end_header_id|>", "</s>", "<s>", "[/INST]", "[INST]", "<|end_of_role|>"),
    # Gemma, Gemma 4, Phi, GLM, Command, Kimi, InternLM, ERNIE.
    *("<end_of_turn>", "<start_of_turn>model", "<eos>", "<bos>", "<turn|>", "<|turn>model"),
    *("<|end|>", "<|assistant|>", "<|user|>", "<eop>", "<|END_OF_TURN_TOKEN|>", "[EOS]", "[EOT]"),
    "[BOS]",
    *("<|end_of_msg|>", "<|close|>message<|sep|>", "<|end_of_sentence|>", "<eoa>", "<|endofassistant|>"),
    # gpt-oss; DeepSeek, whose bars are full-width.
    *("<|return|>", "<|start|>assistant", "<|call|>", "<｜end▁of▁sentence｜>", "<｜Assistant｜>", "<｜User｜>"),
)  # fmt: skip
"""Marks of chat templates that were meant for the server alone, at either end of an answer."""

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]"
)
"""Soft hyphens, zero-width and bidi marks, variation selectors, byte order marks."""


def normalise(text: str) -> str:
    """Fold what doesn't tell labels apart: case, width, and white space around and between words."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def visible(text: str) -> str:
    """A normalised text without the characters that nobody sees."""
    return text if text.isascii() else " ".join(_INVISIBLE.sub("", text).split())


_PAIR_LIST = tuple((opening.casefold(), closing.casefold()) for opening, closing in _PAIRS)
_OPENINGS = tuple(opening for opening, _ in _PAIR_LIST)
_ANY_LEAKED = "|".join(re.escape(normalise(mark)) for mark in sorted(_LEAKED_MARKS, key=len, reverse=True))
_LEAKED_BEFORE = re.compile(f"(?:(?:{_ANY_LEAKED}) ?)+")
_LEAKED_AFTER = re.compile(f"(?: ?(?:{_ANY_LEAKED}))+$")
_WORDS = "|".join(map(re.escape, sorted(_PREFIXES, key=len, reverse=True)))
_PREFIX = re.compile(rf"(?:(\*\*|__|\*|_)(?:{_WORDS}) ?(?:\1 ?:|:\1)|(?:{_WORDS}) ?:) ?")
_LIST_MARK = re.compile(r"(?:[-*+•◦▪‣·–—>]|#{1,6}|\(?\d{1,3}[.)]) |\d{1,3}、 ?|•")
"""A hyphen or a number's dot needs the space: in "-5" and "1.5" they are none."""
_OPENING_THOUGHT, _CLOSING_THOUGHT = ("|".join(side) for side in zip(*_THOUGHTS, strict=True))
_THOUGHT_MARK = re.compile(f"(?P<closing>{_CLOSING_THOUGHT})|{_OPENING_THOUGHT}", re.IGNORECASE)


@dataclass(frozen=True)
class Spoken:
    """What an answer says once its thoughts are dropped. `is_thinking`: they never ended, and nothing was said."""

    text: str
    has_thoughts: bool
    is_thinking: bool


def spoken_in(content: str) -> Spoken:
    """Drop an answer's thoughts: everything up to where they last end."""
    said_from, has_thoughts, is_thinking = 0, False, False
    for mark in _THOUGHT_MARK.finditer(content):
        has_thoughts = True
        is_thinking = mark["closing"] is None
        if not is_thinking:
            said_from = mark.end()
    return Spoken("" if is_thinking else content[said_from:], has_thoughts, is_thinking)


def unwrapped(text: str) -> Iterator[tuple[str, str]]:
    """A normalised text without one of its outer layers, each way in which one comes off, and what was taken away.

    A pair comes off as one, an opening with its own closing, and has no words.
    """
    last = text[-1:]
    if last and last in _ENDINGS:
        yield text[:-1].rstrip(), last
    if text.startswith(_OPENINGS):
        for opening, closing in _PAIR_LIST:
            length = len(opening) + len(closing)
            if len(text) > length and text.startswith(opening) and text.endswith(closing):
                yield text[len(opening) : -len(closing)].strip(), ""
    for mark in (_LIST_MARK, _PREFIX, _LEAKED_BEFORE):
        if taken := mark.match(text):
            yield text[taken.end() :].lstrip(), taken[0].strip()
    if last in {">", "]"} and (taken := _LEAKED_AFTER.search(text)):
        yield text[: taken.start()].rstrip(), taken[0].strip()


_DESCRIBED = ("{name}:{meaning}", "{name}: {meaning}", "{name}({meaning})", "{name} ({meaning})")
"""How a prompt tells what a label means; full-width signs are the same once they are normalised."""
_ROOM_CHARACTERS = 1000
_MOST_READINGS = 64
"""Layers are few; a text that has more ways to be unwrapped was made to have them."""

_OBJECT = re.compile(r'\{\s*"')
_LANGUAGE = re.compile(r"[\w+-]*\s")
_FENCE = "```"
_KEY = "label"
_CALL_KEYS = frozenset({"arguments", "parameters"})
"""Where a tool call that a model wrote as text has its arguments: OpenAI's and Hermes' word, and Llama's."""


class LabelSet:
    """The labels of a job, and the one way an answer is matched with them: exactly, after normalising and unwrapping.

    Made of labels alone, or of a mapping to what they mean: a label that is followed by its own description, as the
    prompt shows it, is that label.
    """

    def __init__(self, labels: Iterable[str]) -> None:
        self._name_of = {normalise(name): name for name in labels}
        names = sorted(self._name_of)
        self._beginnings = {
            self._name_of[name] for name, following in pairwise(names) if following.startswith(name)
        }
        meanings = labels.items() if isinstance(labels, Mapping) else ()
        described = [
            (normalise(said.format(name=name, meaning=meaning)), name)
            for name, meaning in meanings
            if meaning.strip()
            for said in _DESCRIBED
        ]
        self._seen = _unambiguous(
            [(visible(key), name) for key, name in [*self._name_of.items(), *described]], self._name_of
        )
        # Decomposed, a character is a few; and normalising takes the square of the time for some texts.
        longest = max(map(len, [*self._name_of, *self._seen]), default=0)
        self._most_characters = _ROOM_CHARACTERS + 4 * longest

    def named(self, text: str) -> str | None:
        """The label that `text` is, with nothing around it."""
        return self._name_of.get(normalise(text)) if len(text) <= self._most_characters else None

    def match(self, text: str) -> str | None:
        """The label that `text` names; None where it names none, or more than one.

        Layers come off one at a time and the longest reading counts: with the labels `[A]` and `A`, `[A].` is `[A]`.
        A text of several lines names a label where each of them names the same.
        """
        name = self.named(text)
        if name is not None or len(text) > self._most_characters:
            return name
        name = self._unwrapped(text)
        if name is not None or "\n" not in text:
            return name
        lines = {line for line in map(normalise, text.splitlines()) if line}
        named = {self._unwrapped(line) for line in lines}
        return named.pop() if len(named) == 1 else None

    def begins_another(self, name: str) -> bool:
        """Whether a longer label begins with this one, so that an answer cut short could look like it."""
        return name in self._beginnings

    def _unwrapped(self, text: str) -> str | None:
        waiting = {visible(normalise(text))}
        for _ in range(_MOST_READINGS):
            if not waiting:
                return None
            longest = max(map(len, waiting))
            readings = [reading for reading in waiting if len(reading) == longest]
            named = {self._seen[reading] for reading in readings if reading in self._seen}
            if named:
                return named.pop() if len(named) == 1 else None
            waiting.difference_update(readings)
            for reading in readings:
                waiting.update(shorter for shorter, taken in unwrapped(reading) if not self._names_one(taken))
        return None

    def _names_one(self, taken: str) -> bool:
        """Whether what was taken for an envelope is a label too: "1. 2" names two where both are."""
        return taken in self._seen or taken.strip("(*_.):、 ") in self._seen


def _unambiguous(pairs: Iterable[tuple[str, str]], names: Mapping[str, str]) -> dict[str, str]:
    """The mapping that the pairs make, without the keys that belong to two names; a name's own key is its own."""
    named: dict[str, set[str]] = {}
    for key, name in pairs:
        named.setdefault(key, set()).add(name)
    return {**{key: next(iter(several)) for key, several in named.items() if len(several) == 1}, **names}


def named_in_json(text: str, labels: LabelSet, *, alone: bool = False) -> set[str | None]:
    """The labels that the JSON in a text gives, None among them where it gives something that is none.

    The text is JSON, or JSON in a fence, or words with objects among them, unless it has to be `alone`. JSON that isn't
    whole says nothing, nor does any beside it; words around it that name a label themselves count as well.
    """
    claims, around = _claims_in(text)
    if alone and any(words.strip() for words in around):
        return set()
    named = {None if claim is None else labels.match(claim) for claim in claims}
    return named | {name for words in around if (name := labels.match(words))} if named else named


def _claims_in(text: str) -> tuple[list[str | None], tuple[str, ...]]:
    """What JSON in a text gives as its label, each time it does, and the words before and after it."""
    body = text.strip()
    if body.startswith(_FENCE) and body.endswith(_FENCE):
        body = body[len(_FENCE) : -len(_FENCE)]
        body = body[named.end() :] if (named := _LANGUAGE.match(body)) else body
    try:
        return list(_claims_of(_DECODER.decode(body))), ()
    except (ValueError, RecursionError):  # a thousand brackets are no label either
        pass
    claims: list[str | None] = []
    first = _OBJECT.search(body)
    found, end = first, 0
    while found:
        try:
            value, end = _DECODER.raw_decode(body, found.start())
        except (ValueError, RecursionError):
            return [], ()
        claims += _claims_of(value)
        found = _OBJECT.search(body, end)
    return claims, (body[: first.start()], body[end:]) if first else ()


def _claims_of(value: Any) -> Iterator[str | None]:
    """What a JSON value gives as its label, None where that can be none. An object is a tuple of its pairs."""
    match value:
        case str():
            yield value
        case list():
            for item in value:
                yield from _claims_of(item) if isinstance(item, str | tuple) else [None]
        case tuple():
            asked = _values(value, {_KEY})
            for item in asked:
                yield from _said(item)
            for item in [] if asked else _values(value, _CALL_KEYS):
                yield from _called(item)


def _values(pairs: tuple[tuple[str, Any], ...], keys: Collection[str]) -> list[Any]:
    return [value for key, value in pairs if key.strip().casefold() in keys]


def _said(value: Any) -> list[str | None]:
    """The labels under a key `label`: one, as text or as a whole number, or a list of them."""
    items = value if isinstance(value, list) else [value]
    return [
        str(item) if isinstance(item, str | int) and not isinstance(item, bool) else None for item in items
    ]


def _called(arguments: Any) -> list[str | None]:
    """The labels in a tool call's arguments, which are an object or its JSON."""
    if isinstance(arguments, str):
        try:
            arguments = _DECODER.decode(arguments)
        except (ValueError, RecursionError):
            return [None]
    pairs = arguments if isinstance(arguments, tuple) else ()
    return [label for item in _values(pairs, {_KEY}) for label in _said(item)]


_DECODER = json.JSONDecoder(object_pairs_hook=tuple)
