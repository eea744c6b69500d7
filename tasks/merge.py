"""Merging: the labels back into the dataset."""

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from labelmill.dataset.merge import write_failed, write_labeled
from labelmill.run.counts import RowCounts, count_rows
from labelmill.run.label_run import LabelRun
from tasks.disk import tells_of_the_disk


@task(name="merge", task_run_name="merge", retries=0, cache_policy=NO_CACHE)
@tells_of_the_disk
def merge_labels(run: LabelRun) -> RowCounts:
    """Publish the labeled dataset and the rows that failed, and count what was written."""
    labeled = write_labeled(run.files, run.merger, run.folder.labeled)
    rows = count_rows(labeled, run.run_id)
    if rows.failed:
        write_failed(run.files, run.merger, run.folder.failed(run.run_id))
    get_run_logger().info(
        "Published %s rows in %s files: %s labeled, %s failed, %s pending",
        *(f"{count:,}" for count in (rows.total, len(labeled), rows.labeled, rows.failed, rows.pending)),
    )
    return rows
