"""OpenAI, and every endpoint that speaks its dialect: Chat Completions on the live lane, files of them on the batch lane.

Sources: <https://platform.openai.com/docs/api-reference/chat>, <https://platform.openai.com/docs/guides/batch>.
"""

import contextlib
import inspect
import json
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import httpx2

from labelmill.errors import JobRefused, Mistake
from labelmill.job.model import Batch, LabelJob, Model, Run
from labelmill.providers import langasync
from labelmill.providers.batches import (
    BAD_REQUEST,
    CLOCKS_DIFFER_BY,
    PAGE_LIMIT,
    TRANSFER_SECONDS,
    BatchCalls,
    BatchObject,
    Row,
    id_of,
    made_at,
    named_errors,
    pages_of,
    results_in,
    row_error,
    split_lines,
)
from labelmill.providers.completions import answer_of_completion, reply_to
from labelmill.providers.connections import HttpResponse, PreparedRequest, shared_connections
from labelmill.providers.endpoint import NO_KEY, Endpoint, without_keys
from labelmill.providers.environment import http_client_of
from labelmill.providers.protocol import (
    NO_HEADERS,
    BatchClient,
    BatchError,
    BatchRefused,
    BatchState,
    BatchStatus,
    BatchUnreachable,
    FoundBatch,
    LineOf,
    ListedModels,
    Provider,
    Reply,
    RowError,
    no_note,
)
from labelmill.providers.refusals import Sent
from labelmill.providers.request_fields import extra_fields_of, header_secrets, sent_headers
from labelmill.providers.wire import count_in, list_in, mapping_in, name_in, words_in
from labelmill.question.form import AnswerForm

if TYPE_CHECKING:
    import openai
    from langchain_core.messages import BaseMessage

BATCH_PATH: Final = "/v1/chat/completions"
"""What OpenAI's Batch API calls chat completions."""
_RETRIES = 2
_DELETE_SECONDS = 10.0
FILE_SECONDS = 600.0
"""How long an upload may take to be looked through."""
_FILE_APPEARS_SECONDS = 60.0
"""How long one that is there may be unknown to its provider."""
MAKINGS = 5
"""So often a batch is asked for while the provider doesn't know its file, or is not done with it."""
FIRST_FILE_PAUSE_SECONDS = 0.5
_LONGEST_FILE_PAUSE_SECONDS = 8.0
_FILE_IS_UNDER_WAY = frozenset({"pending", "running"})
_FILE_IS_WRONG = "error"
"""Azure's states of a file: https://learn.microsoft.com/rest/api/azureopenai/files. OpenAI's `uploaded` may stay for good."""
_NOT_EXECUTED = frozenset({"batch_expired", "batch_cancelled"})


@dataclass(frozen=True)
class OpenAI(Provider):
    """Both lanes, through LangChain's model and OpenAI's client. These are loaded where they are first needed: it takes seconds.

    `batch_path` is what the lines of a batch call chat completions.
    """

    batch_path: str = BATCH_PATH

    sends_own_fields = True

    def mistakes(self, model: Model, run: Run | None, batch: Batch | None) -> Iterator[tuple[str, str]]:
        """Also an adapter that is not installed, or knows OpenAI's own address alone."""
        yield from super().mistakes(model, run, batch)
        if run is not None and run.lane != "live" and batch is not None and _is_through_langasync(batch):
            if self.batch_path != BATCH_PATH:
                sentence = (
                    f'langasync can\'t make batches of the provider {self.name!r}; set adapter = "openai"'
                )
                yield "batch.adapter", sentence
            yield from (("batch.adapter", sentence) for sentence in langasync.mistakes())

    def connect(  # noqa: PLR0913, PLR0917  (as a client takes it)
        self,
        base_url: str,
        api_key: str,
        timeout_seconds: float,
        max_retries: int = 0,
        http_client: httpx2.Client | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> "openai.OpenAI":
        """OpenAI's client for an address, over connections of its own where none are given; `headers` are sent as they are."""
        import openai  # noqa: PLC0415

        return openai.OpenAI(
            base_url=base_url,
            http_client=http_client,
            api_key=api_key,
            timeout=timeout_seconds,
            max_retries=max_retries,
            default_headers=headers or None,
        )

    def chat_client(self, job: LabelJob, base_url: str, api_key: str) -> dict[str, Any]:  # noqa: ARG002
        """What LangChain's model is to send by, where its own client doesn't know the way."""
        return {}

    def chat(self, job: LabelJob, base_url: str, api_key: str, form: AnswerForm) -> "OpenAIChat":
        """LangChain's model."""
        headers = NO_HEADERS if self.is_practice else job.model.headers
        return OpenAIChat(job, base_url, api_key, form, headers, self.chat_client(job, base_url, api_key))

    def batch_lines(self, job: LabelJob, base_url: str, form: AnswerForm) -> LineOf:
        """The very bodies that the live lane sends."""
        # No key: nothing is sent from here.
        chat = OpenAIChat(job, base_url, NO_KEY, form)
        own_name = {} if job.batch.model is None else {"model": job.batch.model}

        def line_of(row_key: str, messages: Sequence["BaseMessage"]) -> Mapping[str, Any]:
            body = chat.payload_of(messages) | own_name
            body.pop("stream", None)
            return {"custom_id": row_key, "method": "POST", "url": self.batch_path, "body": body}

        return line_of

    def batch_client(self, job: LabelJob, endpoint: Endpoint) -> BatchClient:
        """OpenAI's client, with langasync to make the batches where a job says so."""
        through_langasync = _is_through_langasync(job.batch)
        if through_langasync and (sentences := list(langasync.mistakes())):
            raise JobRefused([Mistake("batch.adapter", sentence) for sentence in sentences])
        return OpenAIBatchClient(endpoint, job.model.timeout_seconds, self, through_langasync)

    def list_models(
        self,
        base_url: str,
        api_key: str,
        timeout_seconds: float,
        environment: Mapping[str, str] = os.environ,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> ListedModels:
        """Over the connections that a run's own requests take, as the same client; the client itself is not needed for it."""
        sent = httpx2.Headers(
            {"Accept": "application/json", "User-Agent": f"OpenAI/Python {version('openai')}"}
        )
        sent.update(self.headers(api_key))
        sent.update(headers)
        answer = shared_connections(base_url, environment).get(
            self.url_of(base_url, "/models"), sent, timeout_seconds
        )
        is_refusal = answer.status_code >= BAD_REQUEST
        return ListedModels(answer.status_code, answer.content.decode(errors="replace") if is_refusal else "")


def _is_through_langasync(batch: Batch) -> bool:
    return batch.adapter == "langasync"


# ---- the live lane


class OpenAIChat:
    """LangChain's `ChatOpenAI` as a job sets it up: the same on every lane, so that the same request costs the same tokens."""

    def __init__(  # noqa: PLR0913, PLR0917  (a request has these parts)
        self,
        job: LabelJob,
        base_url: str,
        api_key: str,
        form: AnswerForm,
        headers: Mapping[str, str] = NO_HEADERS,
        client: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        from langchain_openai import ChatOpenAI  # noqa: PLC0415
        from pydantic import SecretStr  # noqa: PLC0415

        self._connections = shared_connections(base_url)
        self._prepared: PreparedRequest | None = None
        self.model: ChatOpenAI = ChatOpenAI(
            http_client=client_to(base_url),
            # Nothing is asked asynchronously, and a client of its own for that would take a tenth of a second.
            http_async_client=_no_async_client(),
            # Beside a client of its own ChatOpenAI takes no proxy, and it would warn of those in the environment.
            http_socket_options=(),
            **client,
            openai_proxy=None,
            model=job.model.name,
            base_url=base_url,
            api_key=SecretStr(api_key),
            temperature=job.model.sent_temperature,
            max_completion_tokens=form.max_tokens,
            timeout=job.model.timeout_seconds,
            reasoning_effort=job.model.reasoning_effort,
            logprobs=True if job.model.confidence else None,
            default_headers=sent_headers(headers) or None,
            max_retries=0,
            cache=False,
            use_responses_api=False,
        )
        self._asked: dict[str, Any] = {
            **({"response_format": form.response_format} if form.response_format else {}),
            **form.own_fields,
        }
        # Many compatible endpoints ignore the newer name, and with it the limit that the budget relies on.
        guessed = "max_completion_tokens" if "//api.openai.com" in base_url else "max_tokens"
        self._max_tokens_name = form.max_tokens_name or guessed
        self._extra = extra_fields_of(job.model)
        self._has_temperature = job.model.sent_temperature is not None
        self._hide_key = partial(without_keys, keys=(api_key, *header_secrets(headers)))

    def payload_of(self, messages: Sequence["BaseMessage"]) -> dict[str, Any]:
        """The body of a chat completion."""
        payload: dict[str, Any] = self.model._get_request_payload(list(messages), **self._asked)  # noqa: SLF001  (LangChain's way to say what it sends)
        if self._max_tokens_name not in payload and "max_completion_tokens" in payload:
            payload[self._max_tokens_name] = payload.pop("max_completion_tokens")
        if not self._has_temperature:
            payload.pop("temperature", None)  # LangChain sets one for some models
        return payload | self._extra

    def send(self, payload: Mapping[str, Any]) -> Reply:
        """Send one request, and return whatever came of it.

        The client says how by sending the first one; the others are sent like it, at a tenth of its cost.
        """
        return reply_to(partial(self._posted, payload), self._hide_key, Sent.of(payload))

    def _posted(self, payload: Mapping[str, Any]) -> HttpResponse | httpx2.Response:
        if self._prepared is not None:
            return self._connections.post(self._prepared, _json_of(payload))
        response: httpx2.Response = self.model.client.with_raw_response.create(
            **_as_arguments(payload, self._extra)
        ).http_response
        self._prepared = PreparedRequest.like(response.request)
        return response


def client_to(base_url: str) -> httpx2.Client:
    """A client as OpenAI's own, over this process's connections; no key follows a redirect to another host."""
    from openai import DefaultHttpxClient  # noqa: PLC0415

    connections = shared_connections(base_url)
    client: httpx2.Client = DefaultHttpxClient(
        base_url=base_url, transport=connections, trust_env=False, follow_redirects=False
    )
    return client


@cache
def _no_async_client() -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.AsyncBaseTransport(), trust_env=False)


def _json_of(payload: Mapping[str, Any]) -> bytes:
    """A body, byte by byte as OpenAI's client writes it."""
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


@cache
def _arguments_known() -> frozenset[str]:
    from openai.resources.chat.completions import Completions  # noqa: PLC0415

    return frozenset(inspect.signature(Completions.create).parameters)


def _as_arguments(body: Mapping[str, Any], extra: Collection[str]) -> dict[str, Any]:
    """A body as the client takes it: the fields that it doesn't know go beside those that it does.

    So does what the job adds, `extra`: it is nobody's to check, and may bear the name of one of the client's own options.
    """
    known = {name: value for name, value in body.items() if name in _arguments_known() and name not in extra}
    own = {name: value for name, value in body.items() if name not in known}
    return known | ({"extra_body": own} if own else {})


# ---- the batch lane


@dataclass(frozen=True)
class OpenAIBatchClient(BatchCalls["openai.OpenAI"]):
    """A `BatchClient` over the openai client. Files are streamed, both ways: none is ever held in memory.

    Where langasync makes the batches, it holds their requests in memory. In those that earlier versions made through it, a
    request's id is its place in the file.
    """

    provider: OpenAI
    through_langasync: bool = False

    def send(
        self, requests: Path, metadata: Mapping[str, str], uploaded: Callable[[str], None] = no_note
    ) -> str:
        """Upload a file of requests and make a batch of it; returns the batch's id."""
        if self.through_langasync:
            with named_errors(self.endpoint):
                return langasync.send(
                    self.endpoint, self._base_url, requests, metadata, uploaded, self.timeout_seconds
                )
        with self._connected() as client:
            with requests.open("rb") as lines:
                upload = client.files.with_raw_response.create(
                    file=(langasync.FILE_NAME, lines, "application/jsonl"),
                    purpose="batch",
                    timeout=TRANSFER_SECONDS,
                )
            file = self._read(upload)
            file_id = id_of(file)
            uploaded(file_id)
            self._wait_for(client, file, uploaded)
            return id_of(self._batch_of(client, file_id, metadata, uploaded))

    def _wait_for(self, client: "openai.OpenAI", file: BatchObject, uploaded: Callable[[str], None]) -> None:
        """Wait until an upload can be made a batch of: some providers look through it first, and say so in its status.

        For moments it may be unknown to a part of the provider that has not heard of it yet; then it is asked for again.
        """
        import openai  # noqa: PLC0415

        file_id, began = id_of(file), time.monotonic()
        for pause in _file_pauses():
            if file.get("status") == _FILE_IS_WRONG:
                words = words_in(file.get("status_details")) or "the provider gives no reason"
                raise BatchRefused(f"the file of requests was refused: {words}")
            if file.get("status") not in _FILE_IS_UNDER_WAY:
                return
            if time.monotonic() - began > FILE_SECONDS:
                sentence = (
                    f"the file {file_id} is still {file.get('status')} after {FILE_SECONDS / 60:.0f} minutes"
                )
                raise BatchUnreachable(sentence)
            time.sleep(pause)
            uploaded(file_id)
            try:
                file = self._read(client.files.with_raw_response.retrieve(file_id))
            except openai.NotFoundError:
                if time.monotonic() - began > _FILE_APPEARS_SECONDS:
                    raise

    def _batch_of(
        self,
        client: "openai.OpenAI",
        file_id: str,
        metadata: Mapping[str, str],
        uploaded: Callable[[str], None],
    ) -> BatchObject:
        """Make a batch of an upload. Only a refusal over the file itself, after which there is none, is followed by another try."""
        import openai  # noqa: PLC0415

        once = client.with_options(max_retries=0).batches.with_raw_response
        for pause in islice(_file_pauses(), MAKINGS - 1):
            try:
                return self._read(self._make(once, file_id, metadata))
            except (openai.NotFoundError, openai.BadRequestError) as error:
                if isinstance(error, openai.BadRequestError) and file_id not in error.response.text:
                    raise
            time.sleep(pause)
            uploaded(file_id)
        return self._read(self._make(once, file_id, metadata))

    def _make(self, batches: Any, file_id: str, metadata: Mapping[str, str]) -> Any:
        return batches.create(
            completion_window="24h",
            endpoint=self.provider.batch_path,
            input_file_id=file_id,
            metadata=dict(metadata),
        )

    def find(
        self,
        metadata: Mapping[str, str],
        since: datetime,
        known: Collection[str] = (),  # noqa: ARG002  (metadata shows at once)
    ) -> FoundBatch | None:
        """The batch that carries this metadata (all of it); those made long before `since` are not looked through."""
        with self._connected() as client:
            for page in self._pages(client):
                # Nothing else tells whose it is, least of all its date.
                for batch in page:
                    if metadata.items() <= mapping_in(batch.get("metadata")).items():
                        return FoundBatch(id_of(batch), made_at(batch))
                if _is_past(page, since):
                    return None
        return None

    def delete(self, batch_id: str | None, file_id: str | None) -> None:
        """Delete the files of a batch: what was uploaded, and what came of it."""
        import openai  # noqa: PLC0415

        with self._connected() as connected:
            # Nobody waits for this: it is tried again by the next run.
            client = connected.with_options(max_retries=0, timeout=min(self.timeout_seconds, _DELETE_SECONDS))
            batch: BatchObject = {}
            if batch_id is not None:
                with contextlib.suppress(openai.NotFoundError):
                    batch = self._batch(client, batch_id)
            known = [] if file_id is None else [file_id]
            told = _files_of(batch, "input_file_id", "output_file_id", "error_file_id")
            for name in dict.fromkeys([*known, *told]):
                with contextlib.suppress(openai.NotFoundError):  # it is gone already
                    client.files.with_raw_response.delete(name)

    @property
    def _base_url(self) -> str:
        return self.endpoint.base_url or self.provider.base_url

    @contextmanager
    def _connected(self) -> Iterator["openai.OpenAI"]:
        with (
            named_errors(self.endpoint),
            self.provider.connect(
                self._base_url,
                self.endpoint.api_key(),
                self.timeout_seconds,
                _RETRIES,
                http_client_of(self._base_url),
                self.endpoint.own_headers(),
            ) as client,
        ):
            yield client

    def _read(self, response: Any) -> BatchObject:
        return self._object_in(response.http_response.content)

    def _batch(self, connection: "openai.OpenAI", batch_id: str) -> BatchObject:
        return self._read(connection.batches.with_raw_response.retrieve(batch_id))

    def _pages(self, client: "openai.OpenAI") -> Iterator[Sequence[BatchObject]]:
        def ask(query: Mapping[str, Any]) -> BatchObject:
            return self._read(client.batches.with_raw_response.list(limit=PAGE_LIMIT, **query))

        return pages_of(ask, "after")

    def _state_of(self, batch: BatchObject) -> BatchState:
        return state_of(batch)

    def _results(self, connection: "openai.OpenAI", batch: BatchObject) -> Iterator[Mapping[str, Any]]:
        """Of its files of answers and of errors, the answers' first."""
        for file_id in _files_of(batch, "output_file_id", "error_file_id"):
            content = connection.files.with_streaming_response.content(file_id, timeout=TRANSFER_SECONDS)
            with content as response:
                yield from results_in(map(self.endpoint.hide_key, split_lines(response.iter_bytes())))

    def _row_of(self, result: Mapping[str, Any]) -> Row:
        return row_of(result)

    def _row_keys_by_id(self, row_keys: Sequence[str], metadata: Mapping[str, str]) -> Mapping[str, str]:  # noqa: ARG002
        own = {row_key: row_key for row_key in row_keys}
        places = enumerate(row_keys) if self.through_langasync else ()
        return {str(place): row_key for place, row_key in places} | own

    def _ask_to_cancel(self, connection: "openai.OpenAI", batch_id: str) -> None:
        connection.batches.with_raw_response.cancel(batch_id)


def state_of(batch: BatchObject) -> BatchState:
    """Where a batch stands.

    Raises:
        ValueError: with a status that OpenAI's Batch API doesn't have.
    """
    counts = mapping_in(batch.get("request_counts"))
    said = map(mapping_in, list_in(mapping_in(batch.get("errors")).get("data")))
    return BatchState(
        BatchStatus(str(batch.get("status"))),
        total=count_in(counts.get("total")),
        completed=count_in(counts.get("completed")),
        failed=count_in(counts.get("failed")),
        errors=tuple(
            BatchError(name_in(error.get("code")), words_in(error.get("message"))) for error in said
        ),
    )


def row_of(result: Mapping[str, Any]) -> Row:
    """What a line of a batch's files says, whatever it holds."""
    response = mapping_in(result.get("response"))
    body, status = response.get("body"), count_in(response.get("status_code"))
    row = result.get("custom_id")
    # An answer is one though an error stands beside it: it was paid.
    if status < BAD_REQUEST and (not result.get("error") or "choices" in mapping_in(body)):
        return row, answer_of_completion(body)
    error = row_error(result.get("error") or mapping_in(body).get("error") or body, status)
    return row, RowError(None, error.code, error.message) if error.code in _NOT_EXECUTED else error


def _file_pauses() -> Iterator[float]:
    """How long to wait before a file is asked for again: twice as long each time, up to a longest."""
    pause = FIRST_FILE_PAUSE_SECONDS
    while True:
        yield pause
        pause = min(2 * pause, _LONGEST_FILE_PAUSE_SECONDS)


def _files_of(batch: BatchObject, *fields: str) -> Iterator[str]:
    """The ids of a batch's files that stand in some of its fields, each once."""
    names = (name_in(batch.get(name)) for name in fields)
    yield from dict.fromkeys(name for name in names if name is not None)


def _is_past(page: Sequence[BatchObject], since: datetime) -> bool:
    """Whether the pages after this one are long before a moment. A list that starts with the oldest never is.

    Nor is one whose dates can't be read.
    """
    first, last = made_at(page[0]), made_at(page[-1])
    return first is not None and last is not None and first >= last and last < since - CLOCKS_DIFFER_BY
