"""The layout of an output folder, which those who read the labels rely on."""

from labelmill.store.folder import OutputFolder


def test_everything_a_job_leaves_lies_in_its_output_folder(job_of, tmp_path):
    """The names are those that the documentation promises, and each run and task has its own."""
    folder = OutputFolder.of(job_of())
    out = tmp_path / "out"
    assert folder.labeled == out / "labeled"
    assert folder.failed("r-1") == out / "failed" / "r-1.parquet"
    assert folder.ledger("k-1") == out / "ledger" / "k-1"
    assert folder.ledgers == folder.ledger("k-1").parent
    assert folder.run("r-1") == out / "runs" / "r-1"
    assert folder.runs == folder.run("r-1").parent
    assert folder.lock.parent == out
