"""Merging: the labels back into the dataset."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from labelmill.dataset.merge import write_failed, write_labeled
from labelmill.run.label_run import LabelRun
from labelmill.run.record import RowCounts, count_rows
from tasks.disk import tells_of_the_disk


@task(name="merge", cache_policy=NO_CACHE)
@tells_of_the_disk
def merge_labels(run: LabelRun) -> RowCounts:
    """Publish the labeled dataset and the rows that failed, and count what was written."""
    labeled = write_labeled(run.files, run.merger, run.folder.labeled)
    rows = count_rows(labeled, run.run_id)
    if rows.failed:
        write_failed(run.files, run.merger, run.folder.failed(run.run_id))
    return rows
