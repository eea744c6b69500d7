"""Practice's own estimate of tokens.

It is no model's tokenizer: a CJK character is one token, a word of ASCII letters one token per four letters
begun, a number one per three digits begun, letters of other scripts one per two, any other sign one. One
blank before a token belongs to it. Real bills differ; this estimate is cheap, and it never changes.
"""

import re
from functools import lru_cache

CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"

TOKENS_PER_MESSAGE = 3
"""What the frame around every message costs."""

TOKENS_PER_REQUEST = 3
"""What opening the answer costs."""

_TOKEN = re.compile(
    rf"\s?[A-Za-z]{{1,4}}|\s?[0-9]{{1,3}}|\s?[{CJK}]|\s?[^\W0-9_A-Za-z{CJK}]{{1,2}}|\s?[^\s\w]|\s+|.",
    re.DOTALL,
)

# Longer texts are seldom sent twice, and a cache must not keep megabytes alive.
_WORTH_REMEMBERING = 20_000


def split_tokens(text: str) -> list[str]:
    """The text in pieces that join to it again."""
    return _TOKEN.findall(text)


def count_tokens(text: str) -> int:
    """How many pieces `split_tokens` gives."""
    return len(_TOKEN.findall(text))


def count_repeated_tokens(text: str) -> int:
    """As `count_tokens`, for texts such as instructions that come with every request."""
    return _remembered_count(text) if len(text) <= _WORTH_REMEMBERING else count_tokens(text)


_remembered_count = lru_cache(maxsize=256)(count_tokens)
