"""Progress in one line."""

import time
from decimal import Decimal

import pytest

from labelmill.model.progress import Snapshot
from labelmill.report.progress_words import progress_line


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
