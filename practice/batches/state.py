"""Where a batch stands: a pure function of its record, the settings and the time."""

from dataclasses import dataclass
from typing import Any

from practice.batches.store import DAY_SECONDS, BatchRecord, Mistake
from practice.settings import ROUNDING, BatchOutcome, PracticeSettings

FINAL = frozenset({"completed", "failed", "expired", "cancelled"})
"""The statuses that no time changes."""

# Of the time a batch takes: until its input is checked, and until its results are being written.
_CHECKED_FRACTION = 0.1
_WORKED_FRACTION = 0.9

_EXPIRED_FRACTION = 0.5

_FAILURE = Mistake(code="server_error", message="The batch could not be processed (a practice fault).")


@dataclass(frozen=True)
class _Times:
    """When a batch changes, by the settings."""

    starts_at: float
    finalizes_at: float
    ends_at: float

    @classmethod
    def of(cls, created_at: float, seconds: float) -> "_Times":
        return cls(
            created_at + _CHECKED_FRACTION * seconds,
            created_at + _WORKED_FRACTION * seconds,
            created_at + seconds,
        )

    def worked_fraction(self, now: float) -> float:
        """How much of the work is done."""
        span = self.finalizes_at - self.starts_at
        if span <= 0:
            return 1.0 if now >= self.starts_at else 0.0
        return min(max((now - self.starts_at) / span, 0.0), 1.0)


def due_status(record: BatchRecord, settings: PracticeSettings, now: float) -> str:
    """The status of a batch by the clock, whether or not its results are made; `now` is wall clock."""
    if record.ended is not None:
        return record.ended.status
    times = _Times.of(record.created_at, settings.batch_seconds)
    if record.cancel_asked_at is not None:
        is_over = now >= record.cancel_asked_at + settings.batch_cancelling_seconds
        return "cancelled" if is_over and record.checked is not None else "cancelling"
    if now < times.starts_at or record.checked is None:
        return "validating"
    if record.checked.mistakes:
        return "failed"
    if now < times.finalizes_at:
        return "in_progress"
    return settings.batch_outcome.value if now >= times.ends_at else "finalizing"


def is_to_be_ended(record: BatchRecord, settings: PracticeSettings, now: float) -> bool:
    """Whether a batch has come to its end by the clock, and that is not on record yet."""
    return record.ended is None and due_status(record, settings, now) in FINAL


def ended_at(record: BatchRecord, settings: PracticeSettings) -> float:
    """When a batch that has ended did so."""
    if record.cancel_asked_at is not None:
        return record.cancel_asked_at + settings.batch_cancelling_seconds
    times = _Times.of(record.created_at, settings.batch_seconds)
    return times.starts_at if record.checked and record.checked.mistakes else times.ends_at


def finishing_rows(record: BatchRecord, settings: PracticeSettings, now: float) -> int:
    """How many rows are worked on by now; at the end of a batch, how many ever are."""
    total = record.checked.total if record.checked else 0
    times = _Times.of(record.created_at, settings.batch_seconds)
    chosen = settings.batch_finished_fraction
    if record.cancel_asked_at is not None:
        fraction = times.worked_fraction(record.cancel_asked_at) if chosen is None else chosen
    else:
        fraction = times.worked_fraction(now)
        if settings.batch_outcome is BatchOutcome.EXPIRED:
            fraction *= _EXPIRED_FRACTION if chosen is None else chosen
            if fraction > 0 and now >= times.ends_at:
                # Half of one row is none, and a text that is alone in its batches would never be answered.
                return max(int(total * fraction + ROUNDING), min(total, 1))
    return int(total * fraction + ROUNDING)


def shown_status(record: BatchRecord, settings: PracticeSettings, now: float) -> str:
    """The due status; while the results of a batch are being made, the one before the end."""
    status = due_status(record, settings, now)
    if record.ended is not None or status not in FINAL:
        return status
    if status == "failed":
        return "validating" if record.checked and record.checked.mistakes else "in_progress"
    return "cancelling" if status == "cancelled" else "finalizing"


def batch_body(record: BatchRecord, settings: PracticeSettings, now: float) -> dict[str, Any]:
    """The batch as OpenAI describes it."""
    status = shown_status(record, settings, now)
    checked, ended = record.checked, record.ended
    mistakes = _mistakes(record, status)
    return {
        "id": record.id,
        "object": "batch",
        "endpoint": record.endpoint,
        "model": f"practice:{checked.model}" if checked and checked.model else None,
        "errors": {"object": "list", "data": [one.model_dump() for one in mistakes]} if mistakes else None,
        "input_file_id": record.input_file_id,
        "completion_window": record.completion_window,
        "status": status,
        "output_file_id": ended.output_file_id if ended else None,
        "error_file_id": ended.error_file_id if ended else None,
        "created_at": int(record.created_at),
        **_timestamps(record, settings, status),
        "expires_at": int(record.created_at) + DAY_SECONDS,
        "request_counts": _counts(record, settings, status, now),
        "usage": _usage(record),
        "metadata": record.metadata,
    }


def _counts(record: BatchRecord, settings: PracticeSettings, status: str, now: float) -> dict[str, int]:
    if record.checked is None or status in ("validating", "failed"):
        return {"total": 0, "completed": 0, "failed": 0}
    total, ended = record.checked.total, record.ended
    if ended is None:
        return {"total": total, "completed": finishing_rows(record, settings, now), "failed": 0}
    return {"total": total, "completed": ended.bill.rows, "failed": ended.failed}


def _mistakes(record: BatchRecord, status: str) -> tuple[Mistake, ...]:
    if status != "failed":
        return ()
    return (record.checked.mistakes if record.checked else ()) or (_FAILURE,)


def _timestamps(record: BatchRecord, settings: PracticeSettings, status: str) -> dict[str, int | None]:
    """When the batch went through each status that it has seen."""
    asked_at, ended = record.cancel_asked_at, record.ended
    seconds = settings.batch_seconds
    if ended is not None and asked_at is None:
        # Other settings may have come since.
        seconds = ended.ended_at - record.created_at
    times = _Times.of(record.created_at, seconds)
    is_mistaken = record.checked is not None and bool(record.checked.mistakes)
    was_in_progress = (
        status != "validating" and not is_mistaken and (asked_at is None or asked_at >= times.starts_at)
    )
    was_finalizing = was_in_progress and asked_at is None and status not in ("in_progress", "failed")
    seen: dict[str, float | None] = {
        "in_progress_at": times.starts_at if was_in_progress else None,
        "finalizing_at": times.finalizes_at if was_finalizing else None,
        "completed_at": None,
        "failed_at": None,
        "expired_at": None,
        "cancelling_at": asked_at,
        "cancelled_at": None,
    }
    if ended is not None:
        seen[f"{ended.status}_at"] = ended.ended_at
    return {name: None if moment is None else int(moment) for name, moment in seen.items()}


def _usage(record: BatchRecord) -> dict[str, Any]:
    bill = record.ended.bill if record.ended else None
    input_tokens, output_tokens = (bill.input_tokens, bill.output_tokens) if bill else (0, 0)
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cached_tokens": bill.cached_input_tokens if bill else 0},
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": input_tokens + output_tokens,
    }
