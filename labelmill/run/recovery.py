"""Recovery of what dead runs left: their answers, their copies of texts, their temporary files, their bill."""

import logging
import re
import shutil
from pathlib import Path

from labelmill.dataset.merge import SCRATCH
from labelmill.run.causes import causes_of
from labelmill.run.context import RunContext
from labelmill.run.counts import work_of_run
from labelmill.run.machines import end_left_leases
from labelmill.run.record import RunRecord, read_record, write_record
from labelmill.store.compaction import remove_replaced_parts
from labelmill.store.files import temporaries_in
from labelmill.store.folder import OutputFolder
from labelmill.store.ledger import Ledger, readable, set_empty_parts_aside
from labelmill.store.parts import parts_in
from labelmill.store.working import MANIFEST

log = logging.getLogger(__name__)


def recover_dead_runs(context: RunContext) -> None:
    """Fold in the journals that dead runs left, take their copies of texts away, and close their records.

    To be called under the output folder's lock, which tells that whoever has not ended is dead.

    Raises:
        JobRefused: a part of a ledger can't be read; nothing was spent.
    """
    end_left_leases(context)
    # Those of other tasks too: what they cost counts against the day's and the month's budget.
    ledgers = sorted(context.folder.ledgers.glob("*/"))
    for ledger in ledgers:
        set_empty_parts_aside(ledger)
    readable([part for ledger in ledgers for part in parts_in(ledger)])
    for ledger in ledgers:
        remove_replaced_parts(ledger)
        Ledger(ledger).fold_abandoned(context.job.run)
    for left in _temporaries(context.folder):
        left.unlink()
    for record_folder in context.folder.runs.glob("*/"):
        remove_plans(record_folder)
    for path in context.folder.runs.glob("*/run.json"):
        record = read_record(path.parent) if _may_be_running(path) else None
        if record is not None and record.status == "running":
            write_record(closed_record(record, context.folder), path.parent)


def remove_plans(record_folder: Path) -> None:
    """Take away what a run had planned and joined, its copies of texts and digests; where one can't be removed, the next run does it."""
    for left in record_folder.glob("pending*"):
        try:
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink()
        except OSError as error:
            log.warning("%s can't be removed: %s; the next run tries again", left, error.strerror or error)


def _temporaries(folder: OutputFolder) -> list[Path]:
    """The half-written files that dead runs left, in the places where runs write. Others' stay, whatever their name."""
    published = (folder.labeled, folder.practice_labeled)
    places = (
        *folder.ledgers.glob("*/"),
        *folder.runs.glob("*/"),
        *folder.batches.glob("[!.]*/"),
        folder.failed("any").parent,
        *(labeled.with_name(SCRATCH) for labeled in published),
    )
    # What stands around these may be anyone's.
    manifests = [temporaries_in(labeled.parent, re.escape(MANIFEST)) for labeled in published]
    return [left for found in (*manifests, *map(temporaries_in, places)) for left in found]


def _may_be_running(path: Path) -> bool:
    """Whether the word stands in a record at all: of a thousand runs hardly one has to be read as a record."""
    try:
        return b'"running"' in path.read_bytes()
    except OSError:
        return False


def closed_record(record: RunRecord, folder: OutputFolder) -> RunRecord:
    """The record of a run whose process died: failed, with what the ledger knows that it paid."""
    work = work_of_run(folder.ledgers, record.run_id, record.task_key)
    causes = causes_of(Ledger(folder.ledger(record.task_key)).scan_run(record.run_id))
    message = "its process died before the run had ended; what it paid for is in the ledger"
    said = {name: list(messages) for name, messages in vars(causes).items()}
    return record.model_copy(update={"status": "failed", "message": message, **dict(work), **said})
