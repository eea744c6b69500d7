"""Progress: what is shown adds up, from many threads and at any moment."""

import threading
from decimal import Decimal

from labelmill.live.progress import BatchSeen, Progress, Snapshot


def test_counts_from_many_threads_add_up():
    """No text and no cent is lost between threads."""
    progress = Progress()
    progress.enter("asking", 800)

    def work():
        for _ in range(100):
            progress.add(labeled=1)
            progress.pay(Decimal("0.0000795"))
            progress.add(failed=1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    now = progress.now()
    assert (now.done, now.labeled, now.failed) == (800, 400, 400)
    assert now.cost_usd == Decimal("0.0318")
    assert now.seconds_left == 0


def test_a_phase_keeps_what_is_known_and_the_clock_starts_with_the_texts():
    """Until the plan is known there is no time and no rate; a later phase keeps both."""
    progress = Progress()
    progress.enter("planning")
    now = progress.now()
    assert (now.phase, now.texts, now.seconds, now.texts_per_second, now.seconds_left) == (
        "planning",
        None,
        0.0,
        0.0,
        None,
    )
    progress.enter("asking", 10)
    assert progress.now().seconds_left is None
    progress.add(labeled=4)
    progress.enter("merging")
    after = progress.now()
    assert (after.phase, after.texts, after.done) == ("merging", 10, 4)
    assert after.seconds > 0
    assert after.seconds_left > 0


def test_one_unknown_cost_makes_the_sum_unknown_for_good():
    """A sum that leaves something out is not shown as the cost."""
    progress = Progress()
    progress.pay(Decimal(1))
    progress.pay(None)
    progress.pay(Decimal(1))
    assert progress.now().cost_usd is None


def test_a_snapshot_without_a_clock_has_no_time_left():
    """Where no time has passed there is no rate to reckon with."""
    assert Snapshot(texts=3, done=1).seconds_left is None


def test_texts_of_a_further_plan_are_added_to_those_that_are_done():
    """What is done stays done, and the clock goes on; the first to know of any texts starts it."""
    progress = Progress()
    assert progress.now().started_at is None
    progress.go_on("sending", 10)
    started = progress.now().started_at
    assert (progress.now().phase, progress.now().texts, progress.now().done) == ("sending", 10, 0)
    assert started is not None
    progress.add(labeled=4, failed=1)
    progress.go_on("labeling", 3)
    now = progress.now()
    assert (now.phase, now.texts, now.done, now.failed, now.started_at) == ("labeling", 8, 5, 1, started)


def test_what_was_harvested_before_any_plan_counts():
    """A run may begin with the batches of an earlier one."""
    progress = Progress()
    progress.add(labeled=6)
    progress.go_on("sending", 0)
    assert (progress.now().texts, progress.now().done) == (6, 6)


def test_the_batches_that_are_out_are_told_until_others_are():
    """A phase that follows leaves them as they are; counts are not touched."""
    progress = Progress()
    progress.go_on("sending", 10)
    progress.add(labeled=2)
    seen = (BatchSeen("batch_1", "in progress", 3, 8),)
    progress.show_batches("waiting for batches", seen)
    now = progress.now()
    assert (now.phase, now.batches, now.texts, now.done) == ("waiting for batches", seen, 10, 2)
    progress.enter("planning")
    assert progress.now().batches == seen
    progress.show_batches("waiting for batches", ())
    assert progress.now().batches == ()
