"""Sending: the intent first, then the request, then its id; and one batch is made once."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelmill.batch.groups import RequestGroup, Unsent
from labelmill.batch.record import BatchFolder
from labelmill.batch.requests import Room
from labelmill.providers.openai import OpenAIBatchClient
from practice import PracticeSettings

WIDE = Room(50_000, 200_000_000)
TEXTS = ["the match", "the bank", "another match", "a market"]


@pytest.fixture
def outstanding(outstanding_of, job_of):
    """The batches of a run with a tenth of a dollar."""
    return outstanding_of(job_of(), limit_usd="0.1")


@pytest.fixture
def unsent(write_group):
    """A plan of four texts."""
    return Unsent((write_group(TEXTS),))


def left_of(outstanding):
    """What is on disk of the batches: their steps, and every file."""
    files = {path.name for path in outstanding.folder.path.rglob("*") if path.is_file()}
    return [record.step for record in outstanding.folder.read_all()], files


def test_a_batch_goes_out_and_can_be_found_by_its_metadata(outstanding, unsent, made):
    """Its record has the provider's id, the fingerprint of what went out, and what it may cost, which is held."""
    assert outstanding.send_next(unsent, WIDE) is None
    (record,) = outstanding.out.values()
    (batch,) = made()
    assert (record.step, record.batch_id, record.texts) == ("sent", batch["id"], 4)
    assert batch["metadata"] == record.metadata
    assert record.intended_at_utc <= record.creating_at_utc <= record.sent_at_utc
    assert record.worst_case_usd > 0
    assert outstanding.run.budget.left_usd == Decimal("0.1") - record.worst_case_usd
    assert outstanding.folder.row_keys(record).height == 4
    assert left_of(outstanding) == (["sent"], {"batch.json", "requests.parquet"})
    assert unsent.texts == 0


def test_the_intent_is_on_disk_before_the_provider_sees_anything(outstanding, unsent, monkeypatch):
    """At each step that it can see, the record says so already: whatever dies, the next run knows."""
    seen = []
    send, write = OpenAIBatchClient.send, BatchFolder.write

    def watched_send(client, requests, metadata, uploaded):
        (record,) = outstanding.folder.read_all()
        seen.append(("on disk", record.step, record.metadata == metadata, requests.exists()))
        return send(client, requests, metadata, uploaded)

    def watched_write(folder, record):
        seen.append(record.step)
        return write(folder, record)

    monkeypatch.setattr(OpenAIBatchClient, "send", watched_send)
    monkeypatch.setattr(BatchFolder, "write", watched_write)
    outstanding.send_next(unsent, WIDE)
    # What was uploaded is noted too: should no batch be made of it, it is to be deleted.
    assert seen == ["intended", "creating", ("on disk", "creating", True, True), "creating", "sent"]
    assert outstanding.folder.read_all()[0].input_file_id is not None


def test_batches_hold_the_texts_in_order_each_once(outstanding, unsent, made):
    """Where there is room for one or two, the next batch goes on from there."""
    assert outstanding.send_next(unsent, Room(1, 10**9)) is None
    assert unsent.texts == 3
    assert outstanding.send_next(unsent, Room(2, 10**9)) is None
    assert outstanding.send_next(unsent, Room(2, 10**9)) is None
    assert (unsent.texts, unsent.groups) == (0, ())
    names = [record.name for record in outstanding.out.values()]
    assert names == [f"{outstanding.run.run_id}-{number:03d}" for number in range(3)]
    assert [record.texts for record in outstanding.out.values()] == [1, 2, 1]
    assert len(made()) == 3
    keys = [
        key for record in outstanding.out.values() for key in outstanding.folder.row_keys(record)["row_key"]
    ]
    assert len(set(keys)) == 4


def test_lots_are_sent_one_after_the_other(outstanding, write_group):
    """A batch never mixes two ways of asking."""
    groups = (
        write_group(["x", "y"], ["off_label"] * 2, under_schema=True, name="corrections.parquet"),
        write_group(["z"], name="plain.parquet"),
    )
    unsent = Unsent(groups)
    while unsent.texts:
        outstanding.send_next(unsent, WIDE)
    first, second = outstanding.out.values()
    assert (first.texts, first.is_correction, first.under_schema) == (2, True, True)
    assert (second.texts, second.is_correction, second.under_schema) == (1, False, False)


@pytest.mark.parametrize(
    ("room", "bound"),
    [
        (Room(0, 10**9), "requests"),
        (Room(9, 10), "bytes"),
        (Room(9, 10**9, 1), "tokens"),
        (Room(9, 10**9, None, Decimal(0)), "budget"),
    ],
)
def test_where_not_even_one_text_fits_nothing_is_left_or_sent(outstanding, unsent, made, room, bound):
    """No folder, no intent, no money held, no request."""
    assert outstanding.send_next(unsent, room).bound == bound
    assert (unsent.texts, outstanding.out, made()) == (4, {}, [])
    assert outstanding.run.budget.left_usd == Decimal("0.1")
    assert list(outstanding.folder.path.iterdir()) == []


def test_a_refused_batch_is_dropped_and_stops_the_run(practice, outstanding, unsent, made):
    """With the provider's words; its money is free again, and its texts are not lost."""
    practice.configure(PracticeSettings(required_key="sk-1"))
    outstanding.send_next(unsent, WIDE)
    assert outstanding.run.stop_signal.stopped.message.startswith(
        "the provider refused a batch: 401: Incorrect API key"
    )
    assert outstanding.run.stop_signal.stopped.reason == "failed"
    assert not outstanding.out
    assert outstanding.run.budget.left_usd == Decimal("0.1")
    steps, files = left_of(outstanding)
    assert (steps, files) == (["dropped"], {"batch.json"})
    practice.configure(PracticeSettings())
    assert made() == []


@pytest.mark.parametrize("fault", ["server_error", "connection_reset"])
def test_a_batch_whose_making_nobody_confirmed_is_out_until_it_is_found(
    practice, outstanding, unsent, made, fault
):
    """It was made all the same; it is noted as being made, its money is held, and it is not sent again."""
    practice.configure(PracticeSettings(batch_errors={"create": fault}, batch_error_calls=9))
    outstanding.send_next(unsent, WIDE)
    (record,) = outstanding.out.values()
    assert (record.step, record.batch_id) == ("creating", None)
    assert record.message
    assert outstanding.run.stop_signal.stopped is None
    assert outstanding.run.budget.left_usd < Decimal("0.1")
    assert unsent.texts == 0
    assert len(made()) == 1
    assert left_of(outstanding) == (["creating"], {"batch.json", "requests.parquet"})


def test_the_file_of_requests_is_gone_whatever_happens(outstanding, unsent, monkeypatch):
    """It holds texts, and is no more needed; an intent without its batch is dropped by the next run."""

    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(OpenAIBatchClient, "send", die)
    with pytest.raises(KeyboardInterrupt):
        outstanding.send_next(unsent, WIDE)
    assert left_of(outstanding) == (["creating"], {"batch.json", "requests.parquet"})


def test_the_key_is_in_no_record(practice, outstanding, unsent, monkeypatch):
    """Nor anywhere else in the folder of a batch."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    practice.configure(PracticeSettings(required_key="another"))
    outstanding.send_next(unsent, WIDE)
    for path in outstanding.folder.path.rglob("*.*"):
        assert b"sk-very-secret" not in path.read_bytes()
    assert "Incorrect API key" in outstanding.settled[0].message


@settings(deadline=None)
@given(groups=st.lists(st.integers(1, 5), max_size=4), data=st.data())
def test_what_is_unsent_is_counted_down_to_nothing(groups, data):
    """A batch ends where its group ends at the latest."""
    unsent = Unsent(
        tuple(RequestGroup(None, texts, is_correction=False, under_schema=False) for texts in groups)
    )
    total = sum(groups)
    while unsent.texts:
        assert unsent.texts == total
        assert unsent.offset < unsent.groups[0].texts
        sent = data.draw(st.integers(1, unsent.groups[0].texts - unsent.offset))
        unsent.move(sent)
        total -= sent
    assert (unsent.groups, unsent.offset, total) == ((), 0, 0)
