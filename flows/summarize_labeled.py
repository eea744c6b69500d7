"""An example of what comes after labeling: a small table of a labeled dataset, made whenever it is new."""

from pathlib import Path

import polars as pl
from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.logging import get_run_logger


@flow(name="summarize-labeled")
def summarize_labeled(labeled_path: str) -> list[dict[str, str]]:
    """Count the labels of a labeled dataset, and keep the table as an artifact.

    Args:
        labeled_path: The folder `labeled/` of a job's output; the event that triggers this names it.
    """
    table = [
        {"label": label, "rows": f"{rows:,}", "share": f"{share:.1%}"}
        for label, rows, share in count_labels(Path(labeled_path)).iter_rows()
    ]
    create_table_artifact(table, key="labels-after-labeling", description=f"Labels of {labeled_path}")
    get_run_logger().info("%d labels in %s", len(table), labeled_path)
    return table


def count_labels(labeled: Path) -> pl.DataFrame:
    """Each label with its rows and its share (0 to 1) of the rows that have one, the most frequent first."""
    return (
        pl.scan_parquet(labeled / "**/*.parquet", hive_partitioning=False)
        .filter(label_status="ok")
        .group_by("label")
        .agg(rows=pl.len())
        .with_columns(share=pl.col("rows") / pl.col("rows").sum())
        .sort("rows", "label", descending=[True, False])
        .collect()
    )
