"""Merging back: the source's files with their labels, and what went wrong beside them."""

from collections.abc import Sequence
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
        joined = self._joined(file)
        has_label, has_failed = pl.col("_label").is_not_null(), pl.col("_error").is_not_null()
        columns = {
            "label": pl.col("_label"),
            "label_status": pl.when(has_label)
            .then(pl.lit("ok"))
            .when(has_failed)
            .then(pl.lit("failed"))
            .otherwise(pl.lit("pending")),
            "label_error": pl.when(has_label).then(None).otherwise(pl.col("_error")),
            "label_confidence": pl.col("_confidence"),
            "label_model": pl.coalesce(
                "_model", pl.when(has_label).then(None).otherwise(pl.col("_failed_model"))
            ),
            "label_run_id": pl.coalesce("_run_id", "_failed_run_id"),
        }
        own = list(file.schema())
        return joined.select(
            *own, *(expr.cast(LABEL_COLUMNS[name]).alias(name) for name, expr in columns.items())
        )

    def failed(self, file: SourceFile) -> pl.LazyFrame:
        """The file's rows that were tried and have no label: its columns, then `FAILURE_COLUMNS`."""
        columns = {
            "failure_kind": pl.col("_error"),
            "failure_message": pl.col("_message"),
            "failure_requests": pl.col("_requests"),
            "failure_cost_usd": pl.col("_cost_usd"),
        }
        own = list(file.schema())
        return (
            self._joined(file)
            .filter(pl.col("_label").is_null() & pl.col("_error").is_not_null())
            .select(*own, *(expr.cast(FAILURE_COLUMNS[name]).alias(name) for name, expr in columns.items()))
        )

    def _joined(self, file: SourceFile) -> pl.LazyFrame:
        texts = file.scan_texts(self.template).select(_digest="digest")
        rows = pl.concat([file.scan(), texts], how="horizontal")
        labels = self.ledger.labels().rename(
            {"digest": "_digest", **_hidden("label", "confidence", "model", "run_id")}
        )
        failures = self.ledger.failures().rename(
            {
                "digest": "_digest",
                "model": "_failed_model",
                "run_id": "_failed_run_id",
                **_hidden("error", "message", "requests", "cost_usd"),
            }
        )
        joined = rows.join(labels, on="_digest", how="left", maintain_order="left").join(
            failures, on="_digest", how="left", maintain_order="left"
        )
        no_text = pl.col("_digest").is_null()
        return joined.with_columns(
            _error=pl.when(no_text).then(pl.lit("empty_text")).otherwise(pl.col("_error")),
            _message=pl.when(no_text).then(pl.lit("the row has no text")).otherwise(pl.col("_message")),
            _requests=pl.when(no_text).then(0).otherwise(pl.col("_requests")),
            _cost_usd=pl.when(no_text).then(0).otherwise(pl.col("_cost_usd")),
        )


def _hidden(*names: str) -> dict[str, str]:
    return {name: f"_{name}" for name in names}


def write_labeled(files: Sequence[SourceFile], merger: Merger, folder: Path) -> list[Path]:
    """Publish the labeled files, each one whole under its source's relative name, and return them.

    Files that the source no longer has are removed from the folder.
    """
    for file in files:
        with written_whole(folder / file.relative) as temporary:
            merger.labeled(file).sink_parquet(temporary, maintain_order=True)
    ours = {folder / file.relative for file in files}
    for stale in set(folder.rglob("*.parquet")) - ours:
        stale.unlink()
    return sorted(ours)


def write_failed(files: Sequence[SourceFile], merger: Merger, path: Path) -> int:
    """Write the rows without a label into one file and return how many; no file where there are none."""
    rows = pl.concat([merger.failed(file) for file in files], how="diagonal_relaxed")
    with written_whole(path) as temporary:
        rows.sink_parquet(temporary, maintain_order=True)
        count = int(pl.scan_parquet(temporary).select(pl.len()).collect().item())
    if not count:
        path.unlink()
    return count
