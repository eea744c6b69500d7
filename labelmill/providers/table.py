"""The providers that a job may name, each one file beside this one: a new one is a line in `PROVIDERS`."""

import os
from collections.abc import Mapping
from dataclasses import replace

from labelmill.errors import JobRefused, Mistake
from labelmill.job.file import nearest
from labelmill.job.model import LabelJob, Model, offer_providers
from labelmill.job.model import Price as OwnPrice
from labelmill.money.prices import Lane, Price, find_price
from labelmill.providers.anthropic import ANTHROPIC
from labelmill.providers.dialect import Dialect
from labelmill.providers.endpoint import Endpoint, is_loopback, is_practice
from labelmill.providers.gemini import GEMINI
from labelmill.providers.openai import OPENAI
from labelmill.providers.protocol import BatchClient, Provider
from labelmill.providers.servers import bindings_told_by
from labelmill.question.binding import Binding

PRACTICE = replace(OPENAI, name="practice", is_practice=True)
"""The practice provider, which stands in for OpenAI."""

PROVIDERS: dict[str, Provider] = {
    provider.name: provider for provider in (OPENAI, ANTHROPIC, GEMINI, PRACTICE)
}
offer_providers(PROVIDERS)


def provider_of(model: Model) -> Provider:
    """The provider that a job names.

    Raises:
        JobRefused: there is none of that name.
    """
    if model.provider not in PROVIDERS:
        *others, last = map(repr, PROVIDERS)
        close = nearest(model.provider, list(PROVIDERS))
        hint = f"; did you mean {close!r}?" if close else ""
        sentence = f"found {model.provider!r}, expected {', '.join(others)} or {last}{hint}"
        raise JobRefused([Mistake("model.provider", sentence)])
    return PROVIDERS[model.provider]


def api_key_env_of(model: Model) -> str:
    """The environment variable that holds the key: the job's word, else the provider's usual one."""
    return model.api_key_env or provider_of(model).api_key_env


def address_of(model: Model, environment: Mapping[str, str] = os.environ) -> str:
    """A model's address: the job's word, else that of the provider's environment variable, else the provider's own."""
    provider = provider_of(model)
    told = environment.get(provider.base_url_env) if provider.base_url_env else None
    return model.base_url or told or provider.base_url


def endpoint_of(
    model: Model, model_base_url: str | None = None, environment: Mapping[str, str] = os.environ
) -> Endpoint:
    """Where a job's requests go.

    A job of the practice provider goes to the command line's address or to a provider of its own, and nowhere else.

    Raises:
        JobRefused: it stays open whether a practice provider answers there.
    """
    if provider_of(model).is_practice:
        return endpoint_at(model, model_base_url, practice=True)
    base_url = model_base_url or address_of(model, environment)
    return endpoint_at(model, base_url, practice=is_loopback(base_url) and is_practice(base_url))


def endpoint_at(model: Model, base_url: str | None, *, practice: bool) -> Endpoint:
    """A job's endpoint at an address. Labelmill's own practice provider gets none of the job's headers: it has no use for them."""
    headers = () if provider_of(model).is_practice else tuple(model.headers.items())
    return Endpoint(base_url, api_key_env_of(model), practice, headers)


def client_of(job: LabelJob, endpoint: Endpoint) -> BatchClient:
    """Who speaks to the Batch API for a job, at an endpoint that is reachable.

    Raises:
        JobRefused: the provider's can't be spoken to from here.
    """
    return provider_of(job.model).batch_client(job, endpoint)


def price_of(
    model: Model, own: OwnPrice | None = None, base_url: str | None = None, lane: Lane = "live"
) -> Price | None:
    """The price a job's tokens are counted at on a lane, its own before the one that is listed; None where it is unknown."""
    return find_price(model.name, provider_of(model).price_id, own, base_url, lane)


def first_dialect_of(job: LabelJob, endpoint: Endpoint) -> Dialect:
    """How an endpoint is asked first: as its provider says, and where that leaves its bindings open, by what its models tell."""
    provider = provider_of(job.model)
    if not provider.has_schemas:
        return replace(provider.dialect, bindings=())
    if job.model.output != "choice" or provider.dialect.bindings != tuple(Binding):
        return provider.dialect
    own = bindings_told_by(provider, endpoint, job.model.timeout_seconds)
    if not own:
        return provider.dialect
    rest = (binding for binding in provider.dialect.bindings if binding not in own)
    return replace(provider.dialect, bindings=(*own, *rest))
