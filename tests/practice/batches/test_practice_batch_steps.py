"""Answers can be held back or lost after the work is done: the moments in which clients pay twice."""

import threading
import time

import openai
import pytest

from practice import PracticeSettings

STEPS = ["upload", "create", "retrieve", "list", "content", "cancel"]


@pytest.fixture
def call(sender, client, practice):
    """Call one step, with a batch to call it on."""
    ended = sender.finish(sender.rows(["足球比赛"]))
    practice.configure(PracticeSettings(batch_seconds=1000))
    running = sender.send(sender.rows(["足球"]))
    calls = {
        "upload": lambda: sender.upload([]),
        "create": lambda: sender.send([], input_file_id=running.input_file_id),
        "retrieve": lambda: client.batches.retrieve(ended.id),
        "list": client.batches.list,
        "content": lambda: client.files.content(ended.output_file_id).text,
        "cancel": lambda: client.batches.cancel(running.id),
    }
    return lambda step: calls[step]()


def seen(practice):
    """What the server has done."""
    totals = practice.totals()
    return totals["files"], totals["batches"], totals["batches_by_status"]


SLOW = {"batch_seconds": 1000, "batch_cancelling_seconds": 1000}

# New files and batches.
DONE = {"upload": (1, 0), "create": (0, 1)}


def check_done(practice, step, before):
    """The step's work is done."""
    files, batches = DONE.get(step, (0, 0))
    now = seen(practice)
    assert now[:2] == (before[0] + files, before[1] + batches)
    assert ("cancelling" in now[2]) == (step == "cancel")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("fault", "error"),
    [("server_error", openai.InternalServerError), ("connection_reset", openai.APIConnectionError)],
)
def test_an_answer_is_lost_after_the_work(call, practice, step, fault, error):
    """As many calls as told lose their answer, though what they asked for is done; then all is well."""
    before = seen(practice)
    practice.configure(PracticeSettings(**SLOW, batch_errors={step: fault}))
    with pytest.raises(error):
        call(step)
    check_done(practice, step, before)
    assert practice.totals()["batch_calls"][step] >= 1
    call(step)


def test_as_many_calls_are_lost_as_told(call, practice):
    """The count starts anew with the settings, and each step has its own."""
    settings = PracticeSettings(batch_errors={"retrieve": "server_error"}, batch_error_calls=2)
    for _ in range(2):
        practice.configure(settings)
        call("list")
        for _ in range(2):
            with pytest.raises(openai.InternalServerError):
                call("retrieve")
        call("retrieve")


def is_done(practice, step, before):
    """Whether `check_done` finds nothing amiss."""
    try:
        check_done(practice, step, before)
    except AssertionError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_an_answer_is_held_back_after_the_work(call, practice, step):
    """While the client waits the work is done and counted, and its answer comes in the end."""
    before = seen(practice)
    calls = practice.totals()["batch_calls"][step]
    practice.configure(PracticeSettings(**SLOW, batch_hold_seconds={step: 1.0}))
    started = time.monotonic()
    waiting = threading.Thread(target=call, args=(step,))
    waiting.start()
    while practice.totals()["batch_calls"][step] == calls or not is_done(practice, step, before):
        assert waiting.is_alive()
        time.sleep(0.01)
    assert waiting.is_alive()
    waiting.join()
    assert time.monotonic() - started >= 1.0


def test_a_client_that_gives_up_undoes_nothing(sender, client, practice):
    """A batch whose creation was never confirmed is there, and found by its metadata."""
    file = sender.upload(sender.rows(["足球比赛"]))
    practice.configure(PracticeSettings(batch_hold_seconds={"create": 60}))
    impatient = client.with_options(timeout=0.5)
    with pytest.raises(openai.APITimeoutError):
        impatient.batches.create(
            input_file_id=file.id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata={"key": "k"},
        )
    (batch,) = client.batches.list()
    assert batch.metadata == {"key": "k"}
    assert sender.labels(sender.wait(batch.id)) == {"row-0": "体育"}


def test_refusals_are_not_held(client, practice):
    """What is not done is told at once."""
    practice.configure(PracticeSettings(batch_hold_seconds={"retrieve": 60}))
    with pytest.raises(openai.NotFoundError):
        client.batches.retrieve("batch_none")
