"""What is counted against a job's limits at a run's start and in its report."""

from datetime import UTC, datetime
from decimal import Decimal

import polars as pl
import pytest

from labelmill.errors import JobRefused
from labelmill.job.model import Run
from labelmill.run.context import spent_of_limits
from labelmill.store.ledger import SCHEMA

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def ledgers(tmp_path):
    """One text paid today for 3 USD, one earlier this month for 4, one last month for 5."""
    rows = {
        "answered_at_utc": [NOW, NOW.replace(day=2), NOW.replace(month=10)],
        "cost_usd": [Decimal(3), Decimal(4), Decimal(5)],
        "unseen_usd": [Decimal(0)] * 3,
    }
    blank = {name: [None] * 3 for name in SCHEMA if name not in rows}
    (tmp_path / "task").mkdir()
    pl.DataFrame({**blank, **rows}, schema_overrides=SCHEMA).select(SCHEMA.names()).write_parquet(
        tmp_path / "task" / "part.parquet"
    )
    return tmp_path


@pytest.mark.parametrize(
    ("limits", "spent"),
    [
        ({}, (0, 0)),
        ({"max_cost_usd_per_day": 1}, (3, 0)),
        ({"max_cost_usd_per_month": 1}, (0, 7)),
        ({"max_cost_usd_per_day": 1, "max_cost_usd_per_month": 1}, (3, 7)),
    ],
)
def test_what_was_spent_counts_where_there_is_a_limit(ledgers, limits, spent):
    """The day's and the month's spending are what the ledgers say, each where the job limits it."""
    assert spent_of_limits(Run(**limits), ledgers, NOW, practice=False) == spent


def test_without_a_limit_the_ledgers_are_not_read(ledgers):
    """A run without a limit for the day or the month starts without a look at what was paid."""
    (ledgers / "task" / "part.parquet").write_bytes(b"can't be read")
    assert spent_of_limits(Run(max_cost_usd=1), ledgers, NOW, practice=False) == (0, 0)
    with pytest.raises(JobRefused, match=r"part\.parquet"):
        spent_of_limits(Run(max_cost_usd_per_day=1), ledgers, NOW, practice=False)
