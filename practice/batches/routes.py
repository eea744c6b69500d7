"""`/v1/batches`, and all addresses of the Batch API."""

import json
import time
from typing import Any
from uuid import uuid4

from fastapi import FastAPI, Request
from starlette.responses import Response

from practice.batches.fields import (
    life_seconds,
    limit_of,
    metadata_of,
    missing,
    not_found,
    page_of,
    wrong,
)
from practice.batches.file_routes import (
    delete_file,
    describe_file,
    list_files,
    send_content,
    upload_file,
)
from practice.batches.records import FILE_LIFE_SECONDS, BatchRecord
from practice.batches.state import FINAL, batch_body, due_status
from practice.batches.steps import route_of
from practice.errors import RequestRefusedError, malformed, quota_exhausted
from practice.responses import json_response
from practice.settings import BatchStep
from practice.state import ServerState

ENDPOINT = "/v1/chat/completions"
"""The one endpoint practice has for batches."""

_WINDOW = "24h"
_LISTED, _MOST_LISTED = 20, 100

# Small batches are ready when first asked for; a client of a large one is told that it is being worked on.
_PATIENCE_SECONDS = 5.0


def add_batch_routes(app: FastAPI) -> None:
    """Give a server the Batch API."""
    app.add_route("/v1/files", route_of(BatchStep.UPLOAD, upload_file), methods=["POST"])
    app.add_route("/v1/files", route_of(None, list_files), methods=["GET"])
    app.add_route("/v1/files/{file_id}", route_of(None, describe_file), methods=["GET"])
    app.add_route("/v1/files/{file_id}", route_of(None, delete_file), methods=["DELETE"])
    app.add_route("/v1/files/{file_id}/content", route_of(BatchStep.CONTENT, send_content), methods=["GET"])
    app.add_route("/v1/batches", route_of(BatchStep.CREATE, _create), methods=["POST"])
    app.add_route("/v1/batches", route_of(BatchStep.LIST, _list), methods=["GET"])
    app.add_route("/v1/batches/{batch_id}", route_of(BatchStep.RETRIEVE, _retrieve), methods=["GET"])
    app.add_route("/v1/batches/{batch_id}/cancel", route_of(BatchStep.CANCEL, _cancel), methods=["POST"])


async def _create(state: ServerState, request: Request) -> Response:
    asked = _object(await request.body())
    now = time.time()
    record = state.store.add_batch(_asked_batch(state, asked, now))
    # As OpenAI does, whatever the settings: what comes of a batch is learned by asking again.
    body = batch_body(record, state.settings, record.created_at)
    state.work.begin(record.id)
    return json_response(body)


async def _list(state: ServerState, request: Request) -> Response:
    limit = limit_of(request.query_params.get("limit"), _LISTED, _MOST_LISTED)
    await state.work.bring_up([record.id for record in state.store.batches()], _PATIENCE_SECONDS)
    now = time.time()
    bodies = [
        batch_body(record, state.settings, now)
        for record in state.store.batches()
        if record.endpoint == ENDPOINT
    ]
    return json_response(page_of(bodies, request.query_params.get("after"), limit))


async def _retrieve(state: ServerState, request: Request) -> Response:
    record = await _up_to_date(state, request)
    return json_response(batch_body(record, state.settings, time.time()))


async def _cancel(state: ServerState, request: Request) -> Response:
    await request.body()
    record = await _up_to_date(state, request)
    now = time.time()
    status = due_status(record, state.settings, now)
    if status in FINAL:
        raise RequestRefusedError(409, f"Cannot cancel a batch with status '{status}'.")
    if status != "cancelling":
        record = record.model_copy(update={"cancel_asked_at": now})
        state.store.save_batch(record)
    body = batch_body(record, state.settings, now)
    # Asked again, it may well be cancelled; the answer to this call says that it is about to be.
    return json_response(body | {"status": "cancelling", "cancelled_at": None})


async def _up_to_date(state: ServerState, request: Request) -> BatchRecord:
    batch_id = request.path_params["batch_id"]
    await state.work.bring_up([batch_id], _PATIENCE_SECONDS)
    record = state.store.batch(batch_id)
    if record is None:
        raise not_found(f"No batch found with id '{batch_id}'.")
    return record


def _object(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise malformed("The body is not JSON.") from None
    if not isinstance(body, dict):
        raise malformed("The body must be a JSON object.")
    return body


def _asked_batch(state: ServerState, asked: dict[str, Any], now: float) -> BatchRecord:
    for name in ("input_file_id", "endpoint", "completion_window"):
        if not isinstance(asked.get(name), str):
            raise missing(name)
    if asked["endpoint"] != ENDPOINT:
        raise wrong(f"Practice has batches for {ENDPOINT} only, not for '{asked['endpoint']}'.", "endpoint")
    if asked["completion_window"] != _WINDOW:
        raise wrong(
            f"Invalid value: '{asked['completion_window']}'. It must be '{_WINDOW}'.", "completion_window"
        )
    metadata = metadata_of(asked.get("metadata"))
    life = life_seconds(asked.get("output_expires_after"), "output_expires_after")
    file = state.store.file(asked["input_file_id"])
    if file is None:
        raise wrong(f"No such File object: {asked['input_file_id']}", "input_file_id")
    if file.purpose != "batch":
        raise wrong(f"The file's purpose is '{file.purpose}'; it must be 'batch'.", "input_file_id")
    if state.quota_is_spent():
        raise quota_exhausted()
    return BatchRecord(
        id=f"batch_practice_{uuid4().hex}",
        endpoint=asked["endpoint"],
        input_file_id=file.id,
        completion_window=asked["completion_window"],
        metadata=metadata,
        output_life_seconds=FILE_LIFE_SECONDS if life is None else life,
        created_at=now,
    )
