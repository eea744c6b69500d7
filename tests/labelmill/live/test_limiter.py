"""The limiter: never more in flight than it allows, the earliest chunk first, nothing after a stop."""

import math
import random
import signal
import threading
import time

import pytest

from labelmill.errors import RunStopped
from labelmill.live.limiter import NotYet, PriorityLimiter

PATIENCE_SECONDS = 10


def wait_until(condition):
    """Wait for another thread to get somewhere."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


class Slots:
    """So many requests at a time: what a limiter asks of whoever is first."""

    def __init__(self, limit):
        self.limit, self.taken = limit, 0

    def enter(self):
        """Take a slot, or wait until something changes."""
        if self.taken >= self.limit:
            return NotYet(math.inf)
        self.taken += 1
        return "a slot"

    def leave(self, granted):
        """Give it back."""
        assert granted == "a slot"
        self.taken -= 1


class Crowd:
    """Threads that pass a limiter with so many slots, with what was seen of them."""

    def __init__(self, limit, limiter=None):
        self.limiter = limiter or PriorityLimiter()
        self.slots = Slots(limit)
        self.passed, self.stopped, self.waiting = [], [], 0
        self.inside = self.peak = 0
        self.lock = threading.Lock()
        self.threads = []

    def send(self, order, work=lambda: None):
        """Let one thread ask to pass."""

        def go():
            with self.lock:
                self.waiting += 1
            try:
                with self.limiter.admit(order, self.slots.enter, self.slots.leave):
                    with self.lock:
                        self.passed.append(order)
                        self.inside += 1
                        self.peak = max(self.peak, self.inside)
                    try:
                        work()
                    finally:
                        with self.lock:
                            self.inside -= 1
            except RunStopped as reason:
                with self.lock:
                    self.stopped.append(reason)
            except KeyError:
                pass

        thread = threading.Thread(target=go)
        self.threads.append(thread)
        thread.start()

    def send_and_settle(self, order, work=lambda: None):
        """Send one thread and give it time to queue up."""
        before = self.waiting
        self.send(order, work)
        wait_until(lambda: self.waiting > before)
        time.sleep(0.02)

    def join(self):
        """Wait for all; none may hang."""
        for thread in self.threads:
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()


@pytest.mark.parametrize("limit", [1, 3])
def test_no_more_than_the_limit_are_ever_inside_also_when_requests_fail(limit):
    """Places are given back however a request ends, never twice, and all pass in the end."""
    dice = random.Random(limit)
    crowd = Crowd(limit)

    def work():
        time.sleep(dice.random() * 0.002)
        if dice.random() < 0.4:
            raise KeyError

    for number in range(60):
        crowd.send(number % 7, work)
    crowd.join()
    assert len(crowd.passed) == 60
    assert crowd.peak == limit
    for _ in range(limit):
        crowd.send(0)
    crowd.join()
    assert (len(crowd.passed), crowd.inside) == (60 + limit, 0)


def test_the_earlier_chunk_goes_first_and_within_a_chunk_who_came_first():
    """Of those that wait, the lowest order passes next, whenever it came."""
    crowd = Crowd(1)
    leave = threading.Event()
    crowd.send_and_settle(9, leave.wait)
    for order in (3, 1, 2, 1, 0, 3):
        crowd.send_and_settle(order)
    leave.set()
    crowd.join()
    assert crowd.passed == [9, 0, 1, 1, 2, 3, 3]


def test_a_stop_lets_what_is_in_flight_finish_and_nothing_pass_after():
    """Those that wait and those that come later get the first reason; those inside end as they would have."""
    crowd = Crowd(2)
    limiter = crowd.limiter
    leave = threading.Event()
    for _ in range(2):
        crowd.send_and_settle(0, leave.wait)
    for order in range(5):
        crowd.send_and_settle(order)
    first = RunStopped("cancelled", "first")
    assert limiter.stop_signal.stopped is None
    limiter.stop_signal.stop(first)
    limiter.stop_signal.stop(RunStopped("failed", "second"))
    assert limiter.stop_signal.stopped is first
    crowd.send(0)
    leave.set()
    crowd.join()
    assert crowd.passed == [0, 0]
    assert crowd.stopped == [first] * 6
    with pytest.raises(RunStopped, match="first"), limiter.admit(0, crowd.slots.enter, crowd.slots.leave):
        pytest.fail("it passed a stopped limiter")


def test_a_pause_ends_when_the_run_is_stopped():
    """Whoever waits between rounds is woken by a stop, long before the time is over."""
    limiter = PriorityLimiter()
    limiter.stop_signal.wait_unless_stopped(0)
    woken = threading.Event()
    waiter = threading.Thread(target=lambda: (limiter.stop_signal.wait_unless_stopped(600), woken.set()))
    waiter.start()
    assert not woken.is_set()
    limiter.stop_signal.stop(RunStopped("cancelled", "m"))
    assert woken.wait(PATIENCE_SECONDS)
    waiter.join()


def test_a_stop_wakes_those_in_the_queue_at_once():
    """Nobody waits for what is in flight to be told that the run has stopped."""
    crowd = Crowd(1)
    leave = threading.Event()
    crowd.send_and_settle(0, leave.wait)
    for order in range(20):
        crowd.send_and_settle(order)
    crowd.limiter.stop_signal.stop(RunStopped("cancelled", "enough"))
    wait_until(lambda: len(crowd.stopped) == 20)
    assert crowd.inside == 1
    leave.set()
    crowd.join()


def test_whoever_is_first_goes_when_its_time_has_come():
    """A wait that is over needs nobody else to come or go."""
    limiter, ready_at = PriorityLimiter(), time.monotonic() + 0.05
    with limiter.admit(
        0, lambda: NotYet(ready_at - time.monotonic()) if time.monotonic() < ready_at else 1, print
    ):
        assert time.monotonic() >= ready_at


def test_a_wait_that_has_become_shorter_is_not_sat_out():
    """Who was told to wait for an hour goes at once when things have changed and the limiter is told so."""
    limiter, wait = PriorityLimiter(), [3600.0]
    passed = threading.Event()

    def go():
        with limiter.admit(0, lambda: NotYet(wait[0]) if wait[0] else 1, lambda _: None):
            passed.set()

    thread = threading.Thread(target=go)
    thread.start()
    wait_until(lambda: limiter._queue)
    wait[0] = 0
    limiter.recheck()
    assert passed.wait(PATIENCE_SECONDS)
    thread.join()


def test_where_turns_are_taken_who_has_waited_longest_goes_first():
    """The order of chunks is set aside, so that one text that fails each time is not all that is tried."""
    crowd = Crowd(1)
    crowd.limiter.takes_turns = True
    leave = threading.Event()
    crowd.send_and_settle(9, leave.wait)
    for order in (3, 1, 2):
        crowd.send_and_settle(order)
    leave.set()
    crowd.join()
    assert crowd.passed == [9, 3, 1, 2]


@pytest.mark.parametrize("stage", ["in the queue", "asleep"])
def test_a_signal_handler_may_stop_the_gate_that_its_own_thread_waits_at(stage):
    """Ctrl-C interrupts the main thread anywhere, its waits included, and stops the run without a deadlock."""
    limiter = PriorityLimiter()
    before = signal.signal(
        signal.SIGALRM, lambda *_: limiter.stop_signal.stop(RunStopped("cancelled", "Ctrl-C"))
    )
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    began = time.monotonic()
    try:
        if stage == "asleep":
            limiter.stop_signal.wait_unless_stopped(PATIENCE_SECONDS)
        else:
            with pytest.raises(RunStopped), limiter.admit(0, lambda: NotYet(PATIENCE_SECONDS), print):
                pytest.fail("it was let in")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - began < PATIENCE_SECONDS
    assert not limiter._queue
