"""The rows that a run leaves without a label: told by the merge, written into `failed/`."""

from collections.abc import Iterator
from pathlib import Path

from labelmill.dataset.failed import FailedFiles, FailedRows, write_failed
from labelmill.run.context import RunContext
from labelmill.run.record import RunRecord
from labelmill.store.files import place_of

NO_FAILED_FILES = FailedFiles()


def write_failed_rows(context: RunContext) -> FailedFiles:
    """Write the rows that were tried and have no label into `failed/`: those of the files that this run tells of.

    Raises:
        OSError: the disk is full or read-only.
    """
    prefix = context.job.output.column_prefix
    return write_failed(failed_rows_of(context), context.folder.failed(context.run_id), prefix)


def with_failed(record: RunRecord, failed: FailedFiles, context: RunContext) -> RunRecord:
    """The record of a run that has left these files of failed rows, and what is to be said of them.

    The failed rows of all other files stand where earlier runs have left them.
    """
    paths = [place_of(path) for path in (*failed.paths, *context.failed_files)]
    named = {"failed_path": paths[0] if paths else None, "failed_paths": paths}
    return record.model_copy(update={**named, "notices": [*record.notices, *failed.sentences]})


def failed_rows_of(context: RunContext) -> Iterator[FailedRows]:
    """The failed rows of each file that has any."""
    together: dict[Path, list[int]] = {}
    for number, answers in sorted(context.row_answers.items()):
        together.setdefault(answers.folder, []).append(number)
    for numbers in together.values():
        for number, rows in context.row_answers[numbers[0]].failures(numbers):
            yield FailedRows(context.files[number], rows, context.digests.stamps[number])
