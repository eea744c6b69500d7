"""Files of a source that can't be read: each is named and left out, and the others are labeled."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import polars as pl
from polars.exceptions import PanicException, PolarsError

from labelmill.dataset.source import SourceFile
from labelmill.dataset.unreadable import Fault, read_texts
from labelmill.errors import JobRefused, Mistake
from labelmill.run.context import RunContext
from labelmill.run.optional import is_whole_disk

T = TypeVar("T")

log = logging.getLogger(__name__)


def over_readable(context: RunContext, do: Callable[[Sequence[SourceFile]], T]) -> T:
    """Do something that reads the texts of a run's files, over those that can be read.

    Only where it fails is each file tried by itself: a source without faults is read once.

    Raises:
        JobRefused: none can be read.
    """
    try:
        return do(_some_readable(context))
    except (PolarsError, PanicException, OSError) as error:
        if is_whole_disk(error) or not find_unreadable(context):
            raise
        return do(_some_readable(context))


def pending_over_readable(
    context: RunContext, write: Callable[[Sequence[SourceFile]], int], path: Path
) -> int:
    """Write a plan's texts, by `write`, over the files that can be read, and return how many there are: none of no file."""
    try:
        return over_readable(context, write)
    except JobRefused:
        if context.readable_files:
            raise
        pl.DataFrame(schema={"row_key": pl.String, "text": pl.String}).write_parquet(path)
        return 0


def _some_readable(context: RunContext) -> list[SourceFile]:
    if context.files and not context.readable_files:
        sentences = [fault.sentence(file.path) for file, fault in context.unreadable.items()]
        raise JobRefused([Mistake("source.path", sentence) for sentence in sentences])
    return context.readable_files


def find_unreadable(context: RunContext) -> bool:
    """Try each file that is thought readable; whether there was one that isn't. It is left out from now on."""
    found = False
    for file in context.readable_files:
        texts = read_texts(file, context.template)
        if isinstance(texts, Fault):
            leave_out(context, file, texts)
            found = True
    return found


def leave_out(context: RunContext, file: SourceFile, fault: Fault) -> None:
    """Leave a file out of the run. It is neither asked about nor published, and the record names it."""
    context.unreadable[file] = fault
    log.warning("%s; the file is left out", fault.sentence(file.path))
