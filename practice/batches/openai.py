"""OpenAI's Batch API: `/v1/files`, what clients upload and batches leave, and `/v1/batches`."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any
from uuid import uuid4

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response

from practice.batches.dialect import (
    Dialect,
    Route,
    batch_of,
    batches_of,
    cancelling,
    limit_of,
    not_found,
    object_in,
    page_of,
    wrong,
)
from practice.batches.state import batch_body
from practice.batches.store import CHAT, FILE_LIFE_SECONDS, BatchRecord, FileRecord
from practice.connection import PRACTICE_HEADERS, json_response
from practice.errors import RequestRefusedError, malformed, quota_exhausted
from practice.settings import BatchStep
from practice.state import ServerState

_WINDOW = "24h"
_LISTED, _MOST_LISTED = 20, 100
_MOST_FILES_LISTED = 10_000
_SHORTEST_LIFE_SECONDS = 3600
_MOST_PAIRS = 16
_LONGEST_KEY = 64
_LONGEST_VALUE = 512
_PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")


async def _upload_file(state: ServerState, request: Request) -> Response:
    """`POST /v1/files`: the file goes to disk as it comes."""
    try:
        async with _form(request) as form:
            return json_response((await _stored(state, form)).body())
    except HTTPException as error:
        raise malformed(f"The body is no form with a file: {error.detail}") from None


async def _list_files(state: ServerState, request: Request) -> Response:
    """`GET /v1/files`."""
    asked = request.query_params
    limit = limit_of(asked.get("limit"), _MOST_FILES_LISTED, _MOST_FILES_LISTED)
    purpose = asked.get("purpose")
    found = [file for file in state.store.files() if purpose is None or file.purpose == purpose]
    if asked.get("order") == "asc":
        found.reverse()
    return json_response(page_of([file.body() for file in found], asked.get("after"), limit))


async def _describe_file(state: ServerState, request: Request) -> Response:
    """`GET /v1/files/{id}`."""
    return json_response(_file(state, request).body())


async def _send_content(state: ServerState, request: Request) -> Response:
    """`GET /v1/files/{id}/content`: from disk as it goes."""
    file = _file(state, request)
    path = state.store.content_path(file.id)
    return FileResponse(path, 200, PRACTICE_HEADERS, "application/octet-stream", filename=file.filename)


async def _delete_file(state: ServerState, request: Request) -> Response:
    """`DELETE /v1/files/{id}`."""
    file = _file(state, request)
    state.store.delete_file(file.id)
    return json_response({"id": file.id, "object": "file", "deleted": True})


def _form(request: Request) -> AbstractAsyncContextManager[FormData]:
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise malformed("The body must be multipart/form-data.")
    return request.form(max_files=1, max_fields=10)


async def _stored(state: ServerState, form: FormData) -> FileRecord:
    upload, purpose = form.get("file"), form.get("purpose")
    if not isinstance(upload, UploadFile):
        raise _missing("file")
    if not isinstance(purpose, str):
        raise _missing("purpose")
    if purpose not in _PURPOSES:
        raise wrong(f"'{purpose}' is not one of {list(_PURPOSES)}.", "purpose")
    filename = upload.filename or "upload"
    if purpose == "batch" and not filename.endswith(".jsonl"):
        raise malformed("Invalid file format for Batch API. Must be .jsonl", "file")
    prefix = "expires_after["
    policy = {name[len(prefix) : -1]: value for name, value in form.items() if name.startswith(prefix)}
    seconds = _life_seconds(policy or None, "expires_after")
    if seconds is None and purpose == "batch":
        seconds = FILE_LIFE_SECONDS
    written = await asyncio.to_thread(state.store.keep, upload.file)
    return state.store.add_file(written, filename, purpose, seconds, time.time())


def _file(state: ServerState, request: Request) -> FileRecord:
    file_id = request.path_params["file_id"]
    file = state.store.file(file_id)
    if file is None:
        raise _no_file(file_id)
    return file


def _no_file(file_id: str) -> RequestRefusedError:
    return not_found(f"No such File object: {file_id}")


async def _create(state: ServerState, request: Request) -> Response:
    asked = object_in(await request.body())
    now = time.time()
    record = state.store.add_batch(_asked_batch(state, asked, now))
    # As OpenAI does, whatever the settings: what comes of a batch is learned by asking again.
    body = batch_body(record, state.settings, record.created_at)
    state.work.begin(record.id)
    return json_response(body)


async def _list(state: ServerState, request: Request) -> Response:
    limit = limit_of(request.query_params.get("limit"), _LISTED, _MOST_LISTED)
    records, now = await batches_of(state, CHAT), time.time()
    bodies = [batch_body(record, state.settings, now) for record in records]
    return json_response(page_of(bodies, request.query_params.get("after"), limit))


async def _retrieve(state: ServerState, request: Request) -> Response:
    record = await batch_of(state, request.path_params["batch_id"], CHAT)
    return json_response(batch_body(record, state.settings, time.time()))


async def _cancel(state: ServerState, request: Request) -> Response:
    await request.body()
    record = cancelling(state, await batch_of(state, request.path_params["batch_id"], CHAT), _not_cancelled)
    body = batch_body(record, state.settings, time.time())
    # Asked again, it may well be cancelled; the answer to this call says that it is about to be.
    return json_response(body | {"status": "cancelling", "cancelled_at": None})


def _not_cancelled(status: str) -> RequestRefusedError:
    return RequestRefusedError(409, f"Cannot cancel a batch with status '{status}'.")


def _asked_batch(state: ServerState, asked: dict[str, Any], now: float) -> BatchRecord:
    for name in ("input_file_id", "endpoint", "completion_window"):
        if not isinstance(asked.get(name), str):
            raise _missing(name)
    if asked["endpoint"] != CHAT:
        raise wrong(f"Practice has batches for {CHAT} only, not for '{asked['endpoint']}'.", "endpoint")
    if asked["completion_window"] != _WINDOW:
        raise wrong(
            f"Invalid value: '{asked['completion_window']}'. It must be '{_WINDOW}'.", "completion_window"
        )
    metadata = _metadata_of(asked.get("metadata"))
    life = _life_seconds(asked.get("output_expires_after"), "output_expires_after")
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


def _missing(name: str) -> RequestRefusedError:
    """400: a parameter is not there."""
    message = f"Missing required parameter: '{name}'."
    return RequestRefusedError(400, message, "missing_required_parameter", param=name)


def _life_seconds(given: Any, name: str) -> float | None:
    """The seconds of an expiration policy, or None where none is given.

    Raises:
        RequestRefusedError: it is no such policy.
    """
    if given is None:
        return None
    if not isinstance(given, Mapping) or given.get("anchor") != "created_at":
        raise wrong(f"'{name}' must have the anchor 'created_at'.", f"{name}.anchor")
    try:
        seconds = int(given.get("seconds", ""))
    except (TypeError, ValueError):
        seconds = 0
    if not _SHORTEST_LIFE_SECONDS <= seconds <= FILE_LIFE_SECONDS:
        message = f"'{name}.seconds' must lie between {_SHORTEST_LIFE_SECONDS} and {FILE_LIFE_SECONDS}."
        raise wrong(message, f"{name}.seconds")
    return float(seconds)


def _metadata_of(given: Any) -> dict[str, str] | None:
    """The metadata of a batch.

    Raises:
        RequestRefusedError: there is too much of it, or it is no mapping of text to text.
    """
    if given is None:
        return None
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise wrong("'metadata' must map text to text.", "metadata")
    if len(given) > _MOST_PAIRS:
        raise wrong(f"'metadata' has {len(given)} pairs, and may have {_MOST_PAIRS}.", "metadata")
    for key, value in given.items():
        if len(key) > _LONGEST_KEY or len(value) > _LONGEST_VALUE:
            message = f"'metadata' keys may have {_LONGEST_KEY} characters, values {_LONGEST_VALUE}."
            raise wrong(message, f"metadata.{key[:_LONGEST_KEY]}")
    return given


OPENAI = Dialect(
    CHAT,
    "/",
    lambda refusal: refusal.body,
    (
        Route("POST", "/v1/files", BatchStep.UPLOAD, _upload_file),
        Route("GET", "/v1/files", None, _list_files),
        Route("GET", "/v1/files/{file_id}", None, _describe_file),
        Route("DELETE", "/v1/files/{file_id}", None, _delete_file),
        Route("GET", "/v1/files/{file_id}/content", BatchStep.CONTENT, _send_content),
        Route("POST", "/v1/batches", BatchStep.CREATE, _create),
        Route("GET", "/v1/batches", BatchStep.LIST, _list),
        Route("GET", "/v1/batches/{batch_id}", BatchStep.RETRIEVE, _retrieve),
        Route("POST", "/v1/batches/{batch_id}/cancel", BatchStep.CANCEL, _cancel),
    ),
)
