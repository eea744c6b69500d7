"""What langasync's adapters for other providers have in common here: one call each, over connections of its own."""

from collections.abc import Mapping
from typing import Any, Self

import httpx

from labelmill.batch.wire import Batch

TRANSFER_SECONDS = 600.0
"""For requests and results: a wait for the next piece, not for the whole."""


class ProviderCall:
    """Beside an adapter of langasync, for use in an `async with`: its connections break in another event loop."""

    base_url: str
    timeout_seconds: float
    _client: httpx.AsyncClient

    async def __aenter__(self) -> Self:
        """Open its connections."""
        opened = self._open(self._client.headers)
        await self._client.aclose()
        self._client = opened
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close them."""
        await self._client.aclose()

    def _open(self, headers: httpx.Headers) -> httpx.AsyncClient:
        """Connections that send what langasync would not."""
        raise NotImplementedError

    async def _object(
        self, path: str, query: Mapping[str, Any] | None = None, timeout_seconds: float | None = None
    ) -> Batch:
        """What the provider answers to a question."""
        timeout = timeout_seconds or self.timeout_seconds
        response = await self._client.get(self.base_url + path, params=query, timeout=timeout)
        answer = response.raise_for_status().json()
        if not isinstance(answer, dict):
            raise ValueError("the answer is no JSON object")  # noqa: TRY004  (not our caller's mistake)
        return answer

    async def _post(self, path: str) -> None:
        """Ask for something to be done. langasync's own `cancel` waits for it, and takes no refusal in."""
        (await self._client.post(self.base_url + path)).raise_for_status()

    async def _delete(self, path: str) -> None:
        """Have something deleted; what is gone already is left so."""
        response = await self._client.delete(self.base_url + path, timeout=self.timeout_seconds)
        if response.status_code != httpx.codes.NOT_FOUND:
            response.raise_for_status()
