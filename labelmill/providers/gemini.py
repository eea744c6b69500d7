"""Google: Gemini, by a request for content each on the live lane, and by its batch API, which takes the requests inline.

Sources: <https://ai.google.dev/api/generate-content>, <https://ai.google.dev/api/batch-api>, <https://ai.google.dev/api/generate-content#FinishReason>,
<https://ai.google.dev/gemini-api/docs/batch-api>, <https://ai.google.dev/api/models>.
"""

import json
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import SecretStr

from labelmill.job.model import Batch, LabelJob, Model, Run
from labelmill.money.usage import service_tier_of, tokens_told_in_total, usage_of
from labelmill.providers.batches import (
    MOST_PAGES,
    PAGE_LIMIT,
    SERVER_ERROR,
    TRANSFER_SECONDS,
    BatchObject,
    PlainBatchCalls,
    Row,
    endless,
    id_of,
    row_error,
    tag_of,
)
from labelmill.providers.completions import error_within, probability_of, reply_of, unreadable
from labelmill.providers.dialect import BINDING_FIELDS, Dialect
from labelmill.providers.endpoint import NO_KEY, Endpoint, is_loopback, without_keys
from labelmill.providers.extras import asks_live, live_mistakes
from labelmill.providers.failures import failure_of
from labelmill.providers.protocol import (
    BatchClient,
    BatchError,
    BatchState,
    BatchStatus,
    FoundBatch,
    LineOf,
    Provider,
    Reply,
    RowError,
    no_note,
)
from labelmill.providers.refusals import Sent, known_fields
from labelmill.providers.request_fields import header_secrets, merged_body, sent_headers
from labelmill.providers.wire import count_in, json_of, list_in, mapping_in, moment_in, name_in, words_in
from labelmill.question.answers import Answer
from labelmill.question.binding import Binding
from labelmill.question.failures import Failure
from labelmill.question.form import AnswerForm, schema_in

if TYPE_CHECKING:
    import httpx
    from langchain_core.messages import BaseMessage

REQUIREMENT = "langchain-google-genai>=4.4,<5"

_FIELDS = {"generationConfig": "generation_config"}
"""The other spelling of what a request has here already: with both, it would be refused."""


class Gemini(Provider):
    """Both lanes take the system message apart. Not every model has token probabilities: Gemini says so itself."""

    sends_own_fields = True

    def mistakes(self, model: Model, run: Run | None, batch: Batch | None) -> Iterator[tuple[str, str]]:
        """Also LangChain's model that is not installed, or that won't send such a request."""
        yield from super().mistakes(model, run, batch)
        if run is not None and asks_live(run):
            yield from live_mistakes(self.name, REQUIREMENT, lambda: _refused_settings(model))

    def chat(self, job: LabelJob, base_url: str, api_key: str, form: AnswerForm) -> "GeminiChat":
        """LangChain's model."""
        return GeminiChat(job.model, base_url, api_key, form)

    def headers(self, api_key: str) -> dict[str, str]:
        """The key."""
        return {"x-goog-api-key": api_key}

    def batch_lines(self, job: LabelJob, base_url: str, form: AnswerForm) -> LineOf:  # noqa: ARG002
        """A row key beside a request; the batch has the model."""
        temperature = job.model.sent_temperature
        settings: dict[str, Any] = {
            **({} if temperature is None else {"temperature": temperature}),
            "max_output_tokens": form.max_tokens,
        }
        if form.response_format:
            settings |= {"response_mime_type": "application/json", "response_json_schema": schema_in(form)}
        if job.model.confidence:
            settings["response_logprobs"] = True
        extra = {_FIELDS.get(name, name): value for name, value in job.model.extra_body.items()}

        def line_of(row_key: str, messages: Sequence["BaseMessage"]) -> Mapping[str, Any]:
            system = [{"text": message.text} for message in messages if message.type == "system"]
            said = [
                {"role": "user", "parts": [{"text": message.text}]}
                for message in messages
                if message.type != "system"
            ]
            told = {"system_instruction": {"parts": system}} if system else {}
            request = {"contents": said, **told, "generation_config": settings}
            return {"metadata": {"key": row_key}, "request": merged_body(request, extra)}

        return line_of

    def batch_client(self, job: LabelJob, endpoint: Endpoint) -> BatchClient:
        """Over plain HTTP."""
        return GeminiBatchClient(endpoint, job.model.timeout_seconds, self, job.model.name)


GEMINI = Gemini(
    name="google",
    base_url="https://generativelanguage.googleapis.com/v1beta",
    api_key_env="GOOGLE_API_KEY",
    price_id="google",
    api="generate_content",
    max_bytes=20_000_000,
    has_reasoning_effort=False,
    dialect=Dialect(bindings=(Binding.JSON_SCHEMA,)),
)


# ---- the live lane


class GeminiChat:
    """LangChain's `ChatGoogleGenerativeAI` as a job sets it up. What it would retry is sent once; what comes back is read here."""

    def __init__(self, settings: Model, base_url: str, api_key: str, form: AnswerForm) -> None:
        import httpx  # noqa: PLC0415
        from langchain_google_genai import ChatGoogleGenerativeAI  # noqa: PLC0415

        address, version = _split(base_url)
        self.model = ChatGoogleGenerativeAI(
            model=settings.name,
            base_url=address,
            api_version=version,
            google_api_key=SecretStr(api_key),
            temperature=settings.sent_temperature,
            max_output_tokens=form.max_tokens,
            timeout=settings.timeout_seconds,
            max_retries=1,  # it counts the first one too
            vertexai=False,
            cache=False,
            client_args={
                # A key would go along to another host.
                "follow_redirects": False,
                "trust_env": not is_loopback(base_url),
                "verify": httpx.create_ssl_context(),
                "limits": httpx.Limits(max_connections=1000, max_keepalive_connections=100),
            },
        )
        self._asked: dict[str, Any] = {
            "should_return_http_response": True,
            "automatic_function_calling": {"disable": True},
        }
        if form.response_format:
            self._asked["response_format"] = form.response_format
        if settings.confidence:
            self._asked["response_logprobs"] = True
        if settings.extra_body or settings.headers:
            # The client puts both into what it sends, at any depth.
            self._asked["http_options"] = {
                **({"extra_body": settings.extra_body} if settings.extra_body else {}),
                **({"headers": sent_headers(settings.headers)} if settings.headers else {}),
            }
        bound = BINDING_FIELDS if form.response_format else frozenset[str]()
        self._fields = (known_fields() - BINDING_FIELDS) | bound | frozenset(settings.extra_body)
        self._hide_key = partial(without_keys, keys=(api_key, *header_secrets(settings.headers)))

    def payload_of(self, messages: Sequence["BaseMessage"]) -> dict[str, Any]:
        """What Google's client is called with."""
        payload: dict[str, Any] = self.model._prepare_request(list(messages), **self._asked)  # noqa: SLF001  (LangChain's way to say what it sends)
        return payload

    def send(self, payload: Mapping[str, Any]) -> Reply:
        """Send one request, and return whatever came of it."""
        began, client = time.monotonic(), cast("Any", self.model.client)
        try:
            told = client.models.generate_content(**payload).sdk_http_response
            status, content, headers = 200, told.body.encode(errors="surrogatepass"), told.headers
        except Exception as error:  # noqa: BLE001  (something was sent, and may have been paid)
            came = getattr(error, "response", None)
            try:
                status, content, headers = came.status_code, came.content, came.headers  # type: ignore[union-attr]
            except Exception:  # noqa: BLE001  (there is no response, or its body could not be read)
                return Reply(failure_of(error, self._hide_key))
        seconds = time.monotonic() - began
        sent = Sent(self._fields, tuple(_texts_in(payload)))
        return reply_of(
            status, self._hide_key(content), headers or {}, seconds, sent, read=answer_of_response
        )


def _texts_in(payload: Mapping[str, Any]) -> Iterator[str]:
    """What a request says, which its client has as objects."""
    for content in (*payload["contents"], payload["config"].system_instruction):
        for part in getattr(content, "parts", None) or ():
            yield part.text or ""


_VERSION = re.compile(r"(.*)/(v[0-9][a-z0-9]*)/?")


def _split(base_url: str) -> tuple[str, str | None]:
    """An address, and the version of the API that stands at its end; the client's own version where none does."""
    found = _VERSION.fullmatch(base_url)
    return (found[1], found[2]) if found else (base_url, None)


def _refused_settings(model: Model) -> None:
    """Have LangChain's model say what of its settings it would not send.

    Raises:
        ValueError: it would not.
    """
    from langchain_core.messages import HumanMessage  # noqa: PLC0415  (who checks another provider needs none)

    GeminiChat(model, GEMINI.base_url, NO_KEY, AnswerForm(1, None)).payload_of([HumanMessage("-")])


# ---- the batch lane


@dataclass(frozen=True)
class GeminiBatchClient(PlainBatchCalls):
    """A `BatchClient` for Gemini's batches, each of one model.

    A batch's name is a tag made of the metadata. A request's key is its place in the file.
    """

    provider: Provider = GEMINI
    model: str = ""

    def send(
        self,
        requests: Path,
        metadata: Mapping[str, str],
        uploaded: Callable[[str], None] = no_note,  # noqa: ARG002  (no file is uploaded apart)
    ) -> str:
        """Make a batch of a file of requests; returns the batch's name, which is its id."""
        with requests.open("rb") as lines:
            sent = [{**json.loads(line), "metadata": {"key": str(place)}} for place, line in enumerate(lines)]
        batch = {"display_name": tag_of(metadata), "input_config": {"requests": {"requests": sent}}}
        return self._make(f"/models/{self.model}:batchGenerateContent", {"batch": batch}, "name")

    def find(
        self,
        metadata: Mapping[str, str],
        since: datetime,  # noqa: ARG002  (in which order batches are listed, Gemini doesn't say)
        known: Collection[str] = (),  # noqa: ARG002  (the name shows at once)
    ) -> FoundBatch | None:
        """The batch whose name is the tag of this metadata, whenever it was made."""
        tag = tag_of(metadata)
        with self._connected() as http:
            for batch in self._all(http):
                facts = _facts_of(batch)
                if facts.get("displayName") == tag:
                    return FoundBatch(id_of(batch, "name"), moment_in(facts.get("createTime")))
        return None

    def _all(self, http: "httpx.Client") -> Iterator[BatchObject]:
        token: dict[str, str] = {}
        for _ in range(MOST_PAGES):
            answer = self._get(http, "/batches", {"pageSize": PAGE_LIMIT, **token})
            yield from (batch for batch in list_in(answer.get("operations")) if isinstance(batch, Mapping))
            following = name_in(answer.get("nextPageToken"))
            if following is None or following == token.get("pageToken"):
                return
            token = {"pageToken": following}
        raise endless()

    def _batch(self, connection: "httpx.Client", batch_id: str) -> BatchObject:
        # What came of it stands in it, and takes as long.
        return self._get(connection, self._path_of(batch_id), {}, TRANSFER_SECONDS)

    def _state_of(self, batch: BatchObject) -> BatchState:
        return state_of(batch)

    def _results(self, connection: "httpx.Client", batch: BatchObject) -> Iterator[Mapping[str, Any]]:  # noqa: ARG002
        told = batch.get("response") or _facts_of(batch).get("output")
        inlined = list_in(mapping_in(mapping_in(told).get("inlinedResponses")).get("inlinedResponses"))
        yield from (result for result in inlined if isinstance(result, Mapping))

    def _row_of(self, result: Mapping[str, Any]) -> Row:
        return row_of(result)

    def _row_keys_by_id(self, row_keys: Sequence[str], metadata: Mapping[str, str]) -> Mapping[str, str]:  # noqa: ARG002
        return {str(place): row_key for place, row_key in enumerate(row_keys)}

    def _ask_to_cancel(self, connection: "httpx.Client", batch_id: str) -> None:
        connection.post(self._url(f"{self._path_of(batch_id)}:cancel")).raise_for_status()

    def _path_of(self, batch_id: str) -> str:
        return f"/{batch_id}"


# ---- what stands on the wire

_STATUSES = {
    "UNSPECIFIED": BatchStatus.VALIDATING,
    "PENDING": BatchStatus.VALIDATING,
    "RUNNING": BatchStatus.IN_PROGRESS,
    "SUCCEEDED": BatchStatus.COMPLETED,
    "FAILED": BatchStatus.FAILED,
    "CANCELLED": BatchStatus.CANCELLED,
    "EXPIRED": BatchStatus.EXPIRED,
}
_STATE_PREFIX = "BATCH_STATE_"
_FINISH_REASONS = {"STOP": "stop", "MAX_TOKENS": "length"}
_FILTERED = frozenset({"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE"})
_FILTER = "content_filter"
_NOT_EXECUTED = 1
"""gRPC's code for a call that was cancelled."""
_STATUS_OF_CODE = {3: 400, 4: 504, 5: 404, 7: 403, 8: 429, 9: 400, 11: 400, 12: 400, 14: 503, 16: 401}
"""HTTP's words for gRPC's codes, which a row's error carries. Any other is the server's error."""
_HTTP = 100


def _facts_of(batch: BatchObject) -> Mapping[str, Any]:
    """What an operation tells of its batch."""
    return mapping_in(batch.get("metadata"))


def state_of(batch: BatchObject) -> BatchState:
    """Where a batch stands.

    Raises:
        ValueError: with a state that Gemini's batches don't have.
    """
    facts = _facts_of(batch)
    said = facts.get("state")
    status = _STATUSES.get(said.removeprefix(_STATE_PREFIX)) if isinstance(said, str) else None
    if status is None:
        raise ValueError(f"{said!r} is not a batch state")
    counts = mapping_in(facts.get("batchStats"))
    total, completed, failed = (
        count_in(counts.get(f"{name}Count")) for name in ("request", "successfulRequest", "failedRequest")
    )
    error = mapping_in(batch.get("error"))
    words = words_in(error.get("message"))
    errors = (BatchError(name_in(error.get("status")), words),) if error else ()
    return BatchState(status, total, completed, failed, errors)


def row_of(result: Mapping[str, Any]) -> Row:
    """What an inlined response says, whatever it holds."""
    row, error = mapping_in(result.get("metadata")).get("key"), mapping_in(result.get("error"))
    if not error:
        return row, answer_of_response(result.get("response"))
    code = count_in(error.get("code"))
    if code == _NOT_EXECUTED:
        return row, RowError(None, "batch_cancelled", words_in(error.get("message")))
    status = code if code >= _HTTP else _STATUS_OF_CODE.get(code, SERVER_ERROR)
    told = row_error({"code": error.get("status"), "message": error.get("message")}, status)
    return row, told


def answer_of_response(body: object) -> Answer:
    """Take from a response, whatever it holds, what Labelmill keeps of an answer. It never raises."""
    response = mapping_in(body)
    candidates = list_in(response.get("candidates"))
    candidate = mapping_in(candidates[0]) if candidates else {}
    is_blocked = not candidates and bool(mapping_in(response.get("promptFeedback")).get("blockReason"))
    parts = [mapping_in(part) for part in list_in(mapping_in(candidate.get("content")).get("parts"))]
    said = [(part.get("text"), bool(part.get("thought"))) for part in parts]
    calls = [mapping_in(part.get("functionCall")) for part in parts if "functionCall" in part]
    model, usage = response.get("modelVersion"), usage_of(body)
    thoughts = mapping_in(response.get("usageMetadata")).get("thoughtsTokenCount")
    return Answer(
        content="".join(text for text, is_thought in said if isinstance(text, str) and not is_thought),
        refusal=None,
        finish_reason=_FILTER if is_blocked else _finish_reason_of(candidate.get("finishReason")),
        model=model if isinstance(model, str) else None,
        # Of the thoughts' tokens too, where there are any.
        confidence=None if thoughts else _probability_in(candidate),
        usage=usage,
        service_tier=service_tier_of(body),
        total_tokens=tokens_told_in_total(body),
        reasoning="".join(text for text, is_thought in said if isinstance(text, str) and is_thought),
        arguments=tuple(json_of(call.get("args")) for call in calls),
        error=None if candidate or is_blocked else _error_in(response),
    )


def _probability_in(candidate: Mapping[str, Any]) -> float | None:
    chosen = list_in(mapping_in(candidate.get("logprobsResult")).get("chosenCandidates"))
    tokens = [{"logprob": mapping_in(token).get("logProbability")} for token in chosen]
    return probability_of({"content": tokens})


def _finish_reason_of(said: Any) -> str | None:
    if not isinstance(said, str):
        return None
    return _FILTER if said in _FILTERED else _FINISH_REASONS.get(said, said.casefold())


def _error_in(response: Mapping[str, Any]) -> Failure:
    """What stands in the place of candidates. A gateway may answer 200 whatever its upstream says."""
    error = mapping_in(response.get("error"))
    return error_within({"error": error}) if error else unreadable("the answer has no candidates")
