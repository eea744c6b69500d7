"""Every column of every file, read before anything is asked."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelmill.check.dataset import check_columns
from labelmill.errors import JobRefused


def test_every_column_that_can_not_be_read_is_named_at_once(job_of, tmp_path):
    """With its file, and what to do; files without a fault are not mentioned."""
    folder = tmp_path / "source"
    folder.mkdir()
    table = pa.table({"text": ["a whole text"], "note": ["a first note"], "other": ["another note"]})
    for name in "abc":
        pq.write_table(table, folder / f"{name}.parquet", use_dictionary=False, compression="none")
    for name, values in {"a": [b"a first note", b"another note"], "c": [b"a whole text"]}.items():
        path = folder / f"{name}.parquet"
        content = path.read_bytes()
        for value in values:
            content = content.replace(value, b"\xff" * len(value))
        path.write_bytes(content)
    job = job_of(source={"path": str(folder)})
    with pytest.raises(JobRefused) as refused:
        check_columns(job, "job.toml")
    named = [
        (
            f"the column {column!r} of {str(folder / f'{name}.parquet')!r} can't be read (",
            "job.toml, source.path",
        )
        for name, column in (("a", "note"), ("a", "other"), ("c", "text"))
    ]
    found = [(mistake.sentence, mistake.where) for mistake in refused.value.mistakes]
    assert len(found) == 3
    for (begin, where), (sentence, place) in zip(named, found, strict=True):
        assert (sentence.startswith(begin), place) == (True, where)
        assert sentence.endswith("; fix the file or take it out of the source")


def test_a_source_without_faults_passes(job_of, write_texts):
    """Without a word."""
    write_texts(["a", None])
    check_columns(job_of(), "job.toml")
