"""What reads the texts of a run's files leaves out those that can't be read."""

import errno
from datetime import UTC, datetime

import polars as pl
import pytest

from labelmill.errors import JobRefused
from labelmill.run.context import RunContext
from labelmill.run.unreadable import over_readable, pending_over_readable


@pytest.fixture
def run_over(job_of, write_texts, tmp_path):
    """A run over files of a text each, of which some are gone: `run_over("abc", gone="b")`."""

    def build(names, gone=""):
        (tmp_path / "source").mkdir()
        for name in names:
            write_texts([f"the match of {name}"], f"source/{name}.parquet")
        job = job_of(source={"path": str(tmp_path / "source")})
        run = RunContext(job=job, run_id="r1", base_url="", practice=False, started_at_utc=datetime.now(UTC))
        assert len(run.files) == len(names)
        for name in gone:
            (tmp_path / "source" / f"{name}.parquet").unlink()
        return run

    return build


def counted(tried):
    """A reader that notes the names of the files that it is given each time, and reads them."""

    def read(files):
        tried.append("".join(file.path.stem for file in files))
        return pl.concat(file.scan() for file in files).collect().height

    return read


def test_files_are_read_once_where_none_is_at_fault(run_over):
    """And again without those that are, where any is; from then on they are left out at once."""
    tried = []
    assert (over_readable(run_over("abc"), counted(tried)), tried) == (3, ["abc"])


def test_a_file_that_is_gone_is_left_out_from_then_on(run_over):
    """Named once, with nothing known of its rows."""
    run, tried = run_over("abc", gone="b"), []
    assert over_readable(run, counted(tried)) == 2
    assert over_readable(run, counted(tried)) == 2
    assert tried == ["abc", "ac", "ac"]
    ((file, fault),) = run.unreadable.items()
    assert (file.path.stem, fault.column, fault.rows) == ("b", None, None)


def test_a_full_disk_is_no_files_fault(run_over, monkeypatch):
    """No file is tried for it."""
    run = run_over("ab", gone="b")
    monkeypatch.setattr("labelmill.run.unreadable.read_texts", None)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        over_readable(run, full)


def test_where_nothing_can_be_read_there_is_nothing_to_ask(run_over, tmp_path):
    """A plan is empty then; what needs texts is refused, with each file's name."""
    run, pending = run_over("ab", gone="ab"), tmp_path / "pending.parquet"
    assert pending_over_readable(run, counted([]), pending) == 0
    assert pl.read_parquet(pending).schema == pl.Schema({"row_key": pl.String, "text": pl.String})
    with pytest.raises(JobRefused) as refused:
        over_readable(run, counted([]))
    assert [mistake.where for mistake in refused.value.mistakes] == ["source.path"] * 2
