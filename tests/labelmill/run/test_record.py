"""The record of a run."""

from datetime import UTC, datetime
from decimal import Decimal

import polars as pl
import pytest

from labelmill.errors import RunStopped
from labelmill.run.record import RowCounts, Seconds, Work, count_rows, status_of, work_of
from labelmill.store.ledger import MONEY, SCHEMA


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


def test_rows_are_counted_from_the_published_files(tmp_path):
    """Every row is counted once, by what the file says became of it."""
    rows = [
        ("sport", "ok", None, "old"),
        ("sport", "ok", None, "new"),
        ("money", "ok", None, "new"),
        (None, "failed", "timeout", "new"),
        (None, "failed", "empty_text", None),
        (None, "pending", None, None),
    ]
    names = ["label", "label_status", "label_error", "label_run_id"]
    files = [tmp_path / "a.parquet", tmp_path / "b=[1].parquet"]
    for file, part in zip(files, (rows[:4], rows[4:]), strict=True):
        pl.DataFrame(part, schema=dict.fromkeys(names, pl.String), orient="row").write_parquet(file)
    counts = count_rows(files, "new")
    assert counts == RowCounts(
        total=6,
        labeled=3,
        reused=1,
        failed=2,
        pending=1,
        labels={"sport": 2, "money": 1},
        failures={"empty_text": 1, "timeout": 1},
    )


def _part(**values):
    filled = {name: [value] for name, value in values.items()}
    frame = pl.DataFrame(filled, schema_overrides={"cost_usd": MONEY})
    return frame.select(
        *(pl.col(n).cast(t) if n in filled else pl.lit(None, dtype=t).alias(n) for n, t in SCHEMA.items())
    )


def test_work_adds_up_exactly_and_counts_a_text_once():
    """Costs add up as decimals, and a text asked again in the salvage pass is one text with two rows of cost."""
    facts = {"unseen": 1, "input_tokens": 10, "cached_input_tokens": 2, "output_tokens": 3}
    parts = [
        _part(
            row_key=key, requests=2, cost_usd=Decimal("0.0000001"), answered_at_utc=datetime.now(UTC), **facts
        )
        for key in ("a", "b", "b")
    ]
    assert work_of(pl.concat(parts).lazy()) == Work(
        texts_asked=2,
        requests=6,
        requests_unseen=3,
        input_tokens=30,
        cached_input_tokens=6,
        output_tokens=9,
        cost_usd=Decimal("0.0000003"),
    )


def test_one_unknown_cost_makes_the_sum_unknown():
    """A sum that leaves something out would be a number that isn't so."""
    parts = [_part(row_key="a", requests=1, cost_usd=cost) for cost in (Decimal(1), None)]
    assert work_of(pl.concat(parts).lazy()).cost_usd is None


def test_no_work_costs_nothing():
    """A run that asked nothing cost 0, which is known."""
    assert work_of(pl.LazyFrame(schema=SCHEMA)) == Work()


def test_how_long_answers_took_is_counted_over_those_that_came():
    """The median, the 95th of a hundred and the longest; a text without an answer is left out."""
    parts = [_part(row_key=str(number), seconds=number / 100) for number in range(1, 101)]
    work = work_of(pl.concat([*parts, _part(row_key="lost", requests=1)]).lazy())
    assert work.answer_seconds == Seconds(p50=0.51, p95=0.96, max=1.0)
    assert work_of(_part(row_key="lost").lazy()).answer_seconds is None
