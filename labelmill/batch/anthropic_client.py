"""Anthropic's Message Batches through langasync's adapter. It needs the extra `langasync`.

Its limits are langasync's: all requests or answers of a batch are held in memory, and nothing is tried twice.
"""

import json
from collections.abc import AsyncIterator, Collection, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx
from langchain_core.messages import convert_to_messages

from labelmill.batch.anthropic_adapter import WholeAnthropicAdapter
from labelmill.batch.anthropic_wire import MessageReader, as_openai, made_at, params_of, state_of, tag_of
from labelmill.batch.client import BatchAnswer, BatchState, BatchUnreachable, FoundBatch
from labelmill.batch.langasync_call import run
from labelmill.batch.output import answers_in
from labelmill.batch.wire import Batch, id_of
from labelmill.model.endpoint import Endpoint

T = TypeVar("T")

_MADE_WITHIN = timedelta(hours=4)
"""A batch that was made later is another's: clocks differ by less, and no request is under way for so long."""


@dataclass(frozen=True)
class AnthropicBatchClient:
    """A `BatchClient` over langasync's adapter for Anthropic, with connections of its own for each call.

    A request's id is a tag made of the metadata, and its place in the file: so a batch tells whose it is, once it has
    ended and its results can be read.
    """

    endpoint: Endpoint
    reader: MessageReader
    timeout_seconds: float

    def send(self, requests: Path, metadata: Mapping[str, str]) -> str:
        """Make a batch of a file of requests; returns the batch's id."""
        with requests.open("rb") as lines:
            bodies = [json.loads(line)["body"] for line in lines]
        params = [params_of(body) for body in bodies]
        return self._run(self._send(bodies, params, metadata))

    def find(
        self, metadata: Mapping[str, str], since: datetime, known: Collection[str] = ()
    ) -> FoundBatch | None:
        """The batch whose requests carry the tag of this metadata, among those made since a moment (UTC).

        Raises:
            BatchUnreachable: also while a batch that might be it has not ended: until then nobody can tell.
        """
        return self._run(self._find(tag_of(metadata), since, known))

    def state(self, batch_id: str) -> BatchState:
        """Where a batch stands."""
        return self._run(self._state(batch_id))

    def answers(self, batch_id: str, row_keys: Sequence[str]) -> Iterator[BatchAnswer]:
        """What came of the rows of a batch that has ended, once all of it is here."""
        results = self._run(self._results(batch_id))
        tag = str(results[0].get("custom_id")).rpartition("-")[0] if results else ""
        row_key_of = {f"{tag}-{place}": row_key for place, row_key in enumerate(row_keys)}
        yield from answers_in(
            map(as_openai, results), row_key_of, self.reader.message_of, self.endpoint.hide_key
        )

    def cancel(self, batch_id: str) -> None:
        """Ask the provider to stop a batch; returns at once. One that has ended is left as it is."""
        self._run(self._cancel(batch_id))

    async def _send(
        self,
        bodies: Sequence[Mapping[str, Any]],
        params: Sequence[Mapping[str, Any]],
        metadata: Mapping[str, str],
    ) -> str:
        inputs = [convert_to_messages(body["messages"]) for body in bodies]
        async with WholeAnthropicAdapter(
            self.endpoint, self.timeout_seconds, tag_of(metadata), params
        ) as adapter:
            return id_of({"id": (await adapter.create_batch(inputs, self.reader)).id})

    async def _find(self, tag: str, since: datetime, known: Collection[str]) -> FoundBatch | None:
        undecided: list[str] = []
        async with self._adapter() as adapter:
            async for batch in _since(adapter, since):
                if id_of(batch) in known or made_at(batch) > since + _MADE_WITHIN:
                    continue
                if not state_of(batch).status.is_final:
                    undecided.append(id_of(batch))
                elif (await adapter.first_id(id_of(batch))).startswith(f"{tag}-"):
                    return FoundBatch(id_of(batch), made_at(batch))
        if undecided:
            raise BatchUnreachable(f"whose the batches {undecided} are shows once they have ended")
        return None

    async def _state(self, batch_id: str) -> BatchState:
        async with self._adapter() as adapter:
            return state_of(await adapter.batch(batch_id))

    async def _results(self, batch_id: str) -> list[dict[str, Any]]:
        async with self._adapter() as adapter:
            status = state_of(await adapter.batch(batch_id)).status
            if not status.is_final:
                raise BatchUnreachable(f"the batch {batch_id} is {status}: its answers are not complete yet")
            return await adapter.results(batch_id)

    async def _cancel(self, batch_id: str) -> None:
        async with self._adapter() as adapter:
            if state_of(await adapter.batch(batch_id)).status.is_final:
                return
            try:
                await adapter.ask_to_cancel(batch_id)
            except httpx.HTTPStatusError:  # it has ended in between
                if not state_of(await adapter.batch(batch_id)).status.is_final:
                    raise

    def _adapter(self) -> WholeAnthropicAdapter:
        return WholeAnthropicAdapter(self.endpoint, self.timeout_seconds)

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        return run(call, self.endpoint)


async def _since(adapter: WholeAnthropicAdapter, since: datetime) -> AsyncIterator[Batch]:
    """The batches made since a moment, newest first."""
    after: str | None = None
    while True:
        page, has_more = await adapter.page(after)
        for batch in page:
            if made_at(batch) < since.replace(microsecond=0):
                return
            yield batch
        if not page or not has_more or page[-1].get("id") == after:
            return
        after = id_of(page[-1])
