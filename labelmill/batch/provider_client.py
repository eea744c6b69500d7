"""What the clients of providers have in common that langasync speaks to.

Their limits are langasync's: all requests or answers of a batch are held in memory, and nothing is tried twice.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import httpx
from langchain_core.messages import BaseMessage, convert_to_messages

from labelmill.batch.client import BatchRefused, BatchState, BatchUnreachable
from labelmill.batch.langasync_call import run
from labelmill.batch.wire import Batch
from labelmill.providers.endpoint import Endpoint

T = TypeVar("T")

_SAME_NAME = ("model", "temperature")
_MOST_TOKENS = ("max_completion_tokens", "max_tokens")


class BatchAdapter(Protocol):
    """An adapter of langasync for one call, in an `async with`."""

    async def __aenter__(self) -> Self:
        """Open its connections."""

    async def __aexit__(self, *_: object) -> None:
        """Close them."""

    async def batch(self, batch_id: str) -> Batch:
        """A batch as the provider tells of it."""

    async def results(self, batch_id: str) -> list[dict[str, Any]]:
        """What came of the requests of a batch that has ended."""

    async def ask_to_cancel(self, batch_id: str) -> None:
        """Ask for the end of a batch."""

    async def delete(self, batch_id: str) -> None:
        """Have what is kept of a batch that has ended deleted."""


@dataclass(frozen=True)
class ProviderBatchClient(ABC):
    """The part of a `BatchClient` that is alike for every provider."""

    endpoint: Endpoint
    timeout_seconds: float

    @abstractmethod
    def _adapter(self) -> BatchAdapter:
        """The provider's adapter for one call."""

    @abstractmethod
    def _state_of(self, batch: Batch) -> BatchState:
        """Where a batch stands, by what the provider tells of it."""

    def state(self, batch_id: str) -> BatchState:
        """Where a batch stands."""
        return self._run(self._state(batch_id))

    def cancel(self, batch_id: str) -> None:
        """Ask the provider to stop a batch; returns at once. One that has ended is left as it is."""
        self._run(self._cancel(batch_id))

    def delete(self, batch_id: str | None, file_id: str | None) -> None:  # noqa: ARG002  (nothing is uploaded apart)
        """Delete a batch that is settled, and with it all that the provider keeps of it."""
        if batch_id is not None:
            self._run(self._delete(batch_id))

    async def _state(self, batch_id: str) -> BatchState:
        async with self._adapter() as adapter:
            return self._state_of(await adapter.batch(batch_id))

    async def _results(self, batch_id: str) -> list[dict[str, Any]]:
        async with self._adapter() as adapter:
            status = self._state_of(await adapter.batch(batch_id)).status
            if not status.is_final:
                raise BatchUnreachable(f"the batch {batch_id} is {status}: its answers are not complete yet")
            return await adapter.results(batch_id)

    async def _cancel(self, batch_id: str) -> None:
        async with self._adapter() as adapter:
            if self._state_of(await adapter.batch(batch_id)).status.is_final:
                return
            try:
                await adapter.ask_to_cancel(batch_id)
            except httpx.HTTPStatusError:  # it has ended in between
                if not self._state_of(await adapter.batch(batch_id)).status.is_final:
                    raise

    async def _delete(self, batch_id: str) -> None:
        async with self._adapter() as adapter:
            await adapter.delete(batch_id)

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        return run(call, self.endpoint)


def bodies_in(requests: Path) -> list[dict[str, Any]]:
    """The bodies in a file of requests."""
    with requests.open("rb") as lines:
        return [json.loads(line)["body"] for line in lines]


def messages_of(bodies: Sequence[Mapping[str, Any]]) -> list[list[BaseMessage]]:
    """The messages of each request, as langasync takes them."""
    return [convert_to_messages(body["messages"]) for body in bodies]


def params_of(body: Mapping[str, Any], provider: str, max_tokens_name: str = "max_tokens") -> dict[str, Any]:
    """What a request says but for its messages: model, temperature, and the longest answer by the provider's name for it.

    Raises:
        BatchRefused: it says what the provider has no name for; nothing was sent.
    """
    unknown = sorted(body.keys() - {"messages", *_SAME_NAME, *_MOST_TOKENS})
    if unknown:
        raise BatchRefused(f"{provider}'s batches have no {' and no '.join(unknown)}")
    params = {name: body[name] for name in _SAME_NAME if name in body}
    most_tokens = next((body[name] for name in _MOST_TOKENS if name in body), None)
    return params if most_tokens is None else {**params, max_tokens_name: most_tokens}


def tag_of(metadata: Mapping[str, str]) -> str:
    """What tells whose a batch is, at a provider whose batches carry no metadata."""
    written = "\n".join(f"{len(name)} {name} {metadata[name]}" for name in sorted(metadata))
    return sha256(written.encode()).hexdigest()[:24]
