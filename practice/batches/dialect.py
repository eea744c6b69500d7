"""What all dialects of the batches share: the frame around each call, reading what is asked, and batches made of inline requests."""

import json
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import uuid4

from fastapi import FastAPI, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from practice.batches.check import check_input
from practice.batches.state import FINAL, due_status
from practice.batches.store import FILE_LIFE_SECONDS, BatchRecord
from practice.connection import ConnectionReset, authorization_of, encoded, json_response, wait_until_gone
from practice.errors import RequestRefusedError, malformed, quota_exhausted, wrong_key
from practice.settings import BatchStep, StepFault
from practice.state import ServerState

Answering = Callable[[ServerState, Request], Awaitable[Response]]


@dataclass(frozen=True)
class Route:
    """A call that a dialect has; `step` is None where the settings neither count nor disturb it."""

    method: str
    path: str
    step: BatchStep | None
    answering: Answering


@dataclass(frozen=True)
class Dialect:
    """A provider's way to speak of batches."""

    endpoint: str
    """What tells its batches from those of others."""
    prefix: str
    """How the addresses begin at which errors are told in its words."""
    error_body: Callable[[RequestRefusedError], Mapping[str, Any]]
    routes: tuple[Route, ...]

    def refusal(self, refusal: RequestRefusedError) -> Response:
        """A no in its words."""
        return json_response(self.error_body(refusal), refusal.status, refusal.headers)

    def add_to(self, app: FastAPI) -> None:
        """Give a server its calls.

        What was asked for is done before its answer is held back or lost: that is when clients must not do it
        again. Refusals go out at once.
        """
        for route in self.routes:
            app.add_route(route.path, partial(self._handle, route), methods=[route.method])

    async def _handle(self, route: Route, request: Request) -> Response:
        state: ServerState = request.app.state.practice
        step, call = route.step, None if route.step is None else state.count_call(route.step)
        try:
            # The body first: an error sent over an unread body may reach no client.
            if not state.settings.accepts(authorization_of(request)):
                async for _ in request.stream():
                    pass
                raise wrong_key()
            response = await route.answering(state, request)
            if step is not None and call is not None and await _is_lost(state, request, step, call):
                return ConnectionReset()
        except ClientDisconnect:
            return ConnectionReset()
        except RequestRefusedError as refusal:
            return self.refusal(refusal)
        return response


async def _is_lost(state: ServerState, request: Request, step: BatchStep, call: int) -> bool:
    """Hold an answer back as the settings say; True where the connection is to be reset in its place.

    Raises:
        RequestRefusedError: an error goes out in its place.
    """
    settings = state.settings
    if (seconds := settings.batch_hold_seconds.get(step, 0.0)) > 0:
        await wait_until_gone(request.receive, seconds)
    fault = settings.batch_errors.get(step)
    if fault is None or call > settings.batch_error_calls:
        return False
    if fault is StepFault.CONNECTION_RESET:
        return True
    message = "The server had an error while processing your request (a practice fault)."
    raise RequestRefusedError(500, message, "server_error", "server_error")


def not_found(message: str) -> RequestRefusedError:
    """404: there is nothing of this id."""
    return RequestRefusedError(404, message, param="id")


def wrong(message: str, name: str) -> RequestRefusedError:
    """400: a parameter has a value it may not have."""
    return RequestRefusedError(400, message, "invalid_value", param=name)


def limit_of(given: str | None, default: int, most: int) -> int:
    """How many entries of a list are wanted.

    Raises:
        RequestRefusedError: it is no number between 1 and the most.
    """
    if given is None:
        return default
    if not given.isdecimal() or not 1 <= int(given) <= most:
        raise wrong(f"'limit' must be a whole number from 1 to {most}.", "limit")
    return int(given)


def page_of(bodies: list[dict[str, Any]], after: str | None, limit: int) -> dict[str, Any]:
    """A part of a list, as OpenAI pages: what comes after an entry.

    Raises:
        RequestRefusedError: there is no such entry.
    """
    start = 0
    if after is not None:
        places = [place for place, body in enumerate(bodies) if body["id"] == after]
        if not places:
            raise wrong(f"'after' names nothing in this list: {after}", "after")
        start = places[0] + 1
    page = bodies[start : start + limit]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": start + limit < len(bodies),
    }


# Small batches are ready when first asked for; a client of a large one is told that it is being worked on.
_PATIENCE_SECONDS = 5.0


def object_in(raw: bytes) -> dict[str, Any]:
    """The JSON object of a body.

    Raises:
        RequestRefusedError: it is none.
    """
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise malformed("The body is no JSON object.")
    return body


def make_batch(
    state: ServerState, rows: list[dict[str, Any]], endpoint: str, metadata: dict[str, str] | None = None
) -> BatchRecord:
    """A new batch of rows whose `url` is the endpoint, which tells its dialect.

    Raises:
        RequestRefusedError: it is not taken.
    """
    if state.quota_is_spent():
        raise quota_exhausted()
    now = time.time()
    written = state.store.scratch()
    written.write_bytes(b"".join(encoded(row) + b"\n" for row in rows))
    if mistakes := check_input(written, endpoint, state.settings).mistakes:
        written.unlink()
        raise malformed(mistakes[0].message)
    file = state.store.add_file(written, "requests.jsonl", "batch", FILE_LIFE_SECONDS, now)
    record = state.store.add_batch(
        BatchRecord(
            id=f"practice-{uuid4().hex}",
            endpoint=endpoint,
            input_file_id=file.id,
            completion_window="24h",
            metadata=metadata,
            output_life_seconds=FILE_LIFE_SECONDS,
            created_at=now,
        )
    )
    state.work.begin(record.id)
    return record


async def batches_of(state: ServerState, endpoint: str) -> list[BatchRecord]:
    """The batches of a dialect as they are by now, newest first."""
    ids = [record.id for record in state.store.batches() if record.endpoint == endpoint]
    await state.work.bring_up(ids, _PATIENCE_SECONDS)
    return [record for record in state.store.batches() if record.endpoint == endpoint and not record.deleted]


async def batch_of(state: ServerState, batch_id: str, endpoint: str) -> BatchRecord:
    """A batch of a dialect as it is by now.

    Raises:
        RequestRefusedError: there is none.
    """
    await state.work.bring_up([batch_id], _PATIENCE_SECONDS)
    record = state.store.batch(batch_id)
    if record is None or record.deleted or record.endpoint != endpoint:
        raise not_found(f"No batch found with id '{batch_id}'.")
    return record


def cancelling(
    state: ServerState, record: BatchRecord, refuse: Callable[[str], RequestRefusedError]
) -> BatchRecord:
    """A batch that is to be cancelled from now on; asking again changes nothing.

    Raises:
        RequestRefusedError: it has ended; `refuse` is told its status.
    """
    now = time.time()
    status = due_status(record, state.settings, now)
    if status in FINAL:
        raise refuse(status)
    if record.cancel_asked_at is None:
        record = record.model_copy(update={"cancel_asked_at": now})
        state.store.save_batch(record)
    return record


def delete_batch(state: ServerState, record: BatchRecord) -> None:
    """Forget a batch that has ended, with all that it holds.

    Raises:
        RequestRefusedError: it has not ended.
    """
    if record.ended is None:
        raise malformed(f"Batch {record.id} has not ended: it can't be deleted.")
    for file_id in (record.input_file_id, record.ended.output_file_id, record.ended.error_file_id):
        if file_id is not None and state.store.file(file_id) is not None:
            state.store.delete_file(file_id)
    state.store.save_batch(record.model_copy(update={"deleted": True}))


def results_of(state: ServerState, record: BatchRecord) -> Iterator[Mapping[str, Any]]:
    """The lines of a batch that has ended, the answers first."""
    if record.ended is not None:
        yield from _lines(state, record.ended.output_file_id)
        yield from _lines(state, record.ended.error_file_id)


def rows_of(state: ServerState, record: BatchRecord) -> Iterator[Mapping[str, Any]]:
    """The rows that a batch was made of."""
    return _lines(state, record.input_file_id)


def moment(seconds: float | None) -> str | None:
    """A time as other providers write it."""
    return (
        None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
    )


def _lines(state: ServerState, file_id: str | None) -> Iterator[dict[str, Any]]:
    if file_id is not None and state.store.file(file_id) is not None:
        with state.store.content_path(file_id).open("rb") as lines:
            yield from map(json.loads, lines)


def mapping_in(value: Any) -> Mapping[str, Any]:
    """An object, or an empty one where it is none."""
    return value if isinstance(value, Mapping) else {}


def list_in(value: Any) -> list[Any]:
    """A list, or an empty one where it is none."""
    return value if isinstance(value, list) else []


def tool_of(asked: Any, schema: Any) -> dict[str, Any]:
    """A tool as OpenAI has it, with the schema of its parameters."""
    told = mapping_in(asked)
    function = {"name": told.get("name"), "description": told.get("description"), "parameters": schema}
    return {"type": "function", "function": function}


def arguments_of(call: Mapping[str, Any]) -> Any:
    """The arguments of a tool's call as an object; an empty one where they were cut."""
    try:
        return json.loads(call["function"]["arguments"])
    except ValueError:
        return {}
