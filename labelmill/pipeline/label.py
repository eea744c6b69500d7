"""Label a Parquet dataset: check, settle batches, plan, classify, merge, publish."""

import logging
from datetime import UTC, datetime
from functools import partial

from labelmill.batch.steps import asks_live
from labelmill.check.job import check_job
from labelmill.job.model import LabelJob
from labelmill.report.findings import findings_of
from labelmill.report.formatting import STATUS_WORDS, counted, labeled_words, percent, usd, visible
from labelmill.report.page import report_page
from labelmill.run.batch_lane import harvest_late, plan_batches, settle_batches
from labelmill.run.context import RunContext
from labelmill.run.costs import write_costs
from labelmill.run.live_lane import ask_live
from labelmill.run.manifest import write_manifest
from labelmill.run.open_run import finished_record, open_run
from labelmill.run.publication import Merged, publish_labels
from labelmill.run.record import RunRecord, write_record
from labelmill.run.runner import Runner
from labelmill.store.compaction import compact_ledgers
from labelmill.store.files import write_text_whole

log = logging.getLogger(__name__)


def label(
    job: LabelJob,
    model_base_url: str | None = None,
    *,
    retry_failed: bool = False,
    runner: Runner | None = None,
) -> RunRecord:
    """Label what is not labeled yet, and return the bill, however the run ended.

    Args:
        job: what to label, with which labels, by which model.
        model_base_url: sends the requests elsewhere for this run, such as to a gateway.
        retry_failed: asks the texts again that failed for good in earlier runs.
        runner: takes the steps; in this process, and nobody looks on, unless it is given.

    Raises:
        JobRefused: the job has mistakes, or another run writes into the same output; nothing was spent.
        CannotWrite: a file can't be written; what was paid is kept.
    """
    check_job(job, model_base_url)
    runner = runner or Runner(job)
    with open_run(job, model_base_url) as context:
        with runner.watch(context):
            if job.run.lane != "live" or context.batch_session.outstanding.out:
                settle_batches(context, runner, partial(_plan, context, runner, retry_failed=retry_failed))
            if asks_live(job) and context.stop_signal.stopped is None:
                ask_live(context, runner, retry_failed=retry_failed)
                harvest_late(context, runner)
            context.progress.enter("merging")
            merged = runner.step("merge", partial(merge, context))
        record = finished_record(context, merged)
        runner.step("publish", partial(publish, context, runner, record))
        compact_ledgers(context.folder.ledgers, context.ledger)
    return record


def _plan(context: RunContext, runner: Runner, *, retry_failed: bool) -> bool:
    runner.step("plan-batches", partial(plan_batches, context, retry_failed=retry_failed), "plan batches")
    return True


def merge(context: RunContext) -> Merged:
    """Put the labels back into the dataset, where this run may, and say how many there are."""
    merged = publish_labels(context)
    rows, files = merged.rows, counted(len(context.files), "file")
    names = ("labeled", "failed", "pending", *(["empty"] if rows.empty else []))
    counts = ", ".join(f"{getattr(rows, name):,} {name}" for name in names)
    if merged.kept is None:
        log.info("Published %s in %s: %s", counted(rows.total, "row"), files, counts)
    else:
        where = visible(str(merged.labeled))
        log.info("%s stays as run %s left it; this task so far: %s", where, merged.kept.run_id, counts)
    return merged


def publish(context: RunContext, runner: Runner, record: RunRecord) -> None:
    """Write what the run leaves for programs, then its report, then let it be shown.

    `run.json`, `costs.parquet` and the manifest of the labels come first: they are there whatever becomes of the rest. A run
    that left the labels of an earlier one where they were leaves their manifest too.
    """
    write_record(record, context.record_folder)
    costs = write_costs(context, record)
    if record.is_published:
        write_manifest(record, [file.relative for file in context.files], datetime.now(UTC))
    findings = findings_of(context, record)
    page = context.record_folder / "report.html"
    write_text_whole(page, report_page(record, findings))
    runner.show(record, findings, costs, page)
    status, words, cost = STATUS_WORDS[record.status], labeled_words(record), usd(record.cost_usd)
    share = percent(record.rows_labeled, record.rows_with_text)
    log.info("%s: %s (%s), cost of this run %s", status, words, share, cost)
    where, pages = visible(record.labeled_path), visible(str(page))
    log.info("Labels in %s; the report is in %s", where, pages)
