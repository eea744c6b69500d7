"""Where a batch stands follows from its record, the settings and the clock alone."""

import pytest

from practice import PracticeSettings
from practice.batches.state import batch_body, due_status, finishing_rows, is_to_be_ended
from practice.batches.store import BatchRecord, Bill, Checked, Ended, Mistake

SETTINGS = PracticeSettings(batch_seconds=100)
RECORD = BatchRecord(
    id="batch_a",
    endpoint="/v1/chat/completions",
    input_file_id="file-a",
    completion_window="24h",
    metadata=None,
    output_life_seconds=3600,
    created_at=1000.0,
    checked=Checked(total=80, model="m", input_tokens=800),
)


def changed(**changes):
    """The record with other values."""
    return RECORD.model_copy(update=changes)


@pytest.mark.parametrize(
    ("now", "status", "completed"),
    [
        (1000, "validating", 0),
        (1009, "validating", 0),
        (1010, "in_progress", 0),
        (1050, "in_progress", 40),
        (1089, "in_progress", 79),
        (1090, "finalizing", 80),
        (1099, "finalizing", 80),
    ],
)
def test_a_batch_goes_through_its_statuses(now, status, completed):
    """Time takes a batch from one status to the next, and its counts grow."""
    body = batch_body(RECORD, SETTINGS, now)
    assert body["status"] == status
    assert body["request_counts"]["completed"] == completed
    assert (body["in_progress_at"] is None) == (status == "validating")
    assert (body["finalizing_at"] is None) == (status != "finalizing")
    assert not is_to_be_ended(RECORD, SETTINGS, now)


@pytest.mark.parametrize("outcome", ["completed", "expired", "failed"])
def test_the_outcome_is_the_settings(outcome):
    """A batch ends as it was told, when its time is over, and not before its results are made."""
    settings = PracticeSettings(batch_seconds=100, batch_outcome=outcome)
    assert due_status(RECORD, settings, 1100) == outcome
    assert is_to_be_ended(RECORD, settings, 1100)
    assert batch_body(RECORD, settings, 1100)["status"] in ("finalizing", "in_progress")


def test_an_end_is_for_good():
    """What was once told of an ended batch stays true under all other settings and at all later times."""
    ended = changed(
        ended=Ended(status="expired", ended_at=1100.0, output_file_id="file-b", failed=3, bill=Bill(rows=77))
    )
    first = batch_body(ended, SETTINGS, 1100)
    assert first["expired_at"] == 1100
    assert first["request_counts"] == {"total": 80, "completed": 77, "failed": 3}
    for settings in (PracticeSettings(batch_seconds=9999), PracticeSettings(batch_outcome="failed")):
        assert batch_body(ended, settings, 5000) == first


def test_a_batch_with_mistakes_fails_when_it_is_checked():
    """Failing takes no longer than checking, and is not told before."""
    mistaken = changed(checked=Checked(mistakes=(Mistake(code="empty_file", message="."),)))
    assert due_status(mistaken, SETTINGS, 1009) == "validating"
    assert due_status(mistaken, SETTINGS, 1010) == "failed"


def test_an_unchecked_batch_does_not_move():
    """However late it is, a batch that nobody has read yet is being validated, or cancelled."""
    unchecked = changed(checked=None)
    assert due_status(unchecked, SETTINGS, 9999) == "validating"
    assert (
        due_status(unchecked.model_copy(update={"cancel_asked_at": 1001.0}), SETTINGS, 9999) == "cancelling"
    )


def test_cancelling_takes_its_time_and_stops_the_work():
    """Rows finished when the wish came stay finished, and no more are."""
    settings = PracticeSettings(batch_seconds=100, batch_cancelling_seconds=30)
    asked = changed(cancel_asked_at=1050.0)
    assert due_status(asked, settings, 1079) == "cancelling"
    assert due_status(asked, settings, 1080) == "cancelled"
    assert {finishing_rows(asked, settings, now) for now in (1050, 1070, 5000)} == {40}
    assert batch_body(asked, settings, 1060)["cancelling_at"] == 1050


@pytest.mark.parametrize(
    ("fraction", "expired", "cancelled"), [(None, 40, 20), (0.0, 0, 0), (0.25, 20, 20), (1.0, 80, 80)]
)
def test_the_finished_fraction_can_be_chosen(fraction, expired, cancelled):
    """Half the rows of an expired batch, by time those of a cancelled one; or the fraction that is set."""
    settings = PracticeSettings(batch_seconds=100, batch_outcome="expired", batch_finished_fraction=fraction)
    assert finishing_rows(RECORD, settings, 1100) == expired
    assert finishing_rows(changed(cancel_asked_at=1030.0), settings, 1100) == cancelled


@pytest.mark.parametrize(
    ("total", "fraction", "finished"), [(1, None, 1), (1, 0.01, 1), (1, 0.0, 0), (0, None, 0)]
)
def test_an_expired_batch_of_one_row_finishes_it(total, fraction, finished):
    """Half a row would be none: a text alone in its batches would be sent for ever."""
    settings = PracticeSettings(batch_seconds=100, batch_outcome="expired", batch_finished_fraction=fraction)
    record = changed(checked=Checked(total=total, model="m"))
    assert finishing_rows(record, settings, 1099) == 0
    assert finishing_rows(record, settings, 1100) == finished
