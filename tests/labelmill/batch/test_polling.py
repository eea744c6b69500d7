"""Polling a batch: what the provider says of it, found again where nobody noted its making, dropped where there is none."""

import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from labelmill.batch.groups import Unsent
from labelmill.batch.requests import Room
from labelmill.providers.protocol import BatchStatus
from practice import PracticeSettings

WIDE = Room(50_000, 200_000_000)


@pytest.fixture
def outstanding(outstanding_of, job_of):
    """The batches of a run with a tenth of a dollar."""
    return outstanding_of(job_of(), limit_usd="0.1")


@pytest.fixture
def sent(practice, outstanding, write_group):
    """Send four texts in a batch, at a provider set up for it: `sent(batch_seconds=9)`; returns its record."""

    def send(**settings):
        practice.configure(PracticeSettings(**settings))
        outstanding.send_next(Unsent((write_group(["match 1", "match 2", "bank 3", "bank 4"]),)), WIDE)
        return list(outstanding.out.values())[-1]

    return send


def looked(outstanding, name, until=bool):
    """Poll a batch until something is so; returns its record, which is then on disk too."""
    for _ in range(200):
        outstanding.poll(outstanding.out[name])
        record = outstanding.out.get(name) or outstanding.settled[-1]
        if until(record):
            assert record in outstanding.folder.read_all()
            return record
        time.sleep(0.02)
    raise AssertionError(record)


def test_what_the_provider_says_is_noted(outstanding, sent):
    """How far it is, and at last that it has ended; it is out until it is harvested."""
    record = sent(batch_seconds=600)
    assert record.status is None
    record = looked(outstanding, record.name)
    assert record.status is BatchStatus.VALIDATING
    assert (record.step, record.is_ready) == ("sent", False)


def test_a_batch_that_has_ended_is_ready_and_not_looked_at_again(practice, outstanding, sent):
    """Its rows are counted."""
    record = looked(outstanding, sent().name, lambda record: record.is_ready)
    assert (record.status, record.completed, record.failed) == (BatchStatus.COMPLETED, 4, 0)
    practice.reset()
    outstanding.poll(record)
    assert outstanding.out[record.name] == record


def test_what_is_as_it_was_is_not_written_again(outstanding, sent, monkeypatch):
    """A hundred polls leave the disk alone."""
    name = looked(outstanding, sent(batch_seconds=600).name).name
    monkeypatch.setattr(type(outstanding.folder), "write", _no_writing)
    outstanding.poll(outstanding.out[name])


def _no_writing(*_):
    raise AssertionError("nothing has changed")


def test_a_batch_that_was_made_though_nobody_noted_it_is_taken_over(outstanding, sent, made):
    """By its metadata, among others; no second one is made."""
    other = sent()
    lost = sent(batch_errors={"create": "connection_reset"})
    assert (lost.step, lost.batch_id) == ("creating", None)
    record = looked(outstanding, lost.name)
    batch, _ = made()
    assert (record.step, record.batch_id) == ("sent", batch["id"])
    assert batch["metadata"]["labelmill_batch"] == lost.name
    assert abs(record.sent_at_utc - datetime.now(UTC)) < timedelta(minutes=1)
    assert looked(outstanding, lost.name, lambda record: record.is_ready).completed == 4
    assert outstanding.out[other.name].batch_id != record.batch_id


def test_a_batch_of_another_content_is_not_taken_for_it(outstanding, sent, made):
    """The same run and name are not enough: the fingerprint has to be the same."""
    lost = sent(batch_errors={"create": "connection_reset"})
    outstanding.update(lost, fingerprint="0" * 64)
    record = looked(outstanding, lost.name)
    assert (record.step, record.batch_id) == ("creating", None)
    assert len(made()) == 1


def test_a_batch_that_was_never_made_is_dropped_once_no_request_can_be_under_way(
    practice, outstanding, sent, monkeypatch
):
    """Not before: the request that makes it may still be at work; the time counts from the first look, not from the upload."""
    lost = sent(batch_errors={"create": "server_error"})
    practice.reset()
    outstanding.update(lost, creating_at_utc=lost.creating_at_utc - timedelta(minutes=10))
    assert looked(outstanding, lost.name).step == "creating"
    monkeypatch.setattr("labelmill.batch.outstanding.UNDER_WAY_SECONDS", 0.0)
    record = looked(outstanding, lost.name)
    assert record.step == "dropped"
    assert "never created it: " in record.message
    assert not outstanding.out
    assert outstanding.run.budget.left_usd == Decimal("0.1")
    assert outstanding.run.stop_signal.stopped is None


def test_one_that_was_never_made_is_not_dropped_while_nobody_answers(
    practice, outstanding, sent, monkeypatch
):
    """Silence tells nothing of what the provider has."""
    lost = sent(batch_errors={"create": "server_error"})
    practice.reset()
    practice.configure(PracticeSettings(batch_errors={"list": "server_error"}, batch_error_calls=99))
    monkeypatch.setattr("labelmill.batch.outstanding.UNDER_WAY_SECONDS", 0.0)
    monkeypatch.setattr("labelmill.providers.openai._RETRIES", 0)
    assert looked(outstanding, lost.name).step == "creating"
    assert looked(outstanding, lost.name).step == "creating"


def test_a_provider_that_does_not_answer_changes_nothing(practice, outstanding, sent, monkeypatch):
    """The next look may tell."""
    record = sent(batch_seconds=600)
    practice.configure(
        PracticeSettings(batch_seconds=600, batch_errors={"retrieve": "server_error"}, batch_error_calls=99)
    )
    monkeypatch.setattr("labelmill.providers.openai._RETRIES", 0)
    assert outstanding.poll(record) is None
    assert outstanding.out[record.name] == record
    assert outstanding.run.stop_signal.stopped is None


def test_a_batch_that_the_provider_takes_for_invalid_is_dropped_with_its_words(outstanding, sent):
    """Nothing was paid; who looked is told what the provider said."""
    name = sent(batch_outcome="failed").name
    for _ in range(100):
        state = outstanding.poll(outstanding.out[name])
        if state is not None:
            break
        time.sleep(0.02)
    assert state.status is BatchStatus.FAILED
    (record,) = outstanding.settled
    assert (record.step, record.status) == ("dropped", BatchStatus.FAILED)
    assert record.message == state.errors[0].message
    assert outstanding.run.budget.left_usd == Decimal("0.1")


def test_a_practice_batch_that_is_forgotten_is_dropped(practice, outstanding, sent):
    """Practice forgets what it is told to; nothing was paid, and its texts are asked again."""
    name = sent().name
    practice.reset()
    assert looked(outstanding, name).step == "dropped"
    assert outstanding.run.stop_signal.stopped is None


@pytest.mark.parametrize("is_mine", [True, False])
def test_a_real_batch_that_the_provider_will_not_speak_of_is_never_asked_anew(
    practice, outstanding, sent, is_mine, monkeypatch
):
    """It may be paid: a person has to say so, and is told how. Another task's doesn't stop the run."""
    monkeypatch.setattr("labelmill.batch.outstanding.REAPPEARS_SECONDS", 0.0)
    record = sent()
    record = outstanding.update(
        record, practice=False, base_url=practice.base_url, task_key=record.task_key if is_mine else "other"
    )
    practice.reset()
    assert looked(outstanding, record.name).step == "sent"
    assert outstanding.run.budget.left_usd < Decimal("0.1")
    stopped = outstanding.run.stop_signal.stopped
    if not is_mine:
        assert stopped is None
        return
    assert stopped.reason == "failed"
    assert f"{outstanding.folder.path / record.name} away" in stopped.message
    assert record.batch_id in stopped.message


def test_a_batch_that_is_missing_for_moments_ends_no_run(practice, outstanding, sent):
    """Providers answer 404 now and then for a batch that is there; it is polled again, and found."""
    record = outstanding.update(sent(), practice=False, base_url=practice.base_url)
    batch_id = record.batch_id
    lost = outstanding.update(record, batch_id="batch_unknown")
    assert looked(outstanding, lost.name).missing_since_utc is not None
    assert outstanding.run.stop_signal.stopped is None
    outstanding.update(outstanding.out[lost.name], batch_id=batch_id)
    record = looked(outstanding, lost.name, lambda record: record.is_ready)
    assert record.missing_since_utc is None


def test_a_batch_is_asked_to_stop_once(practice, outstanding, sent):
    """What is finished of it was paid, and is ready once it has stopped."""
    record = looked(outstanding, sent(batch_seconds=600, batch_finished_fraction=0.5).name)
    outstanding.cancel(record)
    assert outstanding.out[record.name].cancel_asked
    outstanding.cancel(outstanding.out[record.name])
    assert practice.totals()["batch_calls"]["cancel"] == 1
    record = looked(outstanding, record.name, lambda record: record.is_ready)
    assert record.status is BatchStatus.CANCELLED


def test_a_cancel_that_does_not_arrive_is_tried_again(practice, outstanding, sent, monkeypatch):
    """It is noted only once the provider has heard it."""
    record = looked(outstanding, sent(batch_seconds=600).name)
    monkeypatch.setattr("labelmill.providers.openai._RETRIES", 0)
    practice.configure(
        PracticeSettings(batch_seconds=600, batch_errors={"retrieve": "server_error"}, batch_error_calls=99)
    )
    outstanding.cancel(record)
    assert not outstanding.out[record.name].cancel_asked
    practice.configure(PracticeSettings(batch_seconds=600))
    outstanding.cancel(outstanding.out[record.name])
    assert outstanding.out[record.name].cancel_asked


def test_what_is_not_sent_or_has_ended_is_not_cancelled(outstanding, sent):
    """There is nothing to stop."""
    lost = sent(batch_errors={"create": "server_error"})
    outstanding.cancel(lost)
    ended = looked(outstanding, sent().name, lambda record: record.is_ready)
    outstanding.cancel(ended)
    assert not any(record.cancel_asked for record in outstanding.out.values())
