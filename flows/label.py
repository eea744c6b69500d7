"""Label a Parquet dataset: check, settle batches, plan, classify, merge, publish."""

from prefect import flow, runtime, unmapped
from prefect.futures import wait
from prefect.logging import get_run_logger
from prefect.states import State
from prefect.task_runners import ThreadPoolTaskRunner

from labelmill.batch.steps import (
    CancelAll,
    Finish,
    Harvest,
    Leave,
    MakePlan,
    Send,
    Wait,
    asks_live,
    next_step,
)
from labelmill.check.job import checked_job
from labelmill.dataset.plan import Plan
from labelmill.errors import CannotWrite, JobRefused, LabelmillError, RunStopped
from labelmill.job.file import draft_of
from labelmill.job.model import LabelJob
from labelmill.run.batch_lane import situation_of, wait_and_look
from labelmill.run.classify import CHUNKS_IN_FLIGHT
from labelmill.run.live import RunContext
from labelmill.run.open_run import finished_record, open_run
from labelmill.run.record import RunRecord
from labelmill.run.signals import draining_signals
from tasks.asset import announce
from tasks.batches import harvest_batch, plan_batches, send_batch
from tasks.classify import classify_chunk
from tasks.limits import check_shared_limit
from tasks.log_lines import forward_logs
from tasks.merge import merge_labels
from tasks.plan import plan_run
from tasks.progress import progress_lines
from tasks.publish import publish_run
from tasks.states import state_of, state_without_record
from tasks.tags import job_tags


def _name() -> str:
    parameters = runtime.flow_run.parameters
    started = runtime.flow_run.scheduled_start_time
    return f"{parameters['job'].name} {started:%Y-%m-%d}"


@flow(
    name="label-dataset",
    flow_run_name=_name,
    # A server's default of retries would run it again over its own ending, and hide how it ended.
    retries=0,
    task_runner=ThreadPoolTaskRunner(max_workers=CHUNKS_IN_FLIGHT),  # type: ignore[arg-type]
)
def label_dataset(
    job: LabelJob, model_base_url: str | None = None, *, retry_failed: bool = False
) -> State[RunRecord | LabelmillError]:
    """Label what is not labeled yet, and show the bill.

    Args:
        job: What to label, with which labels, by which model.
        model_base_url: Sends the requests elsewhere for this run, such as to a gateway.
        retry_failed: Asks the texts again that failed for good in earlier runs.
    """
    try:
        record = _label(job, model_base_url, retry_failed=retry_failed)
    except (JobRefused, CannotWrite, OSError) as trouble:
        return state_without_record(trouble, job.output.path)
    message = f"{record.rows_labeled} of {record.rows_total} rows labeled. {record.message or ''}"
    return state_of(record.status, record, message.strip())


def _label(job: LabelJob, model_base_url: str | None, *, retry_failed: bool) -> RunRecord:
    forward_logs()
    checked_job(draft_of(job.model_dump(mode="json"), job.name), model_base_url)
    check_shared_limit(job)
    with job_tags(job.name), open_run(job, model_base_url) as live:
        run = live.run
        with progress_lines(live), draining_signals(live, get_run_logger().warning):
            if job.run.lane != "live" or live.desk.notes.out:
                _reconcile_batches(live, retry_failed=retry_failed)
            if asks_live(job) and live.gate.stopped is None:
                _ask_live(live, retry_failed=retry_failed)
                _harvest_late(live)
            live.progress.enter("merging")
            merged = merge_labels(run)
        record = finished_record(live, merged)
        publish_run(run, record)
        announce(run, record)
    return record


def _reconcile_batches(live: RunContext, *, retry_failed: bool) -> None:
    """Settle the batches that are out and send what is missing, until nothing is left to do or to wait for."""
    run, sent = live.run, 0
    live.desk.look()
    while True:
        match next_step(situation_of(live)):
            case Harvest(names):
                for name in names:
                    harvest_batch(run, name)
            case MakePlan():
                plan_batches(run, retry_failed=retry_failed)
            case Send():
                sent += 1
                send_batch(run, sent)
            case CancelAll():
                live.desk.cancel_mine()
            case Wait(seconds):
                wait_and_look(live, seconds)
            case Leave() | Finish():
                return


def _harvest_late(live: RunContext) -> None:
    """Harvest what batches have come to an end while the rest was asked live, such as those of an earlier task."""
    if live.desk.notes.out and live.gate.stopped is None:
        live.desk.look()
        for name in live.desk.ready():
            harvest_batch(live.run, name)


def _ask_live(live: RunContext, *, retry_failed: bool) -> None:
    """Ask what is missing with a request per text, and once more over what the provider failed at."""
    plan = plan_run(live.run, retry_failed=retry_failed)
    _classify(live, plan)
    if live.gate.stopped is None and live.progress.now().failed:
        live.guard.is_last_pass = True
        _classify(live, plan_run(live.run, after=plan))
    live.guard.end()


def _classify(live: RunContext, plan: Plan) -> None:
    """Classify a plan's chunks. All are waited for, whatever becomes of some: their answers are paid."""
    chunks = classify_chunk.map(
        plan.chunks, texts=unmapped(plan.path), of=unmapped(plan.last_chunk), run=unmapped(live.run)
    )
    wait(chunks)
    for chunk in chunks:
        if not chunk.state.is_completed():
            live.gate.stop(RunStopped("failed", f"a chunk could not be classified: {chunk.state.message}"))
