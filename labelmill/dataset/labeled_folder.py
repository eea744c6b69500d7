"""A folder of labeled files: what in it is to be written anew, and what may go."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from labelmill.dataset.columns import label_columns
from labelmill.dataset.digests import SourceDigests
from labelmill.dataset.merge import (
    RowAnswers,
    join_answers,
    restless_words,
    write_labeled,
)
from labelmill.dataset.merge_state import (
    FileState,
    MergeState,
    Tally,
    tallies_of,
    text_key_of,
)
from labelmill.dataset.ownership import foreign_files
from labelmill.dataset.source import SourceFile
from labelmill.errors import CannotWrite
from labelmill.store.files import FileStamp, remove
from labelmill.store.ledger import Ledger
from labelmill.store.working import MANIFEST

_MOST_MERGES = 3
"""Times that a file is merged which is replaced meanwhile."""


@dataclass(eq=False)
class LabeledFolder:
    """A folder of labeled files, and the merge of a source into it.

    A file whose rows are all settled, and that has not changed since it was merged, is neither read nor written.

    Args:
        folder: `labeled/`, or its like.
        digests: the source's files, and what was read of them. What the ledger says of their rows is kept in its folder.
        ledger: the answers of one task.
        run_id: the run that merges.
        prefix: what the names of our columns begin with.
        ours: the files in the folder that Labelmill has written, as `names_of_ours` has them.
        is_same_task: whether they may be of the ledger's task. If not, that of a file that can't be read goes.
    """

    folder: Path
    digests: SourceDigests
    ledger: Ledger
    run_id: str
    prefix: str = ""
    ours: frozenset[str] = frozenset()
    is_same_task: bool = True

    def __post_init__(self) -> None:
        digests, ledger = self.digests, self.ledger
        self._files = digests.files
        self._ledger_state = ledger.state()
        self._before = MergeState.beside(self.folder)
        self._columns_named = label_columns(self.prefix).names()
        is_mine = self._before.is_of(ledger, digests.template)
        self._known = {
            number: state
            for number, file in enumerate(self._files if is_mine else ())
            if (state := self._before.known(file.relative, file.path)) is not None
        }
        self.answers: dict[int, RowAnswers] = {}
        """What the ledger says of the rows of those files that were joined, by the file's number."""
        self.written: set[int] = set()
        """The files that were replaced."""
        self.told_anew: set[int] = set()
        """Files of which this run tells the failed rows anew, though they are what they were."""
        self._joins = 0
        self._groups: dict[int, tuple[Tally, ...]] = {}
        self._open: dict[int, int] = {}
        self._columns: dict[int, str] = {}

    def to_merge(self) -> list[int]:
        """The files whose labels may not be what stands beside their rows."""
        has_revived = self.ledger.has_revived(self._before.ledger)
        asked = self.digests.stamps.keys()
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
        readable = self.digests.read(numbers)
        if not readable:
            return
        self._joins += 1
        folder = self.digests.folder / f"answers-{self._joins}"
        answers = join_answers(self.digests, readable, self.ledger, folder)
        counts = answers.counts(self.run_id)
        groups = tallies_of(counts)
        open_rows = dict(counts.filter("is_open").group_by("number").agg(pl.col("rows").sum()).iter_rows())
        self._columns |= answers.fingerprints()
        for number in readable:
            self.answers[number] = answers
            self._groups[number] = groups.get(number, ())
            self._open[number] = open_rows.get(number, 0)

    def row_groups(self) -> Iterator[Tally]:
        """All rows by what became of them."""
        for number in range(len(self._files)):
            if number in self.digests.faults:
                continue
            state = self._known.get(number)
            yield from self._groups.get(number, state.groups if state else ())

    def failed_runs(self) -> dict[str, list[int]]:
        """The runs that have left the failed rows of files which were not written since, and the files' numbers."""
        runs: dict[str, list[int]] = {}
        for number, state in self._known.items():
            if state.failed_rows and number not in self.written | self.told_anew:
                runs.setdefault(state.run_id, []).append(number)
        return runs

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
        left_out = () if self.is_same_task else self.digests.faults
        planned = {self._name(number) for number in range(len(self._files)) if number not in left_out}
        gone, _ = foreign_files(self.folder, self.ours, planned)
        if outdated or gone:
            remove(self.folder.with_name(MANIFEST))
            noted = dict.fromkeys(self.ours) | self._before.files | dict.fromkeys(map(self._name, outdated))
            self._before.model_copy(update={"files": noted}).write_beside(self.folder)
        for name in gone:
            remove(self.folder / name)
        stamps = self._write(outdated)
        self.written = set(stamps)
        after = self._state_after(outdated, stamps)
        if after != self._before or outdated or gone:
            after.write_beside(self.folder)
        missing = outdated - stamps.keys() - self.digests.faults.keys()
        restless = [self._files[number] for number in missing if number in self.answers]
        if restless:
            raise CannotWrite(restless_words(sorted(restless, key=lambda file: file.relative)))

    def _write(self, outdated: set[int]) -> dict[int, FileStamp]:
        """Write some labeled files; one whose source changes meanwhile is merged again, a few times."""
        stamps: dict[int, FileStamp] = {}
        for merge in range(_MOST_MERGES):
            missing = outdated - stamps.keys() - self.digests.faults.keys()
            if merge and missing:
                self.join(missing)
                # One that is gone meanwhile is left out.
                missing -= self.digests.faults.keys()
            together: dict[Path, list[int]] = {}
            for number in missing & self.answers.keys():
                together.setdefault(self.answers[number].folder, []).append(number)
            for numbers in together.values():
                stamps |= write_labeled(self.answers[numbers[0]], numbers, self.folder, self.prefix)
        return stamps

    def _state_after(self, outdated: set[int], stamps: Mapping[int, FileStamp]) -> MergeState:
        digests = self.digests
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
                    run_id=known.run_id
                    if known and number not in stamps.keys() | self.told_anew
                    else self.run_id,
                    rows=digests.rows[number],
                    open_rows=self._open[number],
                    groups=self._groups[number],
                )
            elif known is not None and number not in outdated:
                files[name] = known
            elif name in self.ours:
                files[name] = None
        return MergeState(
            task_key=self.ledger.folder.name,
            text=text_key_of(self.digests.template),
            column_names=tuple(self._columns_named),
            ledger=self._ledger_state,
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
        return self._before.is_intact(file.relative, self.folder, self._columns_named)

    def _name(self, number: int) -> str:
        return self._files[number].relative.as_posix()
