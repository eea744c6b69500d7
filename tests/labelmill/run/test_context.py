"""Tests of what a run shares."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from labelmill.run.context import new_run_id

MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(MOMENTS, st.integers(20, 2_000_000))
def test_ids_sort_by_time(moment, microseconds):
    """A run that begins after another has the greater id, also within the same second."""
    assert new_run_id(moment) < new_run_id(moment + timedelta(microseconds=microseconds))


@given(MOMENTS)
def test_an_id_is_of_utc(moment):
    """Where a machine's clock stands in another zone, its runs have the ids they would have elsewhere."""
    assert new_run_id(moment.astimezone(timezone(timedelta(hours=8)))) == new_run_id(moment)
