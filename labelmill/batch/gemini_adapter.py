"""langasync's adapter for Gemini's batches, kept from losing what it reads and from changing what is sent."""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx
from langasync.providers.gemini import GeminiProviderJobAdapter
from langasync.settings import LangasyncSettings

from labelmill.batch.gemini_wire import facts_of
from labelmill.batch.provider_call import TRANSFER_SECONDS, ProviderCall
from labelmill.batch.wire import PAGE_LIMIT, Batch, list_in, mapping_in, name_in
from labelmill.providers.endpoint import Endpoint
from labelmill.providers.table import GOOGLE


class WholeGeminiAdapter(ProviderCall, GeminiProviderJobAdapter):
    """The adapter for one call, in an `async with`: its connections break in another event loop."""

    def __init__(
        self,
        endpoint: Endpoint,
        timeout_seconds: float,
        tag: str = "",
        settings: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        # All of it given, under the names that precede: langasync reads the environment and any .env by itself.
        super().__init__(
            LangasyncSettings(
                _env_file=None,
                GOOGLE_API_KEY=endpoint.api_key(),
                GOOGLE_BASE_URL=(endpoint.base_url or GOOGLE.base_url).rstrip("/"),
            )
        )
        self.timeout_seconds = timeout_seconds
        self._tag = tag
        self._settings = settings

    def _open(self, headers: httpx.Headers) -> httpx.AsyncClient:
        return _Client(headers, self._tag, self._settings)

    async def batch(self, batch_id: str) -> Batch:
        """A batch as the provider tells of it; what came of it stands in it, and takes as long."""
        return await self._object(f"/{batch_id}", timeout_seconds=TRANSFER_SECONDS)

    async def page(self, token: str | None) -> tuple[Sequence[Batch], str | None]:
        """One page of the list of batches, and what leads to the next."""
        answer = await self._object(
            "/batches", {"pageSize": PAGE_LIMIT, **({"pageToken": token} if token else {})}
        )
        batches = [batch for batch in list_in(answer.get("operations")) if isinstance(batch, Mapping)]
        return batches, name_in(answer.get("nextPageToken"))

    async def results(self, batch_id: str) -> list[dict[str, Any]]:
        """The responses of a batch that has ended, whole: langasync drops why an answer ended, and what thoughts cost."""
        batch = await self.batch(batch_id)
        told = batch.get("response") or facts_of(batch).get("output")
        inlined = list_in(mapping_in(mapping_in(told).get("inlinedResponses")).get("inlinedResponses"))
        return [result for result in inlined if isinstance(result, dict)]

    async def ask_to_cancel(self, batch_id: str) -> None:
        """Ask for the end of a batch."""
        await self._post(f"/{batch_id}:cancel")

    async def delete(self, batch_id: str) -> None:
        """Delete a batch that has ended, with its requests and responses, which stand in it."""
        await self._delete(f"/{batch_id}")

    def _get_model_config(self, _: Any, model_bindings: dict[str, Any] | None = None) -> dict[str, Any]:
        """Nothing of the model's own: each request brings what it says."""
        return dict(model_bindings or {})


class _Client(httpx.AsyncClient):
    """Connections that give each request of a batch its own settings, and the batch a name that tells whose it is."""

    def __init__(self, headers: httpx.Headers, tag: str, settings: Sequence[Mapping[str, Any]]) -> None:
        # No redirect is followed: the key would go along to another host.
        super().__init__(headers=headers, timeout=TRANSFER_SECONDS)
        self._tag = tag
        self._own = settings

    async def post(self, url: Any, **options: Any) -> httpx.Response:
        if "json" in options:
            sent = options["json"]["batch"]["input_config"]["requests"]["requests"]
            requests = [
                {**each, "request": {**each["request"], "generation_config": own}}
                for each, own in zip(sent, self._own, strict=True)
            ]
            batch = {"display_name": self._tag, "input_config": {"requests": {"requests": requests}}}
            options["json"] = {"batch": batch}
        return await super().post(url, **options)
