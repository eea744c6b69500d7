"""Whether every column of every file can be read: more than a run needs, and only on demand, since all of it is decoded."""

from pathlib import Path

from labelmill.dataset.source import source_files
from labelmill.dataset.unreadable import faults_in
from labelmill.errors import JobRefused, Mistake
from labelmill.job.model import LabelJob


def check_columns(job: LabelJob, where: str) -> None:
    """Read all columns of all of a job's files, a column of a row group at a time.

    Args:
        job: the job, checked otherwise.
        where: what its mistakes stand under.

    Raises:
        JobRefused: with every column that can't be read.
    """
    sentences = [
        sentence for file in source_files(job.source.path) for sentence in column_mistakes(file.path)
    ]
    if sentences:
        raise JobRefused([Mistake(f"{where}, source.path", sentence) for sentence in sentences])


def column_mistakes(path: Path) -> list[str]:
    """A sentence for each column of a file that can't be read."""
    return [
        f"{fault.sentence(path)}; mend the file or take it out of the source" for fault in faults_in(path)
    ]
