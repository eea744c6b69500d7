"""Envelopes: what models and servers put around a label, as data, and how it comes off one layer at a time.

Texts are compared normalised, so that one form of a mark stands for all: full-width `（`, `：`, `＂` are `(`, `:`, `"`, and an
ellipsis is three dots. Chat templates' marks are from the models' tokenizer files and from the reasoning parsers of vLLM
(`vllm/reasoning`) and SGLang (`sglang/srt/parser/reasoning_parser.py`); where a report showed one in an answer, it is named.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

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
