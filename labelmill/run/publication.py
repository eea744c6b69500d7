"""Publishing: what a run may replace in the output folder, and what it leaves as it is.

`labeled/` is what others read. A run replaces it by labels of the same task at any time, and by those of another task once
there are as many as can be had; a rehearsal never replaces a model's labels.
"""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from labelmill.dataset.labeled_folder import LabeledFolder
from labelmill.dataset.merge_state import MergeState
from labelmill.dataset.ownership import names_of_ours
from labelmill.dataset.source import SourceFile
from labelmill.run.context import RunContext
from labelmill.run.counts import RowCounts, rows_of
from labelmill.run.unreadable import name_unreadable
from labelmill.store.files import is_there
from labelmill.store.folder import OutputFolder
from labelmill.store.ledger import PRACTICE_PREFIX
from labelmill.store.working import MANIFEST, files_matching


class Published(BaseModel):
    """Whose labels a folder holds, as its manifest says; `ok` of its rows have one."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    task_key: str
    practice: bool
    ok: int


class Merged(BaseModel):
    """What came of merging: the rows by what became of them, and where the labels are.

    `kept` is None where the run has published into `labeled`. Otherwise it says whose labels `labeled` still holds, and
    the rows are counted as the run would have published them.
    """

    model_config = ConfigDict(frozen=True)

    rows: RowCounts
    labeled: Path
    kept: Published | None = None


def files_to_plan(context: RunContext, *, retry_failed: bool = False) -> list[int]:
    """The numbers of the files whose texts may have to be asked: all but those that are known to be settled."""
    folder = context.folder
    states = [MergeState.beside(labeled) for labeled in (folder.labeled, folder.practice_labeled)]
    known = [state for state in states if state.is_of(context.ledger, context.template)]

    def is_settled(file: SourceFile) -> bool:
        found = (state.known(file.relative, file.path) for state in known)
        return any(one and not one.open_rows and not (retry_failed and one.failed_rows) for one in found)

    return [number for number, file in enumerate(context.files) if not is_settled(file)]


def publish_labels(context: RunContext) -> Merged:
    """Put the labels beside their rows and publish what this run may replace.

    A file whose rows are all settled, and that has not changed since it was merged, is neither read nor written.
    A file that can't be read is left out: what an earlier run has published of it, for the same task, stays as it was.

    Raises:
        CannotWrite: the source changes all the time.
        OSError: the disk is full or read-only.
    """
    published = published_in(context.folder.labeled)
    has_paid = has_paid_answers(context.folder)
    labeled = destination_of(context.folder, published, practice=context.practice, has_paid_answers=has_paid)
    there = published if labeled == context.folder.labeled else published_in(labeled)
    merge = LabeledFolder(
        labeled,
        context.digests,
        context.ledger,
        context.run_id,
        prefix=context.job.output.column_prefix,
        ours=frozenset(names_of_ours(labeled, labeled.with_name(MANIFEST), context.folder.runs)),
        is_same_task=there is None or there.task_key == context.task_key,
    )
    # Where failed/ has lost what an earlier run left there, or it could not be written, this run writes it.
    lost = [
        numbers for run_id, numbers in merge.failed_runs().items() if not failed_files(context.folder, run_id)
    ]
    merge.told_anew = {number for numbers in lost for number in numbers}
    merge.join({*merge.to_merge(), *merge.told_anew})
    name_unreadable(context)
    kept = None
    if published is not None and is_worth_keeping(published, context):
        kept = (
            None if may_replace(_rows_of(merge, context), context.job.run.max_failed_fraction) else published
        )
    if kept is None:
        merge.write()
        name_unreadable(context)
        context.failed_files = [
            path for run_id in sorted(merge.failed_runs()) for path in failed_files(context.folder, run_id)
        ]
    told = merge.answers.keys() if kept else merge.written | merge.told_anew
    context.row_answers = {number: merge.answers[number] for number in told & merge.answers.keys()}
    rows = _rows_of(merge, context)
    return Merged(rows=rows, labeled=labeled, kept=kept)


def failed_files(folder: OutputFolder, run_id: str) -> list[Path]:
    """The files of failed rows that a run has left."""
    path = folder.failed(run_id)
    return files_matching(path.parent, f"{path.stem}*{path.suffix}")


def _rows_of(merge: LabeledFolder, context: RunContext) -> RowCounts:
    unreadable = sum(fault.rows or 0 for fault in context.unreadable.values())
    return rows_of(merge.row_groups(), context.job.labels).and_unreadable(unreadable)


def destination_of(
    folder: OutputFolder, published: Published | None, *, practice: bool, has_paid_answers: bool
) -> Path:
    """The folder a run publishes into: `labeled/`, unless a rehearsal would replace a model's labels there.

    Where no manifest tells what is there, because a run was killed while it published, answers that were paid for tell that
    it may be a model's.
    """
    holds_a_models = has_paid_answers if published is None else not published.practice
    return folder.practice_labeled if practice and holds_a_models else folder.labeled


def is_worth_keeping(published: Published, context: RunContext) -> bool:
    """Whether a folder holds a model's labels of another task than the run's, for others to read."""
    return (
        # A frame gets the labels that this run knows of: it has no others, and who has called holds it.
        not context.folder.is_of_frame
        and not context.practice
        and not published.practice
        and published.ok > 0
        and published.task_key != context.task_key
    )


def may_replace(rows: RowCounts, max_failed_fraction: float) -> bool:
    """Whether a task's labels may take another task's place: none is missing, and no more rows failed than allowed.

    A row that can't be read has no label of this task, and the other's would stay beside the new ones.
    """
    return not rows.pending and not rows.unreadable and not too_many_failed(rows, max_failed_fraction)


def too_many_failed(rows: RowCounts, max_failed_fraction: float) -> bool:
    """Whether more of the rows with a text have failed than a job allows."""
    return bool(rows.with_text) and rows.failed / rows.with_text > max_failed_fraction


def published_in(labeled: Path) -> Published | None:
    """What the manifest beside a folder says of it; None where none can be read, or nothing of what it names is there."""
    try:
        manifest = json.loads(labeled.with_name(MANIFEST).read_bytes())
        if not any(is_there(labeled / file["path"]) for file in manifest["files"]):
            return None
        return Published.model_validate({**manifest, "ok": manifest["rows"]["ok"] or 0})
    except (OSError, ValueError, TypeError, KeyError, ValidationError):
        return None


def has_paid_answers(folder: OutputFolder) -> bool:
    """Whether a model was ever asked into an output folder."""
    paid = (task for task in folder.ledgers.glob("*/") if not task.name.startswith(PRACTICE_PREFIX))
    return any(path.suffix in {".parquet", ".jsonl"} for task in paid for path in task.iterdir())
