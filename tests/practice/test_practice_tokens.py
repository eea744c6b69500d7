"""Practice's token estimate is simple and stable."""

import pytest

from practice.prefixes import PrefixMemory
from practice.tokens import count_repeated_tokens, count_tokens, split_tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("体育", 1),
        ("面条", 2),
        ("cat", 1),
        ("entertainment", 2),
        ("a cat, 12345", 6),
        ("面 NBA", 2),
        ('{"', 1),
        ("\n\n", 1),
    ],
)
def test_counts_follow_the_documented_rule(text, tokens):
    """CJK counts by character or by two, words by nine letters, numbers by three digits."""
    assert count_tokens(text) == count_repeated_tokens(text) == tokens


@pytest.mark.parametrize("text", ["体育 NBA 总决赛, 2024!", "  a\n\tb_c  ", "naïve Привет 😀\ud800", "___"])
def test_tokens_join_to_the_text_again(text):
    """Nothing of a text is lost between its tokens."""
    assert "".join(split_tokens(text)) == text


def test_a_long_prefix_seen_before_is_cached_in_steps():
    """1024 tokens at least are cached, in multiples of 128, and only for the same model."""
    memory = PrefixMemory()
    shared = ["a"] * 1300
    assert memory.cached_tokens("m", [*shared, "b"]) == 0
    assert memory.cached_tokens("m", [*shared, "c"]) == 1280
    assert memory.cached_tokens("other", shared) == 0
    assert memory.cached_tokens("m", ["a"] * 1023) == 0
    memory.clear()
    assert memory.cached_tokens("m", shared) == 0
