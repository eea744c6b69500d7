"""Files of a source that can't be read: each is named and left out, and the others are labeled."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from labelmill.dataset.parquet import ParquetError, read_footer, what_is_lost
from labelmill.dataset.unreadable import fault_of
from labelmill.errors import Mistake
from labelmill.run.context import RunContext
from labelmill.store.files import shown_path

log = logging.getLogger(__name__)


def read_digests(context: RunContext, numbers: Iterable[int]) -> None:
    """Read the digests of some of a run's files; those that can't be read are left out, and named.

    What of the others can't be kept in a labeled file is said, before anything is asked.
    """
    before = dict(context.digests.stamps)
    readable = context.digests.read(numbers)
    name_unreadable(context)
    new = [number for number in readable if before.get(number) != context.digests.stamps[number]]
    losses = list(_losses(context.files[number].path for number in new))
    if losses:
        more = f", and {len(losses) - 1:,} more files like it" if len(losses) > 1 else ""
        context.notice(f"{losses[0]}{more}")


def _losses(paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        try:
            lost = what_is_lost(read_footer(path))
        except (
            ParquetError,
            FileNotFoundError,
        ):  # it has just been replaced or has gone, which the merge will see
            continue
        if lost:
            yield f"{shown_path(path)!r}: {lost}"


def name_unreadable(context: RunContext) -> None:
    """Name the files that could not be read: they are neither asked about nor published, and the record tells of them.

    One that has been mended meanwhile is left out no more.
    """
    faults = {context.files[number]: error for number, error in context.digests.faults.items()}
    for file in [file for file in context.unreadable if file not in faults]:
        del context.unreadable[file]
    for file, error in faults.items():
        if file not in context.unreadable:
            fault = fault_of(file, context.template, error)
            context.unreadable[file] = fault
            log.warning("%s; the file is left out", fault.sentence(file.path))


def unreadable_mistakes(context: RunContext) -> list[Mistake]:
    """What is wrong with the files that can't be read."""
    sentences = (fault.sentence(file.path) for file, fault in context.unreadable.items())
    return [Mistake("source.path", sentence) for sentence in sentences]
