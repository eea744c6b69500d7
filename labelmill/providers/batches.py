"""What every provider's batch client does alike: lines of JSON in, rows out, and errors put into the batch lane's two."""

import json
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from labelmill.providers.endpoint import Endpoint
from labelmill.providers.environment import plain_http_client
from labelmill.providers.failures import failure_of
from labelmill.providers.protocol import (
    BatchAnswer,
    BatchRefused,
    BatchState,
    BatchUnreachable,
    Provider,
    RowError,
)
from labelmill.providers.wire import list_in, moment_in, name_in, words_in
from labelmill.providers.wordings import error_in
from labelmill.question.answers import Answer
from labelmill.question.failures import Policy

if TYPE_CHECKING:
    import httpx

Connection = TypeVar("Connection")
BatchObject = Mapping[str, Any]
"""A batch as its provider tells of it."""
Row = tuple[object, Answer | RowError]
"""What a result says: the id of its request, and what came of it."""

PAGE_LIMIT = 100
"""The most batches that one page of the list holds."""
MOST_PAGES = 1_000
"""A list that goes on beyond so many pages has no end."""
CLOCKS_DIFFER_BY = timedelta(hours=15)
"""How far a provider's dates may be from ours: more than any time zone is from UTC, which some forget to say."""
TRANSFER_SECONDS = 600.0
"""For files: a wait for the next piece, not for the whole."""
BAD_REQUEST = 400
SERVER_ERROR = 500
_REFUSED = frozenset({Policy.GIVE_UP, Policy.DOUBT})
_HTTP_LIBRARIES = ("httpx.", "httpx2.", "openai.")


@dataclass(frozen=True)
class BatchCalls(ABC, Generic[Connection]):
    """A `BatchClient` but for its provider's dialect. Each call has connections of its own: none would last until the next."""

    endpoint: Endpoint
    timeout_seconds: float

    def state(self, batch_id: str) -> BatchState:
        """Where a batch stands."""
        with self._connected() as connection:
            return self._state_of(self._batch(connection, batch_id))

    def answers(
        self, batch_id: str, row_keys: Sequence[str], metadata: Mapping[str, str]
    ) -> Iterator[BatchAnswer]:
        """What came of the rows of a batch that is final, as it is read from the provider."""
        with self._connected() as connection:
            batch = self._batch(connection, batch_id)
            status = self._state_of(batch).status
            if not status.is_final:
                raise BatchUnreachable(f"the batch {batch_id} is {status}: its answers are not complete yet")
            rows = map(self._row_of, self._results(connection, batch))
            yield from answers_in(rows, self._row_keys_by_id(row_keys, metadata))

    def cancel(self, batch_id: str) -> None:
        """Ask the provider to stop a batch; returns at once. One that is final already is left as it is."""
        with self._connected() as connection:
            if self._is_final(connection, batch_id):
                return
            try:
                self._ask_to_cancel(connection, batch_id)
            except Exception:
                if not self._is_final(connection, batch_id):  # else it has become final in between
                    raise

    def _is_final(self, connection: Connection, batch_id: str) -> bool:
        return self._state_of(self._batch(connection, batch_id)).status.is_final

    def _object_in(self, content: bytes) -> dict[str, Any]:
        """An answer's JSON, by hand: clients hand on what is none as it is."""
        answer = json.loads(self.endpoint.hide_key(content))
        if not isinstance(answer, dict):
            raise ValueError("the answer is not a JSON object")  # noqa: TRY004  (not our caller's mistake)
        return answer

    @abstractmethod
    def _connected(self) -> AbstractContextManager[Connection]:
        """Connections for one call, whose errors are told as `named_errors` says."""

    @abstractmethod
    def _batch(self, connection: Connection, batch_id: str) -> BatchObject:
        """Ask for a batch."""

    @abstractmethod
    def _state_of(self, batch: BatchObject) -> BatchState:
        """Where a batch stands, by what the provider tells of it; a ValueError where that can't be said."""

    @abstractmethod
    def _results(self, connection: Connection, batch: BatchObject) -> Iterable[Mapping[str, Any]]:
        """The results of a batch that has ended."""

    @abstractmethod
    def _row_of(self, result: Mapping[str, Any]) -> Row:
        """What a result says, whatever it holds."""

    @abstractmethod
    def _row_keys_by_id(self, row_keys: Sequence[str], metadata: Mapping[str, str]) -> Mapping[str, str]:
        """The row keys by the ids of their requests."""

    @abstractmethod
    def _ask_to_cancel(self, connection: Connection, batch_id: str) -> None:
        """Ask for the end of a batch."""


@dataclass(frozen=True)
class PlainBatchCalls(BatchCalls["httpx.Client"]):
    """The same over plain HTTP, for providers whose batches are objects of JSON. Nothing is tried twice."""

    provider: Provider

    def delete(self, batch_id: str | None, file_id: str | None) -> None:  # noqa: ARG002  (nothing is uploaded apart)
        """Delete a batch that is settled, and with it all that the provider keeps of it."""
        if batch_id is None:
            return
        with self._connected() as http:
            response = http.delete(self._url(self._path_of(batch_id)))
            if response.status_code != HTTPStatus.NOT_FOUND:  # else it is gone already
                response.raise_for_status()

    @contextmanager
    def _connected(self) -> Iterator["httpx.Client"]:
        with named_errors(self.endpoint), plain_http_client(self._url("")) as http:
            http.headers.update(self.endpoint.own_headers())
            http.headers.update(self.provider.headers(self.endpoint.api_key()))
            http.timeout = self.timeout_seconds
            yield http

    def _url(self, path: str) -> str:
        return self.provider.url_of(self.endpoint.base_url or self.provider.base_url, path)

    def _get(
        self, http: "httpx.Client", path: str, query: Mapping[str, Any], seconds: float | None = None
    ) -> BatchObject:
        response = http.get(self._url(path), params=query, timeout=seconds or self.timeout_seconds)
        return self._object_in(response.raise_for_status().content)

    def _make(self, path: str, body: Mapping[str, Any], name: str) -> str:
        """Ask for a batch to be made, once; returns its id, which stands in the field of that name."""
        # As dense as the file whose bytes were counted.
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        with self._connected() as http:
            response = http.post(
                self._url(path),
                content=content,
                headers={"content-type": "application/json"},
                timeout=TRANSFER_SECONDS,
            )
            return id_of(self._object_in(response.raise_for_status().content), name)

    @abstractmethod
    def _path_of(self, batch_id: str) -> str:
        """Where a batch is."""


@contextmanager
def named_errors(endpoint: Endpoint) -> Iterator[None]:
    """Have what is the provider's or the network's doing raised as `BatchRefused` or `BatchUnreachable`, without the key.

    An answer that can't be read counts as none: what was asked may have been done.
    """
    try:
        yield
    except Exception as error:
        if not _is_providers_doing(error):
            raise
        failure = failure_of(error, endpoint.hide_key)
        # Without the cause, whose words may hold the key.
        if failure.policy not in _REFUSED:
            raise BatchUnreachable(failure.message) from None
        status = getattr(getattr(error, "response", None), "status_code", None)
        raise BatchRefused(failure.message, is_missing=status == HTTPStatus.NOT_FOUND) from None


def _is_providers_doing(error: Exception) -> bool:
    """Whether an HTTP library raised it, or what was said can't be read, is nested too deeply, or the key can't be sent."""
    is_librarys = any(f"{kind.__module__}.".startswith(_HTTP_LIBRARIES) for kind in type(error).__mro__)
    return is_librarys or isinstance(error, ssl.SSLError | ValueError | RecursionError)


def answers_in(rows: Iterable[Row], row_key_of: Mapping[str, str]) -> Iterator[BatchAnswer]:
    """What came of the rows, as it is read: at most one answer for a row, and an error only where there is none.

    `row_key_of` tells the row key from a request's id. Results of other rows are passed over.
    """
    answered: set[str] = set()
    errors: dict[str, BatchAnswer] = {}
    for request_id, result in rows:
        row_key = row_key_of.get(str(request_id))
        if row_key is None or row_key in answered:
            continue
        if isinstance(result, RowError):
            errors.setdefault(row_key, BatchAnswer(row_key, error=result))
        else:
            answered.add(row_key)
            yield BatchAnswer(row_key, answer=result)
    yield from (row for row_key, row in errors.items() if row_key not in answered)


def results_in(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The results that lines of JSON hold; what is none is passed over, for the others' sake."""
    for line in lines:
        try:
            result = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(result, dict):
            yield result


def split_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a file of JSON lines. The HTTP library's own would also break at U+2028 within an answer."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
    if rest:
        yield rest


def row_error(error: Any, status: int) -> RowError:
    """A row's error in its provider's code and words; a status that is none counts as the server's error."""
    said = error if isinstance(error, Mapping) else {"message": error}
    code = name_in(said.get("code")) or name_in(said.get("type"))
    told = error if isinstance(error, str) else json.dumps(error, ensure_ascii=False)
    words = error_in(error).words or told
    return RowError(status if status >= BAD_REQUEST else SERVER_ERROR, code, words_in(words))


def id_of(answer: BatchObject, name: str = "id") -> str:
    """The id of the file or the batch that an answer tells of, in the field that holds it.

    Raises:
        ValueError: it tells of none.
    """
    told = name_in(answer.get(name))
    if told is None:
        raise ValueError(f"the answer has no {name}")
    return told


def pages_of(ask: Callable[[Mapping[str, Any]], BatchObject], after: str) -> Iterator[Sequence[BatchObject]]:
    """The pages of a list of batches, none of them empty.

    Args:
        ask: asks for the page that a query leads to.
        after: what the query calls the last id of the page before.

    Raises:
        BatchUnreachable: it has no end.
    """
    query: dict[str, Any] = {}
    for _ in range(MOST_PAGES):
        answer = ask(query)
        page = [batch for batch in list_in(answer.get("data")) if isinstance(batch, Mapping)]
        if not page:
            return
        yield page
        if not answer.get("has_more") or page[-1].get("id") == query.get(after):  # some don't know of pages
            return
        query = {after: id_of(page[-1])}
    raise endless()


def made_at(batch: BatchObject) -> datetime | None:
    """When a batch was made; None where that can't be read."""
    return moment_in(batch.get("created_at"))


def endless() -> BatchUnreachable:
    """What is said of a list of batches that has no end."""
    return BatchUnreachable(f"the provider's list of batches has no end within {MOST_PAGES:,} pages")


def tag_of(metadata: Mapping[str, str]) -> str:
    """What tells whose a batch is, at a provider whose batches carry no metadata."""
    written = "\n".join(f"{len(name)} {name} {metadata[name]}" for name in sorted(metadata))
    return sha256(written.encode()).hexdigest()[:24]
