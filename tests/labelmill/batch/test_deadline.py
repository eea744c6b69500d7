"""The deadline of the lane `auto`: the right moment in every time zone, and enough time for the rest."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelmill.batch.deadline import SECONDS_PER_ANSWER, live_seconds_of, live_start, next_deadline
from labelmill.job.model import Run

START = datetime(2020, 1, 1, tzinfo=UTC)
ZONES = ["UTC", "Asia/Shanghai", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Kiritimati"]


@pytest.mark.parametrize(
    ("now", "deadline", "zone", "expected"),
    [
        ("2026-03-01T07:00", "08:00", "UTC", "2026-03-01T08:00"),
        ("2026-03-01T08:00", "08:00", "UTC", "2026-03-02T08:00"),
        ("2026-03-01T08:00:01", "08:00", "UTC", "2026-03-02T08:00"),
        ("2026-12-31T23:30", "00:00", "UTC", "2027-01-01T00:00"),
        ("2026-12-31T23:30", "23:59", "UTC", "2026-12-31T23:59"),
        ("2026-03-01T00:00", "00:00", "UTC", "2026-03-02T00:00"),
        # In Shanghai it is eight hours later: the evening there is the next day's deadline here.
        ("2026-03-01T00:30", "08:00", "Asia/Shanghai", "2026-03-02T00:00"),
        ("2026-02-28T23:59", "08:00", "Asia/Shanghai", "2026-03-01T00:00"),
        ("2026-03-01T17:00", "08:00", "Asia/Kathmandu", "2026-03-02T02:15"),
        # Berlin's clocks go forward at 02:00 on 29 March: eight in the morning comes an hour sooner.
        ("2026-03-28T12:00", "08:00", "Europe/Berlin", "2026-03-29T06:00"),
        ("2026-03-27T12:00", "08:00", "Europe/Berlin", "2026-03-28T07:00"),
        # 02:30 is on no clock that day: it is taken for 03:30.
        ("2026-03-29T00:30", "02:30", "Europe/Berlin", "2026-03-29T01:30"),
        ("2026-03-29T02:00", "02:30", "Europe/Berlin", "2026-03-30T00:30"),
        # And back at 03:00 on 25 October: 02:30 is there twice.
        ("2026-10-25T00:00", "02:30", "Europe/Berlin", "2026-10-25T00:30"),
        ("2026-10-25T00:45", "02:30", "Europe/Berlin", "2026-10-25T01:30"),
        ("2026-10-25T01:45", "02:30", "Europe/Berlin", "2026-10-26T01:30"),
    ],
)
def test_the_next_time_that_a_clock_shows_it(now, deadline, zone, expected):
    """After midnight, across time zones, and where clocks are put forward or back."""
    moment = next_deadline(datetime.fromisoformat(now).replace(tzinfo=UTC), deadline, zone)
    assert moment == datetime.fromisoformat(expected).replace(tzinfo=UTC)
    assert moment.tzinfo is UTC


@settings(deadline=None)
@given(
    now=st.integers(0, 15 * 365 * 86_400).map(lambda seconds: START + timedelta(seconds=seconds)),
    hour=st.integers(0, 23),
    minute=st.integers(0, 59),
    zone=st.sampled_from(ZONES),
)
def test_it_is_never_past_and_within_a_day(now, hour, minute, zone):
    """A day of 25 hours at most; and a clock there shows it, unless the hour was left out."""
    deadline = f"{hour:02d}:{minute:02d}"
    moment = next_deadline(now, deadline, zone)
    assert timedelta(0) < moment - now <= timedelta(hours=25)
    shown = moment.astimezone(ZoneInfo(zone))
    put_forward = (
        shown.utcoffset()
        - (shown - timedelta(hours=3)).astimezone(UTC).astimezone(ZoneInfo(zone)).utcoffset()
    )
    assert f"{shown:%H:%M}" == deadline or put_forward


@pytest.mark.parametrize(
    ("texts", "run", "known", "seconds"),
    [
        (0, {}, {}, 0.0),
        (320, {"max_concurrency": 32}, {}, 320 * SECONDS_PER_ANSWER / 32),
        (320, {"max_concurrency": 32}, {"seconds_per_answer": 0.5}, 5.0),
        (600, {"max_requests_per_minute": 60}, {"seconds_per_answer": 0.5}, 600.0),
        (600, {"max_tokens_per_minute": 6000}, {"tokens_per_text": 100.0}, 600.0),
        (
            600,
            {"max_tokens_per_minute": 6000, "max_requests_per_minute": 30},
            {"tokens_per_text": 100.0},
            1200.0,
        ),
        (600, {"max_tokens_per_minute": 6000, "max_concurrency": 1}, {"tokens_per_text": 1.0}, 1200.0),
    ],
)
def test_the_live_lane_needs_as_long_as_its_tightest_limit_says(texts, run, known, seconds):
    """Places, requests or tokens per minute, whichever takes longest, with slack on top; nothing needs no time."""
    needed = live_seconds_of(texts, Run(**run), **known)
    assert needed == pytest.approx(seconds * 1.5 + 30 if texts else 0.0)


@settings(deadline=None)
@given(texts=st.integers(0, 10**7), more=st.integers(0, 10**6), concurrency=st.integers(1, 1000))
def test_more_texts_never_need_less_time(texts, more, concurrency):
    """Nor do fewer places."""
    run = Run(max_concurrency=concurrency)
    assert live_seconds_of(texts + more, run) >= live_seconds_of(texts, run)
    assert live_seconds_of(texts, run) >= live_seconds_of(texts, Run(max_concurrency=1000))


def test_batches_are_cancelled_early_enough_for_the_rest_to_be_asked_live():
    """The deadline less the live lane's time, less the time that the provider may take to stop a batch."""
    deadline = datetime(2026, 3, 1, 8, tzinfo=UTC)
    assert live_start(deadline, 1800.0, 600.0) == datetime(2026, 3, 1, 7, 20, tzinfo=UTC)
    assert live_start(deadline, 0.0, 0.0) == deadline
