"""langasync's adapter for Anthropic's Message Batches, kept from losing what it reads and from changing what is sent."""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx
from langasync.providers.anthropic import AnthropicProviderJobAdapter
from langasync.settings import LangasyncSettings

from labelmill.batch.output import results_in
from labelmill.batch.provider_call import TRANSFER_SECONDS, ProviderCall
from labelmill.batch.wire import PAGE_LIMIT, Batch, page_in
from labelmill.providers.endpoint import Endpoint
from labelmill.providers.table import ANTHROPIC

_BATCHES = "/v1/messages/batches"


class WholeAnthropicAdapter(ProviderCall, AnthropicProviderJobAdapter):
    """The adapter for one call, in an `async with`: its connections break in another event loop."""

    def __init__(
        self,
        endpoint: Endpoint,
        timeout_seconds: float,
        tag: str = "",
        params: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        # All of it given, under the names that precede: langasync reads the environment and any .env by itself.
        super().__init__(
            LangasyncSettings(
                _env_file=None,
                ANTHROPIC_API_KEY=endpoint.api_key(),
                # Whether or not the version stands in it: langasync adds it.
                ANTHROPIC_BASE_URL=(endpoint.base_url or ANTHROPIC.base_url).rstrip("/").removesuffix("/v1"),
            )
        )
        self.timeout_seconds = timeout_seconds
        self._tag = tag
        self._params = params

    def _open(self, headers: httpx.Headers) -> httpx.AsyncClient:
        return _Client(headers, self._tag, self._params)

    async def batch(self, batch_id: str) -> Batch:
        """A batch as the provider tells of it."""
        return await self._object(f"{_BATCHES}/{batch_id}")

    async def page(self, after: str | None) -> tuple[Sequence[Batch], bool]:
        """One page of the list of batches, newest first, and whether there are more."""
        asked = {"limit": PAGE_LIMIT, **({"after_id": after} if after else {})}
        answer = await self._object(_BATCHES, asked)
        return page_in(answer), bool(answer.get("has_more"))

    async def results(self, batch_id: str) -> list[dict[str, Any]]:
        """The lines of a batch that has ended, whole, from the job's endpoint.

        langasync would follow the `results_url` with the key, wherever it leads, and drops why an answer ended.
        """
        response = await self._client.get(f"{self.base_url}{_BATCHES}/{batch_id}/results")
        return list(results_in(response.raise_for_status().content.split(b"\n")))

    async def first_id(self, batch_id: str) -> str:
        """The `custom_id` of the first result of a batch that has ended; empty where it has none."""
        url = f"{self.base_url}{_BATCHES}/{batch_id}/results"
        async with self._client.stream("GET", url) as response:
            response.raise_for_status()
            begun = b""
            async for piece in response.aiter_bytes():
                begun += piece
                if b"\n" in piece:
                    break
        return next((str(result.get("custom_id")) for result in results_in(begun.split(b"\n")[:1])), "")

    async def ask_to_cancel(self, batch_id: str) -> None:
        """Ask for the end of a batch."""
        await self._post(f"{_BATCHES}/{batch_id}/cancel")

    async def delete(self, batch_id: str) -> None:
        """Delete a batch that has ended, with its requests and results."""
        await self._delete(f"{_BATCHES}/{batch_id}")

    def _get_model_config(self, _: Any, model_bindings: dict[str, Any] | None = None) -> dict[str, Any]:
        """Nothing of the model's own: each request brings what it says."""
        return dict(model_bindings or {})


class _Client(httpx.AsyncClient):
    """Connections that give each request of a batch its own parameters, and an id that tells whose batch it is."""

    def __init__(self, headers: httpx.Headers, tag: str, params: Sequence[Mapping[str, Any]]) -> None:
        # No redirect is followed: the key would go along to another host.
        super().__init__(headers=headers, timeout=TRANSFER_SECONDS)
        self._tag = tag
        self._own = params

    async def post(self, url: Any, **options: Any) -> httpx.Response:
        if "json" in options:
            requests = zip(options["json"]["requests"], self._own, strict=True)
            options["json"] = {
                "requests": [
                    {"custom_id": f"{self._tag}-{place}", "params": {**request["params"], **own}}
                    for place, (request, own) in enumerate(requests)
                ]
            }
        return await super().post(url, **options)
