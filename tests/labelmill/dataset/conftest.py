"""A ledger that knows some answers, and sources on disk."""

from datetime import UTC, datetime
from decimal import Decimal

import polars as pl
import pytest

from labelmill.dataset.source import source_files
from labelmill.job.model import Run
from labelmill.money.usage import Usage
from labelmill.question.attempts import Attempt
from labelmill.question.failures import POLICY_OF_KIND, Policy
from labelmill.store.journal import Journal
from labelmill.store.ledger import Ledger
from labelmill.store.row_key import row_key_of


@pytest.fixture(scope="session")
def record_answers():
    """Add what a run learned to a ledger: `record_answers(folder, {text: label}, {text: failure kind})`."""

    def record(folder, labels=None, failures=None, run_id="20260101-000000-aaaa"):
        ledger = Ledger(folder)
        when = datetime(2026, 1, 1, tzinfo=UTC)
        paid = {"model": "gpt-4o-mini-2024", "usage": Usage(100, 0, 2), "cost_usd": Decimal("0.00001")}
        with Journal(ledger.journal_path(run_id, 0)) as journal:
            for text, label in (labels or {}).items():
                journal.append(
                    Attempt(row_key_of(text), when, label=label, answered=True, confidence=0.5, **paid)
                )
            for text, kind in (failures or {}).items():
                answered = POLICY_OF_KIND[kind] is not Policy.RETRY
                told = {"failure": kind, "message": f"{kind}!", "gave_up": True}
                journal.append(Attempt(row_key_of(text), when, answered=answered, **told, **paid))
            ledger.add(journal, Run(max_answers=1, max_attempts=2))
        return ledger

    return record


@pytest.fixture(scope="session")
def write_source():
    """Write one Parquet file per frame into a folder, as `0.parquet`, `1.parquet`, and return the source's files."""

    def write(folder, *frames):
        folder.mkdir(parents=True, exist_ok=True)
        for number, frame in enumerate(frames):
            frame = pl.DataFrame(frame) if isinstance(frame, dict) else frame  # noqa: PLW2901
            frame.write_parquet(folder / f"{number}.parquet")
        return source_files(str(folder))

    return write
