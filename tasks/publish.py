"""Publishing: the record of the run, for programs and for people."""

import hashlib
import re
import unicodedata

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from labelmill.report.markdown import cost_report, label_distribution
from labelmill.report.page import report_page
from labelmill.run.costs import write_costs
from labelmill.run.label_run import LabelRun
from labelmill.run.record import RunRecord, write_record
from labelmill.store.files import write_text_whole
from tasks.disk import tells_of_the_disk


@task(name="publish", cache_policy=NO_CACHE)
@tells_of_the_disk
def publish_run(run: LabelRun, record: RunRecord) -> None:
    """Write `run.json`, `costs.parquet` and `report.html`, then show the report and the label distribution in Prefect."""
    write_record(record, run.record_folder)
    write_costs(run, record)
    write_text_whole(run.record_folder / "report.html", report_page(record))
    job = artifact_key_of(record.job.name)
    create_markdown_artifact(
        cost_report(record), key=f"{job}-report", description=f"Report of {record.job.name}"
    )
    create_markdown_artifact(
        label_distribution(record), key=f"{job}-labels", description=f"Labels of {record.job.name}"
    )


def artifact_key_of(name: str) -> str:
    """A job's name as Prefect allows it in an artifact's key: `a-z`, `0-9` and `-`.

    A name that loses characters on the way gets a short hash, so that two jobs never share a history.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if slug == name:
        return slug
    digest = hashlib.sha256(name.encode()).hexdigest()[:6]
    return f"{slug}-{digest}" if slug else f"job-{digest}"
