"""A job's own fields and headers: what it must not set is a sentence, and the rest can be sent."""

import datetime as dt
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelmill.check.job import checked_job
from labelmill.errors import JobRefused
from labelmill.job.file import draft_of
from labelmill.job.model import LabelJob, Model, Run
from labelmill.job.variables import secret_header
from labelmill.providers.endpoint import without_keys
from labelmill.providers.request_fields import (
    body_mistakes,
    header_mistakes,
    header_secrets,
    header_variable_mistakes,
    own_fields,
    own_headers,
    sent_headers,
)
from labelmill.providers.table import PROVIDERS, endpoint_of, provider_of
from labelmill.question.task_key import task_key_of

APIS = sorted({provider.api for provider in PROVIDERS.values()})


def mistakes_of(api="chat", run=None, **extra):
    """What is wrong with such fields of the body: sentences by place."""
    return dict(body_mistakes(Model(name="m", extra_body=extra), api, run))


def nested(name, value):
    """A field by its dotted name, with the tables around it."""
    first, _, rest = name.partition(".")
    return {first: nested(rest, value) if rest else value}


@pytest.mark.parametrize("api", APIS)
def test_what_labelmill_sets_is_refused_in_every_spelling(api):
    """Each field of the table, with a sentence that says what to set instead, or to take it out."""
    assert own_fields(api)
    for name, field in own_fields(api).items():
        for spelling in (name, name.upper()):
            (sentence,) = mistakes_of(api, **nested(spelling, 7)).values()
            assert (
                "set model." in sentence
                or "take it out" in sentence
                or "in [prompt]" in sentence
                or "model.name" in sentence
            )
            for off in field.off:
                assert not mistakes_of(api, **nested(spelling, off))
    assert mistakes_of(maxCompletionTokens=9) == {
        "model.extra_body.maxCompletionTokens": (
            "Labelmill sets the longest answer, which its budget relies on; set model.max_tokens"
        )
    }


def test_one_answer_is_one_and_true_is_not():
    """`n = 1` says what is so already; `n = true` and `n = 2` are refused."""
    assert not mistakes_of(n=1)
    assert list(mistakes_of(n=True)) == list(mistakes_of(n=2)) == ["model.extra_body.n"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (
            dt.date(2026, 11, 30),
            "found '2026-11-30', and JSON has no dates and times; write it as text, in quotes",
        ),
        (math.nan, "found nan, and JSON has no such number"),
        (math.inf, "found inf, and JSON has no such number"),
        (2**70, "found a whole number that is too large for most readers of JSON"),
        ("\ud800", "it holds half a character, which no request can carry"),
    ],
)
def test_what_json_has_no_word_for_is_named_by_its_place(value, words):
    """However deep it stands, also in a list."""
    assert mistakes_of(a={"b": [1, {"c": value}]}) == {"model.extra_body.a.b.1.c": words}


JSON_AND_MORE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(st.characters(), min_size=1), JSON_AND_MORE, max_size=4))
def test_what_passes_the_check_can_be_sent(extra):
    """Whatever a job adds to the body: where no sentence is said of it, it is JSON in UTF-8."""
    if not dict(body_mistakes(Model(name="m", extra_body=extra), "chat", None)):
        json.dumps(extra, allow_nan=False, ensure_ascii=False).encode()


def test_a_dearer_tier_is_refused_where_there_is_a_budget():
    """The listed price would not be what a request costs at most; without a budget it is billed as the answer tells it."""
    place = "model.extra_body.service_tier"
    assert list(mistakes_of(run=Run(max_cost_usd_per_day=1), service_tier="priority")) == [place]
    assert not mistakes_of(run=Run(max_cost_usd_per_day=1), service_tier="flex")
    assert not mistakes_of(run=Run(), service_tier="priority")


def header_mistakes_of(provider="openai", **headers):
    """What is wrong with such headers: sentences by place."""
    known = PROVIDERS[provider]
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return dict(header_mistakes(Model(name="m", headers=told), known.headers("")))


def test_labelmills_own_headers_are_refused_in_any_case():
    """Those of the table, and those that the provider's requests carry: with others they may be the job's."""
    for name in own_headers():
        assert list(header_mistakes_of(**{name.upper(): "x"})) == [f"model.headers.{name.upper()}"]
    assert not header_mistakes_of(X_Api_Key="env:K", Anthropic_Version="2023-06-01")
    assert len(header_mistakes_of("anthropic", X_Api_Key="env:K", Anthropic_Version="2023-06-01")) == 2


def test_what_no_header_can_carry_is_a_sentence():
    """A name that is none, a value with other signs than ASCII's, a line break, a name that is there twice."""
    assert header_mistakes_of(**{"a b": "x"}) == {
        "model.headers": "'a b' is not a valid header name; expected letters, digits and hyphens"
    }
    for value in ("", "新闻", "a\nb", " a", "a\x00"):
        assert list(header_mistakes_of(X_Team=value)) == ["model.headers.X-Team"]
    assert header_mistakes_of(X_Team="a", x_team="b") == {
        "model.headers.x-team": "it is already there as 'X-Team': case doesn't matter in headers; take one out"
    }


def test_a_secret_header_is_its_variables_value():
    """By itself or after a word; anything else is sent as it stands. One without a variable is not sent."""
    told = {"A": "env:ONE", "B": "Bearer env:TWO", "C": "environment:ONE", "D": "env:NONE"}
    environment = {"ONE": "first-secret\n", "TWO": "second-secret"}
    assert sent_headers(told, environment) == {
        "A": "first-secret",
        "B": "Bearer second-secret",
        "C": "environment:ONE",
    }
    assert header_secrets(told, environment) == ("first-secret", "second-secret")
    assert dict(header_variable_mistakes(told, environment)) == {
        "model.headers.D": "neither the environment nor .env has NONE; set it, or take the header out"
    }
    (sentence,) = dict(header_variable_mistakes({"A": "env:ONE"}, {"ONE": "geheim\nnis-0123"})).values()
    assert "geheim" not in sentence


@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=8))
def test_no_secret_is_left_where_one_is_part_of_another(secret):
    """The longer is hidden first, whichever comes first."""
    said = f"what is {secret}-more, and {secret}?"
    for keys in ((secret, f"{secret}-more"), (f"{secret}-more", secret)):
        assert without_keys(said, keys) == "what is [key], and [key]?"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Api-Key", "hunter2"),
        ("Cookie", "session=1"),
        ("Helicone-Auth", "x"),
        ("X-Team", "Bearer 0123456789abcdef0123"),
        ("X-Team", "sk-proj-9aB3cD5eF7gH9iJ1kL3mN5"),
    ],
)
def test_a_secret_that_stands_in_the_job_is_refused_and_not_shown(job_of, write_texts, name, value):
    """The sentence says how to name its variable instead."""
    write_texts(["a match"])
    values = job_of().model_dump(mode="json")
    values["model"]["headers"] = {name: value}
    with pytest.raises(JobRefused) as refused:
        checked_job(draft_of(values, "job"))
    said = str(refused.value)
    assert f"model.headers.{name}: a job must not hold a key" in said
    assert '"env:GATEWAY_KEY"' in said
    assert value not in said


def test_a_reference_is_no_key_and_a_missing_variable_is_found_before_anything_is_sent(
    job_of, write_texts, monkeypatch
):
    """Also after `Bearer`; practice, which gets no such header, needs no variable."""
    write_texts(["a match"])
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789abcdef")
    values = job_of().model_dump(mode="json")
    values["model"]["headers"] = {"X-Api-Key": "env:GATEWAY_KEY", "Proxy-Authorization": "Basic env:LOGIN"}
    assert checked_job(draft_of(values, "job")).model.headers == values["model"]["headers"]
    assert endpoint_of(Model.model_validate(values["model"])).headers == ()
    values["model"]["provider"] = "openai"
    with pytest.raises(JobRefused) as refused:
        checked_job(draft_of(values, "job"))
    assert [str(mistake.where) for mistake in refused.value.mistakes] == [
        "job, model.headers.X-Api-Key",
        "job, model.headers.Proxy-Authorization",
    ]


def test_fields_of_the_body_may_bear_names_that_only_sound_secret(job_of, write_texts):
    """`prompt_cache_key` and `eos_token` are none; `api_key` is, however deep it stands."""
    write_texts(["a match"])
    values = job_of().model_dump(mode="json")
    values["model"]["extra_body"] = {"prompt_cache_key": "news", "chat": {"eos_token": "</s>"}}
    assert checked_job(draft_of(values, "job")).model.extra_body["prompt_cache_key"] == "news"
    values["model"]["extra_body"] = {"route": [{"api_key": "hunter2"}]}
    with pytest.raises(JobRefused) as refused:
        checked_job(draft_of(values, "job"))
    assert "model.extra_body.route.0.api_key: a job must not hold a key" in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("provider", ["anthropic", "google"])
def test_a_reasoning_effort_that_an_api_has_no_word_for_is_a_mistake(provider):
    """The sentence leads to the body's own fields; others take the word as it is."""
    model = Model(provider=provider, name="m", reasoning_effort="low")
    (found,) = provider_of(model).mistakes(model, None, None)
    assert found[0] == "model.reasoning_effort"
    assert "[model.extra_body]" in found[1]
    assert not list(PROVIDERS["openai"].mistakes(Model(name="m", reasoning_effort="low"), None, None))


def test_the_settings_belong_to_the_task_and_their_order_does_not(job_of):
    """Each changes the key; the same job as JSON, in another order of its fields, has the same key. A secret is not in it."""

    def key_of(**model):
        return task_key_of(job_of(model=model))

    plain = key_of()
    ways = [
        {"temperature": "unset"},
        {"reasoning_effort": "low"},
        {"extra_body": {"a": {"b": 1, "c": 2}}},
        {"headers": {"X-Team": "news"}},
        {"headers": {"X-Team": "env:TEAM"}},
    ]
    assert len({plain, *(key_of(**way) for way in ways)}) == len(ways) + 1
    assert key_of(extra_body={}, headers={}, reasoning_effort=None) == plain
    assert key_of(extra_body={"a": {"c": 2, "b": 1}}) == key_of(extra_body={"a": {"b": 1, "c": 2}})
    job = job_of(model={"extra_body": {"a": [1.5, None, {"b": "标签"}]}, "headers": {"X-Team": "env:TEAM"}})
    again = LabelJob.model_validate_json(job.model_dump_json())
    assert (again, task_key_of(again)) == (job, task_key_of(job))


@given(st.text())
def test_a_headers_value_names_a_variable_or_is_itself(value):
    """Nothing is read out of a value that isn't wholly a reference."""
    named = secret_header(value)
    assert named is None or value == f"{named.before}env:{named.variable}"


def test_claude_thinks_at_its_own_temperature_and_within_its_longest_answer():
    """Both would be refused for every text; the sentences say what to set."""
    claude = {
        "provider": "anthropic",
        "name": "m",
        "extra_body": {"thinking": {"type": "enabled", "budget_tokens": 2000}},
    }

    def found(**model):
        told = Model(**claude, **model)
        return [place for place, _ in provider_of(told).mistakes(told, None, None)]

    assert found() == ["model.temperature"]
    assert found(temperature="unset", max_tokens=2000) == ["model.max_tokens"]
    assert found(temperature=1, max_tokens=2001) == found(temperature="unset") == []
