"""What earlier runs have spent of the limits that a job has."""

from datetime import datetime
from decimal import Decimal
from pathlib import Path

from labelmill.job.model import Run
from labelmill.store.ledger import spent_since, start_of_day


def spent_of_limits(run: Run, ledgers: Path, now: datetime, *, practice: bool) -> tuple[Decimal, Decimal]:
    """What all tasks have cost today and this month (UTC), in USD; 0 without a look where the job has no such limit."""
    today = start_of_day(now)
    month = today.replace(day=1)
    return (
        _spent(run.max_cost_usd_per_day, ledgers, today, practice=practice),
        _spent(run.max_cost_usd_per_month, ledgers, month, practice=practice),
    )


def _spent(limit_usd: float | None, ledgers: Path, since: datetime, *, practice: bool) -> Decimal:
    return Decimal(0) if limit_usd is None else spent_since(ledgers, since, practice=practice)
