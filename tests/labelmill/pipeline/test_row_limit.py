"""A run that is held to a few texts: it asks no more, says what is left, and the next goes on from there."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelmill.pipeline.label import label
from labelmill.run.counts import RowCounts
from labelmill.run.publication import Merged
from labelmill.run.record import status_of
from labelmill.run.row_limit import RowLimit
from practice import PracticeSettings

# Every other row repeats the text before it.
TEXTS = [f"the match of day {number // 2}" for number in range(40)]
LANES = {"live": {}, "batch": {"lane": "batch", "poll_seconds": 0.05}}


@pytest.mark.parametrize("lane", LANES)
def test_a_run_asks_so_many_different_texts_at_most(practice, job_of, write_texts, lane):
    """Equal texts count once, one that is asked again too; run by run all are labeled, and each is asked in one run only."""
    practice.configure(PracticeSettings(faults={"server_error": 0.2}, stubborn_faults={"off_label": 0.2}))
    practice.reset()
    write_texts([*TEXTS, None])
    job = job_of(run={**LANES[lane], "max_failed_fraction": 1})
    records = [label(job, practice.base_url, rows=rows) for rows in (7, 7, None)]
    assert [record.status for record in records] == ["completed"] * 3
    assert [record.texts_asked for record in records] == [7, 7, 6]
    assert [record.rows_pending for record in records] == [26, 12, 0]
    assert records[0].message == "26 rows are left for later runs: this one was to ask 7 texts at most"
    assert records[-1].message is None


def test_the_first_texts_without_a_label_are_asked(practice, job_of, write_texts):
    """A limited run takes the dataset in its order, so that whoever looks at its head finds labels there."""
    practice.configure(PracticeSettings())
    write_texts([f"the market of day {number}" for number in range(10)])
    record = label(job_of(), practice.base_url, rows=3)
    labeled = [row for row in _statuses(record) if row == "ok"]
    assert _statuses(record)[:3] == labeled == ["ok"] * 3


def _statuses(record):
    return pl.read_parquet(f"{record.labeled_path}/*.parquet")["label_status"].to_list()


@given(pending=st.integers(0, 5), rows=st.none() | st.integers(1, 9))
def test_only_a_limit_lets_a_run_complete_with_rows_left(pending, rows):
    """Without one, rows that are left are waited for; with one, the sentence says that it was meant so."""
    merged = Merged(rows=RowCounts(total=9, labeled=9 - pending, pending=pending), labeled=Path("labeled"))
    status, message = status_of(merged, 1, None, row_limit=RowLimit(rows))
    assert status == ("completed" if rows or not pending else "waiting")
    assert (message is None) == (not pending)
