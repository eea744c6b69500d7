"""Progress in one line."""

import time
from decimal import Decimal

import pytest

from labelmill.live.progress import BatchSeen, Snapshot
from labelmill.report.formatting import MOST_BATCHES, batch_lines, progress_line
from labelmill.report.markdown import escaped


def test_before_the_plan_is_known_only_the_phase_is_told():
    """There is nothing to count yet."""
    assert progress_line(Snapshot("planning")) == "planning"


def test_a_line_tells_what_is_done_its_rate_cost_and_time_left():
    """All that people ask of a long run, in one line."""
    now = Snapshot("asking", 2000, 1000, 990, 10, Decimal("0.0795"), time.monotonic() - 100)
    line = progress_line(now)
    assert line.startswith("asking: 1,000 of 2,000 texts (50.0%), ")
    assert line.endswith(" left")
    assert ", $0.0795 so far, 10 failed, " in line


def test_a_line_tells_why_nothing_is_sent():
    """A run that stands still says so, and until when, before the batches that are out."""
    paused = "paused until 14:05, as the provider asks"
    now = Snapshot("asking", 10, 5, batches=(BatchSeen("batch_1", "in progress", 3, 5),), pause=paused)
    assert progress_line(now).endswith(f"; {paused}; batch batch_1 in progress, 3 of 5")


@pytest.mark.parametrize(
    ("now", "absent"),
    [
        (Snapshot("asking", 10, 0, started_at=0.0), ("left", "failed")),
        (Snapshot("merging", 10, 10, 10, started_at=0.0), ("left", "failed")),
        (Snapshot("asking", 0, started_at=0.0), ("left", "%")),
    ],
)
def test_what_is_not_known_or_not_so_is_left_out(now, absent):
    """No failures, no time left, no share of nothing."""
    line = progress_line(now)
    assert not [word for word in absent if word in line]


def test_an_unknown_cost_is_said_to_be_unknown():
    """A run without a price never shows zero dollars."""
    line = progress_line(Snapshot("asking", 10, 5, 5, 0, None, time.monotonic()))
    assert "unknown so far" in line
    assert "$" not in line


def test_each_batch_that_is_out_is_told_with_its_id_state_and_rows():
    """After the counts of the run; also before a plan is known, and where nothing is left to ask."""
    batches = (
        BatchSeen("batch_1", "in progress", 3000, 50_000),
        BatchSeen("batch_2\x1b[31m", "validating", 0, 7),
    )
    told = "batch batch_1 in progress, 3,000 of 50,000; batch batch_2 [31m validating, 0 of 7"
    now = Snapshot("waiting for batches", 50_007, 0, batches=batches)
    assert progress_line(now).startswith("waiting for batches: 0 of 50,007 texts (0.0%), ")
    assert progress_line(now).endswith(f"; {told}")
    for texts in (None, 0):
        assert (
            progress_line(Snapshot("waiting for batches", texts, batches=batches))
            == f"waiting for batches; {told}"
        )


def test_of_very_many_batches_the_first_are_told():
    """A line stays a line."""
    batches = tuple(BatchSeen(f"b{number}", "sent", 0, 1) for number in range(MOST_BATCHES + 3))
    lines = batch_lines(Snapshot(batches=batches))
    assert len(lines) == MOST_BATCHES + 1
    assert lines[-1] == "3 more batches"
    assert len(batch_lines(Snapshot(batches=batches[:MOST_BATCHES]))) == MOST_BATCHES


def test_a_batch_is_plain_text_where_the_line_is_read_as_markdown(hostile):
    """A provider's name for a batch, and its word for how it stands, add no mark to the ring's description."""
    now = Snapshot("waiting", 7, 0, batches=(BatchSeen(hostile, hostile, 0, 7),))
    assert f"batch {escaped(hostile)} {escaped(hostile)}, 0 of 7" in progress_line(now, escaped)
