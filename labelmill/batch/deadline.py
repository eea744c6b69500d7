"""The deadline of the lane `auto`: when to stop waiting for batches, so that the live lane can finish in time."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from labelmill.job.model import Run
from labelmill.job.zones import zone_meant_by

SECONDS_PER_ANSWER = 2.0
"""Where the ledger knows no live answer of this task yet; a short answer takes a model about a second."""
_SLACK = 1.5
"""The live lane starts slowly, and the last answers are slow ones."""
_FIXED_SECONDS = 30.0
"""Planning, merging and publishing."""


def next_deadline(now: datetime, deadline: str, timezone: str) -> datetime:
    """The next moment (UTC) after `now` at which a clock in that time zone shows the deadline, as `08:00`.

    On a day whose clock is put forward over the deadline, it is as much later as the clock was put forward.
    """
    # Not every machine has a time zone database, and for UTC none is needed.
    zone = UTC if timezone == "UTC" else ZoneInfo(zone_meant_by(timezone) or timezone)
    local = now.astimezone(zone)
    clock = time.fromisoformat(deadline)
    for day in (local.date(), local.date() + timedelta(days=1)):
        for fold in (0, 1):  # a clock that is put back shows it twice
            moment = datetime.combine(day, clock, zone).replace(fold=fold).astimezone(UTC)
            if moment > now:
                return moment
    raise AssertionError(deadline)  # pragma: no cover  (tomorrow's is always later than now)


def live_seconds_of(
    texts: int, run: Run, seconds_per_answer: float | None = None, tokens_per_text: float = 0.0
) -> float:
    """How long the live lane needs for so many texts, with some slack: by its places, and by the job's limits per minute.

    Limits that only the provider knows of are not in it.
    """
    if not texts:
        return 0.0
    by_places = texts * (seconds_per_answer or SECONDS_PER_ANSWER) / run.max_concurrency
    by_requests = texts * 60 / run.max_requests_per_minute if run.max_requests_per_minute else 0.0
    by_tokens = texts * tokens_per_text * 60 / run.max_tokens_per_minute if run.max_tokens_per_minute else 0.0
    return max(by_places, by_requests, by_tokens) * _SLACK + _FIXED_SECONDS


def live_start(deadline: datetime, live_seconds: float, cancel_seconds: float) -> datetime:
    """When batches have to be cancelled at the latest for the rest to be done live by the deadline."""
    return deadline - timedelta(seconds=live_seconds + cancel_seconds)
