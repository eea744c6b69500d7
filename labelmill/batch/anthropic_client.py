"""Anthropic's Message Batches through langasync's adapter. It needs the extra `langasync`."""

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from langasync.providers.interface import NullLanguageModel

from labelmill.batch.anthropic_adapter import WholeAnthropicAdapter
from labelmill.batch.anthropic_wire import answer_of_message, as_openai, state_of
from labelmill.batch.client import BatchAnswer, BatchState, BatchUnreachable, FoundBatch, no_note
from labelmill.batch.output import answers_in
from labelmill.batch.provider_client import ProviderBatchClient, bodies_in, messages_of, params_of, tag_of
from labelmill.batch.wire import CLOCKS_DIFFER_BY, MOST_PAGES, Batch, endless, id_of, made_at


@dataclass(frozen=True)
class AnthropicBatchClient(ProviderBatchClient):
    """A `BatchClient` over langasync's adapter for Anthropic, with connections of its own for each call.

    A request's id is a tag made of the metadata, and its place in the file: so a batch tells whose it is, once it has
    ended and its results can be read.
    """

    def send(
        self,
        requests: Path,
        metadata: Mapping[str, str],
        uploaded: Callable[[str], None] = no_note,  # noqa: ARG002  (no file is uploaded apart)
    ) -> str:
        """Make a batch of a file of requests; returns the batch's id."""
        bodies = bodies_in(requests)
        params = [params_of(body, "Anthropic") for body in bodies]
        return self._run(self._send(bodies, params, metadata))

    def find(
        self, metadata: Mapping[str, str], since: datetime, known: Collection[str] = ()
    ) -> FoundBatch | None:
        """The batch whose requests carry the tag of this metadata; those made long before `since` are not looked through.

        Raises:
            BatchUnreachable: also while a batch that might be it has not ended, or its results can't be read: until then
                nobody can tell.
        """
        return self._run(self._find(tag_of(metadata), since, known))

    def answers(
        self, batch_id: str, row_keys: Sequence[str], metadata: Mapping[str, str]
    ) -> Iterator[BatchAnswer]:
        """What came of the rows of a batch that has ended, once all of it is here."""
        results = self._run(self._results(batch_id))
        tag = tag_of(metadata)
        row_key_of = {f"{tag}-{place}": row_key for place, row_key in enumerate(row_keys)}
        yield from answers_in(map(as_openai, results), row_key_of, answer_of_message, self.endpoint.hide_key)

    async def _send(
        self,
        bodies: Sequence[Mapping[str, Any]],
        params: Sequence[Mapping[str, Any]],
        metadata: Mapping[str, str],
    ) -> str:
        async with WholeAnthropicAdapter(
            self.endpoint, self.timeout_seconds, tag_of(metadata), params
        ) as adapter:
            return id_of({"id": (await adapter.create_batch(messages_of(bodies), NullLanguageModel())).id})

    async def _find(self, tag: str, since: datetime, known: Collection[str]) -> FoundBatch | None:
        undecided: list[str] = []
        async with self._adapter() as adapter:
            async for batch in _since(adapter, since):
                batch_id, made = id_of(batch), made_at(batch)
                if batch_id in known:
                    continue
                first = await _first_id(adapter, batch)
                if first.startswith(f"{tag}-"):
                    return FoundBatch(batch_id, made)
                if not first and (made is None or made <= since + CLOCKS_DIFFER_BY):
                    undecided.append(batch_id)
        if undecided:
            raise BatchUnreachable(f"whose the batches {undecided} are shows once they have ended")
        return None

    def _state_of(self, batch: Batch) -> BatchState:
        return state_of(batch)

    def _adapter(self) -> WholeAnthropicAdapter:
        return WholeAnthropicAdapter(self.endpoint, self.timeout_seconds)


async def _first_id(adapter: WholeAnthropicAdapter, batch: Batch) -> str:
    """The id of a batch's first result, which tells whose it is; empty as long as there is none to be read."""
    try:
        has_ended = state_of(batch).status.is_final
    except ValueError:
        has_ended = False
    try:
        return await adapter.first_id(id_of(batch)) if has_ended else ""
    except httpx.HTTPStatusError as error:
        if error.response.status_code != httpx.codes.NOT_FOUND:
            raise
        return ""


async def _since(adapter: WholeAnthropicAdapter, since: datetime) -> AsyncIterator[Batch]:
    """The batches, newest first, but for those made long before a moment."""
    after: str | None = None
    for _ in range(MOST_PAGES):
        page, has_more = await adapter.page(after)
        for batch in page:
            made = made_at(batch)
            if made is not None and made < since - CLOCKS_DIFFER_BY:
                return
            yield batch
        if not page or not has_more or page[-1].get("id") == after:
            return
        after = id_of(page[-1])
    raise endless()
