"""The batch lane's decisions: every row of the table, and what holds whatever the situation."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelmill.batch.steps import (
    FIRST_POLL_SECONDS,
    CancelAll,
    Finish,
    Harvest,
    Leave,
    MakePlan,
    Send,
    Situation,
    Wait,
    asks_live,
    next_step,
)

IDLE = Situation(
    stopped=False,
    ready=(),
    out=0,
    unsent=0,
    has_room=True,
    pause_seconds=0.0,
    goes_live=False,
    are_cancelled=False,
    polls=0,
    seconds_left=1000.0,
    cancel_seconds_left=600.0,
    poll_seconds=60.0,
)
MOST_STEPS = 2000


@pytest.mark.parametrize(
    ("changes", "step"),
    [
        ({}, Finish()),
        ({"out": 1}, Wait(1.0)),
        ({"out": 1, "polls": 3}, Wait(8.0)),
        ({"out": 1, "polls": 30}, Wait(60.0)),
        ({"out": 1, "polls": 30, "seconds_left": 5.0}, Wait(5.0)),
        ({"out": 1, "seconds_left": 0.0}, Leave()),
        ({"out": 1, "seconds_left": -5.0}, Leave()),
        ({"unsent": None}, MakePlan()),
        ({"unsent": None, "out": 2, "seconds_left": -5.0}, MakePlan()),
        ({"unsent": 7}, Send()),
        ({"unsent": 7, "out": 2}, Send()),
        ({"unsent": 7, "seconds_left": -5.0}, Send()),
        ({"unsent": 7, "pause_seconds": 3.0}, Wait(1.0)),
        ({"unsent": 7, "pause_seconds": 3.0, "seconds_left": 0.0}, Leave()),
        ({"unsent": 7, "out": 1, "has_room": False}, Wait(1.0)),
        ({"unsent": 7, "has_room": False}, Finish()),
        ({"ready": ("a", "b"), "out": 2, "unsent": None}, Harvest(("a", "b"))),
        ({"ready": ("a",), "goes_live": True, "out": 1}, Harvest(("a",))),
        ({"ready": ("a",), "seconds_left": -1.0, "unsent": 5}, Harvest(("a",))),
        ({"goes_live": True, "unsent": 7}, Finish()),
        ({"goes_live": True, "unsent": None}, Finish()),
        ({"goes_live": True, "unsent": 7, "out": 1}, CancelAll()),
        ({"goes_live": True, "out": 1, "are_cancelled": True, "seconds_left": -9.0}, Wait(1.0)),
        (
            {
                "goes_live": True,
                "out": 1,
                "are_cancelled": True,
                "polls": 9,
                "cancel_seconds_left": 2.0,
                "seconds_left": -9.0,
            },
            Wait(2.0),
        ),
        ({"goes_live": True, "out": 1, "are_cancelled": True, "cancel_seconds_left": 0.0}, Leave()),
        ({"stopped": True, "ready": ("a",), "out": 3, "unsent": 9}, Finish()),
        ({"stopped": True, "goes_live": True, "out": 3}, Finish()),
    ],
)
def test_every_row_of_the_table(changes, step):
    """One situation for each way that the decision can go."""
    assert next_step(replace(IDLE, **changes)) == step


seconds = st.floats(-1e6, 1e6)
situations = st.builds(
    Situation,
    stopped=st.booleans(),
    ready=st.sampled_from([(), ("a",), ("a", "b")]),
    out=st.integers(0, 3),
    unsent=st.none() | st.integers(0, 3),
    has_room=st.booleans(),
    pause_seconds=seconds,
    goes_live=st.booleans(),
    are_cancelled=st.booleans(),
    polls=st.integers(0, 10**6),
    seconds_left=seconds,
    cancel_seconds_left=seconds,
    poll_seconds=st.floats(0.001, 1e6),
)


@settings(deadline=None)
@given(now=situations)
def test_what_holds_in_every_situation(now):
    """Nothing is asked for that can't be done, nothing after a stop, and what is ready is not left behind."""
    step = next_step(now)
    if now.stopped:
        assert step == Finish()
        return
    if now.ready:
        assert step == Harvest(now.ready)
    if isinstance(step, Send):
        assert now.unsent
        assert now.has_room
        assert now.pause_seconds <= 0
    if isinstance(step, Send | MakePlan):
        assert not now.goes_live
    if isinstance(step, CancelAll):
        assert now.out
        assert not now.are_cancelled
    if isinstance(step, Finish):
        assert not now.out
    if isinstance(step, Wait):
        assert 0 < step.seconds <= max(0.05, now.poll_seconds)
        left = now.cancel_seconds_left if now.goes_live else now.seconds_left
        assert left > 0
        assert step.seconds <= max(0.05, left)


@settings(deadline=None)
@given(polls=st.integers(0, 10**9), poll=st.floats(0.06, 1e6))
def test_polls_become_rarer_up_to_the_jobs_own_pace(polls, poll):
    """The first comes after a second, or as often as the job says; no wait is shorter than the one before it."""
    waits = [
        next_step(replace(IDLE, out=1, polls=number, poll_seconds=poll, seconds_left=1e9)).seconds
        for number in (0, polls, polls + 1)
    ]
    assert waits[0] == min(FIRST_POLL_SECONDS, poll)
    assert waits == sorted(waits)
    assert waits[-1] <= poll


def played(draw, *, texts, tries, has_deadline, max_wait, seconds_per_batch, room):
    """Play a lane by its steps against a provider that draws what becomes of each batch; returns the steps.

    A toy of the session: batches end after a while, with any part of their texts answered; what is not answered is planned
    anew, at most `tries` times a text.
    """
    steps, clock, out, missing, unsent = [], 0.0, [], texts, None
    cancelled_at, rounds, polls, has_room = None, 0, 0, True
    while True:
        ready = tuple(str(index) for index, batch in enumerate(out) if batch[1] <= clock)
        goes_live = cancelled_at is not None or (has_deadline and clock >= max_wait)
        now = replace(
            IDLE,
            ready=ready,
            out=len(out),
            unsent=unsent,
            has_room=has_room,
            goes_live=goes_live,
            are_cancelled=cancelled_at is not None,
            polls=polls,
            seconds_left=max_wait - clock,
            cancel_seconds_left=600.0 - (clock - cancelled_at if cancelled_at is not None else 0.0),
        )
        step = next_step(now)
        steps.append(step)
        assert len(steps) < MOST_STEPS
        match step:
            case Finish() | Leave():
                return steps, out
            case MakePlan():
                rounds += 1
                unsent = missing if rounds <= tries else 0
                missing -= unsent
            case Send():
                size = min(unsent, room)
                has_room = len(out) < 2
                if has_room:
                    out.append((size, clock + seconds_per_batch))
                    unsent -= size
                polls = 0
            case Harvest(names):
                for name in sorted(names, reverse=True):
                    missing += draw(st.integers(0, out.pop(int(name))[0]))
                unsent = unsent or None
                has_room, polls = True, 0
            case CancelAll():
                cancelled_at, polls = clock, 0
                out = [(size, min(end, clock + 30)) for size, end in out]
            case Wait(seconds=pause):
                clock += pause
                polls += 1


@settings(deadline=None, max_examples=200)
@given(
    data=st.data(),
    texts=st.integers(0, 20),
    tries=st.integers(0, 4),
    has_deadline=st.booleans(),
    max_wait=st.floats(0, 5000),
    seconds_per_batch=st.floats(0, 10_000),
    room=st.integers(1, 20),
)
def test_the_lane_always_ends(data, **lane):
    """Whatever the provider does; and it ends with nothing out unless its time is up."""
    steps, out = played(data.draw, **lane)
    assert not any(isinstance(step, Finish | Leave) for step in steps[:-1])
    assert (not out) or isinstance(steps[-1], Leave)
    waited = sum(step.seconds for step in steps if isinstance(step, Wait))
    assert waited <= lane["max_wait"] + 601


@pytest.mark.parametrize(
    ("lane", "retry_lane", "asks"),
    [
        ("live", "batch", True),
        ("auto", "batch", True),
        ("batch", "batch", False),
        ("batch", "live", True),
        ("auto", "live", True),
    ],
)
def test_only_the_batch_lane_alone_asks_nothing_live(job_of, lane, retry_lane, asks):
    """A job that pays the batch price only never sends a request of its own, unless its retries are to go live."""
    assert asks_live(job_of(run={"lane": lane, "retry_lane": retry_lane})) == asks
