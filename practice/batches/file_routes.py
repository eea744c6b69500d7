"""`/v1/files`: what clients upload, and what batches leave."""

import asyncio
import time
from contextlib import AbstractAsyncContextManager

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response

from practice.batches.fields import life_seconds, limit_of, missing, not_found, page_of, wrong
from practice.batches.records import FILE_LIFE_SECONDS, FileRecord
from practice.errors import RequestRefusedError, malformed
from practice.responses import PRACTICE_HEADERS, json_response
from practice.state import ServerState

_PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
_MOST_LISTED = 10_000


async def upload_file(state: ServerState, request: Request) -> Response:
    """`POST /v1/files`: the file goes to disk as it comes."""
    try:
        async with _form(request) as form:
            return json_response((await _stored(state, form)).body())
    except HTTPException as error:
        raise malformed(f"The body is no form with a file: {error.detail}") from None


async def list_files(state: ServerState, request: Request) -> Response:
    """`GET /v1/files`."""
    asked = request.query_params
    limit = limit_of(asked.get("limit"), _MOST_LISTED, _MOST_LISTED)
    purpose = asked.get("purpose")
    found = [file for file in state.store.files() if purpose is None or file.purpose == purpose]
    if asked.get("order") == "asc":
        found.reverse()
    return json_response(page_of([file.body() for file in found], asked.get("after"), limit))


async def describe_file(state: ServerState, request: Request) -> Response:
    """`GET /v1/files/{id}`."""
    return json_response(_file(state, request).body())


async def send_content(state: ServerState, request: Request) -> Response:
    """`GET /v1/files/{id}/content`: from disk as it goes."""
    file = _file(state, request)
    path = state.store.content_path(file.id)
    return FileResponse(path, 200, PRACTICE_HEADERS, "application/octet-stream", filename=file.filename)


async def delete_file(state: ServerState, request: Request) -> Response:
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
        raise missing("file")
    if not isinstance(purpose, str):
        raise missing("purpose")
    if purpose not in _PURPOSES:
        raise wrong(f"'{purpose}' is not one of {list(_PURPOSES)}.", "purpose")
    filename = upload.filename or "upload"
    if purpose == "batch" and not filename.endswith(".jsonl"):
        raise malformed("Invalid file format for Batch API. Must be .jsonl", "file")
    prefix = "expires_after["
    policy = {name[len(prefix) : -1]: value for name, value in form.items() if name.startswith(prefix)}
    seconds = life_seconds(policy or None, "expires_after")
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
