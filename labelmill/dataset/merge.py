"""Merging back: the source's files with their labels, and what went wrong beside them."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from labelmill.dataset.source import SourceFile
from labelmill.dataset.template import TextTemplate
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
"""The file in `labeled/` that says what is there. Its name begins with `_`, so that no reader of Parquet takes it."""

FAILURE_COLUMNS = pl.Schema(
    {
        "failure_kind": pl.String,
        "failure_message": pl.String,
        "failure_requests": pl.Int64,
        "failure_cost_usd": pl.Float64,
    }
)
"""What `failed/` adds to the source's columns."""


@dataclass(frozen=True)
class Merger:
    """Joins one ledger's answers to the rows of a source, by row key."""

    ledger: Ledger
    template: TextTemplate

    def labeled(self, file: SourceFile) -> pl.LazyFrame:
        """The file's rows in their order, all its columns, then `LABEL_COLUMNS`."""
        has_label, has_failed = pl.col("label").is_not_null(), pl.col("error").is_not_null()
        columns = {
            "label": pl.col("label"),
            "label_status": pl.when(has_label)
            .then(pl.lit("ok"))
            .when(has_failed)
            .then(pl.lit("failed"))
            .otherwise(pl.lit("pending")),
            "label_error": pl.when(has_label).then(None).otherwise(pl.col("error")),
            "label_confidence": pl.col("confidence"),
            "label_model": pl.when(has_label).then(pl.col("model")).otherwise(pl.col("failed_model")),
            "label_run_id": pl.when(has_label).then(pl.col("run_id")).otherwise(pl.col("failed_run_id")),
        }
        return _beside(file.scan(), self._answers(file).select(**_typed(columns, LABEL_COLUMNS)))

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
        joined = (
            file.scan_texts(self.template)
            .select("digest")
            .join(self.ledger.labels(), on="digest", how="left", maintain_order="left")
            .join(failures, on="digest", how="left", maintain_order="left")
        )
        no_text = pl.col("digest").is_null()
        return joined.with_columns(
            error=pl.when(no_text).then(pl.lit("empty_text")).otherwise(pl.col("error")),
            message=pl.when(no_text).then(pl.lit("the row has no text")).otherwise(pl.col("message")),
            requests=pl.when(no_text).then(0).otherwise(pl.col("requests")),
            cost_usd=pl.when(no_text).then(0).otherwise(pl.col("cost_usd")),
        )


def _typed(columns: Mapping[str, pl.Expr], schema: pl.Schema) -> dict[str, pl.Expr]:
    return {name: expr.cast(schema[name]) for name, expr in columns.items()}


def _beside(left: pl.LazyFrame, right: pl.LazyFrame) -> pl.LazyFrame:
    return pl.concat([left, right], how="horizontal")


def write_labeled(files: Sequence[SourceFile], merger: Merger, folder: Path) -> list[Path]:
    """Publish the labeled files, each one whole under its source's relative name, and return them.

    Files that the source no longer has are removed from the folder, and so is what a killed run had half written.
    The manifest goes first, before any file is replaced, and is written anew by the run's end: where there is one, it
    is true of every file there, and where there is none, a run is writing or was killed.
    """
    folder.with_name(MANIFEST).unlink(missing_ok=True)
    # Not in the folder itself: Polars refuses to read a folder that holds anything but Parquet.
    scratch = folder.with_name(".writing")
    for file in files:
        with written_whole(folder / file.relative, scratch) as temporary:
            merger.labeled(file).sink_parquet(temporary, maintain_order=True)
    shutil.rmtree(scratch, ignore_errors=True)
    ours = {folder / file.relative for file in files}
    suffixes = {".parquet", ".tmp", *(path.suffix for path in ours)}
    for stale in set(folder.rglob("*")) - ours:
        if stale.suffix in suffixes and not stale.is_dir():
            stale.unlink()
    return sorted(ours)


def write_failed(files: Sequence[SourceFile], merger: Merger, path: Path) -> int:
    """Write the rows without a label into one file and return how many; no file where there are none."""
    rows = pl.concat([merger.failed(file) for file in files], how="diagonal_relaxed")
    with written_whole(path) as temporary:
        rows.sink_parquet(temporary, maintain_order=True)
        count = int(
            pl.scan_parquet(temporary, glob=False, hive_partitioning=False).select(pl.len()).collect().item()
        )
    if not count:
        path.unlink()
    return count
