"""Turns: in which order chunks begin."""

import threading

from labelmill.run.turns import Turns

PATIENCE_SECONDS = 10


def begun(turns, numbers):
    """Let some chunks want to begin, each on a thread of its own; returns the list that those are noted in that have."""
    noted, threads = [], []

    def begin(number):
        turns.begin(number)
        noted.append(number)

    for number in numbers:
        thread = threading.Thread(target=begin, args=(number,), daemon=True)
        thread.start()
        threads.append(thread)
    return noted, threads


def wait_until(condition):
    """Wait until something is so."""
    deadline = threading.Event()
    for _ in range(PATIENCE_SECONDS * 100):
        if condition():
            return
        deadline.wait(0.01)
    raise AssertionError("it never came to that")


def test_chunks_begin_in_their_order_each_when_the_one_before_passes_on():
    """However they come, the earliest that waits is next; none before the one that sends has few texts left."""
    turns = Turns(4)
    turns.begin(0)
    noted, threads = begun(turns, [3, 2, 1])
    wait_until(lambda: len(turns._waiting) == 3)
    assert noted == []
    for number in (0, 1, 2):
        turns.pass_on(number)
        wait_until(lambda number=number: len(noted) == number + 1)
    assert noted == [1, 2, 3]
    for thread in threads:
        thread.join(PATIENCE_SECONDS)


def test_no_more_send_than_may_and_one_that_has_asked_all_makes_room():
    """The third waits for one of two to end, though the turn is free; that a chunk ends twice makes room once."""
    turns = Turns(2)
    for number in (0, 1):
        turns.begin(number)
        turns.pass_on(number)
    noted, _ = begun(turns, [2, 3])
    wait_until(lambda: len(turns._waiting) == 2)
    turns.end(0)
    turns.end(0)
    wait_until(lambda: noted == [2])
    turns.pass_on(2)
    assert turns._sending == {1, 2}
    turns.end(1)
    wait_until(lambda: noted == [2, 3])
