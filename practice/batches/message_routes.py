"""`/v1/messages/batches`: the same batches in Anthropic's words, so that its adapter can be tried without a key."""

import re
import time
from collections import Counter
from collections.abc import Iterator
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
    rows_of,
)
from practice.batches.fields import limit_of, not_found, page_of
from practice.batches.message_lines import MESSAGES, error_of, refused, result_of, row_of
from practice.batches.records import DAY_SECONDS, BatchRecord
from practice.batches.state import FINAL, due_status, shown_status
from practice.batches.steps import Answering, Handler, route_of
from practice.errors import RequestRefusedError, malformed
from practice.responses import PRACTICE_HEADERS, encoded, json_response
from practice.settings import BatchStep
from practice.state import ServerState

_LISTED, _MOST_LISTED = 20, 1_000
_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_RESULTS = ("succeeded", "errored", "canceled", "expired")


def add_message_routes(app: FastAPI) -> None:
    """Give a server the Message Batches."""
    batch = f"{MESSAGES}/batches/{{batch_id}}"
    app.add_route(f"{MESSAGES}/batches", _route(BatchStep.CREATE, _create), methods=["POST"])
    app.add_route(f"{MESSAGES}/batches", _route(BatchStep.LIST, _list), methods=["GET"])
    app.add_route(batch, _route(BatchStep.RETRIEVE, _retrieve), methods=["GET"])
    app.add_route(batch, route_of(None, _delete, _refusing), methods=["DELETE"])
    app.add_route(f"{batch}/results", _route(BatchStep.CONTENT, _results), methods=["GET"])
    app.add_route(f"{batch}/cancel", _route(BatchStep.CANCEL, _cancel), methods=["POST"])


def _route(step: BatchStep, answering: Answering) -> Handler:
    return route_of(step, answering, _refusing)


def _refusing(refusal: RequestRefusedError) -> Response:
    return json_response(refused(refusal), refusal.status)


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
    return json_response(_body(state, request, await _up_to_date(state, request)))


async def _results(state: ServerState, request: Request) -> Response:
    record = await _up_to_date(state, request)
    if record.ended is None:
        raise not_found(f"The results of '{record.id}' are not there yet.")
    lines = b"".join(encoded(result) + b"\n" for result in _results_of(state, record))
    return Response(lines, 200, PRACTICE_HEADERS, "application/x-jsonl")


async def _delete(state: ServerState, request: Request) -> Response:
    record = await _up_to_date(state, request)
    delete_batch(state, record)
    return json_response({"id": record.id, "type": "message_batch_deleted"})


async def _cancel(state: ServerState, request: Request) -> Response:
    await request.body()
    record = await _up_to_date(state, request)
    if due_status(record, state.settings, time.time()) in FINAL:
        raise malformed(f"Batch {record.id} cannot be canceled because it has already ended.")
    if record.cancel_asked_at is None:
        record = record.model_copy(update={"cancel_asked_at": time.time()})
        state.store.save_batch(record)
    return json_response(_body(state, request, record) | {"processing_status": "canceling"})


def _rows(raw: bytes) -> list[dict[str, Any]]:
    requests = object_in(raw).get("requests")
    if not isinstance(requests, list) or not requests:
        raise malformed("requests: List should have at least 1 item")
    rows = [row_of(request, f"requests.{place}") for place, request in enumerate(requests)]
    for place, row in enumerate(rows):
        if not isinstance(row["custom_id"], str) or not _CUSTOM_ID.fullmatch(row["custom_id"]):
            raise malformed(f"requests.{place}.custom_id: String should match '^{_CUSTOM_ID.pattern}$'")
    return rows


async def _up_to_date(state: ServerState, request: Request) -> BatchRecord:
    return await batch_of(state, request.path_params["batch_id"], MESSAGES)


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
        yield from map(result_of, results_of(state, record))
