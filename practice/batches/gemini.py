"""Gemini's batches: practice's own in its words, so that its adapter can be tried without a key."""

import time
from collections.abc import Mapping
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
    object_in,
    results_of,
    tool_of,
)
from practice.batches.state import finishing_rows, shown_status
from practice.batches.store import BatchRecord
from practice.connection import json_response
from practice.errors import RequestRefusedError, malformed
from practice.settings import BatchStep
from practice.state import ServerState

ENDPOINT = "/v1beta/batches"
"""What tells these batches from those of other dialects."""

_LISTED, _MOST_LISTED = 20, 1_000
_MOST_BYTES = 20_000_000
_STATES = {
    "validating": "PENDING",
    "completed": "SUCCEEDED",
    "failed": "FAILED",
    "expired": "EXPIRED",
    "cancelled": "CANCELLED",
}
_TYPE = "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch"
_FINISH_REASONS = {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS"}
_CODES = {400: (3, "INVALID_ARGUMENT"), 404: (5, "NOT_FOUND"), 429: (8, "RESOURCE_EXHAUSTED")}
_INTERNAL = (13, "INTERNAL")
_ROLES = {"user": "user", "model": "assistant"}


def _refused(refusal: RequestRefusedError) -> dict[str, Any]:
    """A refusal's body as Google writes it."""
    _, status = _CODES.get(refusal.status, _INTERNAL)
    return {"error": {"code": refusal.status, "message": refusal.message, "status": status}}


def _row_of(asked: Any, model: str, place: int) -> dict[str, Any]:
    """An inlined request as a row of a batch.

    Raises:
        RequestRefusedError: it is none.
    """
    body = chat_of(_either(asked, "request"), model, f"requests[{place}]: ")
    key = mapping_in(_either(asked, "metadata")).get("key", place)
    return {"custom_id": str(key), "method": "POST", "url": ENDPOINT, "body": body}


def chat_of(request: Any, model: str, place: str = "") -> dict[str, Any]:
    """A request for content as a chat request.

    Raises:
        RequestRefusedError: it is none; `place` stands before what is wrong.
    """
    contents = _either(request, "contents")
    if not isinstance(contents, list):
        raise malformed(f"{place}contents is not specified")
    system, settings = (_either(request, name) for name in ("system_instruction", "generation_config"))
    body: dict[str, Any] = {
        "model": model,
        "messages": [_message(system, "system")] * bool(system) + [_message(content) for content in contents],
        "max_tokens": _either(settings, "max_output_tokens"),
        "response_format": _response_format(settings, place),
    }
    groups = list_in(_either(request, "tools"))
    declared = [
        mapping_in(tool) for group in groups for tool in list_in(_either(group, "function_declarations"))
    ]
    if declared:
        schemas = [
            _either(tool, "parameters_json_schema") or _lowered(tool.get("parameters")) for tool in declared
        ]
        body["tools"] = list(map(tool_of, declared, schemas))
        calling = _either(_either(request, "tool_config"), "function_calling_config")
        body["tool_choice"] = _tool_choice(calling)
    if _either(settings, "response_logprobs"):
        body["logprobs"] = True
        body["top_logprobs"] = mapping_in(settings).get("logprobs") or 0
    return body


def _either(value: Any, name: str) -> Any:
    """A field of an object under either of the names that Google takes: `max_tokens`, `maxTokens`."""
    first, *others = name.split("_")
    fields = mapping_in(value)
    return fields.get(name, fields.get(first + "".join(map(str.capitalize, others))))


def _message(asked: Any, role: str | None = None) -> dict[str, Any]:
    content = mapping_in(asked)
    parts = [mapping_in(part) for part in list_in(content.get("parts"))]
    if any(_either(part, "function_response") is not None for part in parts):
        role = "tool"
    texts = [{"type": "text", "text": part["text"]} for part in parts if isinstance(part.get("text"), str)]
    return {"role": role or _ROLES.get(str(content.get("role")), "user"), "content": texts}


def _response_format(settings: Any, place: str) -> dict[str, Any] | None:
    kind = _either(settings, "response_mime_type")
    if kind not in (None, "text/plain", "application/json"):
        raise malformed(f"{place}practice has no answers of the type {kind!r}")
    schema = _either(settings, "response_json_schema") or _lowered(_either(settings, "response_schema"))
    if schema:
        return {"type": "json_schema", "json_schema": {"schema": schema}}
    return {"type": "json_object"} if kind == "application/json" else None


def _tool_choice(calling: Any) -> Any:
    allowed = _either(calling, "allowed_function_names")
    if isinstance(allowed, list) and len(allowed) == 1:
        return {"type": "function", "function": {"name": allowed[0]}}
    return "none" if mapping_in(calling).get("mode") == "NONE" else "auto"


def _lowered(schema: Any) -> Any:
    """A schema with the names of its types as JSON Schema has them: Google's are in capitals."""
    if isinstance(schema, Mapping):
        return {
            name: value.lower() if name == "type" and isinstance(value, str) else _lowered(value)
            for name, value in schema.items()
        }
    return [_lowered(part) for part in schema] if isinstance(schema, list) else schema


def _response_of(line: Mapping[str, Any]) -> dict[str, Any] | None:
    """A line of a batch's output or errors as an inlined response; None for a row that was not executed."""
    response = line.get("response")
    if not isinstance(response, Mapping):
        return None
    metadata = {"metadata": {"key": line["custom_id"]}}
    if response["status_code"] == 200:  # noqa: PLR2004  (an HTTP status)
        return metadata | {"response": content_of(response["body"])}
    code, status = _CODES.get(response["status_code"], _INTERNAL)
    message = response["body"]["error"]["message"]
    return metadata | {"error": {"code": code, "message": message, "status": status}}


def content_of(completion: Mapping[str, Any]) -> dict[str, Any]:
    """A chat completion as an answer with content."""
    choice, usage = completion["choices"][0], completion["usage"]
    said = choice["message"]
    if said["refusal"]:
        candidate: dict[str, Any] = {"finishReason": "SAFETY", "index": 0}
    else:
        parts: list[dict[str, Any]] = [{"text": said["content"]}] if said["content"] else []
        parts += [
            {"functionCall": {"name": call["function"]["name"], "args": arguments_of(call)}}
            for call in said.get("tool_calls", ())
        ]
        content = {"role": "model", **({"parts": parts} if parts else {})}
        reason = _FINISH_REASONS[choice["finish_reason"]]
        candidate = {"content": content, "finishReason": reason, "index": 0}
        if choice.get("logprobs"):
            candidate["logprobsResult"] = _logprobs_of(choice["logprobs"]["content"])
    return {
        "candidates": [candidate],
        "usageMetadata": {
            "promptTokenCount": usage["prompt_tokens"],
            "cachedContentTokenCount": usage["prompt_tokens_details"]["cached_tokens"],
            "candidatesTokenCount": usage["completion_tokens"],
            "totalTokenCount": usage["total_tokens"],
        },
        "modelVersion": completion["model"],
        "responseId": completion["id"],
    }


def _logprobs_of(tokens: list[dict[str, Any]]) -> dict[str, Any]:
    def candidate(told: Mapping[str, Any]) -> dict[str, Any]:
        return {"token": told["token"], "logProbability": told["logprob"]}

    return {
        "chosenCandidates": [candidate(token) for token in tokens],
        "topCandidates": [
            {"candidates": [candidate(rival) for rival in token["top_logprobs"]]} for token in tokens
        ],
    }


async def _create(state: ServerState, request: Request) -> Response:
    raw = await request.body()
    if len(raw) > _MOST_BYTES:
        raise malformed(f"Request payload size exceeds the limit: {_MOST_BYTES} bytes.")
    batch = object_in(raw).get("batch")
    requests = _either(_either(_either(batch, "input_config"), "requests"), "requests")
    name = _either(batch, "display_name")
    if not isinstance(requests, list) or not requests or not isinstance(name, str):
        raise malformed("batch: display_name and input_config.requests.requests are required")
    rows = [_row_of(asked, request.path_params["model"], place) for place, asked in enumerate(requests)]
    return json_response(_body(state, make_batch(state, rows, ENDPOINT, {"display_name": name})))


async def _list(state: ServerState, request: Request) -> Response:
    limit = limit_of(request.query_params.get("pageSize"), _LISTED, _MOST_LISTED)
    records = await batches_of(state, ENDPOINT)
    after = request.query_params.get("pageToken")
    start = next((place + 1 for place, record in enumerate(records) if record.id == after), 0)
    page = records[start : start + limit]
    more = {"nextPageToken": page[-1].id} if start + limit < len(records) else {}
    return json_response({"operations": [_body(state, record) for record in page], **more})


async def _retrieve(state: ServerState, request: Request) -> Response:
    record = await batch_of(state, request.path_params["batch_id"], ENDPOINT)
    body = _body(state, record)
    if record.ended is None:
        return json_response(body)
    if record.ended.status == "failed":
        words = "The batch could not be processed (a practice fault)."
        return json_response(body | {"done": True, "error": {"code": 13, "message": words}})
    responses = [each for line in results_of(state, record) if (each := _response_of(line)) is not None]
    inlined = {"inlinedResponses": {"inlinedResponses": responses}}
    return json_response(body | {"done": True, "response": inlined})


async def _delete(state: ServerState, request: Request) -> Response:
    delete_batch(state, await batch_of(state, request.path_params["batch_id"], ENDPOINT))
    return json_response({})


async def _cancel(state: ServerState, request: Request) -> Response:
    cancelling(state, await batch_of(state, request.path_params["batch_id"], ENDPOINT), _not_cancelled)
    return json_response({})


def _not_cancelled(_: str) -> RequestRefusedError:
    return malformed("This batch is done: it can't be cancelled.")


def _body(state: ServerState, record: BatchRecord) -> dict[str, Any]:
    """The operation of a batch, without what came of it."""
    now = time.time()
    status = shown_status(record, state.settings, now)
    total, ended = record.checked.total if record.checked else 0, record.ended
    done = ended.bill.rows if ended else finishing_rows(record, state.settings, now)
    name = f"batches/{record.id}"
    return {
        "name": name,
        "metadata": {
            "@type": _TYPE,
            "name": name,
            "displayName": (record.metadata or {}).get("display_name"),
            "state": f"BATCH_STATE_{_STATES.get(status, 'RUNNING')}",
            "createTime": moment(record.created_at),
            **({"endTime": moment(ended.ended_at)} if ended else {}),
            # As everywhere with Google, 64-bit numbers are written as text, and zeros are left out.
            "batchStats": {
                field: str(count)
                for field, count in (
                    ("requestCount", total),
                    ("successfulRequestCount", done),
                    ("failedRequestCount", ended.failed if ended else 0),
                )
                if count
            },
        },
    }


_CREATE = "/v1beta/models/{model}:batchGenerateContent"
_BATCH = f"{ENDPOINT}/{{batch_id}}"
GEMINI = Dialect(
    ENDPOINT,
    "/v1beta",
    _refused,
    (
        Route("POST", _CREATE, BatchStep.CREATE, _create),
        Route("GET", ENDPOINT, BatchStep.LIST, _list),
        Route("GET", _BATCH, BatchStep.RETRIEVE, _retrieve),
        Route("DELETE", _BATCH, None, _delete),
        Route("POST", f"{_BATCH}:cancel", BatchStep.CANCEL, _cancel),
    ),
)
