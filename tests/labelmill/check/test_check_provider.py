"""What a provider can't do is found with all other mistakes, before anything is spent."""

import sys

import pytest

from labelmill.check.job import checked_job
from labelmill.check.provider import refuse_without_live_lane
from labelmill.errors import JobRefused
from labelmill.job.file import draft_of
from labelmill.job.model import Batch, LabelJob, Model, Run
from labelmill.providers.table import PROVIDERS, api_key_env_of, provider_of
from labelmill.question.task_key import task_key_of

BATCH_ONLY = ["anthropic", "google"]
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


@pytest.mark.parametrize("provider", BATCH_ONLY)
@pytest.mark.parametrize("adapter", ["openai", "langasync"])
def test_a_job_on_the_batch_lane_is_sound(values_of, monkeypatch, provider, adapter):
    """With the provider's usual key, and no other, at the provider's own address; whichever adapter it names."""
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "another's")
    assert list(mistakes_in(values_of(provider, adapter))) == [KEYS[provider]]
    monkeypatch.setenv(KEYS[provider], "sk")
    assert checked_job(draft_of(values_of(provider, adapter), "job")).model.provider == provider


@pytest.mark.parametrize("output", ["schema", "choice"])
@pytest.mark.parametrize("provider", BATCH_ONLY)
def test_all_that_the_provider_cannot_do_is_said_at_once(values_of, monkeypatch, provider, output):
    """A sentence each, with what to do."""
    monkeypatch.setenv(KEYS[provider], "sk")
    values = values_of(provider, output=output, confidence=True)
    values["run"] |= {"lane": "live", "retry_lane": "live"}
    found = mistakes_in(values)
    assert list(found) == ["model.output", "model.confidence", "run.lane", "run.retry_lane"]
    assert all(repr(provider) in sentence and "set " in sentence for sentence in found.values())


def test_anthropic_takes_temperatures_up_to_one():
    """OpenAI and Gemini take 2."""

    def found(provider, temperature):
        model = Model(provider=provider, name="m", temperature=temperature)
        return [place for place, _ in provider_of(model).mistakes(model, Run(lane="batch"), Batch())]

    assert found("anthropic", 1.5) == ["model.temperature"]
    assert [found(provider, 2) for provider in ("openai", "google", "practice")] == [[], [], []]


@pytest.mark.parametrize("provider", [*BATCH_ONLY, "openai"])
def test_only_openais_batches_need_langasync(values_of, monkeypatch, provider):
    """Where a job names it and it isn't there, the way to it is said, and that another adapter would do."""
    values = values_of(provider)
    monkeypatch.setenv(KEYS.get(provider, "OPENAI_API_KEY"), "sk")
    for name in [name for name in sys.modules if name.split(".")[0] == "langasync"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "langasync", None)
    if provider in BATCH_ONLY:
        assert checked_job(draft_of(values, "job"))
        return
    (sentence,) = mistakes_in(values).values()
    assert "pip install 'labelmill[langasync]'" in sentence
    assert sentence.endswith('or set batch.adapter = "openai"')


@pytest.mark.parametrize(("provider", "hint"), [("opnai", "; did you mean 'openai'?"), ("zzz", "")])
def test_an_unknown_provider_is_told_with_those_that_are_known(values_of, provider, hint):
    """With all other mistakes of the job, and the nearest name."""
    found = mistakes_in(values_of("openai") | {"model": {"provider": provider, "name": "m"}, "labels": {}})
    *others, last = map(repr, PROVIDERS)
    known = f"{', '.join(others)} or {last}"
    assert found["model.provider"] == f"found {provider!r}, expected {known}{hint}"
    assert "labels" in found


@pytest.mark.parametrize("provider", BATCH_ONLY)
def test_what_needs_the_live_lane_is_refused(values_of, provider):
    """Such as a comparison of strategies; other providers have one."""
    with pytest.raises(JobRefused, match=f"'{provider}' doesn't have"):
        refuse_without_live_lane(LabelJob.model_validate(values_of(provider)))
    refuse_without_live_lane(LabelJob.model_validate(values_of("openai")))


def test_the_name_of_the_key_changes_no_task(values_of):
    """Whether a job says it, leaves it out, or was written when it always stood in it."""
    jobs = [
        LabelJob.model_validate(values_of("openai", **model))
        for model in ({}, {"api_key_env": None}, {"api_key_env": "OPENAI_API_KEY"}, {"api_key_env": "MINE"})
    ]
    assert len({task_key_of(job) for job in jobs}) == 1
    assert [api_key_env_of(job.model) for job in jobs] == ["OPENAI_API_KEY"] * 3 + ["MINE"]
