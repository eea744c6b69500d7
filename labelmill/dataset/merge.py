"""Merging back: the source's files with their labels, and what went wrong beside them."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from labelmill.dataset.source import SourceFile
from labelmill.dataset.template import TextTemplate
from labelmill.errors import CannotWrite
from labelmill.store.files import written_whole
from labelmill.store.ledger import Ledger

LABEL_COLUMNS = pl.Schema(
    {
        "label": pl.String,
        "label_status": pl.String,
        "label_error": pl.String,
        "label_confidence": pl.Float64,
        "label_model": pl.String,
        "label_run_id": pl.String,
    }
)
"""What `labeled/` adds to the source's columns, whether or not anything failed."""

MANIFEST = "_manifest.json"
"""The file beside `labeled/` that says what is there."""

SCRATCH = ".writing"
"""The folder beside `labeled/` where its files are written before they take their place."""

FAILURE_COLUMNS = pl.Schema(
    {
        "failure_kind": pl.String,
        "failure_message": pl.String,
        "failure_requests": pl.Int64,
        "failure_cost_usd": pl.Float64,
    }
)
"""What `failed/` adds to the source's columns."""
_MOST_MERGES = 3
"""Times that a file is merged which is replaced meanwhile."""
_NAMED_FILES = 5


@dataclass(frozen=True)
class Merger:
    """Joins one ledger's answers to the rows of a source, by row key."""

    ledger: Ledger
    template: TextTemplate

    def labeled(self, file: SourceFile) -> pl.LazyFrame:
        """The file's rows in their order, all its columns, then `LABEL_COLUMNS`."""
        return _beside(file.scan(), self.label_columns(file))

    def label_columns(self, file: SourceFile) -> pl.LazyFrame:
        """`LABEL_COLUMNS` of the file's rows, in their order."""
        is_empty = pl.col("digest").is_null()
        has_label, has_failed = pl.col("label").is_not_null(), pl.col("error").is_not_null()
        columns = {
            "label": pl.col("label"),
            "label_status": pl.when(is_empty)
            .then(pl.lit("empty"))
            .when(has_label)
            .then(pl.lit("ok"))
            .when(has_failed)
            .then(pl.lit("failed"))
            .otherwise(pl.lit("pending")),
            "label_error": pl.when(has_label).then(None).otherwise(pl.col("error")),
            "label_confidence": pl.col("confidence"),
            "label_model": pl.when(has_label).then(pl.col("model")).otherwise(pl.col("failed_model")),
            "label_run_id": pl.when(has_label).then(pl.col("run_id")).otherwise(pl.col("failed_run_id")),
        }
        return self._answers(file).select(**_typed(columns, LABEL_COLUMNS))

    def failed(self, file: SourceFile) -> pl.LazyFrame:
        """The file's rows that were tried and have no label: its columns and partitions, then `FAILURE_COLUMNS`.

        Where the source is such a file itself, its `FAILURE_COLUMNS` give way to the new ones.
        """
        has_failed = pl.col("label").is_null() & pl.col("error").is_not_null()
        columns = {
            "failure_kind": pl.when(has_failed).then(pl.col("error")),
            "failure_message": pl.col("message"),
            "failure_requests": pl.col("requests"),
            "failure_cost_usd": pl.col("cost_usd"),
        }
        own = file.scan_with_partitions().drop(FAILURE_COLUMNS.names(), strict=False)
        failures = self._answers(file).select(**_typed(columns, FAILURE_COLUMNS))
        return _beside(own, failures).filter(pl.col("failure_kind").is_not_null())

    def _answers(self, file: SourceFile) -> pl.LazyFrame:
        """What the ledger knows of each row of the file, in order, without the file's own columns.

        Only digests are joined: nothing of the source passes through the join, and no column name can clash.
        """
        failures = self.ledger.failures().rename({"model": "failed_model", "run_id": "failed_run_id"})
        # A row without a text has no digest, and null joins nothing.
        return (
            file.scan_texts(self.template)
            .select("digest")
            .join(self.ledger.labels(), on="digest", how="left", maintain_order="left")
            .join(failures, on="digest", how="left", maintain_order="left")
        )


def _typed(columns: Mapping[str, pl.Expr], schema: pl.Schema) -> dict[str, pl.Expr]:
    return {name: expr.cast(schema[name]) for name, expr in columns.items()}


def _beside(left: pl.LazyFrame, right: pl.LazyFrame) -> pl.LazyFrame:
    return pl.concat([left, right], how="horizontal")


def write_labeled(
    files: Sequence[SourceFile], merger: Merger, folder: Path, left: Sequence[Path] = ()
) -> list[Path]:
    """Publish the labeled files, each one whole under its source's relative name, and return them.

    Files that the source no longer has are removed from the folder, and so is what a killed run had half written. Those
    that are `left`, by their relative names, stay as they are.
    The manifest goes first, before any file is replaced, and is written anew by the run's end: where there is one, it
    is true of every file there, and where there is none, a run is writing or was killed.

    Raises:
        CannotWrite: some files of the source kept changing while they were merged. Their labeled files stay as they
            were, and all others are published.
    """
    folder.with_name(MANIFEST).unlink(missing_ok=True)
    # Not in the folder itself: Polars refuses to read a folder that holds anything but Parquet.
    scratch = folder.with_name(SCRATCH)
    restless = []
    for file in files:
        try:
            with written_whole(folder / file.relative, scratch) as temporary:
                _sink_unchanged(lambda file=file: merger.labeled(file), [file], temporary)  # type: ignore[misc]
        except SourceChanged:
            restless.append(file)
    shutil.rmtree(scratch, ignore_errors=True)
    if restless:
        raise CannotWrite(_restless_words(restless))
    ours = {folder / file.relative for file in files}
    suffixes = {".parquet", ".tmp", *(path.suffix for path in ours)}
    for stale in set(folder.rglob("*")) - ours - {folder / relative for relative in left}:
        if stale.suffix in suffixes and not stale.is_dir():
            stale.unlink()
    return sorted(ours)


def write_failed(files: Sequence[SourceFile], merger: Merger, path: Path) -> int:
    """Write the rows without a label into one file and return how many; no file where there are none.

    Raises:
        CannotWrite: some files of the source kept changing meanwhile.
    """
    try:
        with written_whole(path) as temporary:
            _sink_unchanged(
                lambda: pl.concat([merger.failed(file) for file in files], how="diagonal_relaxed"),
                files,
                temporary,
            )
            count = int(
                pl.scan_parquet(temporary, glob=False, hive_partitioning=False)
                .select(pl.len())
                .collect()
                .item()
            )
    except SourceChanged as changed:
        raise CannotWrite(_restless_words(changed.files)) from None
    if not count:
        path.unlink()
    return count


class SourceChanged(Exception):  # noqa: N818  (what happened)
    """Some files of the source were replaced or written to, again and again, while they were merged."""

    def __init__(self, files: Sequence[SourceFile]) -> None:
        self.files = files
        super().__init__(files)


def _sink_unchanged(rows: Callable[[], pl.LazyFrame], files: Sequence[SourceFile], path: Path) -> None:
    """Write rows that come of several scans of some files, which stay the same from the first scan to the last.

    The scans are put side by side: of a file that was replaced in between, each row would get another row's label. So it
    is done again where one has changed.

    Raises:
        SourceChanged: it did so each time.
    """
    for _ in range(_MOST_MERGES):
        before = [_state_of(file.path) for file in files]
        try:
            rows().sink_parquet(path, maintain_order=True)
        except (pl.exceptions.PolarsError, OSError):
            # Half of an old file and half of a new one may also be no Parquet at all.
            if before == [_state_of(file.path) for file in files]:
                raise
            continue
        if before == [_state_of(file.path) for file in files]:
            return
    after = [_state_of(file.path) for file in files]
    raise SourceChanged(
        [file for file, was, now in zip(files, before, after, strict=True) if was != now] or files
    )


def _state_of(path: Path) -> tuple[int, ...]:
    """What tells a file from the one that takes its place, and from what is written into it."""
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _restless_words(files: Sequence[SourceFile]) -> str:
    names = ", ".join(repr(str(file.path)) for file in files[:_NAMED_FILES])
    more = f" and {len(files) - _NAMED_FILES} more" if len(files) > _NAMED_FILES else ""
    return (
        f"{names}{more} kept changing while the labels were put beside the rows; what was published of it stays as it "
        "was, and what was paid is kept. Run it again when nobody writes into the source"
    )
