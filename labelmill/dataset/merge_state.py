"""The merge state: what each labeled file was made from, so that a day costs the day's rows.

It stands beside `labeled/` and is a memory, not a truth: where it is missing, can't be read, or is of something else, all is
merged anew. It also names the files in `labeled/` that are Labelmill's.
"""

import json
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from labelmill.dataset.template import TextTemplate
from labelmill.store.files import FileStamp, stamp_of, write_text_whole
from labelmill.store.ledger import Ledger
from labelmill.store.working import MERGE_STATE

_VERSION = 2  # those of version 1 may have page indexes that lead nowhere: they are written again


class Tally(BaseModel):
    """How many rows of a file share a label, a status and a kind of failure."""

    model_config = ConfigDict(frozen=True)

    status: str
    label: str | None = None
    error: str | None = None
    is_new: bool = Field(default=False, exclude=True)
    """Whether the run that merged the file has labeled them; the state on disk doesn't tell."""
    rows: int


class FileState(BaseModel):
    """What a labeled file was made from, and what is in it."""

    model_config = ConfigDict(frozen=True)

    source: FileStamp | None
    """The source's file as it was read; None where it had just been written."""
    labeled: FileStamp
    """The labeled file as it was written."""
    columns: str
    """A hash of its label columns."""
    run_id: str
    """The run that has written it; what it left in `failed/` has the failed rows."""
    rows: int
    open_rows: int
    """Rows with a text that is not settled: a run asks it, or may."""
    groups: tuple[Tally, ...]

    @property
    def failed_rows(self) -> int:
        """Rows whose text was given up."""
        return sum(group.rows for group in self.groups if group.status == "failed")


class MergeState(BaseModel):
    """What stands in a `labeled/` folder, by the files' names relative to it; None of those that are being replaced."""

    model_config = ConfigDict(frozen=True)

    version: int = _VERSION
    task_key: str = ""
    text: str = ""
    """What the rows' texts were made of, as `text_key_of` has it."""
    column_names: tuple[str, ...] = ()
    """The names of the label columns."""
    ledger: dict[str, int] = {}
    """The ledger that was merged, as its `state` was then."""
    files: dict[str, FileState | None] = {}

    @classmethod
    def beside(cls, labeled: Path) -> "MergeState":
        """The state of a folder; an empty one where there is none that this version can read."""
        path = labeled.with_name(MERGE_STATE)
        try:
            stamp = stamp_of(path)
            if stamp is None:
                return cls()
            # A run asks at each of its steps: it is read once as long as the file stays the same.
            return (_read_once if stamp.is_older_than(time.time_ns()) else _read)(path, stamp)
        except OSError:
            return cls()

    def write_beside(self, labeled: Path) -> None:
        """Keep it, whole or not at all."""
        write_text_whole(labeled.with_name(MERGE_STATE), self.model_dump_json())

    def is_of(self, ledger: Ledger, template: TextTemplate) -> bool:
        """Whether it tells of a ledger's task and of texts made so, and nothing that was merged has gone from the ledger."""
        of = (ledger.folder.name, text_key_of(template))
        return (self.task_key, self.text) == of and ledger.state_now(self.ledger) is not None

    def known(self, relative: Path, source: Path) -> FileState | None:
        """What is known of a file of the source; None where that has changed since."""
        state = self.files.get(relative.as_posix())
        is_same = state is not None and state.source is not None and state.source == stamp_of(source)
        return state if is_same else None

    def is_intact(self, relative: Path, labeled: Path, column_names: Sequence[str]) -> bool:
        """Whether a labeled file is there as it was written, with such label columns."""
        state = self.files.get(relative.as_posix())
        is_same = state is not None and state.labeled == stamp_of(labeled / relative)
        return is_same and self.column_names == tuple(column_names)


def _read(path: Path, _: FileStamp) -> MergeState:
    try:
        found = MergeState.model_validate_json(path.read_bytes())
    except ValidationError:
        return MergeState()
    files = {name: state for name, state in found.files.items() if is_within(name)}
    if found.version != _VERSION:
        return MergeState(files=dict.fromkeys(files))
    return found.model_copy(update={"files": files})


_read_once = lru_cache(maxsize=4)(_read)


def text_key_of(template: TextTemplate) -> str:
    """What tells one way to make texts of rows from another."""
    return json.dumps([template.pieces, template.columns])


def is_within(name: str) -> bool:
    """Whether a name can't lead out of the folder that it is relative to: anyone may write into a manifest or a state."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\0" not in name


def tallies_of(counts: pl.DataFrame) -> dict[int, tuple[Tally, ...]]:
    """The rows of each file by what became of them, from `RowAnswers.counts`."""
    found: dict[int, list[Tally]] = {}
    groups = counts.group_by("number", "label_status", "label", "label_error", "is_new").agg(
        pl.col("rows").sum()
    )
    for number, status, label, error, is_new, rows in groups.sort(pl.all()).iter_rows():
        is_labeled = status == "ok"
        group = Tally(status=status, label=label, error=error, is_new=is_new and is_labeled, rows=rows)
        found.setdefault(number, []).append(group)
    return {number: tuple(of_file) for number, of_file in found.items()}
