"""Progress: what is shown adds up, from many threads and at any moment."""

import threading
from decimal import Decimal

from labelmill.model.progress import Progress, Snapshot


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
