"""Files that can't be read are named and left out, for as long as they can't be read."""

from datetime import UTC, datetime

import pytest

from labelmill.run.context import RunContext
from labelmill.run.unreadable import read_digests, unreadable_mistakes


@pytest.fixture
def run_over(job_of, write_texts, tmp_path):
    """A run over files of a text each, of which some are no Parquet: `run_over("abc", broken="b")`."""

    def build(names, broken=""):
        (tmp_path / "source").mkdir()
        for name in names:
            write_texts([f"the match of {name}"], f"source/{name}.parquet")
        job = job_of(source={"path": str(tmp_path / "source")})
        run = RunContext(job=job, run_id="r1", base_url="", practice=False, started_at_utc=datetime.now(UTC))
        assert len(run.files) == len(names)
        for name in broken:
            (tmp_path / "source" / f"{name}.parquet").write_bytes(b"no Parquet")
        return run

    return build


def test_a_file_that_can_not_be_read_is_left_out_and_named_once(run_over, caplog):
    """With nothing known of its rows; all others are read."""
    run = run_over("abc", broken="b")
    read_digests(run, range(3))
    read_digests(run, range(3))
    ((file, fault),) = run.unreadable.items()
    assert (file.path.stem, fault.column, fault.rows) == ("b", None, None)
    assert [one.path.stem for one in run.readable_files] == ["a", "c"]
    assert len([line for line in caplog.messages if "the file is left out" in line]) == 1
    (mistake,) = unreadable_mistakes(run)
    assert mistake.where == "source.path"
    assert "b.parquet" in mistake.sentence


def test_a_file_that_is_mended_is_left_out_no_more(run_over, write_texts):
    """Within the same run."""
    run = run_over("ab", broken="b")
    read_digests(run, range(2))
    assert len(run.unreadable) == 1
    write_texts(["the match of b"], "source/b.parquet")
    read_digests(run, range(2))
    assert run.unreadable == {}
