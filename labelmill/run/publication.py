"""Publishing: what a run may replace in the output folder, and what it leaves as it is.

`labeled/` is what others read. A run replaces it by labels of the same task at any time, and by those of another task once
there are as many as can be had; a rehearsal never replaces a model's labels.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from labelmill.dataset.merge import (
    LABEL_COLUMNS,
    MANIFEST,
    RowAnswers,
    join_answers,
    restless_words,
    write_labeled,
)
from labelmill.dataset.merge_state import FileState, MergeState, RowGroup, row_groups_of
from labelmill.dataset.source import SourceFile
from labelmill.errors import CannotWrite
from labelmill.run.context import RunContext
from labelmill.run.counts import RowCounts, rows_of
from labelmill.store.files import FileStamp
from labelmill.store.folder import OutputFolder
from labelmill.store.ledger import PRACTICE_PREFIX

_MOST_MERGES = 3
"""Times that a file is merged which is replaced meanwhile."""


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
    parts = context.ledger.parts()
    known = [state for state in states if state.is_of(context.task_key, context.job.source.text, parts)]

    def is_settled(file: SourceFile) -> bool:
        found = (state.known(file.relative, file.path) for state in known)
        return any(one and not one.open_rows and not (retry_failed and one.failed_rows) for one in found)

    return [number for number, file in enumerate(context.files) if not is_settled(file)]


def publish_labels(context: RunContext) -> Merged:
    """Put the labels beside their rows and publish what this run may replace.

    A file whose rows are all settled, and that has not changed since it was merged, is neither read nor written.

    Raises:
        CannotWrite: the source changes all the time.
        OSError: the disk is full or read-only.
    """
    published = published_in(context.folder.labeled)
    has_paid = has_paid_answers(context.folder)
    labeled = destination_of(context.folder, published, practice=context.practice, has_paid_answers=has_paid)
    publication = _Publication(context, labeled)
    publication.join(publication.to_merge())
    kept = None
    if published is not None and is_worth_keeping(published, context):
        kept = None if may_replace(publication.rows(), context.job.run.max_failed_fraction) else published
    if kept is None:
        publication.write()
    context.row_answers = publication.answers
    return Merged(rows=publication.rows(), labeled=labeled, kept=kept)


class _Publication:
    """One run's merge into a `labeled/` folder."""

    def __init__(self, context: RunContext, labeled: Path) -> None:
        self._context, self._labeled = context, labeled
        self._files = context.files
        self._parts = context.ledger.parts()
        self._before = MergeState.beside(labeled)
        self._ours = {*self._before.files, *named_by_manifest(labeled)}
        is_mine = self._before.is_of(context.task_key, context.job.source.text, self._parts)
        self._known = {
            number: state
            for number, file in enumerate(self._files if is_mine else ())
            if (state := self._before.known(file.relative, file.path)) is not None
        }
        self.answers: dict[int, RowAnswers] = {}
        self._groups: dict[int, tuple[RowGroup, ...]] = {}
        self._open: dict[int, int] = {}
        self._columns: dict[int, str] = {}

    def to_merge(self) -> list[int]:
        """The files whose labels may not be what stands beside their rows."""
        has_revived = self._context.ledger.has_revived(self._before.ledger)
        asked = self._context.digests.stamps.keys()
        return [
            number
            for number, file in enumerate(self._files)
            if (state := self._known.get(number)) is None
            or number in asked
            or state.open_rows
            or (has_revived and state.failed_rows)
            or not self._is_intact(file)
        ]

    def join(self, numbers: Iterable[int]) -> None:
        """Join the ledger's answers to the rows of some files, and count them."""
        context = self._context
        readable = context.digests.read(numbers)
        if not readable:
            return
        # By this name a dead run's copies are found and taken away.
        folder = context.record_folder / f"pending-answers-{len(self.answers)}"
        answers = join_answers(context.digests, readable, context.ledger, folder)
        counts = answers.counts(context.run_id)
        groups = row_groups_of(counts)
        open_rows = dict(counts.filter("is_open").group_by("number").agg(pl.col("rows").sum()).iter_rows())
        self._columns |= answers.fingerprints()
        for number in readable:
            self.answers[number] = answers
            self._groups[number] = groups.get(number, ())
            self._open[number] = open_rows.get(number, 0)

    def rows(self) -> RowCounts:
        """All rows by what became of them."""
        untouched = (state.groups for number, state in self._known.items() if number not in self._groups)
        groups = (group for of_file in (*self._groups.values(), *untouched) for group in of_file)
        return rows_of(groups, self._context.job.labels)

    def write(self) -> None:
        """Replace what has changed, and remove what the source no longer has; what others put there stays.

        The manifest goes first, before any file is replaced, and is written anew by the run's end: where there is one, it
        is true of every file there, and where there is none, a run is writing or was killed. The names of what is written
        are noted before that: what a killed run has left is known to be Labelmill's.

        Raises:
            CannotWrite: some files of the source kept changing while they were merged. Their labeled files stay as they
                were, and all others are published.
        """
        outdated = {number for number in self.answers if not self._is_up_to_date(number)}
        gone = self._ours - {self._name(number) for number in range(len(self._files))}
        if outdated or gone:
            self._labeled.with_name(MANIFEST).unlink(missing_ok=True)
            noted = dict.fromkeys(self._ours) | self._before.files | dict.fromkeys(map(self._name, outdated))
            self._before.model_copy(update={"files": noted}).write_beside(self._labeled)
        stamps = self._write(outdated)
        for name in gone:
            (self._labeled / name).unlink(missing_ok=True)
        after = self._state_after(outdated, stamps)
        if after != self._before or outdated or gone:
            after.write_beside(self._labeled)
        restless = [self._files[number] for number in outdated - stamps.keys() if number in self.answers]
        if restless:
            raise CannotWrite(restless_words(sorted(restless, key=lambda file: file.relative)))

    def _write(self, outdated: set[int]) -> dict[int, FileStamp]:
        """Write some labeled files; one whose source changes meanwhile is merged again, a few times."""
        stamps: dict[int, FileStamp] = {}
        for merge in range(_MOST_MERGES):
            missing = outdated - stamps.keys()
            if merge and missing:
                self.join(missing)
            together: dict[Path, list[int]] = {}
            for number in missing & self.answers.keys():
                together.setdefault(self.answers[number].folder, []).append(number)
            for numbers in together.values():
                stamps |= write_labeled(self.answers[numbers[0]], numbers, self._labeled)
        return stamps

    def _state_after(self, outdated: set[int], stamps: Mapping[int, FileStamp]) -> MergeState:
        digests = self._context.digests
        files: dict[str, FileState | None] = {}
        for number in range(len(self._files)):
            name = self._name(number)
            known = self._known.get(number)
            if number in self.answers and (number in stamps or number not in outdated):
                source = None if number in digests.unsure else digests.stamps[number]
                labeled = stamps.get(number, known.labeled if known else None)
                files[name] = labeled and FileState(
                    source=source,
                    labeled=labeled,
                    columns=self._columns[number],
                    rows=digests.rows[number],
                    open_rows=self._open[number],
                    groups=self._groups[number],
                )
            elif known is not None and number not in outdated:
                files[name] = known
            elif name in self._ours:
                files[name] = None
        return MergeState(
            task_key=self._context.task_key,
            text=self._context.job.source.text,
            column_names=tuple(LABEL_COLUMNS.names()),
            ledger=self._parts,
            files=files,
        )

    def _is_up_to_date(self, number: int) -> bool:
        known = self._known.get(number)
        return (
            known is not None
            and known.columns == self._columns[number]
            and self._is_intact(self._files[number])
        )

    def _is_intact(self, file: SourceFile) -> bool:
        return self._before.is_intact(file.relative, self._labeled, LABEL_COLUMNS.names())

    def _name(self, number: int) -> str:
        return self._files[number].relative.as_posix()


def named_by_manifest(labeled: Path) -> set[str]:
    """The files that the manifest beside a folder names."""
    try:
        manifest = json.loads(labeled.with_name(MANIFEST).read_bytes())
        return {str(file["path"]) for file in manifest["files"]}
    except (OSError, ValueError, TypeError, KeyError):
        return set()


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
    """Whether a folder holds a model's labels of another task than the run's."""
    return (
        not context.practice
        and not published.practice
        and published.ok > 0
        and published.task_key != context.task_key
    )


def may_replace(rows: RowCounts, max_failed_fraction: float) -> bool:
    """Whether a task's labels may take another task's place: none is missing, and no more rows failed than allowed."""
    return not rows.pending and not too_many_failed(rows, max_failed_fraction)


def too_many_failed(rows: RowCounts, max_failed_fraction: float) -> bool:
    """Whether more of the rows with a text have failed than a job allows."""
    return bool(rows.with_text) and rows.failed / rows.with_text > max_failed_fraction


def published_in(labeled: Path) -> Published | None:
    """What the manifest beside a folder says of it; None where none can be read, or nothing of what it names is there."""
    try:
        manifest = json.loads(labeled.with_name(MANIFEST).read_bytes())
        if not any((labeled / file["path"]).exists() for file in manifest["files"]):
            return None
        return Published.model_validate({**manifest, "ok": manifest["rows"]["ok"] or 0})
    except (OSError, ValueError, TypeError, KeyError, ValidationError):
        return None


def has_paid_answers(folder: OutputFolder) -> bool:
    """Whether a model was ever asked into an output folder."""
    paid = (task for task in folder.ledgers.glob("*/") if not task.name.startswith(PRACTICE_PREFIX))
    return any(path.suffix in {".parquet", ".jsonl"} for task in paid for path in task.iterdir())
