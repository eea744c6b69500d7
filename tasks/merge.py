"""Merging: the labels back into the dataset."""

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from labelmill.report.formatting import counted, visible
from labelmill.run.label_run import LabelRun
from labelmill.run.publication import Merged, publish_labels
from tasks.disk import disk_errors_as_sentences


@task(name="merge", task_run_name="merge", retries=0, cache_policy=NO_CACHE)
@disk_errors_as_sentences
def merge_labels(run: LabelRun) -> Merged:
    """Publish the labeled dataset, where this run may, and the rows that failed; and count them."""
    merged = publish_labels(run)
    rows, files = merged.rows, counted(len(run.files), "file")
    names = ("labeled", "failed", "pending", *(["empty"] if rows.empty else []))
    counts = ", ".join(f"{getattr(rows, name):,} {name}" for name in names)
    if merged.kept is None:
        line = f"Published {counted(rows.total, 'row')} in {files}: {counts}"
    else:
        line = f"{visible(str(merged.labeled))} stays as run {merged.kept.run_id} left it; this task so far: {counts}"
    get_run_logger().info(line)
    return merged
