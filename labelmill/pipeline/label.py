"""Label a Parquet dataset: check, settle batches, plan, classify, merge, publish."""

import logging
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from labelmill.batch.steps import asks_live
from labelmill.check.job import check_job
from labelmill.job.model import LabelJob
from labelmill.pipeline.alerts import alert_of_run
from labelmill.plural import counted
from labelmill.report.findings import Findings, findings_of
from labelmill.report.formatting import STATUS_WORDS, labeled_words, usd, visible
from labelmill.report.page import Figures, page_figures, report_page
from labelmill.run.batch_lane import harvest_late, plan_batches, settle_batches
from labelmill.run.context import RunContext
from labelmill.run.costs import costs_of, write_costs
from labelmill.run.failed_rows import NO_FAILED_FILES, with_failed, write_failed_rows
from labelmill.run.live_lane import ask_live
from labelmill.run.manifest import write_manifest
from labelmill.run.open_run import finished_record, open_run
from labelmill.run.optional import OptionalSteps, kept
from labelmill.run.publication import Merged, publish_labels
from labelmill.run.record import RunRecord, write_record
from labelmill.run.row_limit import RowLimit
from labelmill.run.runner import Runner
from labelmill.store.compaction import compact_ledgers
from labelmill.store.files import place_of, write_text_whole

log = logging.getLogger(__name__)


def label(
    job: LabelJob,
    model_base_url: str | None = None,
    *,
    retry_failed: bool = False,
    rows: int | None = None,
    runner: Runner | None = None,
) -> RunRecord:
    """Label what is not labeled yet, and return the bill, however the run ended.

    Args:
        job: what to label, with which labels, by which model.
        model_base_url: sends the requests elsewhere for this run, such as to a gateway.
        retry_failed: asks the texts again that failed for good in earlier runs.
        rows: asks so many different texts at most, the first that have no label yet; all of them unless it is given.
        runner: takes the steps; in this process, and nobody looks on, unless it is given.

    Raises:
        JobRefused: the job has mistakes, or another run writes into the same output; nothing was spent.
        CannotWrite: a file can't be written; what was paid is kept.
    """
    check_job(job, model_base_url)
    runner = runner or Runner(job)
    with open_run(job, model_base_url) as context:
        context.row_limit = RowLimit(rows)
        with runner.watch(context):
            if job.run.lane != "live" or context.batch_session.outstanding.out:
                settle_batches(context, runner, partial(_plan, context, runner, retry_failed=retry_failed))
            if asks_live(job) and context.stop_signal.stopped is None:
                ask_live(context, runner, retry_failed=retry_failed)
                harvest_late(context, runner)
            context.progress.enter("merging")
            merged = runner.step("merge", partial(merge, context))
            context.progress.enter("merged")
        record = finished_record(context, merged)
        optional = OptionalSteps()
        record = runner.step("publish", partial(publish, context, runner, record, optional))
        compact_ledgers(context.folder.ledgers, context.ledger)
    return announced(context, runner, record, optional)


def _plan(context: RunContext, runner: Runner, *, retry_failed: bool) -> bool:
    runner.step("plan-batches", partial(plan_batches, context, retry_failed=retry_failed), "plan batches")
    return True


def merge(context: RunContext) -> Merged:
    """Put the labels back into the dataset, where this run may, and say how many there are."""
    merged = publish_labels(context)
    rows, files = merged.rows, counted(len(context.readable_files), "file")
    names = (
        "labeled",
        "failed",
        "pending",
        *(name for name in ("empty", "unreadable") if getattr(rows, name)),
    )
    counts = ", ".join(f"{getattr(rows, name):,} {name}" for name in names)
    if merged.kept is None:
        log.info("Published %s in %s: %s", counted(rows.total - rows.unreadable, "row"), files, counts)
    else:
        where = visible(str(merged.labeled))
        log.info("%s stays as run %s left it; this task so far: %s", where, merged.kept.run_id, counts)
    return merged


def publish(context: RunContext, runner: Runner, record: RunRecord, optional: OptionalSteps) -> RunRecord:
    """Write what the run leaves for programs, then what it can do without, then let it be shown.

    The manifest of the labels and `run.json` come first: they are there whatever becomes of the rest. A run that left the
    labels of an earlier one where they were leaves their manifest too. Of the rest nothing costs the run: what can't be had
    is a sentence in the record, which is written again with it.

    Returns:
        the record as it is on the disk.
    """
    folder = context.record_folder
    if record.is_published:
        files, left_out = (
            [file.relative for file in group] for group in (context.readable_files, context.unreadable)
        )
        write_manifest(record, files, datetime.now(UTC), left_out)
    write_record(record, folder)
    written = record
    costs = optional.take("the costs", partial(costs_of, context, record), None, "added up")
    if costs is not None:
        optional.take("costs.parquet", partial(write_costs, costs, folder), None)
    if record.rows_failed:
        failed = optional.take("the failed rows", partial(write_failed_rows, context), NO_FAILED_FILES)
        record = with_failed(record, failed, context)
    findings = findings_of(context, record, optional)
    figures: Figures = optional.take("the charts", partial(page_figures, record, findings), [], "drawn")
    page = optional.take(
        "the report", partial(_write_page, optional.told_in(record), findings, figures, folder), None
    )
    shows = partial(runner.shows, optional.told_in(record), findings, costs, page)
    optional.take_all("the run", shows, "shown")
    optional.take("the last lines", partial(_log_ending, record, page), None, "logged")
    return kept(record, written, optional, partial(write_record, folder=folder))


def _write_page(record: RunRecord, findings: Findings, figures: Figures, folder: Path) -> Path:
    page = folder / "report.html"
    write_text_whole(page, report_page(record, findings, figures))
    return page


def _log_ending(record: RunRecord, page: Path | None) -> None:
    status, words, cost = STATUS_WORDS[record.status], labeled_words(record), usd(record.cost_usd)
    log.info("%s: %s, cost of this run %s", status, words, cost)
    where = visible(record.labeled_path)
    log.info("Labels in %s%s", where, f"; the report is in {visible(place_of(page))}" if page else "")


def announced(context: RunContext, runner: Runner, record: RunRecord, optional: OptionalSteps) -> RunRecord:
    """Let others be told of a run that has ended, and return its record as it is on the disk then."""
    optional.take_all("the run's end", partial(runner.announces, record), "announced")
    optional.take("the alert", partial(alert_of_run, record), None, "sent")
    return kept(record, record, optional, partial(write_record, folder=context.record_folder))
