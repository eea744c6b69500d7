"""Compaction: small parts of a ledger are put together, so that a year of runs is read as fast as a week.

The newest parts become one once they are enough, with older ones that are no more than about twice as large: each row is
written again a few times in a ledger's life, and the number of parts grows with the logarithm of its rows. To be done under
the output folder's lock.
"""

import logging
from collections.abc import Collection, Mapping
from pathlib import Path

import polars as pl
from polars.exceptions import PanicException

from labelmill.store.digest_index import FEWEST_ROWS, index_of, write_index
from labelmill.store.files import disk_errors, fault_of_parquet, remove, written_whole
from labelmill.store.ledger import SCHEMA, Ledger, scan_parts, usd_by_day_in
from labelmill.store.parts import (
    Span,
    compacted_name,
    footer_of_compacted,
    footer_of_usd,
    is_chunk_name,
    is_compacted,
    name_of_journal_part,
    parts_in,
    replaced_parts_in,
)

log = logging.getLogger(__name__)

FEWEST_PARTS = 8
"""Fewer parts than these stay apart: they cost nothing to read."""
SMALL_BYTES = 1 << 20
"""A part of no more bytes is put together with any others: writing it again takes a moment."""
_GROWTH = 2


def compact_ledgers(ledgers: Path, own: Ledger) -> None:
    """Compact all ledgers in an output folder; `own` is the one that a run has just written, with those read as one with it.

    Whatever goes wrong is said in the log, and no more, and Ctrl-C ends it: what was paid for stays as it is.
    """
    read_as_one = {own.folder, *own.also}
    others = set(ledgers.glob("*/")) - read_as_one
    for together in (read_as_one, others):
        for folder in sorted(together):
            try:
                # In which order the rows of several ledgers are read, their parts' names tell.
                compact(folder, {part.name for other in together - {folder} for part in parts_in(other)})
            except KeyboardInterrupt:
                # The run has ended, and whoever wants it to end gets that at once.
                log.warning("%s stays in as many parts as it is for now: it was interrupted", folder)
                return
            except (Exception, PanicException) as error:  # noqa: BLE001  (the run has done what it was asked for)
                reason = str(error).partition("\n")[0]
                log.warning("%s stays in as many parts as it is for now: %s", folder, reason)


def compact(folder: Path, apart: Collection[str] = ()) -> None:
    """Put small parts of a ledger folder together, in their order and with all that is in them.

    Killed at any moment it leaves a ledger that reads the same; what it was about to take away is then left to
    `remove_replaced_parts`. Nothing is put together across the names in `apart`.

    Raises:
        OSError: a file can't be written or taken away.
        PolarsError: a part can't be read.
    """
    remove_replaced_parts(folder)
    parts = parts_in(folder)
    apart = {*apart, *_names_apart(folder, parts)}
    sizes = {part.name: part.stat().st_size for part in parts}
    while groups := groups_to_compact(sizes, apart):
        # Schemas are read of those alone that are to be put together.
        foreign = {name for group in groups for name in group if not _is_known(folder / name)}
        if not foreign:
            break
        apart |= foreign
    for group in groups:
        _put_together([folder / name for name in group])


def remove_replaced_parts(folder: Path) -> None:
    """Take away what compacted parts have replaced, and whoever made them had no time to take away.

    Raises:
        OSError: the disk can't be written.
    """
    for part in replaced_parts_in(folder):
        _remove(part)


def _remove(part: Path) -> None:
    remove(index_of(part))
    remove(part)


def groups_to_compact(sizes: Mapping[str, int], apart: Collection[str] = ()) -> list[tuple[str, ...]]:
    """Which parts are to be put together, each group in the order of names; those left out stay as they are.

    Args:
        sizes: the bytes of each part by its name.
        apart: names of which none becomes part of a group, and across which no group reaches.
    """
    groups: list[list[str]] = [[]]
    gathered = 0
    for name in sorted({*sizes, *apart}, reverse=True):
        if name in apart:
            groups.append([])
            gathered = 0
            continue
        if sizes[name] > max(SMALL_BYTES, _GROWTH * gathered):
            groups.append([])
            gathered = 0
        groups[-1].append(name)
        gathered += sizes[name]
    return [tuple(reversed(group)) for group in groups if len(group) >= FEWEST_PARTS]


def _names_apart(folder: Path, parts: Collection[Path]) -> set[str]:
    """The names of what stays as it is: parts that this version can't read, or may write again."""
    journals = {name_of_journal_part(journal) for journal in folder.glob("*.jsonl*")}
    others = {part.name for part in parts if not is_chunk_name(part.name) or fault_of_parquet(part)}
    # One that came back from a backup, after its neighbours were put together.
    spans = [Span.of(part.name) for part in parts if is_compacted(part)]
    late = {
        part.name
        for part in parts
        for span in spans
        if span.covers(own := Span.of(part.name)) and span != own
    }
    return journals | others | late


def _is_known(part: Path) -> bool:
    """Whether this version knows all columns of a part: what another has written beside them must not be lost."""
    return all(SCHEMA.get(name) == kind for name, kind in pl.read_parquet_schema(part).items())


def _put_together(parts: list[Path]) -> None:
    rows = scan_parts(parts)
    footer = {**footer_of_compacted(parts), **footer_of_usd(usd_by_day_in(parts))}
    target = parts[0].with_name(compacted_name(part.name for part in parts))
    # The rename is the moment from which the new part counts, and the others no more.
    with written_whole(target) as temporary, disk_errors():
        rows.sink_parquet(temporary, maintain_order=True, metadata=footer)
        count = _rows_in([temporary])
        if count != _rows_in(parts):
            raise OSError(f"{temporary} has not taken all rows")
        if count >= FEWEST_ROWS:
            write_index(target, scan_parts([temporary]), temporary.stat().st_size)
    for part in parts:
        _remove(part)


def _rows_in(parts: list[Path]) -> int:
    return int(scan_parts(parts).select(pl.len()).collect().item())
