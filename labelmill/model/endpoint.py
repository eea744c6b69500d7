"""The endpoint: where a job's requests go and which key they carry."""

import http.client
import ipaddress
import json
import os
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from labelmill.job.model import Model
from labelmill.job.provider import OPENAI, api_key_env_of, provider_of
from labelmill.practice.launch import start_practice
from labelmill.practice.settings import PracticeSettings

OPENAI_BASE_URL = OPENAI.base_url
NO_KEY = "no-key-needed"
"""What is sent to endpoints that need no key, since the client insists on one."""

_PROBE_SECONDS = 2.0


@dataclass(frozen=True)
class Endpoint:
    """A provider's endpoint. The key itself is looked up when a request is made, and kept nowhere.

    `base_url` is None for a practice provider that is yet to be started.
    """

    base_url: str | None
    api_key_env: str
    practice: bool

    @property
    def needs_key(self) -> bool:
        """Whether requests must carry a key: true for everything but practice and this machine's own addresses."""
        return not self.practice and not is_loopback(self.base_url or OPENAI_BASE_URL)

    def hide_key(self, words: str) -> str:
        """The same words without the key, should a provider have repeated it in its answer."""
        key = self.api_key()
        return words if key == NO_KEY else words.replace(key, "[key]")

    def api_key(self, environment: Mapping[str, str] = os.environ) -> str:
        """The key to send, without the line break that a file or a shell may have left at its end."""
        return environment.get(self.api_key_env, "").strip() or NO_KEY


def endpoint_of(
    model: Model, model_base_url: str | None = None, environment: Mapping[str, str] = os.environ
) -> Endpoint:
    """Where a job's requests go.

    A job of the practice provider goes to the command line's address or to a provider of its own, and nowhere else.
    """
    if model.provider == "practice":
        return Endpoint(model_base_url, api_key_env_of(model), practice=True)
    base_url = model_base_url or address_of(model, environment)
    return Endpoint(base_url, api_key_env_of(model), practice=is_loopback(base_url) and is_practice(base_url))


def address_of(model: Model, environment: Mapping[str, str] = os.environ) -> str:
    """A model's address: the job's word, else that of the provider's environment variable, else the provider's own."""
    provider = provider_of(model)
    told = environment.get(provider.base_url_env) if provider.base_url_env else None
    return model.base_url or told or provider.base_url


@contextmanager
def reachable(
    endpoint: Endpoint, practice: PracticeSettings, batches: Path | None = None
) -> Iterator[Endpoint]:
    """Yield an endpoint that has an address, starting a practice provider for as long as it is needed.

    It keeps the batches it is sent in a folder, where one is given: the next one finds them there.
    """
    if endpoint.base_url is not None:
        yield endpoint
        return
    with start_practice(practice, folder=batches) as server:
        yield Endpoint(server.base_url, endpoint.api_key_env, practice=True)


def is_loopback(base_url: str) -> bool:
    """Whether an address is this machine's own."""
    try:
        host = urlsplit(base_url).hostname or ""
    except ValueError:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_practice(base_url: str) -> bool:
    """Whether a practice provider answers at an address, so that its answers are never taken for a model's."""
    parts = urlsplit(base_url)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{parts.scheme}://{parts.netloc}/practice", timeout=_PROBE_SECONDS) as response:
            return json.load(response).get("practice") is True
    except (OSError, http.client.HTTPException, ValueError, AttributeError):
        return False
