"""Merging: what the ledger says of each row of a source, and the files in which it stands beside the row."""

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa

from labelmill.dataset.columns import FAILURE_COLUMNS, LABEL_COLUMNS, label_columns
from labelmill.dataset.digests import SourceDigests, first_place, grouped, is_in_files, number_at, row_at
from labelmill.dataset.parquet import ParquetError, append_columns, read_footer
from labelmill.dataset.source import SourceFile
from labelmill.store.files import FileStamp, disk_errors, shown_path, stamp_of, written_together
from labelmill.store.ledger import Ledger, answers_to
from labelmill.store.reading import at_hand

SCRATCH = ".writing"
"""The folder beside `labeled/` where its files are written before they take their place."""

_ROWS_AT_ONCE = 500_000
_FILES_AT_ONCE = 200
_NAMED_FILES = 5


@dataclass(frozen=True)
class RowAnswers:
    """What a ledger says of each row of some files of a source, in files of its own, by place.

    Columns: `place`, `LABEL_COLUMNS`, `FAILURE_COLUMNS` (null but where the row failed), and `is_open`: whether the row has
    a text that is not settled.
    """

    digests: SourceDigests
    numbers: tuple[int, ...]
    folder: Path

    def counts(self, run_id: str) -> pl.DataFrame:
        """How many rows each file has of each `label`, `label_status` and `label_error`.

        Columns: `number`, those three, `is_open`, `is_new` (labeled by the run `run_id`) and `rows`.
        """
        return (
            self._scan()
            .select(
                "label",
                "label_status",
                "label_error",
                "is_open",
                number=number_at(pl.col("place")),
                is_new=pl.col("label_run_id").eq_missing(run_id),
            )
            .group_by("number", "label", "label_status", "label_error", "is_open", "is_new")
            .agg(rows=pl.len())
            .collect(engine="streaming")
        )

    def fingerprints(self) -> dict[int, str]:
        """A hash of each file's label columns in their order; equal columns have equal ones."""
        hashed = pl.struct(LABEL_COLUMNS.names()).hash(seed=0)
        place = row_at(pl.col("place")) * 2 + 1
        sums = (
            self._scan()
            .select(number=number_at(pl.col("place")), hash=hashed * place)
            .group_by("number")
            .agg(pl.col("hash").sum())
            .collect(engine="streaming")
        )
        known = {number: f"{value:016x}" for number, value in sums.iter_rows()}
        return {number: known.get(number, "") for number in self.numbers}

    def columns(self, numbers: Sequence[int], first: int = 0, rows: int | None = None) -> pl.DataFrame:
        """`place` and `LABEL_COLUMNS` of the rows of some files, by place; of one file also a part of them."""
        begin, end = first_place(numbers[0]) + first, first_place(numbers[-1] + 1)
        if rows is not None:
            end = begin + rows
        is_between = pl.col("place").is_between(begin, end, closed="left")
        found = self._scan().filter(is_between & is_in_files(numbers))
        return found.select("place", *LABEL_COLUMNS).collect().sort("place")

    def reader(self, number: int) -> pa.RecordBatchReader:
        """`LABEL_COLUMNS` of a file's rows, piece by piece."""
        rows = self.digests.rows[number]
        schema = _arrow_of(pl.DataFrame(schema={"place": pl.UInt64, **LABEL_COLUMNS})).schema
        pieces = (
            _arrow_of(self.columns([number], first, min(_ROWS_AT_ONCE, rows - first)))
            for first in range(0, rows, _ROWS_AT_ONCE)
        )
        batches = (batch for piece in pieces for batch in piece.cast(schema).to_batches())
        return pa.RecordBatchReader.from_batches(schema, batches)

    def failures(self, numbers: Iterable[int]) -> Iterator[tuple[int, pl.DataFrame]]:
        """The rows of each of some files that failed: their number in the file as `row`, and `FAILURE_COLUMNS`."""
        wanted = set(numbers)
        failed = (
            self._scan()
            .filter(pl.col("failure_kind").is_not_null())
            .select("place", *FAILURE_COLUMNS)
            .collect(engine="streaming")
            .sort("place")
            .select(
                pl.col(FAILURE_COLUMNS.names()),
                row=row_at(pl.col("place")).cast(pl.Int64),
                number=number_at(pl.col("place")),
            )
        )
        for (number,), rows in failed.group_by("number", maintain_order=True):
            if number in wanted:
                yield int(str(number)), rows.drop("number")

    def _scan(self) -> pl.LazyFrame:
        paths = sorted(self.folder.glob("*.parquet"))
        columns = [*LABEL_COLUMNS.items(), *FAILURE_COLUMNS.items()]
        schema = pl.Schema([("place", pl.UInt64()), ("is_open", pl.Boolean()), *columns])
        if not paths:
            return pl.LazyFrame(schema=schema)
        return pl.scan_parquet(paths, glob=False, hive_partitioning=False)


def join_answers(digests: SourceDigests, numbers: Iterable[int], ledger: Ledger, folder: Path) -> RowAnswers:
    """Join a ledger's answers to the rows of some files that were read, by digest, bucket by bucket.

    Only digests are joined: nothing of the source passes through the join. A row without a text has none, and null joins
    nothing.
    """
    numbers = tuple(numbers)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    known = digests.parted(ledger.pieces(digests.few(numbers)), "ledger")
    for bucket in digests.buckets:
        rows = digests.scan(bucket, numbers)
        answers = answers_to(rows.select("digest"), known(bucket))
        joined = rows.join(answers, on="digest", how="left")
        with disk_errors():
            joined.select("place", *_row_columns()).sort("place").sink_parquet(
                folder / f"{bucket}.parquet", compression="lz4", row_group_size=100_000
            )
    return RowAnswers(digests, numbers, folder)


def _row_columns() -> list[pl.Expr]:
    is_empty = pl.col("digest").is_null()
    has_label = pl.col("label").is_not_null()
    has_failed = pl.col("error").is_not_null() & ~has_label
    status = (
        pl.when(is_empty)
        .then(pl.lit("empty"))
        .when(has_label)
        .then(pl.lit("ok"))
        .when(has_failed)
        .then(pl.lit("failed"))
        .otherwise(pl.lit("pending"))
    )
    labels = {
        "label": pl.col("label"),
        "label_status": status,
        "label_error": pl.when(has_failed).then("error"),
        "label_confidence": pl.col("confidence"),
        "label_model": pl.when(has_label).then(pl.col("model").cast(pl.String)).otherwise("failed_model"),
        "label_run_id": pl.when(has_label).then(pl.col("run_id").cast(pl.String)).otherwise("failed_run_id"),
    }
    failures = {
        "failure_kind": pl.col("error"),
        "failure_message": pl.col("message"),
        "failure_requests": pl.col("requests"),
        "failure_cost_usd": pl.col("cost_usd"),
    }
    is_open = ~is_empty & ~pl.col("is_final").fill_null(value=False)
    return [
        is_open.alias("is_open"),
        *_typed(labels, LABEL_COLUMNS),
        *_typed({name: pl.when(has_failed).then(value) for name, value in failures.items()}, FAILURE_COLUMNS),
    ]


def _typed(columns: Mapping[str, pl.Expr], schema: pl.Schema) -> list[pl.Expr]:
    return [expr.cast(schema[name]).alias(name) for name, expr in columns.items()]


def write_labeled(
    answers: RowAnswers, numbers: Iterable[int], folder: Path, prefix: str = ""
) -> dict[int, FileStamp]:
    """Publish some labeled files, each one whole under its source's relative name; our columns get the prefix.

    Returns:
        the stamps of those that were published, by the file's number. The others have changed since their rows were read:
        each row might get another row's label, so that what was published of such a file stays as it was.
    """
    digests = answers.digests
    published: dict[int, FileStamp] = {}
    # Not in the folder itself: Polars refuses to read a folder that holds anything but Parquet.
    scratch = folder.with_name(SCRATCH)
    # Label columns are held together of one large file, or of some small ones.
    for group in grouped(sorted(numbers), digests.rows.__getitem__, _ROWS_AT_ONCE, _FILES_AT_ONCE):
        paths = {number: folder / digests.files[number].relative for number in group}
        held = _arrow_of(answers.columns(group)) if len(group) > 1 else None
        begin = 0
        with written_together(scratch) as together:
            for number, path in list(paths.items()):
                rows = digests.rows[number]
                columns = answers.reader(number) if held is None else held.slice(begin, rows)
                begin += rows
                columns = _named(columns, label_columns(prefix).names())
                temporary = together.temporary_of(path)
                if not _is_written(digests, number, columns, temporary):
                    together.leave_out(path)
                    del paths[number]
        for number, path in paths.items():
            if stamp := stamp_of(path):
                published[number] = stamp
    shutil.rmtree(scratch, ignore_errors=True)
    return published


def _is_written(
    digests: SourceDigests, number: int, columns: pa.Table | pa.RecordBatchReader, target: Path
) -> bool:
    """Write one labeled file, and say whether the source's was the same all the while from when its rows were read."""
    path, stamp = digests.files[number].path, digests.stamps[number]
    if stamp_of(path) != stamp:
        return False
    try:
        with at_hand(path) as (file, copied):
            if copied is not None and copied != stamp:
                return False
            append_columns(file, read_footer(file), columns, target)
    except ParquetError as error:
        # Half of an old file and half of a new one may also be no Parquet at all.
        if stamp_of(path) == stamp:
            digests.faults[number] = error
        return False
    except OSError:
        if stamp_of(path) == stamp:
            raise
        return False
    return stamp_of(path) == stamp


def _named(columns: pa.Table | pa.RecordBatchReader, names: list[str]) -> pa.Table | pa.RecordBatchReader:
    """The same columns under other names."""
    if isinstance(columns, pa.Table):
        return columns.rename_columns(names)
    schema = pa.schema([field.with_name(name) for field, name in zip(columns.schema, names, strict=True)])
    batches = (batch.rename_columns(names) for batch in columns)
    return pa.RecordBatchReader.from_batches(schema, batches)


def _arrow_of(rows: pl.DataFrame) -> pa.Table:
    return rows.select(LABEL_COLUMNS.names()).to_arrow()


def restless_words(files: Sequence[SourceFile]) -> str:
    """Say of which files the labels could not be put beside the rows."""
    names = ", ".join(repr(shown_path(file.path)) for file in files[:_NAMED_FILES])
    more = f" and {len(files) - _NAMED_FILES} more" if len(files) > _NAMED_FILES else ""
    return (
        f"{names}{more} kept changing while the labels were put beside the rows; what was published of it stays as it "
        "was, and what was paid is kept. Run it again when nobody writes into the source"
    )
