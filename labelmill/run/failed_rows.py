"""The rows that a run leaves without a label: found in the ledger, written into `failed/`."""

from collections.abc import Iterator

import polars as pl

from labelmill.dataset.failed import FailedFiles, FailedRows, state_of, write_failed
from labelmill.dataset.merge import FAILURE_COLUMNS
from labelmill.dataset.source import SourceFile
from labelmill.run.context import RunContext
from labelmill.run.record import RunRecord

NO_FAILED_FILES = FailedFiles()
_FILES_AT_ONCE = 100


def write_failed_rows(context: RunContext) -> FailedFiles:
    """Write the rows that were tried and have no label into `failed/`.

    Raises:
        OSError: the disk is full or read-only.
    """
    return write_failed(failed_rows_of(context), context.folder.failed(context.run_id))


def with_failed(record: RunRecord, failed: FailedFiles) -> RunRecord:
    """The record of a run that has left these files of failed rows, and what is to be said of them."""
    paths = [str(path.absolute()) for path in failed.paths]
    named = {"failed_path": paths[0] if paths else None, "failed_paths": paths}
    return record.model_copy(update={**named, "notices": [*record.notices, *failed.sentences]})


def failed_rows_of(context: RunContext) -> Iterator[FailedRows]:
    """The failed rows of each file that has any, in the source's order, some files at a time."""
    ledger = context.ledger
    labeled = ledger.labels().select("digest")
    failures = (
        ledger.failures()
        .join(labeled, on="digest", how="anti")
        .select(
            "digest",
            failure_kind="error",
            failure_message="message",
            failure_requests="requests",
            failure_cost_usd="cost_usd",
        )
        .cast({name: dtype for name, dtype in FAILURE_COLUMNS.items()})  # noqa: C416  (a Schema is no plain dict)
        .collect()
        .lazy()
    )
    files = context.readable_files
    for first in range(0, len(files), _FILES_AT_ONCE):
        yield from _failed_among(files[first : first + _FILES_AT_ONCE], failures, context)


def _failed_among(
    files: list[SourceFile], failures: pl.LazyFrame, context: RunContext
) -> Iterator[FailedRows]:
    states = [state_of(file.path) for file in files]
    digests = pl.concat(
        file.scan_texts(context.template)
        .select("digest")
        .with_row_index("row")
        .with_columns(file=pl.lit(number, dtype=pl.UInt32))
        for number, file in enumerate(files)
    )
    found = (
        digests.join(failures, on="digest", how="inner")
        .select("file", pl.col("row").cast(pl.Int64), *FAILURE_COLUMNS)
        .sort("file", "row")
        .collect()
    )
    for (number,), rows in found.partition_by("file", as_dict=True, include_key=False).items():
        yield FailedRows(files[number], rows, states[number])
