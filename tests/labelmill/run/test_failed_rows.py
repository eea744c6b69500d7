"""The failed rows of a run, as the ledger and the source tell them."""

from datetime import UTC, datetime

import polars as pl
import pytest

from labelmill.dataset.merge import FAILURE_COLUMNS
from labelmill.question.attempts import Attempt
from labelmill.run.context import RunContext
from labelmill.run.failed_rows import failed_rows_of, write_failed_rows
from labelmill.run.publication import publish_labels
from labelmill.store.journal import Journal
from labelmill.store.row_key import row_key_of


@pytest.fixture
def run_over(job_of, tmp_path):
    """A run over files of some texts, whose ledger knows some labels and failures."""

    def build(files, labels=(), failures=()):
        (tmp_path / "source").mkdir()
        for number, texts in enumerate(files):
            frame = pl.DataFrame({"text": texts}, schema={"text": pl.String})
            frame.write_parquet(tmp_path / "source" / f"{number}.parquet")
        job = job_of(source={"path": str(tmp_path / "source")})
        run = RunContext(job=job, run_id="r1", base_url="", practice=False, started_at_utc=datetime.now(UTC))
        with Journal(run.ledger.journal_path("r1", 0)) as journal:
            for text in failures:
                journal.append(
                    Attempt(row_key_of(text), datetime.now(UTC), failure="too_long", message=f"{text}!")
                )
            for text in labels:
                journal.append(Attempt(row_key_of(text), datetime.now(UTC), label="sport", answered=True))
            run.ledger.add(journal, job.run)
        return run

    return build


def test_failed_rows_are_found_by_their_numbers_in_their_files(run_over):
    """In the source's order; none has a label, none is without a text."""
    files = [["a", "x", None, "y"], ["a", "b"], ["y", "x", "x"], []]
    run = run_over(files, labels=["a", "y"], failures=["x", "y", "nowhere"])
    publish_labels(run)
    found = {one.file.path.name: one.rows for one in failed_rows_of(run)}
    assert {name: rows["row"].to_list() for name, rows in found.items()} == {
        "0.parquet": [1],
        "2.parquet": [1, 2],
    }
    for rows in found.values():
        assert dict(rows.schema) == {"row": pl.Int64, **FAILURE_COLUMNS}
        assert set(rows["failure_message"]) == {"x!"}


def test_a_file_that_can_not_be_read_has_no_failed_rows(run_over):
    """It is left out here as everywhere."""
    run = run_over([["x"], ["x"]], failures=["x"])
    run.files[0].path.write_bytes(b"no Parquet")
    publish_labels(run)
    written = write_failed_rows(run)
    assert (written.rows, written.paths) == (1, (run.folder.failed("r1"),))
