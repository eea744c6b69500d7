"""What the batches of other providers' dialects have in common: they are practice's own, made of inline requests."""

import json
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from practice.batches.check import check_input
from practice.batches.records import FILE_LIFE_SECONDS, BatchRecord
from practice.errors import RequestRefusedError, malformed, quota_exhausted
from practice.responses import encoded
from practice.state import ServerState

PATIENCE_SECONDS = 5.0


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
    await state.work.bring_up(ids, PATIENCE_SECONDS)
    return [record for record in state.store.batches() if record.endpoint == endpoint and not record.deleted]


async def batch_of(state: ServerState, batch_id: str, endpoint: str) -> BatchRecord:
    """A batch of a dialect as it is by now.

    Raises:
        RequestRefusedError: there is none.
    """
    await state.work.bring_up([batch_id], PATIENCE_SECONDS)
    record = state.store.batch(batch_id)
    if record is None or record.deleted or record.endpoint != endpoint:
        raise RequestRefusedError(404, f"No batch found with id '{batch_id}'.")
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
