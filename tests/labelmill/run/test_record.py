"""The record of a run."""

import pytest

from labelmill.errors import RunStopped
from labelmill.run.counts import RowCounts
from labelmill.run.record import status_of


@pytest.mark.parametrize(
    ("rows", "stopped", "status"),
    [
        (RowCounts(total=10, labeled=10), None, "completed"),
        (RowCounts(), None, "completed"),
        (RowCounts(total=100, labeled=95, failed=5), None, "completed"),
        (RowCounts(total=100, labeled=94, failed=6), None, "too_many_failures"),
        (RowCounts(total=100, labeled=4, pending=96), RunStopped("budget_reached", "no"), "budget_reached"),
        (RowCounts(total=100, labeled=4, pending=96), RunStopped("cancelled", "no"), "cancelled"),
        (RowCounts(total=10, labeled=10), RunStopped("cancelled", "no"), "completed"),
        (RowCounts(total=10, failed=10), RunStopped("failed", "no"), "failed"),
        (RowCounts(), RunStopped("cancelled", "no"), "cancelled"),
    ],
)
def test_how_a_run_ends(rows, stopped, status):
    """What stopped a run tells its status, else its failures do; being cancelled with all done is completed."""
    found, message = status_of(rows, 0.05, stopped)
    assert found == status
    assert (message is None) == (status == "completed")
