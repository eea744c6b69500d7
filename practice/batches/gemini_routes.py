"""`/v1beta/batches`: the same batches in Gemini's words, so that its adapter can be tried without a key."""

import time
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response

from practice.batches.dialect import (
    batch_of,
    batches_of,
    delete_batch,
    make_batch,
    moment,
    object_in,
    results_of,
)
from practice.batches.fields import limit_of
from practice.batches.gemini_lines import ENDPOINT, refused, response_of, row_of
from practice.batches.records import BatchRecord
from practice.batches.state import FINAL, due_status, finishing_rows, shown_status
from practice.batches.steps import Answering, Handler, route_of
from practice.errors import RequestRefusedError, malformed
from practice.responses import json_response
from practice.settings import BatchStep
from practice.state import ServerState

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


def add_gemini_routes(app: FastAPI) -> None:
    """Give a server Gemini's batches."""
    create = "/v1beta/models/{model}:batchGenerateContent"
    app.add_route(create, _route(BatchStep.CREATE, _create), methods=["POST"])
    app.add_route(ENDPOINT, _route(BatchStep.LIST, _list), methods=["GET"])
    app.add_route(f"{ENDPOINT}/{{batch_id}}", _route(BatchStep.RETRIEVE, _retrieve), methods=["GET"])
    app.add_route(f"{ENDPOINT}/{{batch_id}}", route_of(None, _delete, _refusing), methods=["DELETE"])
    app.add_route(f"{ENDPOINT}/{{batch_id}}:cancel", _route(BatchStep.CANCEL, _cancel), methods=["POST"])


def _route(step: BatchStep, answering: Answering) -> Handler:
    return route_of(step, answering, _refusing)


def _refusing(refusal: RequestRefusedError) -> Response:
    return json_response(refused(refusal), refusal.status)


async def _create(state: ServerState, request: Request) -> Response:
    raw = await request.body()
    if len(raw) > _MOST_BYTES:
        raise malformed(f"Request payload size exceeds the limit: {_MOST_BYTES} bytes.")
    batch = object_in(raw).get("batch")
    requests = _within(batch, "input_config", "requests", "requests")
    name = batch.get("display_name") if isinstance(batch, dict) else None
    if not isinstance(requests, list) or not requests or not isinstance(name, str):
        raise malformed("batch: display_name and input_config.requests.requests are required")
    rows = [row_of(asked, request.path_params["model"], place) for place, asked in enumerate(requests)]
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
    responses = [each for line in results_of(state, record) if (each := response_of(line)) is not None]
    inlined = {"inlinedResponses": {"inlinedResponses": responses}}
    return json_response(body | {"done": True, "response": inlined})


async def _delete(state: ServerState, request: Request) -> Response:
    delete_batch(state, await batch_of(state, request.path_params["batch_id"], ENDPOINT))
    return json_response({})


async def _cancel(state: ServerState, request: Request) -> Response:
    record = await batch_of(state, request.path_params["batch_id"], ENDPOINT)
    if due_status(record, state.settings, time.time()) in FINAL:
        raise malformed(f"Batch {record.id} is done: it can't be cancelled.")
    if record.cancel_asked_at is None:
        state.store.save_batch(record.model_copy(update={"cancel_asked_at": time.time()}))
    return json_response({})


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


def _within(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value
