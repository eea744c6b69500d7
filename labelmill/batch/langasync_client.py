"""The Batch API through langasync's adapter for OpenAI. It needs the extra `langasync`.

Its limits are langasync's: a whole file of requests or of answers is held in memory, and nothing is tried twice.
"""

import json
from collections.abc import Collection, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
from langasync.providers.interface import Provider, ProviderJob
from langchain_core.messages import convert_to_messages

from labelmill.batch.client import BatchAnswer, BatchState, BatchUnreachable, FoundBatch
from labelmill.batch.langasync_adapter import RESULT, WholeAdapter
from labelmill.batch.langasync_call import run
from labelmill.batch.output import CompletionReader, answers_in
from labelmill.batch.wire import found_in, id_of, is_past, state_of
from labelmill.model.endpoint import Endpoint

T = TypeVar("T")


@dataclass(frozen=True)
class LangasyncBatchClient:
    """A `BatchClient` over langasync, with an event loop and connections of its own for each call.

    A request's id is its place in the file, as langasync numbers them.
    """

    endpoint: Endpoint
    reader: CompletionReader
    timeout_seconds: float

    def send(self, requests: Path, metadata: Mapping[str, str]) -> str:
        """Upload a file of requests and make a batch of it; returns the batch's id."""
        with requests.open("rb") as lines:
            bodies = [json.loads(line)["body"] for line in lines]
        return self._run(self._send(bodies, metadata))

    def find(
        self,
        metadata: Mapping[str, str],
        since: datetime,
        known: Collection[str] = (),  # noqa: ARG002  (metadata shows at once)
    ) -> FoundBatch | None:
        """The batch that carries this metadata (all of it), among those made since a moment (UTC)."""
        return self._run(self._find(metadata, since))

    def state(self, batch_id: str) -> BatchState:
        """Where a batch stands."""
        return self._run(self._state(batch_id))

    def answers(self, batch_id: str, row_keys: Sequence[str]) -> Iterator[BatchAnswer]:
        """What came of the rows of a batch that is final, once all of it is here."""
        results = self._run(self._results(batch_id))
        row_key_of = {str(place): row_key for place, row_key in enumerate(row_keys)}
        yield from answers_in(results, row_key_of, self.reader.message_of, self.endpoint.hide_key)

    def cancel(self, batch_id: str) -> None:
        """Ask the provider to stop a batch; returns at once. One that is final already is left as it is."""
        self._run(self._cancel(batch_id))

    async def _send(self, bodies: Sequence[Mapping[str, Any]], metadata: Mapping[str, str]) -> str:
        inputs = [convert_to_messages(body["messages"]) for body in bodies]
        shared = _said_by_all(bodies)
        differing = bodies if any(len(body) != len(shared) + 1 for body in bodies) else ()
        async with WholeAdapter(self.endpoint, self.timeout_seconds, metadata, differing) as adapter:
            job = await adapter.create_batch(inputs, self.reader, shared)
            return id_of({"id": job.id})

    async def _find(self, metadata: Mapping[str, str], since: datetime) -> FoundBatch | None:
        after = None
        async with self._adapter() as adapter:
            while True:
                page, has_more = await adapter.page(after)
                if not page:
                    return None
                found = found_in(page, metadata, since)
                if found or not has_more or is_past(page, since) or page[-1].get("id") == after:
                    return found
                after = id_of(page[-1])

    async def _state(self, batch_id: str) -> BatchState:
        async with self._adapter() as adapter:
            return state_of(await adapter.batch(batch_id))

    async def _results(self, batch_id: str) -> list[Mapping[str, Any]]:
        async with self._adapter() as adapter:
            status = state_of(await adapter.batch(batch_id)).status
            if not status.is_final:
                raise BatchUnreachable(f"the batch {batch_id} is {status}: its answers are not complete yet")
            items = await adapter.get_results(ProviderJob(batch_id, Provider.OPENAI, datetime.now(UTC)))
            return [item.metadata[RESULT] for item in items]

    async def _cancel(self, batch_id: str) -> None:
        async with self._adapter() as adapter:
            if state_of(await adapter.batch(batch_id)).status.is_final:
                return
            try:
                await adapter.ask_to_cancel(batch_id)
            except httpx.HTTPStatusError:  # it has become final in between
                if not state_of(await adapter.batch(batch_id)).status.is_final:
                    raise

    def _adapter(self) -> WholeAdapter:
        return WholeAdapter(self.endpoint, self.timeout_seconds)

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        return run(call, self.endpoint)


def _said_by_all(bodies: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What every request says in the same words."""
    first = bodies[0] if bodies else {}
    return {
        name: value
        for name, value in first.items()
        if name != "messages" and all(name in body and body[name] == value for body in bodies)
    }
