"""Gemini's batches through langasync's adapter. It needs the extra `langasync`."""

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from langasync.providers.interface import NullLanguageModel

from labelmill.batch.client import BatchAnswer, BatchRefused, BatchState, FoundBatch, no_note
from labelmill.batch.gemini_adapter import WholeGeminiAdapter
from labelmill.batch.gemini_wire import answer_of_response, as_openai, facts_of, made_at, state_of
from labelmill.batch.output import answers_in
from labelmill.batch.provider_client import ProviderBatchClient, bodies_in, messages_of, params_of, tag_of
from labelmill.batch.wire import MOST_PAGES, Batch, endless, name_in


class _Named(NullLanguageModel):
    """All that langasync's adapter asks of a model."""

    model: str


@dataclass(frozen=True)
class GeminiBatchClient(ProviderBatchClient):
    """A `BatchClient` over langasync's adapter for Gemini, with connections of its own for each call.

    A batch's name is a tag made of the metadata. A request's key is its place in the file.
    """

    def send(
        self,
        requests: Path,
        metadata: Mapping[str, str],
        uploaded: Callable[[str], None] = no_note,  # noqa: ARG002  (no file is uploaded apart)
    ) -> str:
        """Make a batch of a file of requests; returns the batch's id."""
        bodies = bodies_in(requests)
        settings = [params_of(body, "Gemini", "max_output_tokens") for body in bodies]
        models = {str(each.pop("model", "")) for each in settings}
        if len(models) != 1:
            raise BatchRefused(f"a batch of Gemini's has one model, and not {sorted(models)}")
        return self._run(self._send(bodies, settings, models.pop(), metadata))

    def find(
        self,
        metadata: Mapping[str, str],
        since: datetime,  # noqa: ARG002  (in which order batches are listed, Gemini doesn't say)
        known: Collection[str] = (),  # noqa: ARG002  (the name shows at once)
    ) -> FoundBatch | None:
        """The batch whose name is the tag of this metadata, whenever it was made."""
        return self._run(self._find(tag_of(metadata)))

    def answers(
        self,
        batch_id: str,
        row_keys: Sequence[str],
        metadata: Mapping[str, str],  # noqa: ARG002  (the results stand in the batch itself)
    ) -> Iterator[BatchAnswer]:
        """What came of the rows of a batch that has ended, once all of it is here."""
        results = self._run(self._results(batch_id))
        row_key_of = {str(place): row_key for place, row_key in enumerate(row_keys)}
        yield from answers_in(map(as_openai, results), row_key_of, answer_of_response, self.endpoint.hide_key)

    async def _send(
        self,
        bodies: Sequence[Mapping[str, Any]],
        settings: Sequence[Mapping[str, Any]],
        model: str,
        metadata: Mapping[str, str],
    ) -> str:
        async with WholeGeminiAdapter(
            self.endpoint, self.timeout_seconds, tag_of(metadata), settings
        ) as adapter:
            return _name_in(
                {"name": (await adapter.create_batch(messages_of(bodies), _Named(model=model))).id}
            )

    async def _find(self, tag: str) -> FoundBatch | None:
        async with self._adapter() as adapter:
            async for batch in _all(adapter):
                if facts_of(batch).get("displayName") == tag:
                    return FoundBatch(_name_in(batch), made_at(batch))
        return None

    def _state_of(self, batch: Batch) -> BatchState:
        return state_of(batch, self.endpoint.hide_key)

    def _adapter(self) -> WholeGeminiAdapter:
        return WholeGeminiAdapter(self.endpoint, self.timeout_seconds)


async def _all(adapter: WholeGeminiAdapter) -> AsyncIterator[Batch]:
    """All batches: in which order they are listed, Gemini doesn't say."""
    token: str | None = None
    for _ in range(MOST_PAGES):
        page, following = await adapter.page(token)
        for batch in page:
            yield batch
        if following is None or following == token:
            return
        token = following
    raise endless()


def _name_in(batch: Batch) -> str:
    """The name of a batch, which is its id.

    Raises:
        ValueError: it has none.
    """
    name = name_in(batch.get("name"))
    if name is None:
        raise ValueError("the answer has no name")
    return name
