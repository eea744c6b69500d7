"""What keeps a job's provider from answering, found before anything is spent: what it can't do, and one free request."""

import json
import math
import os
import time
from collections.abc import Mapping

from labelmill.errors import JobRefused, Mistake
from labelmill.job.model import LabelJob, Model
from labelmill.providers.endpoint import Endpoint
from labelmill.providers.environment import environment_mistakes
from labelmill.providers.failures import connection_mistake, in_one_line, is_beyond_doubt, proxy_mistake
from labelmill.providers.protocol import ListedModels
from labelmill.providers.table import endpoint_of, provider_of

CHECK_SECONDS = 10.0
_RETRY_SECONDS = 0.5
_ANSWERING_SECONDS = 60.0
_WRONG_KEY_WORDS = ("incorrect api key", "invalid_api_key", "api_key_invalid", "api key not valid")
"""How a wrong key is told with another status than 401, in small letters.

- xAI, 400: "Incorrect API key provided" (continuedev/continue#10778)
- Google, 400: "API key not valid. Please pass a valid API key.", reason API_KEY_INVALID
  (https://ai.google.dev/gemini-api/docs/troubleshooting)
"""
_RIGHT_KEY_WORDS = ("missing scope", "insufficient permission", "not allowed to call this route")
"""How a key is told, with 401 or 403, that may ask a model and not read their list, in small letters.

- OpenAI, restricted keys: "You have insufficient permissions for this operation. Missing scopes: api.model.read."
  (with 401 in continuedev/continue#10059)
- LiteLLM, virtual keys: "Virtual key is not allowed to call this route." (litellm/proxy/auth/route_checks.py)
"""
_WRONG_KEY_STATUSES = frozenset({400, 403})
_UNAUTHORIZED = 401
_PROXY_WANTS_KEY = 407


def refuse_without_live_lane(job: LabelJob) -> None:
    """Refuse what asks live, whatever the job's lane is, where there is no live lane.

    Raises:
        JobRefused: there is none.
    """
    if not provider_of(job.model).has_live_lane:
        sentence = f"strategies are compared on the live lane, which {job.model.provider!r} doesn't have here"
        raise JobRefused([Mistake("model.provider", sentence)])


def answering_endpoint(job: LabelJob, model_base_url: str | None = None) -> Endpoint:
    """A job's endpoint, where nothing is found that would keep every request from being answered.

    Whoever asks again within a minute, as the command line and its flow do, gets the same without another request.

    Raises:
        JobRefused: with what was found, before anything costs.
    """
    endpoint = endpoint_of(job.model, model_base_url)
    asked = (endpoint, endpoint.practice or hash((endpoint.api_key(), *endpoint.own_headers().values())))
    if time.monotonic() - _answering.get(asked, -math.inf) > _ANSWERING_SECONDS:
        if mistakes := endpoint_mistakes(endpoint, job.model):
            raise JobRefused(mistakes)
        _answering[asked] = time.monotonic()
    return endpoint


_answering: dict[tuple[Endpoint, int], float] = {}
"""When endpoints were last found to answer, in monotonic seconds, each with the hash of its key and its headers."""


def endpoint_mistakes(
    endpoint: Endpoint, model: Model, environment: Mapping[str, str] = os.environ
) -> list[Mistake]:
    """What would keep every request from being answered, found before the first one that costs anything."""
    return environment_mistakes(environment, endpoint.base_url) or key_mistakes(
        endpoint, model, environment=environment
    )


def key_mistakes(
    endpoint: Endpoint,
    model: Model,
    timeout_seconds: float = CHECK_SECONDS,
    environment: Mapping[str, str] = os.environ,
) -> list[Mistake]:
    """Ask an endpoint for its models, for nothing, to find a wrong address or a wrong key.

    A practice provider is not asked. What leaves open whether a request would be answered is no mistake: no list of
    models (404), no right to it (403), a server with an error (5xx), a time-out.
    """
    if endpoint.practice or endpoint.base_url is None:
        return []
    try:
        listed = _listed(endpoint, endpoint.base_url, model, timeout_seconds, environment)
    except Exception as error:  # noqa: BLE001  (whatever a client raises: a check must not end a run that would go well)
        mistake = connection_mistake(endpoint.base_url, error, environment)
        return [mistake] if mistake else []
    if listed.status == _PROXY_WANTS_KEY:
        return [proxy_mistake(endpoint.base_url, environment)]
    if not _is_wrong_key(listed):
        return []
    said = in_one_line(_message_in(endpoint.hide_key(listed.body)))
    given = "did not accept the key" if environment.get(endpoint.api_key_env, "").strip() else "wants a key"
    sentence = f"{endpoint.base_url} {given} ({listed.status}){f': {said}' if said else ''}"
    return [Mistake(endpoint.api_key_env, sentence)]


def _is_wrong_key(reply: ListedModels) -> bool:
    said = reply.body.casefold()
    if any(words in said for words in _RIGHT_KEY_WORDS) or "<html" in said or "<!doctype" in said:
        return False
    told = any(words in said for words in _WRONG_KEY_WORDS)
    return reply.status == _UNAUTHORIZED or (reply.status in _WRONG_KEY_STATUSES and told)


def _message_in(body: str) -> str:
    """An error's words: its innermost `message` or the like, else all of it."""
    try:
        told: object = json.loads(body)
    except (ValueError, RecursionError):
        return body
    while isinstance(told, Mapping | list) and told:
        if isinstance(told, list):
            told = told[0]
        else:
            told = next((told[name] for name in ("error", "message", "detail") if told.get(name)), None)
    return told if isinstance(told, str) else body


def _listed(
    endpoint: Endpoint, base_url: str, model: Model, timeout_seconds: float, environment: Mapping[str, str]
) -> ListedModels:
    provider, key = provider_of(model), endpoint.api_key(environment)
    headers = endpoint.own_headers(environment)
    try:
        return provider.list_models(base_url, key, timeout_seconds, environment, headers)
    except Exception as error:
        if not is_beyond_doubt(error):
            raise
    time.sleep(_RETRY_SECONDS)
    return provider.list_models(base_url, key, timeout_seconds, environment, headers)
