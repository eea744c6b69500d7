"""Envelopes: thoughts are dropped before anything is read, and a layer comes off whole or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelmill.question.reading import normalise, spoken_in, unwrapped, visible

THOUGHTS = [
    ("<think>", "</think>"),
    ("<THINK>", "</THINK>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("<mm:think>", "</mm:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|channel>thought\n", "<channel|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|open|>think<|sep|>", "<|close|>think<|sep|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("<|channel|>commentary<|message|>", "<|channel|>final <|constrain|>json<|message|>"),
    ("analysis", "assistantfinal"),
]


@pytest.mark.parametrize(("opening", "closing"), THOUGHTS)
@pytest.mark.parametrize("thought", ["", "\n\n", "It could be sport. Or money?"])
def test_what_follows_the_last_thought_is_what_was_said(opening, closing, thought):
    """Thoughts of every model's form are dropped, empty and full ones, once and again, whatever stands before them."""
    for content in (
        f"{opening}{thought}{closing}\n\nsport",
        f"\n{opening}{thought}{closing}{opening}{thought}{closing}sport",
    ):
        spoken = spoken_in(content)
        assert (spoken.text.strip(), spoken.has_thoughts, spoken.is_thinking) == ("sport", True, False)


@pytest.mark.parametrize(("opening", "closing"), THOUGHTS[:-1])
def test_thoughts_that_never_end_say_nothing(opening, closing):
    """An unclosed thought leaves no text, even after a closed one or after words."""
    for content in (f"{opening}sport", f"{opening}a{closing}{opening}sport", f"sport {opening} or"):
        spoken = spoken_in(content)
        assert (spoken.text, spoken.is_thinking) == ("", True)


@pytest.mark.parametrize("closing", [closing for _, closing in THOUGHTS[:-1]])
def test_thoughts_that_the_prompt_began_end_in_the_answer(closing):
    """Where the template opens the thoughts, the answer has their end alone."""
    assert spoken_in(f"hm, money?{closing} sport").text.strip() == "sport"


@pytest.mark.parametrize(
    "content",
    ["", "sport", "I think sport", "<b>", "analysis", "the assistantfinal sport", "a < b"],
)
def test_words_that_are_no_thoughts_stay(content):
    """Only marks are marks."""
    spoken = spoken_in(content)
    assert (spoken.text, spoken.has_thoughts) == (content, False)


@pytest.mark.parametrize(
    "unit", ["<", "<think>", "</think>", "[", "<|channel|>", "analysis", "<|", "<a:", "◁"]
)
def test_a_long_answer_is_gone_through_once(unit):
    """A megabyte of marks, or of their beginnings, takes no more than a moment."""
    assert len(spoken_in(unit * (1_000_000 // len(unit))).text) <= 1_000_000


@given(st.text(max_size=40))
def test_each_layer_makes_a_text_shorter_and_adds_nothing(text):
    """What is left of a text stands in it, so that unwrapping ends and invents no word."""
    said = visible(normalise(text))
    for shorter, taken in unwrapped(said):
        assert len(shorter) < len(said)
        assert shorter in said
        assert taken in said


@pytest.mark.parametrize(
    "said", ['"sport', "sport”", "(sport]", "「sport』", "**sport*x", "<answer>sport</label>", "```sport"]
)
def test_half_a_pair_is_no_pair(said):
    """An opening comes off with its own closing only."""
    assert "sport" not in {shorter for shorter, _ in unwrapped(said)}
