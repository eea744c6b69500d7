"""The check before anything is spent: all that a user can mend, found at once.

Everything here reads; nothing writes and nothing asks a model.
"""

import math
import os
import time
from collections.abc import Iterable

from labelmill.alert.channel import alert_mistakes
from labelmill.check.dataset import source_mistakes
from labelmill.check.lane import budget_mistakes, lane_mistakes, room_mistakes
from labelmill.check.output import output_mistakes, store_mistakes
from labelmill.check.price import price_mistakes
from labelmill.check.prompt import label_mistakes, prompt_mistakes
from labelmill.errors import JobRefused, Mistake
from labelmill.job.file import JobDraft, Sections
from labelmill.job.model import LabelJob, Model, web_address
from labelmill.providers.endpoint import Endpoint
from labelmill.providers.environment import environment_mistakes
from labelmill.providers.practice import practice_mistakes
from labelmill.providers.protocol import Provider
from labelmill.providers.request_fields import header_variable_mistakes
from labelmill.providers.table import address_of, endpoint_of, provider_of

Found = Iterable[tuple[str, str]]
"""Mistakes as (place in the job, sentence)."""
_FOUND_RIGHT_SECONDS = 60.0


def checked_job(draft: JobDraft, model_base_url: str | None = None) -> LabelJob:
    """The job of a draft in which there is nothing to mend.

    Raises:
        JobRefused: with every mistake in the job and its dataset.
    """
    job, now = _job_of(draft, model_base_url), time.monotonic()
    for key, at in list(_found_right.items()):
        if now - at > _FOUND_RIGHT_SECONDS:
            _found_right.pop(key, None)
    _found_right[_key_of(job, model_base_url)] = now
    return job


def check_job(job: LabelJob, model_base_url: str | None = None) -> None:
    """See that there is nothing to mend in a job; its mistakes stand under its name.

    A run that follows upon `checked_job`, as the command line's flow does within a minute, takes its word for it, once. A
    deployed run is a process of its own, and checks for itself.

    Raises:
        JobRefused: with every mistake in the job and its dataset.
    """
    found = _found_right.pop(_key_of(job, model_base_url), -math.inf)
    if time.monotonic() - found > _FOUND_RIGHT_SECONDS:
        _job_of(JobDraft.of(job), model_base_url)


_found_right: dict[tuple[str, str | None], float] = {}
"""When jobs were found right whose runs have not begun, in monotonic seconds."""


def _key_of(job: LabelJob, model_base_url: str | None) -> tuple[str, str | None]:
    return job.model_dump_json(), model_base_url


def _job_of(draft: JobDraft, model_base_url: str | None) -> LabelJob:
    sections = draft.sections()
    provider, unknown = _provider_named(sections.model)
    address = _address_of(sections.model, provider, model_base_url)
    mistakes = [
        *draft.mistakes,
        *_at(draft, [*unknown, *_section_mistakes(sections, draft.values.get("name"))]),
        *environment_mistakes(os.environ, address),
        *(alert_mistakes(sections.alert, draft.where) if sections.alert is not None else ()),
        *_at(draft, _asked_mistakes(sections, provider)),
    ]
    if sections.model is not None and provider is not None:
        mistakes += _address_mistakes(draft, sections.model, address, model_base_url) or _endpoint_mistakes(
            draft, sections, sections.model, model_base_url
        )
    if draft.job is not None and not mistakes:
        mistakes += _at(draft, room_mistakes(draft.job, address))
    if mistakes or draft.job is None:
        raise JobRefused(mistakes)
    return draft.job


def _section_mistakes(sections: Sections, name: str | None) -> Found:
    """What is wrong with the sections that no provider has a word in."""
    if sections.labels is not None:
        yield from label_mistakes(sections.labels)
    if sections.prompt is not None:
        yield from prompt_mistakes(sections.prompt, sections.labels)
    if sections.price is not None:
        yield from price_mistakes(sections.price)
    listing, output = None, sections.output
    if output is not None and (unusable := list(store_mistakes(output, sections.source))):
        yield from unusable
        output = None
    if sections.source is not None:
        listing, mistakes = source_mistakes(sections.source, output)
        yield from mistakes
    if output is not None:
        yield from output_mistakes(output, listing, name)
    if sections.run is not None:
        yield from lane_mistakes(sections.run)


def _asked_mistakes(sections: Sections, provider: Provider | None) -> Found:
    """What a job asks of its provider, or of the practice provider, that can't be had."""
    if sections.practice is not None:
        yield from practice_mistakes(sections.practice)
    if sections.model is not None and provider is not None:
        yield from provider.mistakes(sections.model, sections.run, sections.batch)


def _provider_named(model: Model | None) -> tuple[Provider | None, Found]:
    """The provider that a job names, and what is wrong with its name where there is none."""
    if model is None:
        return None, ()
    try:
        return provider_of(model), ()
    except JobRefused as refused:
        return None, [(mistake.where, mistake.sentence) for mistake in refused.mistakes]


def _address_of(model: Model | None, provider: Provider | None, model_base_url: str | None) -> str | None:
    """Where requests would go; None where that can't be told, or a practice provider is yet to be started.

    A class of the job's own may know an address by itself; any other provider without one has an empty address.
    """
    if model is None or provider is None:
        return None
    if model_base_url or provider.is_practice:
        return model_base_url
    return address_of(model) or (None if provider.takes_class else "")


def _address_mistakes(
    draft: JobDraft, model: Model, address: str | None, model_base_url: str | None
) -> list[Mistake]:
    """What is wrong with the address that requests would go to; it is not shown where it may hold a key."""
    if address is None:
        return []
    provider = provider_of(model)
    if not address:
        told = f", or put it into {provider.base_url_env}" if provider.base_url_env else ""
        sentence = (
            f"the provider {provider.name!r} has no one address for all; set base_url to yours, which looks like "
            f"{provider.address_form!r}{told}"
        )
        return [Mistake(f"{draft.where}, model.base_url", sentence)]
    in_job = model_base_url is None and model.base_url is not None
    variable = f" or {provider.base_url_env}" if provider.base_url_env else ""
    where = f"{draft.where}, model.base_url" if in_job else f"--model-base-url{variable}"
    if "@" in address:
        sentence = "an address must not hold a user name or a password; put the key into the environment or into .env"
        return [Mistake(where, sentence)]
    try:
        web_address(address)
    except ValueError as error:
        return [Mistake(where, f"found {address!r}, expected {error}")]
    return []


def _endpoint_mistakes(
    draft: JobDraft, sections: Sections, model: Model, model_base_url: str | None
) -> list[Mistake]:
    """What is wrong with an endpoint whose address can be read."""
    try:
        endpoint = endpoint_of(model, model_base_url)
    except JobRefused as refused:
        return refused.mistakes
    mistakes = _key_mistakes(draft, endpoint)
    mistakes += _at(draft, header_variable_mistakes(dict(endpoint.headers)))
    if sections.run is not None:
        mistakes += _at(draft, budget_mistakes(sections.run, model, sections.price, endpoint.base_url))
    return mistakes


def _key_mistakes(draft: JobDraft, endpoint: Endpoint) -> list[Mistake]:
    if not endpoint.needs_key or os.environ.get(endpoint.api_key_env):
        return []
    sentence = (
        f"{draft.where} needs a key for {endpoint.base_url}, and neither the environment nor .env has "
        f'{endpoint.api_key_env}; to try the job without one, set model.provider = "practice"'
    )
    return [Mistake(endpoint.api_key_env, sentence)]


def _at(draft: JobDraft, found: Found) -> list[Mistake]:
    return [Mistake(f"{draft.where}, {place}", sentence) for place, sentence in found]
