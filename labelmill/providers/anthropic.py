"""Anthropic: Claude, by its Messages API on the live lane, and by its Message Batches on the batch lane.

Sources: <https://platform.claude.com/docs/en/api/messages>, <https://platform.claude.com/docs/en/api/creating-message-batches>,
<https://platform.claude.com/docs/en/api/errors>, <https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons>,
<https://platform.claude.com/docs/en/build-with-claude/structured-outputs>,
<https://platform.claude.com/docs/en/build-with-claude/prompt-caching>.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from labelmill.job.model import Batch, LabelJob, Model, Run
from labelmill.money.usage import service_tier_of, tokens_told_in_total, usage_of
from labelmill.providers.batches import (
    CLOCKS_DIFFER_BY,
    PAGE_LIMIT,
    SERVER_ERROR,
    TRANSFER_SECONDS,
    BatchObject,
    PlainBatchCalls,
    Row,
    id_of,
    made_at,
    pages_of,
    results_in,
    row_error,
    split_lines,
    tag_of,
)
from labelmill.providers.completions import error_within, reply_to, unreadable
from labelmill.providers.dialect import Dialect
from labelmill.providers.endpoint import NO_KEY, Endpoint, is_loopback, without_keys
from labelmill.providers.environment import shared_http_client
from labelmill.providers.extras import asks_live, live_mistakes
from labelmill.providers.prompt_cache import SharedPrompt, cache_rules, may_be_cached
from labelmill.providers.protocol import (
    BatchClient,
    BatchState,
    BatchStatus,
    BatchUnreachable,
    FoundBatch,
    LineOf,
    Provider,
    Reply,
    RowError,
    no_note,
)
from labelmill.providers.refusals import Sent
from labelmill.providers.request_fields import header_secrets, sent_headers
from labelmill.providers.wire import count_in, json_of, list_in, mapping_in
from labelmill.question.answers import Answer
from labelmill.question.binding import Binding
from labelmill.question.failures import Failure
from labelmill.question.form import AnswerForm, schema_in

if TYPE_CHECKING:
    import httpx
    from langchain_core.messages import BaseMessage

REQUIREMENT = "langchain-anthropic>=1.7,<2"
_BATCHES = "/v1/messages/batches"
_THINKS = ("enabled", "adaptive")


class Anthropic(Provider):
    """Its Messages API takes the system message apart, and has no token probabilities."""

    sends_own_fields = True

    def mistakes(self, model: Model, run: Run | None, batch: Batch | None) -> Iterator[tuple[str, str]]:
        """Also LangChain's model that is not installed or won't send such a request, and what Claude refuses where it is told to think.

        Source: <https://platform.claude.com/docs/en/build-with-claude/extended-thinking>.
        """
        yield from super().mistakes(model, run, batch)
        if run is not None and asks_live(run):
            yield from live_mistakes(self.name, REQUIREMENT, lambda: _refused_settings(model))
        thinking = mapping_in(model.extra_body.get("thinking"))
        if thinking.get("type") in _THINKS and model.sent_temperature not in {None, 1.0}:
            yield "model.temperature", 'Claude thinks at its own temperature alone; set temperature = "unset"'
        budget = count_in(thinking.get("budget_tokens"))
        if isinstance(model.max_tokens, int) and 0 < model.max_tokens <= budget:
            sentence = (
                f"found {model.max_tokens:,}, and the thoughts alone may take {budget:,} "
                '(model.extra_body.thinking.budget_tokens); set more, or "auto"'
            )
            yield "model.max_tokens", sentence

    def chat(self, job: LabelJob, base_url: str, api_key: str, form: AnswerForm) -> "AnthropicChat":
        """LangChain's model."""
        return AnthropicChat(job.model, self.url_of(base_url, ""), api_key, form)

    def headers(self, api_key: str) -> dict[str, str]:
        """The key, and the version of the API that is spoken here."""
        return {"x-api-key": api_key, "anthropic-version": "2023-06-01"}

    def url_of(self, base_url: str, path: str) -> str:
        """Whether or not the version stands in the address."""
        root = base_url.rstrip("/").removesuffix("/v1")
        return root + (path if path.startswith("/v1/") or not path else f"/v1{path}")

    def batch_lines(self, job: LabelJob, base_url: str, form: AnswerForm) -> LineOf:  # noqa: ARG002
        """A row key beside the parameters of a message."""
        settings: dict[str, Any] = {
            "model": job.model.name,
            "max_tokens": form.max_tokens,
            **({} if job.model.sent_temperature is None else {"temperature": job.model.sent_temperature}),
        }
        if form.response_format:
            settings["output_config"] = {"format": {"type": "json_schema", "schema": schema_in(form)}}

        def line_of(row_key: str, messages: Sequence["BaseMessage"]) -> Mapping[str, Any]:
            system = "\n".join(message.text for message in messages if message.type == "system")
            said = [{"role": "user", "content": each.text} for each in messages if each.type != "system"]
            told = {"system": system} if system else {}
            params = settings | told | {"messages": said}
            return {"custom_id": row_key, "params": params | job.model.extra_body}

        return line_of

    def batch_client(self, job: LabelJob, endpoint: Endpoint) -> BatchClient:
        """Over plain HTTP."""
        return AnthropicBatchClient(endpoint, job.model.timeout_seconds, self)


ANTHROPIC = Anthropic(
    name="anthropic",
    base_url="https://api.anthropic.com",
    api_key_env="ANTHROPIC_API_KEY",
    price_id="anthropic",
    api="messages",
    max_temperature=1.0,
    # https://platform.claude.com/docs/en/build-with-claude/batch-processing
    max_requests=100_000,
    max_bytes=256_000_000,
    has_probabilities=False,
    has_reasoning_effort=False,
    dialect=Dialect(bindings=(Binding.JSON_SCHEMA,)),
)


# ---- the live lane


class AnthropicChat:
    """LangChain's `ChatAnthropic` as a job sets it up. What it would retry is sent once, and what comes back is read here."""

    def __init__(self, settings: Model, base_url: str, api_key: str, form: AnswerForm) -> None:
        from anthropic import Anthropic as AnthropicClient  # noqa: PLC0415
        from langchain_anthropic import ChatAnthropic  # noqa: PLC0415

        self.model = ChatAnthropic(
            model=settings.name,
            base_url=base_url,
            api_key=SecretStr(api_key),
            temperature=settings.sent_temperature,
            max_tokens_to_sample=form.max_tokens,
            timeout=settings.timeout_seconds,
            max_retries=0,
            cache=False,
            stop=None,
        )
        self._client: AnthropicClient = self.model._client  # noqa: SLF001  (LangChain's way to send)
        if is_loopback(base_url):
            # Past any proxy; LangChain's own client goes where the environment says.
            self._client = self._client.with_options(http_client=shared_http_client(base_url))
        self._asked: dict[str, Any] = (
            {"response_format": form.response_format} if form.response_format else {}
        )
        self._prompt = SharedPrompt(cache_rules()["lifetime_seconds"])
        # As the client takes it beside a message's parameters.
        self._own: dict[str, Any] = {
            "extra_body": settings.extra_body,
            "extra_headers": sent_headers(settings.headers),
        }
        self._hide_key = partial(without_keys, keys=(api_key, *header_secrets(settings.headers)))

    def payload_of(self, messages: Sequence["BaseMessage"]) -> dict[str, Any]:
        """The parameters of a message."""
        payload: dict[str, Any] = self.model._get_request_payload(list(messages), **self._asked)  # noqa: SLF001  (LangChain's way to say what it sends)
        return payload

    def send(self, payload: Mapping[str, Any]) -> Reply:
        """Send one request, and return whatever came of it. Its system message is cached where others share it."""
        system = payload.get("system")
        if not isinstance(system, str) or not may_be_cached(system, self.model.model):
            return self._sent(payload)
        turn = self._prompt.begin()
        marked = {"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}
        reply = self._sent({**payload, "system": [marked]} if turn.asks else payload)
        self._prompt.end(turn, answered=isinstance(reply.result, Answer))
        return reply

    def _beside(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """A message's parameters with what the job adds; LangChain puts some of its own into the same places."""
        return {**payload, **{name: {**(payload.get(name) or {}), **own} for name, own in self._own.items()}}

    def _sent(self, payload: Mapping[str, Any]) -> Reply:
        asked = self._beside(payload)
        return reply_to(
            lambda: self._client.messages.with_raw_response.create(**asked).http_response,
            self._hide_key,
            Sent.of({**asked, **asked["extra_body"]}),
            named=_with_usual_names,
            read=answer_of_message,
        )


def _with_usual_names(headers: Mapping[str, str]) -> Mapping[str, str]:
    """The headers, with what they tell of limits under the names that others have for it too.

    Source: <https://platform.claude.com/docs/en/api/rate-limits#response-headers>.
    """
    told = {
        f"x-ratelimit-{what}-{unit}": headers.get(f"anthropic-ratelimit-{unit}-{what}")
        for unit in ("requests", "tokens")
        for what in ("limit", "remaining")
    }
    return {**headers, **{name: value for name, value in told.items() if value is not None}}


def _refused_settings(model: Model) -> None:
    """Have LangChain's model say what of its settings it would not send.

    Raises:
        ValueError: it would not.
    """
    from langchain_core.messages import HumanMessage  # noqa: PLC0415  (who checks another provider needs none)

    form = AnswerForm(1, None)
    AnthropicChat(model, ANTHROPIC.base_url, NO_KEY, form).payload_of([HumanMessage("-")])


# ---- the batch lane


@dataclass(frozen=True)
class AnthropicBatchClient(PlainBatchCalls):
    """A `BatchClient` for Message Batches.

    A request's id is a tag made of the metadata, and its place in the file: so a batch tells whose it is, once it has
    ended and its results can be read.
    """

    provider: Provider = ANTHROPIC

    def send(
        self,
        requests: Path,
        metadata: Mapping[str, str],
        uploaded: Callable[[str], None] = no_note,  # noqa: ARG002  (no file is uploaded apart)
    ) -> str:
        """Make a batch of a file of requests; returns the batch's id."""
        tag = tag_of(metadata)
        with requests.open("rb") as lines:
            sent = [{**json.loads(line), "custom_id": f"{tag}-{place}"} for place, line in enumerate(lines)]
        return self._make(_BATCHES, {"requests": sent}, "id")

    def find(
        self, metadata: Mapping[str, str], since: datetime, known: Collection[str] = ()
    ) -> FoundBatch | None:
        """The batch whose requests carry the tag of this metadata; those made long before `since` are not looked through.

        Raises:
            BatchUnreachable: also while a batch that might be it has not ended, or its results can't be read: until then
                nobody can tell.
        """
        tag, undecided = tag_of(metadata), []
        with self._connected() as http:
            for batch in self._since(http, since):
                batch_id, made = id_of(batch), made_at(batch)
                if batch_id in known:
                    continue
                first = self._first_id(http, batch)
                if first.startswith(f"{tag}-"):
                    return FoundBatch(batch_id, made)
                if not first and (made is None or made <= since + CLOCKS_DIFFER_BY):
                    undecided.append(batch_id)
        if undecided:
            raise BatchUnreachable(f"whose the batches {undecided} are shows once they have ended")
        return None

    def _since(self, http: "httpx.Client", since: datetime) -> Iterator[BatchObject]:
        """The batches, newest first, but for those made long before a moment."""

        def ask(query: Mapping[str, Any]) -> BatchObject:
            return self._get(http, _BATCHES, {"limit": PAGE_LIMIT, **query})

        for page in pages_of(ask, "after_id"):
            for batch in page:
                made = made_at(batch)
                if made is not None and made < since - CLOCKS_DIFFER_BY:
                    return
                yield batch

    def _first_id(self, http: "httpx.Client", batch: BatchObject) -> str:
        """The id of a batch's first result, which tells whose it is; empty as long as there is none to be read."""
        try:
            if not state_of(batch).status.is_final:
                return ""
        except ValueError:
            return ""
        import httpx  # noqa: PLC0415  (it brings a command line of its own, and few runs need it)

        try:
            first = next(iter(self._results(http, batch)), {})
        except httpx.HTTPStatusError as error:
            if error.response.status_code != HTTPStatus.NOT_FOUND:
                raise
            return ""
        return str(first.get("custom_id", ""))

    def _batch(self, connection: "httpx.Client", batch_id: str) -> BatchObject:
        return self._get(connection, self._path_of(batch_id), {})

    def _state_of(self, batch: BatchObject) -> BatchState:
        return state_of(batch)

    def _results(self, connection: "httpx.Client", batch: BatchObject) -> Iterator[Mapping[str, Any]]:
        """From the job's endpoint: `results_url` would take the key wherever it leads."""
        url = self._url(f"{self._path_of(id_of(batch))}/results")
        with connection.stream("GET", url, timeout=TRANSFER_SECONDS) as response:
            if response.is_error:
                response.read()
            lines = split_lines(response.raise_for_status().iter_bytes())
            yield from results_in(map(self.endpoint.hide_key, lines))

    def _row_of(self, result: Mapping[str, Any]) -> Row:
        return row_of(result)

    def _row_keys_by_id(self, row_keys: Sequence[str], metadata: Mapping[str, str]) -> Mapping[str, str]:
        tag = tag_of(metadata)
        return {f"{tag}-{place}": row_key for place, row_key in enumerate(row_keys)}

    def _ask_to_cancel(self, connection: "httpx.Client", batch_id: str) -> None:
        connection.post(self._url(f"{self._path_of(batch_id)}/cancel")).raise_for_status()

    def _path_of(self, batch_id: str) -> str:
        return f"{_BATCHES}/{batch_id}"


# ---- what stands on the wire

_STATUS_OF_ERROR = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_NOT_EXECUTED = {"expired": "batch_expired", "canceled": "batch_cancelled"}
_FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
}
_COUNTS = ("processing", "succeeded", "errored", "canceled", "expired")


def state_of(batch: BatchObject) -> BatchState:
    """Where a batch stands. It has ended or not; how, its rows tell.

    Raises:
        ValueError: with a status that Message Batches don't have.
    """
    told = mapping_in(batch.get("request_counts"))
    counts = {name: count_in(told.get(name)) for name in _COUNTS}
    left = sum(counts[name] for name in ("errored", "canceled", "expired"))
    status = _status_of(batch.get("processing_status"), counts)
    return BatchState(status, sum(counts.values()), counts["succeeded"], left)


def _status_of(said: Any, counts: Mapping[str, int]) -> BatchStatus:
    match said:
        case "in_progress":
            return BatchStatus.IN_PROGRESS
        case "canceling":
            return BatchStatus.CANCELLING
        case "ended" if counts["canceled"]:
            return BatchStatus.CANCELLED
        case "ended" if counts["expired"]:
            return BatchStatus.EXPIRED
        case "ended":
            return BatchStatus.COMPLETED
        case _:
            raise ValueError(f"{said!r} is not a batch status")


def row_of(result: Mapping[str, Any]) -> Row:
    """What a line of the results says, whatever it holds."""
    said = mapping_in(result.get("result"))
    kind, row = said.get("type"), result.get("custom_id")
    if isinstance(kind, str) and kind in _NOT_EXECUTED:
        return row, RowError(None, _NOT_EXECUTED[kind], f"the request has {kind}")
    if kind == "errored" or (kind != "succeeded" and "error" in said):
        error = mapping_in(said.get("error"))
        error = mapping_in(error.get("error")) or error
        return row, row_error(error, _STATUS_OF_ERROR.get(str(error.get("type")), SERVER_ERROR))
    # Of any other kind too: it may have been paid, and what it holds is read.
    return row, answer_of_message(said.get("message"))


def answer_of_message(body: object) -> Answer:
    """Take from a message, whatever it holds, what Labelmill keeps of an answer. It never raises."""
    message = mapping_in(body)
    blocks = [mapping_in(block) for block in list_in(message.get("content"))]
    reason = _text(message.get("stop_reason"))
    content = "".join(_text(block.get("text")) or "" for block in blocks if block.get("type") == "text")
    refused = (content or "the model stopped with a refusal") if reason == "refusal" else None
    return Answer(
        content=content,
        refusal=refused,
        finish_reason=None if reason is None else _FINISH_REASONS.get(reason, reason),
        model=_text(message.get("model")),
        confidence=None,
        usage=usage_of(body),
        service_tier=service_tier_of(body),
        total_tokens=tokens_told_in_total(body),
        reasoning="".join(
            _text(block.get("thinking")) or "" for block in blocks if block.get("type") == "thinking"
        ),
        arguments=tuple(json_of(block.get("input")) for block in blocks if block.get("type") == "tool_use"),
        error=None if isinstance(message.get("content"), list) else _error_in(message),
    )


def _error_in(message: Mapping[str, Any]) -> Failure:
    """What stands in a message's place. A gateway may answer 200 whatever its upstream says."""
    error = mapping_in(message.get("error"))
    if not error:
        return unreadable("the answer is no message")
    status = _STATUS_OF_ERROR.get(str(error.get("type")))
    return error_within({"error": {**error, "code": status} if status else error})


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
