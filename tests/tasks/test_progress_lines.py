"""How far a run is, for the ring on the run's graph."""

import pytest

from labelmill.live.progress import Snapshot
from tasks.progress import percent_done


@pytest.mark.parametrize(
    ("now", "percent"),
    [
        (Snapshot("planning"), 0),
        (Snapshot("labeling", 0), 100),
        (Snapshot("labeling", 3, 1), 33.3),
        (Snapshot("labeling", 3, 4), 100),
    ],
)
def test_percent_is_of_the_texts_to_ask(now, percent):
    """Nothing while the plan is unknown, all where there is nothing to ask, and never more than all."""
    assert percent_done(now) == percent
