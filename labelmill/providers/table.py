"""The providers that a job may name.

Those that speak OpenAI's dialect are entries of `endpoints.toml`; each other is one file beside this one and a line in
`PROVIDERS`.
"""

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
from labelmill.providers.endpoints import ENDPOINTS
from labelmill.providers.gemini import GEMINI
from labelmill.providers.langchain_class import LANGCHAIN
from labelmill.providers.openai import OpenAI
from labelmill.providers.protocol import BatchClient, Provider
from labelmill.providers.servers import bindings_told_by
from labelmill.question.binding import Binding

PRACTICE = replace(ENDPOINTS["openai"], name="practice", is_practice=True)
"""The practice provider, which stands in for OpenAI."""

PROVIDERS: dict[str, Provider] = {
    provider.name: provider for provider in (*ENDPOINTS.values(), ANTHROPIC, GEMINI, LANGCHAIN, PRACTICE)
}
offer_providers(PROVIDERS)


def provider_of(model: Model) -> Provider:
    """The provider that a job names.

    Raises:
        JobRefused: there is none of that name.
    """
    if model.provider not in PROVIDERS:
        *others, last = map(repr, PROVIDERS)
        close = _meant_by(model.provider)
        hint = f"; did you mean {close!r}?" if close else ""
        sentence = f"found {model.provider!r}, expected {', '.join(others)} or {last}{hint}"
        raise JobRefused([Mistake("model.provider", sentence)])
    return PROVIDERS[model.provider]


def _meant_by(name: str) -> str | None:
    """The provider that somebody means who calls it otherwise; None where it can't be told."""
    names = {other: provider.name for provider in PROVIDERS.values() for other in provider.also_called}
    names |= {name: name for name in PROVIDERS}
    close = nearest(name, list(names))
    return names[close] if close else None


def api_key_env_of(model: Model) -> str:
    """The environment variable that holds the key: the job's word, else the provider's usual one."""
    return model.api_key_env or provider_of(model).api_key_env


def address_of(model: Model, environment: Mapping[str, str] = os.environ) -> str:
    """A model's address: the job's word, else that of the provider's environment variable, else the provider's own.

    It is empty where only the model itself knows it.
    """
    provider = provider_of(model)
    told = environment.get(provider.base_url_env) if provider.base_url_env else None
    return provider.address(model.base_url or told or provider.base_url, model)


def endpoint_of(
    model: Model, model_base_url: str | None = None, environment: Mapping[str, str] = os.environ
) -> Endpoint:
    """Where a job's requests go.

    A job of the practice provider goes to the command line's address or to a provider of its own, and nowhere else.

    Raises:
        JobRefused: it stays open whether a practice provider answers there.
    """
    provider = provider_of(model)
    if provider.is_practice:
        return endpoint_at(model, model_base_url, practice=True)
    base_url = provider.address(model_base_url, model) if model_base_url else address_of(model, environment)
    return endpoint_at(model, base_url, practice=is_loopback(base_url) and is_practice(base_url))


def endpoint_at(model: Model, base_url: str | None, *, practice: bool) -> Endpoint:
    """A job's endpoint at an address. Labelmill's own practice provider gets none of the job's headers: it has no use for them."""
    provider = provider_of(model)
    headers = () if provider.is_practice else tuple(model.headers.items())
    return Endpoint(base_url, api_key_env_of(model), practice, provider.needs_key, headers)


def are_one_endpoint(one: Model, other: Model) -> bool:
    """Whether two models are asked alike at one address, whichever name their provider goes by."""
    if not {one.provider, other.provider} <= PROVIDERS.keys():
        return False
    providers = provider_of(one), provider_of(other)
    if not all(isinstance(provider, OpenAI) and not provider.is_practice for provider in providers):
        return False
    addresses = {address_of(model).rstrip("/") for model in (one, other)}
    return len(addresses) == 1 and addresses != {""}


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
    provider = provider_of(model)
    return find_price(model.name, provider.price_id_of(model), own, base_url, lane, provider.batch_fraction)


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
