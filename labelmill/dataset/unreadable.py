"""Files whose footer is whole and whose columns are not: only reading them tells, and each costs no more than itself."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from labelmill.dataset.parquet import read_footer, undecodable
from labelmill.dataset.source import SourceFile
from labelmill.dataset.template import TextTemplate
from labelmill.errors import reader_words
from labelmill.store.files import shown_path
from labelmill.store.reading import at_hand

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
            f"{shown_path(path)!r} can't be read"
            if self.column is None
            else (f"the column {self.column!r} of {shown_path(path)!r} can't be read")
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
    """All columns of a file that can't be read, in the file's order; one of no column where the file can't be opened."""
    with at_hand(path) as (file, _):
        found = undecodable(file)
    rows = read_footer(path).rows if found and found[0][0] is not None else None
    return [Fault(column, reason, rows) for column, reason in found]


def _reason_of(error: BaseException) -> str:
    words = reader_words(error)
    line = (words.strip() or type(error).__name__).splitlines()[0].rstrip(". ")
    return line if len(line) <= _MOST_CHARACTERS else f"{line[:_MOST_CHARACTERS].rstrip()}…"
