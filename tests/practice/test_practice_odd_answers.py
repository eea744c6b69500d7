"""Odd answers come at their rate, the same for the same seed, and are counted and billed as what they are."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelmill.money.usage import Usage, usage_of
from labelmill.providers.completions import answer_of_completion
from labelmill.question.answers import label_or_failure
from labelmill.question.reading import LabelSet
from practice import PracticeSettings
from practice.dice import text_key_of
from practice.odd_answers import (
    IN_WORDS,
    NOT_RIGHT,
    UNTOLD,
    OddKind,
    completion_to,
    odd_completion,
    odd_kind_of,
)
from practice.question import read_question

LABEL_SETS = [
    {"sport": "football, match", "sport news": "league", "money": "bank"},
    {"技术": "软件、芯片", "体育": "足球、比赛"},
    {"Überraschung": "match", "nope": ""},
]
TEXTS = ["the football match", "足球比赛", "a match of the league", "nothing"]
DRAWS = st.floats(0, 1, exclude_max=True)


def question_of(labels, text="the football match", *, schema=False, **more):
    """A chat request as Labelmill sends it, read."""
    described = "\n".join(f"- {name}: {meaning}" for name, meaning in labels.items())
    body = {
        "model": "m",
        "messages": [{"role": "system", "content": described}, {"role": "user", "content": text}],
        **more,
    }
    if schema:
        wanted = {"type": "object", "properties": {"label": {"type": "string", "enum": list(labels)}}}
        body["response_format"] = {"type": "json_schema", "json_schema": {"schema": wanted}}
    return read_question(body)


def plain_label(question):
    """What the provider answers without an oddity."""
    content = completion_to(question, PracticeSettings(), "k", 1, fault=None, cached_tokens=0).body[
        "choices"
    ][0]["message"]["content"]
    return json.loads(content)["label"] if question.frame.is_json else content


@pytest.mark.slow
@pytest.mark.parametrize("kind", OddKind)
@given(draw=DRAWS, labels=st.sampled_from(LABEL_SETS), text=st.sampled_from(TEXTS), schema=st.booleans())
def test_what_the_provider_calls_right_is_read_as_that_label_and_nothing_else_as_any(
    kind, draw, labels, text, schema
):
    """Right answers give their label, others none: the provider's count is what a client must come to."""
    question = question_of(labels, text, schema=schema)
    made = odd_completion(kind, question, "id", 0, draw)
    answer = answer_of_completion(json.loads(json.dumps(made.body)))
    result = label_or_failure(answer, LabelSet(labels))
    assert made.odd is kind
    assert (result == plain_label(question)) is made.is_right
    assert isinstance(result, str) is made.is_right
    assert made.is_right is (kind not in NOT_RIGHT)


@pytest.mark.slow
@pytest.mark.parametrize("kind", OddKind)
@given(draw=DRAWS, cached=st.integers(0, 10))
def test_what_the_body_tells_of_tokens_is_the_bill_or_nothing(kind, draw, cached):
    """A client that reads the usage comes to the provider's own bill; where it can't, that is said."""
    question = question_of(LABEL_SETS[0])
    made = odd_completion(kind, question, "id", cached, draw)
    billed = Usage(question.input_tokens, made.cached_input_tokens, made.output_tokens)
    told = usage_of(made.body)
    # How many of the tokens are thoughts is no part of the bill.
    assert (told and replace(told, reasoning_tokens=0)) == (billed if made.is_told else None)
    assert made.is_told is (kind not in UNTOLD)


@pytest.mark.slow
@pytest.mark.parametrize("kind", OddKind)
@given(most=st.integers(0, 30), draw=DRAWS)
def test_an_odd_answer_keeps_to_the_room_it_has(kind, most, draw):
    """What is cut off at max_tokens is not called right."""
    question = question_of(LABEL_SETS[0], max_tokens=most)
    made = odd_completion(kind, question, "id", 0, draw)
    answer = answer_of_completion(made.body)
    result = label_or_failure(answer, LabelSet(LABEL_SETS[0]))
    assert isinstance(result, str) is made.is_right


def test_odd_answers_come_at_their_rate_in_every_kind_and_the_same_for_the_same_seed():
    """Each kind gets its share of the attempts, whichever attempt of a text it is; another seed chooses others."""
    settings = PracticeSettings(odd_answers=0.4)
    keys = [(text_key_of(f"text {number}"), attempt) for number in range(2000) for attempt in (1, 2)]
    drawn = [odd_kind_of(settings, *key) for key in keys]
    assert drawn == [odd_kind_of(settings, *key) for key in keys]
    assert drawn != [odd_kind_of(settings.model_copy(update={"seed": 1}), *key) for key in keys]
    assert drawn.count(None) == pytest.approx(2400, abs=150)
    assert {*drawn} == {None, *OddKind}
    assert {odd_kind_of(settings, *key, words_only=True) for key in keys} == {None, *IN_WORDS}
    assert not any(odd_kind_of(PracticeSettings(), *key) for key in keys)


def test_labels_that_an_oddity_would_turn_into_others_are_answered_plainly():
    """`[A]` around the label `A` is another label where there is one."""
    question = question_of({"A": "match", "[A]": "bank", "(A)": "", "【A】": "", "（A）": "", "［A］": ""})
    for draw in (0.0, 0.3, 0.5, 0.7, 0.9):
        made = odd_completion(OddKind.BRACKETED, question, "id", 0, draw)
        assert (made.odd, made.is_right) == (None, True)
        assert made.body["choices"][0]["message"]["content"] == "A"


def test_a_tool_call_is_never_odd(practice, ask):
    """Its arguments are JSON that a client parses before anything else."""
    practice.configure(PracticeSettings(odd_answers=1.0))
    function = {
        "name": "label",
        "parameters": {
            "type": "object",
            "properties": {"label": {"type": "string", "enum": ["技术", "体育"]}},
        },
    }
    tools = [{"type": "function", "function": function}]
    answered = ask(tools=tools, tool_choice="required")
    assert json.loads(answered.choices[0].message.tool_calls[0].function.arguments) == {"label": "体育"}
    assert practice.totals()["odd_answers"] == {}


def test_live_odd_answers_are_counted_and_billed_in_the_totals(practice, client):
    """By kind, how many were right, and whether their tokens could be seen."""
    settings = PracticeSettings(odd_answers=0.7)
    practice.configure(settings)
    kinds, right, seen, unseen = [], [], Usage(), Usage()
    for number in range(60):
        text = f"足球比赛 {number}"
        content = "\n".join(f"- {name}: {meaning}" for name, meaning in LABEL_SETS[1].items())
        messages = [{"role": "system", "content": content}, {"role": "user", "content": text}]
        body = client.chat.completions.with_raw_response.create(model="m", messages=messages).http_response
        key = text_key_of(text)
        kind = odd_kind_of(settings, key, 1)
        told = usage_of(body.json())
        made = completion_to(question_of(LABEL_SETS[1], text), settings, key, 1, fault=None, cached_tokens=0)
        if kind is not None:
            kinds.append(kind.value)
            right.append(made.is_right)
        if told is None:
            unseen += Usage(question_of(LABEL_SETS[1], text).input_tokens, 0, made.output_tokens)
        else:
            seen += told
    totals = practice.totals()
    assert totals["odd_answers"] == {kind: kinds.count(kind) for kind in kinds}
    assert sum(totals["odd_answers_right"].values()) == sum(right)
    billed = ("input_tokens", "cached_input_tokens", "output_tokens")
    assert tuple(totals[name] for name in billed) == tuple(getattr(seen, name) for name in billed)
    assert (totals["unseen_input_tokens"], totals["unseen_output_tokens"]) == (
        unseen.input_tokens,
        unseen.output_tokens,
    )
