"""The digests of a source's texts, on disk: what a plan and a merge compare with the ledger, however many rows there are.

A row's place is its file's number among the source's files and its own number in the file. Rows are parted into buckets by
their digest: equal texts fall into one bucket, and no more than a bucket is held in memory.
"""

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TypeVar

import polars as pl

from labelmill.dataset.source import SourceFile
from labelmill.dataset.template import TextTemplate
from labelmill.errors import is_outage
from labelmill.store.files import FileStamp, disk_errors, shown_path, stamp_of
from labelmill.store.reading import source_errors
from labelmill.store.row_key import row_key, text_digest

_ROW_BITS = 40
_ROWS_IN_A_BUCKET = 500_000
_ROWS_IN_ONE_BUCKET = 1_500_000
"""What is held at once rather than parted: parting costs more than it saves."""
_FILES_AT_ONCE = 200
_BYTES_AT_ONCE = 4 * 2**20
"""Compressed bytes of small files that are read together; a file of more is read piece by piece."""
_ROWS_AT_ONCE = 1_000_000
_ROWS_PARTED = 250_000
_FEW_ROWS = 200_000
_HASHED_AT_ONCE = 100_000
Places = TypeVar("Places", pl.Expr, pl.Series)
_FAULTS = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)


def number_at(place: Places) -> Places:
    """The number of the file that a place is in."""
    return place // (1 << _ROW_BITS)


def row_at(place: Places) -> Places:
    """The row of its file that a place is."""
    return place % (1 << _ROW_BITS)


def first_place(number: int) -> int:
    """The place of a file's first row; those of its other rows follow."""
    return number << _ROW_BITS


def grouped(
    numbers: Iterable[int], weight_of: Callable[[int], int], most_weight: int, most: int
) -> Iterator[list[int]]:
    """Cut files into groups in their order, each of at most so much weight and so many files; a heavier file stands alone."""
    group: list[int] = []
    held = 0
    for number in numbers:
        weight = weight_of(number)
        if group and (held + weight > most_weight or len(group) == most):
            yield group
            group, held = [], 0
        group.append(number)
        held += weight
    if group:
        yield group


@dataclass
class SourceDigests:
    """The digests of those files of a source that have been asked for.

    Args:
        files: the source's files.
        template: what a row's text is made of.
        folder: where the digests are kept while a run lasts, and what else is joined to them.
    """

    files: Sequence[SourceFile]
    template: TextTemplate
    folder: Path
    stamps: dict[int, FileStamp | None] = field(default_factory=dict)
    """What each file was when it was read, by its number; None where it was gone."""
    rows: dict[int, int] = field(default_factory=dict)
    """How many rows each file had."""
    faults: dict[int, BaseException] = field(default_factory=dict)
    """Why the texts of a file can't be read."""
    unsure: set[int] = field(default_factory=set)
    """Files that had just been written when they were read: another write might bear the same stamp."""
    _buckets: int = 0
    _written: int = 0

    def read(self, numbers: Iterable[int]) -> list[int]:
        """Read the digests of some files; those that are known are not read again, unless the file has changed since.

        Returns:
            the numbers of those that can be read, in order.

        Raises:
            SourceError: they lie in a store that is not to be had.
        """
        wanted = sorted(set(numbers))
        unread = [
            number
            for number in wanted
            if number not in self.stamps or self.stamps[number] != stamp_of(self.files[number].path)
        ]
        if unread:
            self._buckets = self._buckets or self._buckets_for(unread)
            self._forget(unread)
            with disk_errors():
                self._read(unread)
        return [number for number in wanted if number not in self.faults]

    @property
    def buckets(self) -> range:
        """The buckets that there are."""
        return range(self._buckets)

    def parted(self, pieces: Iterable[pl.LazyFrame], name: str) -> Callable[[int], pl.LazyFrame]:
        """Part other rows with a `digest` as those of the source are: what it returns scans the rows of a bucket.

        Where there are several buckets, the rows are read once, a piece at a time, into files in the folder `name`.
        """
        if self._buckets <= 1:
            every = pl.concat(pieces)
            return lambda _: every
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        pieces = iter(pieces)
        first = next(pieces)
        schema = first.collect_schema()
        batches = (
            batch for piece in chain([first], pieces) for batch in piece.collect_batches(maintain_order=True)
        )
        for number, rows in enumerate(_gathered(batches, _ROWS_PARTED)):
            self._write_parted(rows, folder, number)
        return lambda bucket: _scan_bucket(folder, bucket, schema)

    def few(self, numbers: Iterable[int]) -> pl.Series | None:
        """The digests of some files that were read; None where they are many."""
        chosen = list(numbers)
        if sum(self.rows[number] for number in chosen) > _FEW_ROWS:
            return None
        found = [pl.Series("digest", dtype=pl.UInt128)]
        found += [self.scan(bucket, chosen).select("digest").collect()["digest"] for bucket in self.buckets]
        return pl.concat(found).drop_nulls().unique()

    def scan(self, bucket: int, numbers: Iterable[int]) -> pl.LazyFrame:
        """The rows of some files that were read and fall into a bucket: `place` (UInt64) and `digest` (UInt128), by place.

        Rows without a text have no digest, and are in bucket 0.
        """
        rows = _scan_bucket(self.folder, bucket, pl.Schema({"place": pl.UInt64, "digest": pl.UInt128}))
        chosen = set(numbers)
        return rows if chosen == self.stamps.keys() else rows.filter(is_in_files(chosen))

    def texts(self, numbers: Iterable[int]) -> Iterator[pl.DataFrame]:
        """The rows of some files, piece by piece: `place`, and `text` (null where there is none).

        Raises:
            polars.exceptions.PolarsError: a file can't be read any more.
            OSError: the same of one in a bucket.
        """
        for group in self._groups(sorted(numbers)):
            with source_errors(shown_path(self.files[group[0]].path)):
                for texts, _ in self._pieces(group):
                    yield texts

    def first_places(
        self, numbers: Iterable[int], of_bucket: Callable[[pl.LazyFrame, int], pl.LazyFrame]
    ) -> pl.DataFrame:
        """Each chosen digest of some files once, with the first `place` that has it, by place.

        Args:
            numbers: the files.
            of_bucket: chooses among the rows of a bucket that have a text.
        """
        chosen = []
        for bucket in self.buckets:
            rows = self.scan(bucket, numbers).filter(pl.col("digest").is_not_null())
            first = of_bucket(rows, bucket).group_by("digest").agg(pl.col("place").min())
            chosen.append(first.collect(engine="streaming"))
        schema = {"digest": pl.UInt128, "place": pl.UInt64}
        return pl.concat([pl.DataFrame(schema=schema), *chosen]).sort("place")

    def texts_at(self, places: pl.Series) -> Iterator[pl.DataFrame]:
        """The texts at some sorted places, piece by piece in the source's order: `row_key` and `text`.

        Raises:
            polars.exceptions.PolarsError: a file can't be read any more.
        """
        numbers = number_at(places).unique().to_list() if places.len() else []
        for texts in self.texts(numbers):
            if texts.height:
                begin = places.search_sorted(texts["place"][0])
                end = places.search_sorted(texts["place"][-1], side="right")
                wanted = texts.join(
                    places[begin:end].to_frame("place"), on="place", how="semi", maintain_order="left"
                )
                yield wanted.select(row_key=row_key(pl.col("text")), text="text")

    def _bucket_of(self, digest: pl.Expr) -> pl.Expr:
        return (digest % self._buckets).fill_null(0)

    def _buckets_for(self, numbers: Iterable[int]) -> int:
        rows = 0
        for number in numbers:
            try:
                rows += self.files[number].count()
            except _FAULTS as fault:
                self._raise_outage(number, fault)
        return 1 if rows <= _ROWS_IN_ONE_BUCKET else 1 + rows // _ROWS_IN_A_BUCKET

    def _raise_outage(self, number: int, fault: BaseException) -> None:
        """Leave no file out because its store is not to be had, and wait for no other there: a later run goes on."""
        if is_outage(fault):
            with source_errors(shown_path(self.files[number].path)):
                raise fault

    def _forget(self, numbers: Sequence[int]) -> None:
        known = {number for number in numbers if number in self.stamps}
        self.unsure -= known
        for number in numbers:
            for facts in (self.stamps, self.rows, self.faults):
                facts.pop(number, None)
        for path in self.folder.glob("*.parquet") if known else ():
            pl.read_parquet(path).filter(~is_in_files(known)).write_parquet(path, compression="lz4")

    def _read(self, numbers: Sequence[int]) -> None:
        held: list[pl.DataFrame] = []
        for group in self._groups(numbers):
            stamps = {number: stamp_of(self.files[number].path) for number in group}
            now = time.time_ns()
            self.unsure |= {
                number for number, stamp in stamps.items() if stamp and not stamp.is_older_than(now)
            }
            for frame in self._digests_of(group):
                held.append(frame)
                if sum(one.height for one in held) >= _ROWS_AT_ONCE:
                    self._write(held)
                    held = []
            self.stamps |= stamps
        self._write(held)

    def _digests_of(self, group: Sequence[int]) -> Iterator[pl.DataFrame]:
        rows = dict.fromkeys(group, 0)
        try:
            for texts, counts in self._pieces(group):
                for number, count in counts.items():
                    rows[number] += count
                for piece in texts.iter_slices(_HASHED_AT_ONCE):
                    yield piece.select("place", digest=text_digest(pl.col("text")))
        except _FAULTS as fault:
            self._raise_outage(group[0], fault)
            if len(group) == 1:
                self.faults[group[0]] = fault
                return
            # One of them is at fault, and only that one is left out. Small files are read together or not at all.
            for number in group:
                yield from self._digests_of([number])
            return
        self.rows |= rows

    def _write(self, frames: Sequence[pl.DataFrame]) -> None:
        if not frames:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write_parted(pl.concat(frames), self.folder, self._written)
        self._written += 1

    def _write_parted(self, rows: pl.DataFrame, folder: Path, number: int) -> None:
        for bucket in self.buckets:
            mine = rows.filter(self._bucket_of(pl.col("digest")) == bucket) if self._buckets > 1 else rows
            mine.write_parquet(folder / f"{bucket}-{number:06d}.parquet", compression="lz4")

    def _groups(self, numbers: Iterable[int]) -> Iterator[list[int]]:
        """Files that are read together: one large, or some small ones that follow each other."""
        return grouped(numbers, self._bytes_of, _BYTES_AT_ONCE, _FILES_AT_ONCE)

    def _bytes_of(self, number: int) -> int:
        stamp = stamp_of(self.files[number].path)
        return stamp.size if stamp else 0

    def _pieces(self, group: Sequence[int]) -> Iterator[tuple[pl.DataFrame, dict[int, int]]]:
        """The texts of some files at their places, and how many rows of each file a piece has."""
        scans = [self.files[number].scan_texts(self.template).select("text") for number in group]
        if len(group) == 1:
            number, row = group[0], 0
            for texts in scans[0].collect_batches(maintain_order=True):
                yield _at_places(texts, first_place(number) + row), {number: texts.height}
                row += texts.height
            return
        frames = pl.collect_all(scans)
        counts = {number: frame.height for number, frame in zip(group, frames, strict=True)}
        placed = [_at_places(frame, first_place(number)) for number, frame in zip(group, frames, strict=True)]
        yield pl.concat(placed), counts


def _gathered(frames: Iterable[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    """Frames put together until they have so many rows."""
    held: list[pl.DataFrame] = []
    for frame in frames:
        held.append(frame)
        if sum(one.height for one in held) >= rows:
            yield pl.concat(held)
            held = []
    if held:
        yield pl.concat(held)


def _at_places(texts: pl.DataFrame, first: int) -> pl.DataFrame:
    places = pl.int_range(first, first + pl.len(), dtype=pl.UInt64)
    return texts.select(place=places, text="text")


def _scan_bucket(folder: Path, bucket: int, schema: pl.Schema) -> pl.LazyFrame:
    paths = sorted(folder.glob(f"{bucket}-*.parquet"))
    if not paths:
        return pl.LazyFrame(schema=schema)
    return pl.scan_parquet(paths, glob=False, hive_partitioning=False)


def is_in_files(numbers: Iterable[int]) -> pl.Expr:
    """Whether a `place` is in one of some files."""
    return number_at(pl.col("place")).is_in(pl.Series(sorted(numbers), dtype=pl.UInt64).implode())
