"""Opening a run: the lock, the endpoint, what a dead run left; and whatever happens, a record at the end."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

from labelmill.errors import JobRefused, Mistake, RunStopped
from labelmill.job.model import LabelJob
from labelmill.model.endpoint import endpoint_of, reachable
from labelmill.run.label_run import LabelRun, new_run_id
from labelmill.run.live import LiveRun, live
from labelmill.run.record import RowCounts, RunRecord, record_of, work_of, write_record
from labelmill.store.folder import OutputFolder
from labelmill.store.ledger import Ledger
from labelmill.store.lock import LockedError, locked


@contextmanager
def open_run(job: LabelJob, model_base_url: str | None = None) -> Iterator[LiveRun]:
    """Begin a run of a job that was checked, and see it to its end.

    Journals that dead runs left are folded in before the block begins. When the block raises, `run.json` still says
    what was asked and paid.

    Raises:
        JobRefused: another run writes into the same output folder.
    """
    started = datetime.now(UTC)
    run_id = new_run_id(started)
    with ExitStack() as stack:
        folder = OutputFolder.of(job)
        try:
            stack.enter_context(locked(folder.lock, f"run {run_id}, process {os.getpid()}"))
        except LockedError as error:
            sentence = f"{error.holder} is writing into {str(folder.path)!r}; wait for it to end"
            raise JobRefused([Mistake("output.path", sentence)]) from None
        endpoint = stack.enter_context(reachable(endpoint_of(job.model, model_base_url), job.practice))
        run = LabelRun(
            job=job,
            run_id=run_id,
            base_url=endpoint.base_url or "",
            practice=endpoint.practice,
            started_at_utc=started,
        )
        run.record_folder.mkdir(parents=True, exist_ok=True)
        _clear_up(run)
        mine = stack.enter_context(live(run))
        try:
            yield mine
        except BaseException as error:
            mine.gate.stop(RunStopped("failed", f"{type(error).__name__}: {error}"[:500]))
            _record_failure(mine)
            raise
        finally:
            for plan in run.record_folder.glob("pending*"):
                plan.unlink()


def _clear_up(run: LabelRun) -> None:
    """Take over what dead runs left: their answers into the ledger, their copies of texts away."""
    for ledger in run.folder.ledgers.glob("*/"):
        # Those of other tasks too: what they cost counts against the day's and the month's budget.
        Ledger(ledger).fold_abandoned(run.job.run.max_answers)
    for left in run.folder.runs.glob("*/pending*"):
        left.unlink()


def _record_failure(mine: LiveRun) -> None:
    run = mine.run
    if not (run.record_folder / "run.json").exists():
        write_record(finished_record(mine, RowCounts()), run.record_folder)


def finished_record(mine: LiveRun, rows: RowCounts) -> RunRecord:
    """The record of a run that ends now."""
    work = work_of(mine.run.ledger.scan_run(mine.run.run_id))
    return record_of(mine.run, rows, work, mine.price, mine.gate.stopped, datetime.now(UTC))
