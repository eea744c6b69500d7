"""Publishing: the record of the run, for programs and for people."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from labelmill.report.findings import Findings, findings_of
from labelmill.report.formatting import STATUS_WORDS, labeled_words, percent, usd, visible
from labelmill.report.markdown import cost_report, costs_table, escaped, failures_table, labels_table
from labelmill.report.page import report_page
from labelmill.run.costs import write_costs
from labelmill.run.label_run import LabelRun
from labelmill.run.manifest import write_manifest
from labelmill.run.record import RunRecord, write_record
from labelmill.store.files import write_text_whole
from tasks.artifact_keys import artifact_key_of
from tasks.disk import disk_errors_as_sentences


@task(name="publish", task_run_name="publish", retries=0, cache_policy=NO_CACHE)
@disk_errors_as_sentences
def publish_run(run: LabelRun, record: RunRecord) -> None:
    """Write what the run leaves for programs, then its report, then show it all in Prefect.

    `run.json`, `costs.parquet` and the manifest of the labels come first: they are there whatever becomes of the rest. A run
    that left the labels of an earlier one where they were leaves their manifest too.
    """
    write_record(record, run.record_folder)
    costs = write_costs(run, record)
    if record.is_published:
        write_manifest(record, [file.relative for file in run.files], datetime.now(UTC))
    findings = findings_of(run, record)
    page = run.record_folder / "report.html"
    write_text_whole(page, report_page(record, findings))
    _show(record, findings, costs, page)
    log = get_run_logger()
    status, words, cost = STATUS_WORDS[record.status], labeled_words(record), usd(record.cost_usd)
    share = percent(record.rows_labeled, record.rows_with_text)
    log.info("%s: %s (%s), cost of this run %s", status, words, share, cost)
    where, pages = visible(record.labeled_path), visible(str(page))
    log.info("Labels in %s; the report is among this run's artifacts and in %s", where, pages)


def _show(record: RunRecord, findings: Findings, costs: pl.DataFrame, page: Path) -> None:
    """Leave the run's artifacts, each under the job's key, so that its versions are the job's history."""
    name, key = escaped(record.job.name), artifact_key_of(record.job.name)
    create_markdown_artifact(
        cost_report(record, findings), key=f"{key}-report", description=f"Report of {name}"
    )
    tables = {
        "costs": (costs_table(costs), f"Cost by chunk of {name}"),
        "labels": (labels_table(record, findings), f"Labels of {name}"),
        "failures": (failures_table(record, findings), f"Failures of {name}"),
    }
    for what, (rows, description) in tables.items():
        create_table_artifact(rows, key=f"{key}-{what}", description=description)  # type: ignore[arg-type]
    links = {"labeled": (Path(record.labeled_path), "Labeled data"), "page": (page, "Report page")}
    for what, (path, title) in links.items():
        # The path stands beside the link because browsers follow no file:// link from a page of a server.
        create_link_artifact(
            path.absolute().as_uri(),
            link_text=f"{title} of {name}",
            key=f"{key}-{what}",
            description=f"{title} of {name}: {escaped(str(path.absolute()))}",
        )
