"""The Batch API through OpenAI's own client: for OpenAI and compatible endpoints."""

import contextlib
import ssl
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import openai

from labelmill.batch.client import BatchAnswer, BatchState, BatchUnreachable, FoundBatch, no_note
from labelmill.batch.errors import error_of
from labelmill.batch.output import answers_in, results_in
from labelmill.batch.wire import (
    FILE_NAME,
    MOST_PAGES,
    PAGE_LIMIT,
    Batch,
    endless,
    files_of,
    found_in,
    id_of,
    is_past,
    page_in,
    state_of,
)
from labelmill.providers.completions import answer_of_completion
from labelmill.providers.endpoint import OPENAI_BASE_URL, Endpoint
from labelmill.providers.environment import http_client_of

_RETRIES = 2
_TRANSFER_TIMEOUT = httpx2.Timeout(600.0, connect=60.0)
"""For files: a wait for the next piece, not for the whole."""
_DELETE_SECONDS = 10.0
_PROVIDERS_DOING = (
    openai.OpenAIError,
    httpx2.HTTPError,
    httpx2.StreamError,
    ssl.SSLError,
    ValueError,  # what was said can't be read, or the key can't be sent
    RecursionError,  # it is nested too deeply
)


@dataclass(frozen=True)
class OpenAIBatchClient:
    """A `BatchClient` over the openai client. Files are streamed, both ways: none is ever held in memory."""

    endpoint: Endpoint
    timeout_seconds: float

    def send(
        self, requests: Path, metadata: Mapping[str, str], uploaded: Callable[[str], None] = no_note
    ) -> str:
        """Upload a file of requests and make a batch of it; returns the batch's id."""
        with self._connected() as client:
            with requests.open("rb") as file:
                upload = client.files.with_raw_response.create(
                    file=(FILE_NAME, file, "application/jsonl"), purpose="batch", timeout=_TRANSFER_TIMEOUT
                )
            file_id = id_of(_read(upload))
            uploaded(file_id)
            batch = client.with_options(max_retries=0).batches.with_raw_response.create(
                completion_window="24h",
                endpoint="/v1/chat/completions",
                input_file_id=file_id,
                metadata=dict(metadata),
            )
            return id_of(_read(batch))

    def find(
        self,
        metadata: Mapping[str, str],
        since: datetime,
        known: Collection[str] = (),  # noqa: ARG002  (metadata shows at once)
    ) -> FoundBatch | None:
        """The batch that carries this metadata (all of it); those made long before `since` are not looked through."""
        with self._connected() as client:
            for page in _pages(client):
                found = found_in(page, metadata)
                if found or is_past(page, since):
                    return found
        return None

    def state(self, batch_id: str) -> BatchState:
        """Where a batch stands."""
        with self._connected() as client:
            return self._state_of(_batch(client, batch_id))

    def answers(
        self,
        batch_id: str,
        row_keys: Sequence[str],
        metadata: Mapping[str, str],  # noqa: ARG002  (a row's key is its id)
    ) -> Iterator[BatchAnswer]:
        """What came of the rows of a batch that is final, as it is read from the provider."""
        with self._connected() as client:
            batch = _batch(client, batch_id)
            status = self._state_of(batch).status
            if not status.is_final:
                raise BatchUnreachable(f"the batch {batch_id} is {status}: its answers are not complete yet")
            lines = (line for file_id in files_of(batch) for line in _lines(client, file_id))
            row_key_of = {row_key: row_key for row_key in row_keys}
            yield from answers_in(results_in(lines), row_key_of, answer_of_completion, self.endpoint.hide_key)

    def cancel(self, batch_id: str) -> None:
        """Ask the provider to stop a batch; returns at once. One that is final already is left as it is."""
        with self._connected() as client:
            if self._is_final(client, batch_id):
                return
            try:
                client.batches.with_raw_response.cancel(batch_id)
            except openai.APIStatusError:  # it has become final in between
                if not self._is_final(client, batch_id):
                    raise

    def delete(self, batch_id: str | None, file_id: str | None) -> None:
        """Delete the files of a batch: what was uploaded, and what came of it."""
        with self._connected() as connected:
            # Nobody waits for this: it is tried again by the next run.
            client = connected.with_options(max_retries=0, timeout=min(self.timeout_seconds, _DELETE_SECONDS))
            batch: Batch = {}
            if batch_id is not None:
                with contextlib.suppress(openai.NotFoundError):
                    batch = _batch(client, batch_id)
            known = [] if file_id is None else [file_id]
            told = files_of(batch, "input_file_id", "output_file_id", "error_file_id")
            for name in dict.fromkeys([*known, *told]):
                with contextlib.suppress(openai.NotFoundError):  # it is gone already
                    client.files.with_raw_response.delete(name)

    def _state_of(self, batch: Batch) -> BatchState:
        return state_of(batch, self.endpoint.hide_key)

    def _is_final(self, client: openai.OpenAI, batch_id: str) -> bool:
        return self._state_of(_batch(client, batch_id)).status.is_final

    @contextmanager
    def _connected(self) -> Iterator[openai.OpenAI]:
        """A client for one call: its connections would not last until the next, and the key is kept nowhere."""
        base_url = self.endpoint.base_url or OPENAI_BASE_URL
        try:
            with openai.OpenAI(
                base_url=base_url,
                http_client=http_client_of(base_url),
                api_key=self.endpoint.api_key(),
                timeout=self.timeout_seconds,
                max_retries=_RETRIES,
            ) as client:
                yield client
        except _PROVIDERS_DOING as error:
            # Without the cause, whose words may hold the key.
            raise error_of(error, self.endpoint) from None


def _read(response: Any) -> dict[str, Any]:
    """An answer's JSON, by hand: the client hands on what is none as it is."""
    answer = response.http_response.json()
    if not isinstance(answer, dict):
        raise ValueError("the answer is no JSON object")  # noqa: TRY004  (not our caller's mistake)
    return answer


def _batch(client: openai.OpenAI, batch_id: str) -> Batch:
    return _read(client.batches.with_raw_response.retrieve(batch_id))


def _pages(client: openai.OpenAI) -> Iterator[Sequence[Batch]]:
    after: str | openai.Omit = openai.omit
    for _ in range(MOST_PAGES):
        answer = _read(client.batches.with_raw_response.list(limit=PAGE_LIMIT, after=after))
        page = page_in(answer)
        if not page:
            return
        yield page
        if not answer.get("has_more") or page[-1].get("id") == after:  # some don't know of pages
            return
        after = id_of(page[-1])
    raise endless()


def _lines(client: openai.OpenAI, file_id: str) -> Iterator[bytes]:
    with client.files.with_streaming_response.content(file_id, timeout=_TRANSFER_TIMEOUT) as response:
        yield from split_lines(response.iter_bytes())


def split_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a file of JSON lines. The HTTP library's own would also break at U+2028 within an answer."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
    if rest:
        yield rest
