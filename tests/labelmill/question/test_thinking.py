"""Thoughts: who is known for them, what a job says of them, and how much room they get."""

import tomllib
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelmill import question
from labelmill.job.model import Model
from labelmill.money.usage import Usage
from labelmill.question.answers import Answer
from labelmill.question.form import correction_form_of, form_of
from labelmill.question.thinking import (
    FIRST_ROOM,
    MOST_ROOM,
    room_for_thoughts,
    room_that_holds,
    thinks,
    was_cut_in_thoughts,
    wider,
)

DATA = tomllib.loads(files(question).joinpath("thinking.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("entry", DATA["model"], ids=lambda entry: entry["name"])
def test_models_are_known_by_their_names(entry):
    """Each entry knows its own, in any case and behind any gateway's prefix, and none of those that are alike."""
    for name in entry["thinks"]:
        assert thinks(Model(name=name)), name
        assert thinks(Model(name=f"gateway/{name.upper()}")), name
    for name in entry["silent"]:
        assert not thinks(Model(name=name)), name


def test_each_entry_has_its_source():
    """A maker's own page, for models and for settings."""
    assert all(entry["source"].startswith("https://") for entry in (*DATA["model"], *DATA["switch"]))


OFF = [
    {"reasoning_effort": "none"},
    {"reasoning_effort": "minimal"},
    {"extra_body": {"enable_thinking": False}},
    {"extra_body": {"chat_template_kwargs": {"enable_thinking": False}}},
    {"extra_body": {"thinking": {"type": "disabled"}}},
    {"extra_body": {"reasoning": {"enabled": False}}},
    {"extra_body": {"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}},
]
ON = [
    {"reasoning_effort": "low"},
    {"extra_body": {"enable_thinking": True}},
    {"extra_body": {"thinking": {"type": "enabled", "budget_tokens": 1024}}},
    {"extra_body": {"reasoning": {"effort": "high"}}},
    {"extra_body": {"thinking_budget": 200}},
]


@pytest.mark.parametrize("said", OFF, ids=str)
def test_a_job_can_switch_thoughts_off(said):
    """Then no answer gets room for them, whatever the model's name."""
    assert room_for_thoughts(Model(name="qwen3-32b", **said)) == 0


@pytest.mark.parametrize("said", ON, ids=str)
def test_a_job_can_switch_thoughts_on(said):
    """Of a model that nobody knows for them, such as Claude, or a deployment of any name."""
    assert room_for_thoughts(Model(name="my-deployment", **said)) >= FIRST_ROOM
    assert room_for_thoughts(Model(name="my-deployment")) == 0


def test_a_budget_for_thoughts_has_its_room():
    """The provider wants the longest answer to be above it; one that is dynamic (-1) gets the usual room."""
    claude = {"thinking": {"type": "enabled", "budget_tokens": 10_000}}
    assert room_for_thoughts(Model(name="claude-sonnet-4-5", extra_body=claude)) == 10_000
    dynamic = {"generation_config": {"thinking_config": {"thinking_budget": -1}}}
    assert room_for_thoughts(Model(name="gemini-2.5-flash", extra_body=dynamic)) == FIRST_ROOM


@given(st.integers(0, 2 * MOST_ROOM), st.integers(0, 2 * MOST_ROOM))
def test_room_grows_a_few_times_and_has_a_bound(room, tokens):
    """It never shrinks, and ends at the bound or at a budget beyond it; what was needed once fits where the bound lets it."""
    seen = [room]
    while wider(seen[-1]) != seen[-1]:
        seen.append(wider(seen[-1]))
    assert seen == sorted(seen)
    assert len(seen) <= 10
    assert seen[-1] == max(room, MOST_ROOM)
    held = room_that_holds(room, tokens)
    assert held in seen
    assert held >= min(tokens, seen[-1])


def test_auto_has_the_room_and_a_number_does_not(job_of):
    """In both forms; without thoughts the longest answer is what it always was."""
    plain, known = job_of(), job_of(model={"name": "gpt-5-mini"})
    for form in (form_of, correction_form_of):
        assert form(known).max_tokens == form(plain).max_tokens + FIRST_ROOM
    assert form_of(job_of(model={"name": "gpt-5-mini", "max_tokens": 99})).max_tokens == 99


def _answer(content="", finish_reason="length", usage=None, **more):
    return Answer(content, None, finish_reason, "m", None, usage, **more)


def test_what_shows_that_thoughts_took_the_room():
    """Told tokens, thoughts beside the content or an unclosed one within it, of an answer that was cut off; nothing else."""
    told = Usage(9, 0, 22, reasoning_tokens=22)
    for cut in (
        _answer(usage=told),
        _answer(reasoning="Well"),
        _answer("<think>Well"),
        _answer("", "MAX_TOKENS", told),
    ):
        assert was_cut_in_thoughts(cut)
    for other in (
        _answer("sport spo"),
        _answer(usage=Usage(9, 0, 22)),
        _answer("sport", "stop", told),
        _answer("<think>Well</think>sport", "stop"),
        _answer("", "content_filter", told),
    ):
        assert not was_cut_in_thoughts(other)
