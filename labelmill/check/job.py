"""The check before anything is spent: all that a user can mend, found at once.

Everything here reads; nothing writes and nothing asks a model.
"""

import os
from collections.abc import Iterable, Mapping

from labelmill.check.dataset import output_mistakes, source_mistakes
from labelmill.check.lane import budget_mistakes, lane_mistakes, room_mistakes
from labelmill.check.prompt import label_mistakes, prompt_mistakes
from labelmill.errors import JobRefused, Mistake
from labelmill.job.file import JobDraft
from labelmill.job.model import Batch, LabelJob, Model, Output, Practice, Prompt, Run, Source, web_address
from labelmill.providers.endpoint import Endpoint
from labelmill.providers.environment import environment_mistakes
from labelmill.providers.practice import practice_mistakes
from labelmill.providers.table import address_of, endpoint_of, provider_of


def checked_job(draft: JobDraft, model_base_url: str | None = None) -> LabelJob:
    """The job of a draft in which there is nothing to mend.

    Raises:
        JobRefused: with every mistake in the job and its dataset.
    """
    model, unknown = _model_of(draft)
    told = _address_of(model, model_base_url) if isinstance(model, Model) else None
    mistakes = [*draft.mistakes, *unknown, *_dataset_mistakes(draft), *_lane_mistakes(draft)]
    mistakes += environment_mistakes(os.environ, told)
    if isinstance(practice := draft.section("practice"), Practice):
        mistakes += _at(draft, practice_mistakes(practice))
    if isinstance(model, Model):
        mistakes += _provider_mistakes(draft, model)
        mistakes += _address_mistakes(draft, model, told, model_base_url) or _endpoint_mistakes(
            draft, model, model_base_url
        )
    if draft.job is not None and not mistakes:
        mistakes += _at(draft, room_mistakes(draft.job, told))
    if mistakes or draft.job is None:
        raise JobRefused(mistakes)
    return draft.job


def check_job(job: LabelJob, model_base_url: str | None = None) -> None:
    """See that there is nothing to mend in a job; its mistakes stand under its name.

    Raises:
        JobRefused: with every mistake in the job and its dataset.
    """
    checked_job(JobDraft.of(job), model_base_url)


def _dataset_mistakes(draft: JobDraft) -> list[Mistake]:
    found: list[tuple[str, str]] = []
    labels, prompt = draft.section("labels"), draft.section("prompt")
    source, output = draft.section("source"), draft.section("output")
    if isinstance(labels, Mapping):
        found += label_mistakes(labels)
    if isinstance(prompt, Prompt):
        found += prompt_mistakes(prompt)
    if isinstance(source, Source):
        found += source_mistakes(source)
    if isinstance(output, Output):
        found += output_mistakes(output, source if isinstance(source, Source) else None)
    return _at(draft, found)


def _model_of(draft: JobDraft) -> tuple[Model | None, list[Mistake]]:
    """The model's section, where it can be read and its provider is known, and what is wrong with the provider's name."""
    model = draft.section("model")
    if not isinstance(model, Model):
        return None, []
    try:
        provider_of(model)
    except JobRefused as refused:
        return None, _at(draft, ((mistake.where, mistake.sentence) for mistake in refused.mistakes))
    return model, []


def _provider_mistakes(draft: JobDraft, model: Model) -> list[Mistake]:
    run, batch = draft.section("run"), draft.section("batch")
    run, batch = (run if isinstance(run, Run) else None), (batch if isinstance(batch, Batch) else None)
    return _at(draft, provider_of(model).mistakes(model, run, batch))


def _address_of(model: Model, model_base_url: str | None) -> str | None:
    """Where requests would go; None for a practice provider that is yet to be started."""
    return model_base_url or (None if provider_of(model).is_practice else address_of(model))


def _address_mistakes(
    draft: JobDraft, model: Model, address: str | None, model_base_url: str | None
) -> list[Mistake]:
    """What is wrong with the address that requests would go to; it is not shown where it may hold a key."""
    if address is None:
        return []
    in_job = model_base_url is None and model.base_url is not None
    where = f"{draft.where}, model.base_url" if in_job else "--model-base-url or OPENAI_BASE_URL"
    if "@" in address:
        sentence = "an address must not hold a user name or a password; put the key into the environment or into .env"
        return [Mistake(where, sentence)]
    try:
        web_address(address)
    except ValueError as error:
        return [Mistake(where, f"found {address!r}, expected {error}")]
    return []


def _endpoint_mistakes(draft: JobDraft, model: Model, model_base_url: str | None) -> list[Mistake]:
    """What is wrong with an endpoint whose address can be read."""
    try:
        endpoint = endpoint_of(model, model_base_url)
    except JobRefused as refused:
        return refused.mistakes
    return [*_key_mistakes(draft, endpoint), *_budget_mistakes(draft, model, endpoint)]


def _key_mistakes(draft: JobDraft, endpoint: Endpoint) -> list[Mistake]:
    if not endpoint.needs_key or os.environ.get(endpoint.api_key_env):
        return []
    sentence = (
        f"{draft.where} needs a key for {endpoint.base_url}, and neither the environment nor .env has "
        f'{endpoint.api_key_env}; to try the job without one, set model.provider = "practice"'
    )
    return [Mistake(endpoint.api_key_env, sentence)]


def _lane_mistakes(draft: JobDraft) -> list[Mistake]:
    run = draft.section("run")
    return _at(draft, lane_mistakes(run)) if isinstance(run, Run) else []


def _budget_mistakes(draft: JobDraft, model: Model, endpoint: Endpoint) -> list[Mistake]:
    run = draft.section("run")
    if not isinstance(run, Run):
        return []
    return _at(draft, budget_mistakes(run, model, draft.section("price"), endpoint.base_url))


def _at(draft: JobDraft, found: Iterable[tuple[str, str]]) -> list[Mistake]:
    return [Mistake(f"{draft.where}, {place}", sentence) for place, sentence in found]
