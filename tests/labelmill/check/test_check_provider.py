"""What a provider can't do is found with all other mistakes, before anything is spent."""

import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from labelmill.check.job import checked_job
from labelmill.check.provider import refuse_without_live_lane
from labelmill.errors import JobRefused
from labelmill.job.file import draft_of
from labelmill.job.model import Batch, LabelJob, Model, Run
from labelmill.providers import anthropic, extras, gemini
from labelmill.providers.table import PROVIDERS, api_key_env_of, provider_of
from labelmill.question.task_key import task_key_of

ROOT = Path(__file__).parents[3]
OWN_BATCHES = ["anthropic", "google"]
KEYS = {"anthropic": "ANTHROPIC_API_KEY", "google": "GOOGLE_API_KEY"}


@pytest.fixture
def values_of(job_of, write_texts):
    """The values of a sound job of a provider on the batch lane; earlier versions had all of them name langasync."""

    def build(provider, adapter="langasync", **model):
        write_texts(["the match"])
        job = job_of(
            model={"provider": provider, "name": "m", **model},
            run={"lane": "batch"},
            batch={"adapter": adapter},
        )
        return job.model_dump(mode="json")

    return build


def mistakes_in(values):
    """What is wrong with a job: sentences by place."""
    with pytest.raises(JobRefused) as refused:
        checked_job(draft_of(values, "job"))
    return {mistake.where.removeprefix("job, "): mistake.sentence for mistake in refused.value.mistakes}


@pytest.mark.parametrize("provider", OWN_BATCHES)
@pytest.mark.parametrize("adapter", ["openai", "langasync"])
def test_a_job_on_the_batch_lane_is_sound(values_of, monkeypatch, provider, adapter):
    """With the provider's usual key, and no other, at the provider's own address; whichever adapter it names."""
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "another's")
    assert list(mistakes_in(values_of(provider, adapter))) == [KEYS[provider]]
    monkeypatch.setenv(KEYS[provider], "sk")
    assert checked_job(draft_of(values_of(provider, adapter), "job")).model.provider == provider


@pytest.mark.parametrize("provider", OWN_BATCHES)
@pytest.mark.parametrize(
    "run", [{"lane": "live"}, {"lane": "auto", "deadline": "08:00"}, {"retry_lane": "live"}]
)
def test_a_live_lane_whose_package_is_missing_is_told_with_the_way_to_it(
    values_of, monkeypatch, provider, run
):
    """By a command that is true where the program runs; the batch lane needs no package."""
    monkeypatch.setenv(KEYS[provider], "sk")
    values = values_of(provider)
    assert checked_job(draft_of({**values, "run": values["run"] | run}, "job"))
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    assert checked_job(draft_of(values, "job"))
    found = mistakes_in({**values, "run": values["run"] | run})
    module = {"anthropic": anthropic, "google": gemini}[provider]
    package = module.REQUIREMENT.partition(">")[0]
    assert found == {
        "model.provider": f"the live lane of {provider!r} needs the package {package}, which is not installed; install it with: "
        f"{sys.executable} -m pip install '{module.REQUIREMENT}', or set lane = \"batch\""
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"][provider] == [module.REQUIREMENT]


def test_what_claude_has_not_is_said_with_what_to_do(values_of, monkeypatch):
    """No token probabilities, on either lane; and what LangChain's model for it would not send is told before it is asked."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk")
    values = values_of("anthropic", confidence=True)
    assert mistakes_in(values) == {
        "model.confidence": "the provider 'anthropic' gives no token probabilities; set confidence = false"
    }
    model = {"provider": "anthropic", "name": "claude-sonnet-5-5", "temperature": 0.5}
    found = mistakes_in({**values, "model": model, "run": values["run"] | {"lane": "live"}})
    assert "`temperature` is not supported for claude-sonnet-5-5" in found["model.name"]


def test_anthropic_takes_temperatures_up_to_one():
    """OpenAI and Gemini take 2."""

    def found(provider, temperature):
        model = Model(provider=provider, name="m", temperature=temperature)
        return [place for place, _ in provider_of(model).mistakes(model, Run(lane="batch"), Batch())]

    assert found("anthropic", 1.5) == ["model.temperature"]
    assert [found(provider, 2) for provider in ("openai", "google", "practice")] == [[], [], []]


@pytest.mark.parametrize("provider", [*OWN_BATCHES, "openai"])
def test_only_openais_batches_need_langasync(values_of, monkeypatch, provider):
    """Where a job names it and it isn't there, the way to it is said, and that another adapter would do."""
    values = values_of(provider)
    monkeypatch.setenv(KEYS.get(provider, "OPENAI_API_KEY"), "sk")
    for name in [name for name in sys.modules if name.split(".")[0] == "langasync"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "langasync", None)
    if provider in OWN_BATCHES:
        assert checked_job(draft_of(values, "job"))
        return
    (sentence,) = mistakes_in(values).values()
    assert "-m pip install langasync==0.2.3" in sentence
    assert sentence.endswith('or set batch.adapter = "openai"')


@pytest.mark.parametrize(("provider", "hint"), [("opnai", "; did you mean 'openai'?"), ("zzz", "")])
def test_an_unknown_provider_is_told_with_those_that_are_known(values_of, provider, hint):
    """With all other mistakes of the job, and the nearest name."""
    found = mistakes_in(values_of("openai") | {"model": {"provider": provider, "name": "m"}, "labels": {}})
    *others, last = map(repr, PROVIDERS)
    known = f"{', '.join(others)} or {last}"
    assert found["model.provider"] == f"found {provider!r}, expected {known}{hint}"
    assert "labels" in found


@pytest.mark.parametrize("provider", OWN_BATCHES)
def test_what_needs_the_live_lane_is_refused(values_of, provider, monkeypatch):
    """Such as a comparison of strategies, where there is none; other providers have one."""
    job = LabelJob.model_validate(values_of(provider))
    refuse_without_live_lane(job)
    monkeypatch.setitem(PROVIDERS, provider, replace(PROVIDERS[provider], has_live_lane=False))
    with pytest.raises(JobRefused, match=f"'{provider}' doesn't have"):
        refuse_without_live_lane(job)
    refuse_without_live_lane(LabelJob.model_validate(values_of("openai")))


def test_the_name_of_the_key_changes_no_task(values_of):
    """Whether a job says it, leaves it out, or was written when it always stood in it."""
    jobs = [
        LabelJob.model_validate(values_of("openai", **model))
        for model in ({}, {"api_key_env": None}, {"api_key_env": "OPENAI_API_KEY"}, {"api_key_env": "MINE"})
    ]
    assert len({task_key_of(job) for job in jobs}) == 1
    assert [api_key_env_of(job.model) for job in jobs] == ["OPENAI_API_KEY"] * 3 + ["MINE"]
