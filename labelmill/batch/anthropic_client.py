"""Anthropic's Message Batches through langasync's adapter. It needs the extra `langasync`."""

from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from labelmill.batch.anthropic_adapter import WholeAnthropicAdapter
from labelmill.batch.anthropic_wire import MessageReader, as_openai, made_at, state_of
from labelmill.batch.client import BatchAnswer, BatchState, BatchUnreachable, FoundBatch
from labelmill.batch.output import answers_in
from labelmill.batch.provider_client import ProviderBatchClient, bodies_in, messages_of, params_of, tag_of
from labelmill.batch.wire import Batch, id_of

_MADE_WITHIN = timedelta(hours=4)
"""A batch that was made later is another's: clocks differ by less, and no request is under way for so long."""


@dataclass(frozen=True)
class AnthropicBatchClient(ProviderBatchClient):
    """A `BatchClient` over langasync's adapter for Anthropic, with connections of its own for each call.

    A request's id is a tag made of the metadata, and its place in the file: so a batch tells whose it is, once it has
    ended and its results can be read.
    """

    reader: MessageReader

    def send(self, requests: Path, metadata: Mapping[str, str]) -> str:
        """Make a batch of a file of requests; returns the batch's id."""
        bodies = bodies_in(requests)
        params = [params_of(body, "Anthropic") for body in bodies]
        return self._run(self._send(bodies, params, metadata))

    def find(
        self, metadata: Mapping[str, str], since: datetime, known: Collection[str] = ()
    ) -> FoundBatch | None:
        """The batch whose requests carry the tag of this metadata, among those made since a moment (UTC).

        Raises:
            BatchUnreachable: also while a batch that might be it has not ended: until then nobody can tell.
        """
        return self._run(self._find(tag_of(metadata), since, known))

    def answers(self, batch_id: str, row_keys: Sequence[str]) -> Iterator[BatchAnswer]:
        """What came of the rows of a batch that has ended, once all of it is here."""
        results = self._run(self._results(batch_id))
        tag = str(results[0].get("custom_id")).rpartition("-")[0] if results else ""
        row_key_of = {f"{tag}-{place}": row_key for place, row_key in enumerate(row_keys)}
        yield from answers_in(
            map(as_openai, results), row_key_of, self.reader.message_of, self.endpoint.hide_key
        )

    async def _send(
        self,
        bodies: Sequence[Mapping[str, Any]],
        params: Sequence[Mapping[str, Any]],
        metadata: Mapping[str, str],
    ) -> str:
        async with WholeAnthropicAdapter(
            self.endpoint, self.timeout_seconds, tag_of(metadata), params
        ) as adapter:
            return id_of({"id": (await adapter.create_batch(messages_of(bodies), self.reader)).id})

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

    def _state_of(self, batch: Batch) -> BatchState:
        return state_of(batch)

    def _adapter(self) -> WholeAnthropicAdapter:
        return WholeAnthropicAdapter(self.endpoint, self.timeout_seconds)


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
