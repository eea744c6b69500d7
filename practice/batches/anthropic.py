"""Anthropic's Message Batches: practice's own batches in its words, so that its adapter can be tried without a key."""

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import Request
from starlette.responses import Response

from practice.batches.dialect import (
    Dialect,
    Route,
    arguments_of,
    batch_of,
    batches_of,
    cancelling,
    delete_batch,
    limit_of,
    list_in,
    make_batch,
    mapping_in,
    moment,
    not_found,
    object_in,
    page_of,
    results_of,
    rows_of,
    tool_of,
)
from practice.batches.state import shown_status
from practice.batches.store import DAY_SECONDS, BatchRecord
from practice.connection import PRACTICE_HEADERS, encoded, json_response
from practice.errors import RequestRefusedError, malformed
from practice.settings import BatchStep
from practice.state import ServerState

MESSAGES = "/v1/messages"
"""The endpoint of these batches, which tells them from OpenAI's."""

_LISTED, _MOST_LISTED = 20, 1_000
_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_RESULTS = ("succeeded", "errored", "canceled", "expired")
_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
_NOT_RUN = {"batch_expired": "expired", "batch_cancelled": "canceled"}


def error_of(status: int, message: str) -> dict[str, Any]:
    """An error as Anthropic writes it."""
    kind = _ERROR_TYPES.get(status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": None}


def _row_of(asked: Any, place: str) -> dict[str, Any]:
    """A request of Message Batches as a row of a batch.

    Raises:
        RequestRefusedError: it is none.
    """
    params = asked.get("params") if isinstance(asked, Mapping) else None
    if not isinstance(asked, Mapping) or not isinstance(params, Mapping):
        raise malformed(f"{place}: a request needs a 'custom_id' and 'params'.")
    body = chat_of(params, f"{place}.params.")
    return {"custom_id": asked.get("custom_id"), "method": "POST", "url": MESSAGES, "body": body}


def chat_of(params: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """The parameters of a message as a chat request.

    Raises:
        RequestRefusedError: they are none; `place` stands before the field's name.
    """
    for name, kind in (("model", str), ("max_tokens", int), ("messages", list)):
        if not isinstance(params.get(name), kind):
            raise malformed(f"{place}{name}: Field required")
    if (
        not isinstance(temperature := params.get("temperature", 1.0), int | float)
        or not 0 <= temperature <= 1
    ):
        raise malformed(f"{place}temperature: Input should be from 0 to 1")
    system = [{"role": "system", "content": params["system"]}] if params.get("system") else []
    body = {
        "model": params["model"],
        "messages": [*system, *map(_message, params["messages"])],
        "max_tokens": params["max_tokens"],
    }
    if tools := params.get("tools"):
        if not isinstance(tools, list):
            raise malformed(f"{place}tools: Input should be a valid list")
        body["tools"] = [tool_of(tool, mapping_in(tool).get("input_schema")) for tool in tools]
        body["tool_choice"] = _tool_choice(mapping_in(params.get("tool_choice")))
    wanted = mapping_in(mapping_in(params.get("output_config")).get("format") or params.get("output_format"))
    if wanted:
        body["response_format"] = {"type": "json_schema", "json_schema": {"schema": wanted.get("schema")}}
    return body


def _message(asked: Any) -> Any:
    """A message; the results of tools are the user's here, and a role of their own with OpenAI."""
    blocks = asked.get("content") if isinstance(asked, Mapping) else None
    is_result = any(mapping_in(block).get("type") == "tool_result" for block in list_in(blocks))
    return {**asked, "role": "tool"} if is_result else asked


def _tool_choice(asked: Mapping[str, Any]) -> Any:
    if asked.get("type") == "tool":
        return {"type": "function", "function": {"name": asked.get("name")}}
    return {"any": "required", "none": "none"}.get(str(asked.get("type")), "auto")


def _result_of(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line of a batch's output or errors as a result of Message Batches."""
    error, response = line.get("error"), line.get("response")
    if isinstance(error, Mapping) and error["code"] in _NOT_RUN:
        result: dict[str, Any] = {"type": _NOT_RUN[error["code"]]}
    elif not isinstance(response, Mapping):
        result = {"type": "errored", "error": error_of(500, str(error))}
    elif response["status_code"] == 200:  # noqa: PLR2004  (an HTTP status)
        result = {"type": "succeeded", "message": message_of(response["body"])}
    else:
        said = response["body"]["error"]["message"]
        result = {"type": "errored", "error": error_of(response["status_code"], said)}
    return {"custom_id": line["custom_id"], "result": result}


def message_of(completion: Mapping[str, Any]) -> dict[str, Any]:
    """A chat completion as a message."""
    choice, usage = completion["choices"][0], completion["usage"]
    said, cached = choice["message"], usage["prompt_tokens_details"]["cached_tokens"]
    written = usage["prompt_tokens_details"].get("cache_write_tokens", 0)
    text = said["refusal"] or said["content"]
    content = [{"type": "text", "text": text}] if text else []
    content += [
        {"type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": arguments_of(call)}
        for call in said.get("tool_calls", ())
    ]
    return {
        "id": completion["id"].replace("chatcmpl", "msg"),
        "type": "message",
        "role": "assistant",
        "model": completion["model"],
        "content": content,
        "stop_reason": "refusal" if said["refusal"] else _STOP_REASONS[choice["finish_reason"]],
        "stop_sequence": None,
        # Anthropic counts cached tokens beside the input, not in it.
        "usage": {
            "input_tokens": usage["prompt_tokens"] - cached - written,
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": cached,
            "output_tokens": usage["completion_tokens"],
        },
    }


async def _create(state: ServerState, request: Request) -> Response:
    rows = _rows(await request.body())
    record = make_batch(state, rows, MESSAGES)
    counts = {"processing": len(rows), **dict.fromkeys(_RESULTS, 0)}
    return json_response(_body(state, request, record) | {"request_counts": counts})


async def _list(state: ServerState, request: Request) -> Response:
    limit = limit_of(request.query_params.get("limit"), _LISTED, _MOST_LISTED)
    bodies = [_body(state, request, record) for record in await batches_of(state, MESSAGES)]
    return json_response(page_of(bodies, request.query_params.get("after_id"), limit))


async def _retrieve(state: ServerState, request: Request) -> Response:
    return json_response(
        _body(state, request, await batch_of(state, request.path_params["batch_id"], MESSAGES))
    )


async def _results(state: ServerState, request: Request) -> Response:
    record = await batch_of(state, request.path_params["batch_id"], MESSAGES)
    if record.ended is None:
        raise not_found(f"The results of '{record.id}' are not there yet.")
    lines = b"".join(encoded(result) + b"\n" for result in _results_of(state, record))
    return Response(lines, 200, PRACTICE_HEADERS, "application/x-jsonl")


async def _delete(state: ServerState, request: Request) -> Response:
    record = await batch_of(state, request.path_params["batch_id"], MESSAGES)
    delete_batch(state, record)
    return json_response({"id": record.id, "type": "message_batch_deleted"})


async def _cancel(state: ServerState, request: Request) -> Response:
    await request.body()
    record = cancelling(
        state, await batch_of(state, request.path_params["batch_id"], MESSAGES), _not_canceled
    )
    return json_response(_body(state, request, record) | {"processing_status": "canceling"})


def _not_canceled(_: str) -> RequestRefusedError:
    return malformed("This batch cannot be canceled because it has already ended.")


def _rows(raw: bytes) -> list[dict[str, Any]]:
    requests = object_in(raw).get("requests")
    if not isinstance(requests, list) or not requests:
        raise malformed("requests: List should have at least 1 item")
    rows = [_row_of(request, f"requests.{place}") for place, request in enumerate(requests)]
    for place, row in enumerate(rows):
        if not isinstance(row["custom_id"], str) or not _CUSTOM_ID.fullmatch(row["custom_id"]):
            raise malformed(f"requests.{place}.custom_id: String should match '^{_CUSTOM_ID.pattern}$'")
    return rows


def _body(state: ServerState, request: Request, record: BatchRecord) -> dict[str, Any]:
    status = shown_status(record, state.settings, time.time())
    has_ended = record.ended is not None
    asked_at, ended_at = record.cancel_asked_at, record.ended.ended_at if record.ended else None
    results_url = f"{request.base_url}{MESSAGES[1:]}/batches/{record.id}/results"
    return {
        "id": record.id,
        "type": "message_batch",
        "processing_status": "ended"
        if has_ended
        else "canceling"
        if status == "cancelling"
        else "in_progress",
        "request_counts": _counts(state, record),
        "created_at": moment(record.created_at),
        "ended_at": moment(ended_at),
        "cancel_initiated_at": moment(asked_at),
        "expires_at": moment(record.created_at + DAY_SECONDS),
        "archived_at": None,
        "results_url": results_url if has_ended else None,
    }


def _counts(state: ServerState, record: BatchRecord) -> dict[str, int]:
    """As Anthropic counts: everything is being processed until the batch has ended."""
    total = record.checked.total if record.checked else 0
    if record.ended is None:
        return {"processing": total, **dict.fromkeys(_RESULTS, 0)}
    kinds = Counter(result["result"]["type"] for result in _results_of(state, record))
    kinds["succeeded"] += record.ended.bill.rows_missing
    return {"processing": 0, **{kind: kinds[kind] for kind in _RESULTS}}


def _results_of(state: ServerState, record: BatchRecord) -> Iterator[dict[str, Any]]:
    if record.ended is not None and record.ended.status == "failed":
        # A batch that fails as a whole is not known there: each of its rows has an error.
        for row in rows_of(state, record):
            error = error_of(500, "The batch could not be processed (a practice fault).")
            yield {"custom_id": row["custom_id"], "result": {"type": "errored", "error": error}}
    else:
        yield from map(_result_of, results_of(state, record))


_BATCHES = f"{MESSAGES}/batches"
ANTHROPIC = Dialect(
    MESSAGES,
    MESSAGES,
    lambda refusal: error_of(refusal.status, refusal.message),
    (
        Route("POST", _BATCHES, BatchStep.CREATE, _create),
        Route("GET", _BATCHES, BatchStep.LIST, _list),
        Route("GET", f"{_BATCHES}/{{batch_id}}", BatchStep.RETRIEVE, _retrieve),
        Route("DELETE", f"{_BATCHES}/{{batch_id}}", None, _delete),
        Route("GET", f"{_BATCHES}/{{batch_id}}/results", BatchStep.CONTENT, _results),
        Route("POST", f"{_BATCHES}/{{batch_id}}/cancel", BatchStep.CANCEL, _cancel),
    ),
)
