"""A job's own chat model of LangChain: which classes may be had, and what they are given."""

import builtins
import importlib
import sys
import types
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.exceptions import ModelRateLimitError
from langchain_core.language_models import BaseChatModel
from pydantic import Field, SecretStr

from labelmill.errors import JobRefused
from labelmill.job.file import draft_of
from labelmill.job.model import LabelJob, Model, Run
from labelmill.providers.langchain import failure_of_model
from labelmill.providers.langchain_class import (
    ALLOWED_PACKAGES,
    LANGCHAIN,
    class_mistakes,
    settings_mistakes,
)
from labelmill.providers.table import PROVIDERS, price_of
from labelmill.question.form import form_of
from labelmill.question.task_key import task_key_of

OLLAMA = "langchain_ollama:ChatOllama"
KEY = "acme-marked-0123456789"


class ChatAcme(BaseChatModel):
    """A class with fields of every kind."""

    model: str
    temperature: float | None = None
    max_tokens: int | None = None
    acme_api_key: SecretStr | None = Field(default=None, alias="api_key")
    extra: dict[str, Any] = Field(default_factory=dict)
    anything: Any = None
    made: BaseChatModel | None = None

    @property
    def _llm_type(self):
        return "acme"

    def _generate(self, *_: Any, **__: Any):
        raise NotImplementedError


@pytest.fixture(autouse=True)
def _acme(monkeypatch):
    """The class in a package of LangChain's kind, and in one of another."""
    for name in ("langchain_acme", "acme"):
        module = types.ModuleType(name)
        module.ChatAcme, module.os, module.loads = ChatAcme, sys, eval
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(ChatAcme, "__module__", "langchain_acme")


def model_of(**fields):
    """A model of the provider `langchain`."""
    return Model.model_validate({"provider": "langchain", "name": "m", "class": OLLAMA, **fields})


def found_in(model, run=None):
    """The mistakes of a model: by place, the sentence."""
    return dict(LANGCHAIN.mistakes(model, run, None))


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "subprocess:Popen",
        "acme:ChatAcme",
        "labelmill.job.model:Model",
        "langchain:x",
        "builtins:eval",
    ],
)
def test_no_package_is_imported_that_may_not_be(name, monkeypatch):
    """Only packages named langchain_…: of another nothing is loaded, not even to see what it holds."""
    monkeypatch.setattr("labelmill.providers.langchain_class.import_module", pytest.fail)
    ((place, sentence),) = class_mistakes(model_of(**{"class": name}))
    assert place == "model.class"
    assert ALLOWED_PACKAGES in sentence


def test_the_workers_environment_may_allow_another_package_by_name():
    """And only that one, in whole."""
    model = model_of(**{"class": "acme:ChatAcme"})
    assert list(class_mistakes(model, {ALLOWED_PACKAGES: "other, acme"})) == []
    assert list(class_mistakes(model, {ALLOWED_PACKAGES: "acm"})) != []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("langchain_nobody_has_this:ChatX", "is not installed"),
        ("langchain_ollama:ChatNobody", "has no ChatNobody"),
        ("langchain_acme:os", "is not a LangChain chat model"),
        ("langchain_acme:loads", "is not a LangChain chat model"),
        ("langchain_ollama.nowhere:ChatOllama", "can't be imported"),
    ],
)
def test_a_class_that_can_not_be_had_is_a_sentence(name, words):
    """What isn't installed, isn't there, or is not a LangChain chat model."""
    ((place, sentence),) = class_mistakes(model_of(**{"class": name}))
    assert (place, words in sentence) == ("model.class", True)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"callbacks": ["x"]}, "not handed on"),
        ({"extra": {"lc": 1, "type": "constructor", "id": ["os", "system"]}}, "not handed on"),
        ({"extra": {"deep": [{"model_import_path": "os"}]}}, "not handed on"),
        ({"extra": {"trust_remote_code": True}}, "not handed on"),
        ({"cache": True}, "not handed on"),
        ({"client": "x"}, "not handed on"),
        ({"anything": {}}, "takes an object"),
        ({"made": {"model": "x"}}, "takes an object"),
        ({"api_key": KEY}, "model.api_key_env"),
        ({"temperature": 0.5}, "model.temperature"),
        ({"model": "x"}, "model.name"),
        ({"extr": {}}, "did you mean 'extra'?"),
        ({"extra": {"x": "env:NOBODY_SET_THIS"}}, "has NOBODY_SET_THIS"),
    ],
)
def test_a_setting_is_plain_data_under_a_field_of_the_class(settings, words):
    """What is code, an object, a key, a field of the job or no field at all is refused in one sentence."""
    ((place, sentence),) = settings_mistakes(settings, ChatAcme)
    assert place.startswith("model.settings.")
    assert words in sentence


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=10,
)


@given(
    st.dictionaries(
        st.sampled_from(["extra", "lc", "client", "made", "stop", "name"]) | st.text(max_size=8), JSON
    )
)
def test_whatever_settings_hold_they_are_judged_and_nothing_is_called(settings):
    """Each setting has at most one sentence per variable, and no judgement raises or evaluates anything."""
    called = []
    real, builtins.__import__ = (
        builtins.__import__,
        lambda *given, **more: (called.append(given[0]), real(*given, **more))[1],
    )
    try:
        found = list(settings_mistakes(settings, ChatAcme, {}))
    finally:
        builtins.__import__ = real
    assert all(place.startswith("model.settings.") for place, _ in found)
    assert "os" not in called


def test_what_a_job_says_of_every_model_goes_to_the_class_under_its_own_names(monkeypatch):
    """Its model, longest answer, patience and key; retries are off, and variables stand for what they hold."""
    monkeypatch.setenv("ACME_KEY", KEY)
    monkeypatch.setenv("ACME_TEAM", "team-marked-0123456789")
    job = LabelJob.model_validate(
        {
            "name": "t",
            "source": {"path": "x.parquet", "text": "text"},
            "labels": {"sport": "", "money": ""},
            "output": {"path": "out"},
            "model": {
                "provider": "langchain",
                "class": "langchain_acme:ChatAcme",
                "name": "acme-1",
                "api_key_env": "ACME_KEY",
                "settings": {"extra": {"team": "env:ACME_TEAM"}},
            },
        }
    )
    chat = LANGCHAIN.chat(job, "", KEY, form_of(job))
    made = chat.model
    assert (made.model, made.temperature, made.max_tokens) == ("acme-1", 0.0, form_of(job).max_tokens)
    assert (made.acme_api_key.get_secret_value(), made.extra) == (KEY, {"team": "team-marked-0123456789"})
    said = chat._hide_key(f"{KEY} and team-marked-0123456789")
    assert said == "[key] and [key]"
    with pytest.raises(JobRefused):
        LANGCHAIN.chat(
            job.model_copy(update={"model": model_of(settings={"client_kwargs": {}})}), "", KEY, form_of(job)
        )


def test_what_a_class_has_no_name_for_is_said_before_anything_is_spent():
    """Confidence, an address, a budget that can't be kept; and other providers have no class."""
    model = model_of(
        **{"class": "langchain_acme:ChatAcme", "confidence": True, "base_url": "http://127.0.0.1:9"}
    )
    assert found_in(model).keys() == {"model.confidence", "model.base_url"}
    assert found_in(
        model_of(output="schema"),
        Run(
            lane="batch",
        ),
    ).keys() == {"model.output", "run.lane"}
    assert found_in(model_of(**{"class": None})).keys() == {"model.class"}
    openai = PROVIDERS["openai"]
    assert dict(openai.mistakes(model_of(provider="openai", settings={"x": 1}), None, None)).keys() == {
        "model.class",
        "model.settings",
    }


def test_a_key_in_the_settings_is_found_and_a_variables_name_is_none():
    """Wherever in the settings it stands, and it is not shown."""
    values = {
        "name": "t",
        "source": {"path": "x.parquet", "text": "text"},
        "labels": {"sport": "", "money": ""},
        "output": {"path": "out"},
    }

    def held(settings):
        model = {"provider": "langchain", "class": OLLAMA, "name": "m", "settings": settings}
        return list(draft_of({**values, "model": model}, "job").mistakes)

    assert held({"aws_session_token": "env:AWS_SESSION_TOKEN", "extra": {"api_key": "env:X"}}) == []
    for settings in ({"aws_secret_access_key": KEY}, {"extra": {"deep": {"token": KEY}}}):
        (mistake,) = held(settings)
        assert "env:NAME" in mistake.sentence
        assert KEY not in f"{mistake.where} {mistake.sentence}"


def test_class_and_settings_belong_to_the_task_and_go_to_json_and_back():
    """Under the name `class`; a job without them keeps the key it always had."""
    values = {
        "name": "t",
        "source": {"path": "x.parquet", "text": "text"},
        "labels": {"sport": "", "money": ""},
        "output": {"path": "out"},
    }
    plain = LabelJob.model_validate({**values, "model": {"name": "m"}})
    assert task_key_of(plain) == task_key_of(
        LabelJob.model_validate({**values, "model": {"name": "m", "class": None}})
    )
    jobs = [
        LabelJob.model_validate(
            {**values, "model": {"provider": "langchain", "name": "m", "class": OLLAMA, **more}}
        )
        for more in ({}, {"settings": {"num_ctx": 1}}, {"settings": {"num_ctx": 2}})
    ]
    assert len({task_key_of(job) for job in [plain, *jobs]}) == 4
    written = jobs[1].model_dump(mode="json")
    assert written["model"]["class"] == OLLAMA
    assert LabelJob.model_validate(written) == jobs[1]
    assert LabelJob.model_validate_json(jobs[1].model_dump_json()) == jobs[1]
    assert "class" in LabelJob.model_json_schema()["$defs"]["Model"]["properties"]


@pytest.mark.parametrize(
    ("class_name", "name", "per_mtok"),
    [
        ("langchain_openai:AzureChatOpenAI", "gpt-4o-mini", 0.15),
        ("langchain_aws:ChatBedrockConverse", "amazon.nova-lite-v1:0", 0.06),
        ("langchain_ollama:ChatOllama", "qwen3:4b", None),
        ("langchain_acme:ChatAcme", "gpt-4o-mini", None),
    ],
)
def test_the_price_is_looked_up_with_the_classs_provider(class_name, name, per_mtok):
    """Where genai-prices knows it; a package that it doesn't know has no price, and never another's."""
    price = price_of(model_of(**{"class": class_name, "name": name}))
    assert (price and price.entry["input_usd_per_mtok"]) == per_mtok


class Refused(Exception):  # noqa: N818  (as Ollama's client has it)
    """An error with a status and words."""

    def __init__(self, status, words):
        super().__init__(words)
        self.status_code, self.error = status, words


class NoCredentialsError(Exception):
    """As botocore's."""


class ClientError(Exception):
    """As botocore's, whose response is a dictionary."""

    def __init__(self, status, code, headers):
        super().__init__(code)
        self.response = {
            "Error": {"Code": code, "Message": f"words with {KEY}"},
            "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers},
        }


def wrapped(error):
    """An error as packages wrap it."""
    outer = ValueError("calling the model failed")
    outer.__cause__ = error
    return outer


@pytest.mark.parametrize(
    ("error", "kind", "wait", "unseen"),
    [
        (Refused(503, "server busy"), "overloaded", None, False),
        (ClientError(429, "ThrottlingException", {"Retry-After": "7"}), "rate_limited", 7.0, False),
        (ClientError(403, "AccessDeniedException", {}), "denied", None, False),
        (ModelRateLimitError("slow down"), "rate_limited", None, False),
        (NoCredentialsError("none found"), "denied", None, False),
        (ConnectionError("no Ollama there"), "connection", None, False),
        (KeyError("choices"), "bad_response", None, True),
        (ValueError("what is this"), "bad_response", None, True),
    ],
)
@pytest.mark.parametrize("is_wrapped", [False, True])
def test_an_exception_means_what_its_status_says_and_else_it_may_have_been_paid(
    error, kind, wait, unseen, is_wrapped
):
    """However deep it is wrapped; the key is in no words."""
    failure = failure_of_model(
        wrapped(error) if is_wrapped else error, lambda said: said.replace(KEY, "[key]")
    )
    assert (failure.kind, failure.retry_after_seconds, failure.may_have_been_paid) == (kind, wait, unseen)
    assert KEY not in failure.message
