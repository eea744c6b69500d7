"""An example of what comes after labeling: a small table of a labeled dataset, made whenever it is new."""

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
from prefect import flow, runtime
from prefect.artifacts import create_table_artifact
from prefect.logging import get_run_logger

from labelmill.plural import counted
from labelmill.report.formatting import percent, visible
from labelmill.report.markdown import as_cell, escaped
from labelmill.store.working import MANIFEST
from tasks.names import time_words

_NOT_IN_A_NAME = re.compile(r"[/%&<>\x00-\x1f]")


def _name() -> str:
    folder = Path(runtime.flow_run.parameters["labeled_path"]).parent.name
    return f"{_NOT_IN_A_NAME.sub(' ', folder)} summary {time_words(runtime.flow_run.scheduled_start_time)}"


@flow(name="summarize-labeled", flow_run_name=_name)
def summarize_labeled(labeled_path: str) -> list[dict[str, str]]:
    """Count the labels of a labeled dataset, and keep the table as an artifact.

    Args:
        labeled_path: The folder `labeled/` of a job's output; the event that triggers this names it.
    """
    folder = Path(labeled_path)
    table = [
        {"label": as_cell(label), "rows": f"{rows:,}", "share": percent(rows, whole)}
        for label, rows, whole in count_labels(folder).iter_rows()
    ]
    create_table_artifact(
        table, key="labels-after-labeling", description=f"Labels of {escaped(labeled_path)}"
    )
    get_run_logger().info("%s in %s", counted(len(table), "label"), visible(labeled_path))
    return table


def count_labels(labeled: Path) -> pl.DataFrame:
    """Each label with its `rows`, and the `whole` of the rows that have one, the most frequent first.

    Labels that no row has are known from the manifest beside the folder, where there is one.
    """
    manifest = _manifest(labeled.with_name(MANIFEST))
    prefix = manifest.get("column_prefix") or ""
    counted_rows = (
        pl.scan_parquet(labeled / "**/*.parquet", hive_partitioning=False)
        .select(label=f"{prefix}label", label_status=f"{prefix}label_status")
        .filter(label_status="ok")
        .group_by("label")
        .agg(rows=pl.len().cast(pl.Int64))
        .collect()
    )
    labels = manifest.get("labels")
    names = pl.Series("label", list(labels) if isinstance(labels, dict) else [], dtype=pl.String)
    unused = (
        names.to_frame().join(counted_rows, on="label", how="anti").with_columns(rows=pl.lit(0, pl.Int64))
    )
    return (
        pl.concat([counted_rows, unused])
        .with_columns(whole=pl.col("rows").sum())
        .sort("rows", "label", descending=[True, False])
    )


def _manifest(path: Path) -> dict[str, Any]:
    """What the manifest says; nothing where there is none."""
    try:
        manifest = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}
