"""The record of a run."""

from types import SimpleNamespace

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


def out(*texts):
    """Batches that are out, with so many texts each."""
    return [SimpleNamespace(texts=number) for number in texts]


@pytest.mark.parametrize(
    ("rows", "stopped", "batches", "status", "words"),
    [
        (RowCounts(total=10, labeled=4, pending=6), None, out(6), "waiting", "6 texts are in 1 batch at"),
        (
            RowCounts(total=10, labeled=4, pending=6),
            None,
            out(2, 2000),
            "waiting",
            "2,002 texts are in 2 batches at",
        ),
        (RowCounts(total=10, labeled=4, pending=6), None, (), "waiting", "6 rows could not be sent yet"),
        (
            RowCounts(total=10, labeled=4, failed=2, pending=4),
            None,
            out(4),
            "too_many_failures",
            "2 of 10 rows",
        ),
        (RowCounts(total=10, pending=10), RunStopped("cancelled", "Ctrl-C"), out(10), "cancelled", "Ctrl-C"),
        (RowCounts(total=10, pending=10), RunStopped("budget_reached", "no"), out(4), "budget_reached", "no"),
    ],
)
def test_a_run_that_leaves_texts_behind_is_waiting(rows, stopped, batches, status, words):
    """In batches, or not sent yet; what stopped it, and too many failures, are said first."""
    found, message = status_of(rows, 0.05, stopped, batches)
    assert found == status
    assert words in message
