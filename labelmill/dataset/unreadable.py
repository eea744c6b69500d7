"""Files whose footer is whole and whose columns are not: only reading them tells, and each costs no more than itself."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from labelmill.dataset.source import SourceFile
from labelmill.dataset.template import TextTemplate

_READ_ROWS = 65_536
_READ_BYTES = 32 * 2**20
_MOST_CHARACTERS = 200


@dataclass(frozen=True)
class Fault:
    """Why a file can't be read.

    Args:
        column: the column that can't be read; None where it is none in particular.
        reason: a reader's words, on one line.
        rows: how many rows the file has, as its footer tells; None where that can't be read either.
    """

    column: str | None
    reason: str
    rows: int | None = None

    def sentence(self, path: Path) -> str:
        """What is wrong with a file, and where."""
        what = (
            f"{str(path)!r} can't be read"
            if self.column is None
            else (f"the column {self.column!r} of {str(path)!r} can't be read")
        )
        return f"{what} ({self.reason})"


def fault_of(file: SourceFile, template: TextTemplate, error: BaseException) -> Fault:
    """Why the texts of a file can't be had, where reading them has raised an error: which column it is, and how many rows are lost."""
    rows = _rows_of(file)
    if rows is not None:
        for column in dict.fromkeys(template.columns):
            try:
                file.scan_texts(TextTemplate(("", ""), (column,))).collect()
            except BaseException as mine:
                if not _is_fault(mine):
                    raise
                return Fault(column, _reason_of(mine), rows)
    return Fault(None, _reason_of(error), rows)


def _rows_of(file: SourceFile) -> int | None:
    try:
        return file.count()
    except BaseException as error:
        if not _is_fault(error):
            raise
        return None


def _is_fault(error: BaseException) -> bool:
    """Whether a reader gave up. A process that has no memory left tells nothing of a file."""
    return isinstance(error, pl.exceptions.PolarsError | pl.exceptions.PanicException | OSError)


def faults_in(path: Path) -> list[Fault]:
    """All columns of a file that can't be read, in the file's order; one of no column where the file can't be opened.

    Every column is decoded, row group by row group, so that no more than one column of one is in memory. Text whose bytes
    are no UTF-8 can't be read either.
    """
    try:
        with pq.ParquetFile(
            path, pre_buffer=False, buffer_size=2**20, coerce_int96_timestamp_unit="us"
        ) as file:
            found: list[Fault] = []
            for index, name in enumerate(_leaf_names(file)):
                reason = _fault_of_leaf(file, index)
                if reason is not None and name not in {fault.column for fault in found}:
                    found.append(Fault(name, reason, file.metadata.num_rows))
            return found
    except (pa.ArrowException, OSError, ValueError) as error:
        return [Fault(None, _reason_of(error))]


def _leaf_names(file: pq.ParquetFile) -> list[str]:
    """The column of each of the leaves that Parquet stores: a nested column has several."""
    return [file.schema.column(index).path.split(".")[0] for index in range(file.metadata.num_columns)]


def _fault_of_leaf(file: pq.ParquetFile, index: int) -> str | None:
    try:
        for group in range(file.num_row_groups):
            told = file.metadata.row_group(group)
            size = max(
                1,
                min(
                    _READ_ROWS,
                    _READ_BYTES * told.num_rows // max(1, told.column(index).total_uncompressed_size),
                ),
            )
            for batch in file.reader.iter_batches(size, [group], [index]):
                batch.column(0).validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        return _reason_of(error)
    return None


def _reason_of(error: BaseException) -> str:
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    line = (words.strip() or type(error).__name__).splitlines()[0].rstrip(". ")
    return line if len(line) <= _MOST_CHARACTERS else f"{line[:_MOST_CHARACTERS].rstrip()}…"
