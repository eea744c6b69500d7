"""The Batch API through langasync's adapter for OpenAI. It needs the extra `langasync`.

Its limits are langasync's: a whole file of requests or of answers is held in memory, and nothing is tried twice.
"""

import json
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
from langasync.providers.interface import NullLanguageModel
from langchain_core.messages import convert_to_messages

from labelmill.batch.client import BatchAnswer, BatchState, BatchUnreachable, FoundBatch, no_note
from labelmill.batch.langasync_adapter import WholeAdapter
from labelmill.batch.langasync_call import run
from labelmill.batch.output import answers_in
from labelmill.batch.wire import MOST_PAGES, Batch, endless, files_of, found_in, id_of, is_past, state_of
from labelmill.providers.completions import answer_of_completion
from labelmill.providers.endpoint import Endpoint

T = TypeVar("T")


@dataclass(frozen=True)
class LangasyncBatchClient:
    """A `BatchClient` over langasync, with an event loop and connections of its own for each call.

    Batches of earlier versions have a request's place in the file for its id, as langasync numbers them.
    """

    endpoint: Endpoint
    timeout_seconds: float

    def send(
        self, requests: Path, metadata: Mapping[str, str], uploaded: Callable[[str], None] = no_note
    ) -> str:
        """Upload a file of requests and make a batch of it; returns the batch's id."""
        with requests.open("rb") as lines:
            asked = [json.loads(line) for line in lines]
        return self._run(self._send(asked, metadata, uploaded))

    def find(
        self,
        metadata: Mapping[str, str],
        since: datetime,
        known: Collection[str] = (),  # noqa: ARG002  (metadata shows at once)
    ) -> FoundBatch | None:
        """The batch that carries this metadata (all of it); those made long before `since` are not looked through."""
        return self._run(self._find(metadata, since))

    def state(self, batch_id: str) -> BatchState:
        """Where a batch stands."""
        return self._run(self._state(batch_id))

    def answers(
        self,
        batch_id: str,
        row_keys: Sequence[str],
        metadata: Mapping[str, str],  # noqa: ARG002  (a row's key is its id)
    ) -> Iterator[BatchAnswer]:
        """What came of the rows of a batch that is final, once all of it is here."""
        results = self._run(self._results(batch_id))
        row_key_of = {str(place): row_key for place, row_key in enumerate(row_keys)}
        row_key_of |= {row_key: row_key for row_key in row_keys}
        yield from answers_in(results, row_key_of, answer_of_completion, self.endpoint.hide_key)

    def cancel(self, batch_id: str) -> None:
        """Ask the provider to stop a batch; returns at once. One that is final already is left as it is."""
        self._run(self._cancel(batch_id))

    def delete(self, batch_id: str | None, file_id: str | None) -> None:
        """Delete the files of a batch: what was uploaded, and what came of it."""
        self._run(self._delete(batch_id, file_id))

    async def _send(
        self,
        asked: Sequence[Mapping[str, Any]],
        metadata: Mapping[str, str],
        uploaded: Callable[[str], None],
    ) -> str:
        inputs = [convert_to_messages(request["body"]["messages"]) for request in asked]
        async with WholeAdapter(self.endpoint, self.timeout_seconds, metadata, asked, uploaded) as adapter:
            return id_of({"id": (await adapter.create_batch(inputs, NullLanguageModel())).id})

    async def _find(self, metadata: Mapping[str, str], since: datetime) -> FoundBatch | None:
        after = None
        async with self._adapter() as adapter:
            for _ in range(MOST_PAGES):
                page, has_more = await adapter.page(after)
                if not page:
                    return None
                found = found_in(page, metadata)
                if found or not has_more or is_past(page, since) or page[-1].get("id") == after:
                    return found
                after = id_of(page[-1])
        raise endless()

    async def _state(self, batch_id: str) -> BatchState:
        async with self._adapter() as adapter:
            return self._state_of(await adapter.batch(batch_id))

    async def _results(self, batch_id: str) -> list[dict[str, Any]]:
        async with self._adapter() as adapter:
            status = self._state_of(await adapter.batch(batch_id)).status
            if not status.is_final:
                raise BatchUnreachable(f"the batch {batch_id} is {status}: its answers are not complete yet")
            return await adapter.results(batch_id)

    async def _delete(self, batch_id: str | None, file_id: str | None) -> None:
        async with self._adapter() as adapter:
            batch: Batch = {}
            if batch_id is not None:
                try:
                    batch = await adapter.batch(batch_id)
                except httpx.HTTPStatusError as error:
                    if error.response.status_code != httpx.codes.NOT_FOUND:
                        raise
            known = [] if file_id is None else [file_id]
            told = files_of(batch, "input_file_id", "output_file_id", "error_file_id")
            for name in dict.fromkeys([*known, *told]):
                await adapter.delete(name)

    async def _cancel(self, batch_id: str) -> None:
        async with self._adapter() as adapter:
            if self._state_of(await adapter.batch(batch_id)).status.is_final:
                return
            try:
                await adapter.ask_to_cancel(batch_id)
            except httpx.HTTPStatusError:  # it has become final in between
                if not self._state_of(await adapter.batch(batch_id)).status.is_final:
                    raise

    def _state_of(self, batch: Batch) -> BatchState:
        return state_of(batch, self.endpoint.hide_key)

    def _adapter(self) -> WholeAdapter:
        return WholeAdapter(self.endpoint, self.timeout_seconds)

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        return run(call, self.endpoint)
