"""Azure OpenAI: OpenAI's dialect at a resource of one's own, where a model is named by its deployment.

It has two addresses. The newer one is OpenAI's but for its beginning, `https://NAME.openai.azure.com/openai/v1`; the older one
has the deployment in the path of a request and the API's version in its query,
`https://NAME.openai.azure.com/openai/deployments/DEPLOYMENT/chat/completions?api-version=2024-10-21`. A job with an
`api_version` is asked at the older one.

Sources: <https://learn.microsoft.com/azure/foundry/openai/api-version-lifecycle>,
<https://learn.microsoft.com/azure/foundry/openai/how-to/batch>.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

from labelmill.job.model import LabelJob, Model
from labelmill.providers.openai import OpenAI, client_to
from labelmill.providers.protocol import NO_HEADERS
from labelmill.providers.request_fields import sent_headers

if TYPE_CHECKING:
    import httpx2
    import openai

_VERSION = "api-version"
_API = re.compile(r"/openai(?:/|$)")


@dataclass(frozen=True)
class AzureAddress:
    """A resource's address: its root, which may have a path, and the API's version at the older one; None at the newer."""

    root: str
    api_version: str | None

    def __str__(self) -> str:
        """As it goes through a run: all that is to be known of it in one."""
        if self.api_version is None:
            return f"{self.root}/openai/v1"
        return f"{self.root}/openai?{_VERSION}={quote(self.api_version, safe='')}"


def address_in(base_url: str, api_version: str | None = None) -> AzureAddress:
    """The address that people copy from somewhere: with or without `/openai/v1`, a deployment's path, or a version.

    `api_version` is the job's own word, and comes first.
    """
    parts = urlsplit(base_url)
    told = parse_qs(parts.query).get(_VERSION, [None])[-1]
    path = parts.path.rstrip("/")
    # A gateway may have a path of its own before Azure's.
    before, *after = _API.split(path, maxsplit=1)
    is_newer = bool(after) and after[0].partition("/")[0] == "v1"
    version = api_version or (None if is_newer else told)
    return AzureAddress(f"{parts.scheme}://{parts.netloc}{before.rstrip('/')}", version)


@dataclass(frozen=True)
class Azure(OpenAI):
    """OpenAI's client and LangChain's model, with the key in a header of Azure's own."""

    has_deployments: bool = True

    def address(self, base_url: str, model: Model) -> str:
        """With all that stands in it: the newer one, or the older one with its version."""
        try:
            return str(address_in(base_url, model.api_version)) if "://" in base_url else base_url
        except ValueError:  # whoever checks addresses says so
            return base_url

    def headers(self, api_key: str) -> dict[str, str]:
        """The key in Azure's own header."""
        return {"api-key": api_key}

    def url_of(self, base_url: str, path: str) -> str:
        """At either address; the older one has the API's version in its query."""
        address = address_in(base_url)
        if address.api_version is None:
            return f"{address}{path}"
        return f"{address.root}/openai{path}?{_VERSION}={quote(address.api_version, safe='')}"

    def connect(  # noqa: PLR0913, PLR0917  (as a client takes it)
        self,
        base_url: str,
        api_key: str,
        timeout_seconds: float,
        max_retries: int = 0,
        http_client: "httpx2.Client | None" = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> "openai.OpenAI":
        """OpenAI's client for Azure at the older address; at the newer one, its usual client with Azure's header."""
        import openai  # noqa: PLC0415

        address, http_client = address_in(base_url), http_client or openai.DefaultHttpxClient()
        http_client.event_hooks = {"request": [_carry_key_as_azure]}
        # Its header, other than the usual one, would follow a redirect to another host.
        http_client.follow_redirects = False
        if address.api_version is not None:
            return openai.AzureOpenAI(
                base_url=f"{address.root}/openai",
                api_version=address.api_version,
                api_key=api_key,
                timeout=timeout_seconds,
                max_retries=max_retries,
                http_client=http_client,
                default_headers=headers or None,
            )
        return super().connect(str(address), api_key, timeout_seconds, max_retries, http_client, headers)

    def chat_client(self, job: LabelJob, base_url: str, api_key: str) -> dict[str, Any]:
        """Azure's client in place of LangChain's own; nothing is asked asynchronously."""
        connections = client_to(base_url)
        headers = sent_headers(job.model.headers)
        client = self.connect(
            base_url, api_key, job.model.timeout_seconds, http_client=connections, headers=headers
        )
        completions = client.chat.completions
        return {"client": completions, "async_client": completions}


def _carry_key_as_azure(request: "httpx2.Request") -> None:
    """Move the key into Azure's own header, as its resources want it at either address."""
    bearer = request.headers.pop("authorization", None)
    if bearer is not None:
        request.headers["api-key"] = bearer.removeprefix("Bearer ")
