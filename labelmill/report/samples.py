"""A few texts of each label, so that a person sees at a glance what a label stands for."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl

from labelmill.dataset.merge_state import FileState, MergeState
from labelmill.dataset.source import SourceFile, with_partitions
from labelmill.dataset.template import read_template, text_of
from labelmill.report.formatting import visible
from labelmill.run.record import RunRecord
from labelmill.store.reading import scan_parquet
from labelmill.store.working import path_at

TEXTS_PER_LABEL = 2
_MOST_FILES = 20
_MOST_ROWS = 20_000
"""How many files are looked into, and how many rows of each: a dataset may be of any size."""
_CHARACTERS = 200

Samples = Mapping[str, Sequence[str]]
"""The beginnings of a few texts of each label, each on one line."""


def samples_of(record: RunRecord) -> dict[str, tuple[str, ...]]:
    """Two texts of each label that has rows, of this run's before others; none where `labeled/` holds another run's labels.

    They are read from the labeled files, and go into the report and to the terminal: texts stand in no record and in no log.
    """
    wanted = [label for label, rows in (record.labels or {}).items() if rows]
    if not wanted or not record.is_published:
        return {}
    found: dict[str, list[str]] = {label: [] for label in wanted}
    labeled = path_at(record.labeled_path)
    looked_into = 0
    for file, relative, labels in _files_of(labeled, record.run_id):
        missing = {label for label in wanted if len(found[label]) < TEXTS_PER_LABEL}
        if not missing or looked_into == _MOST_FILES:
            break
        if labels is not None and not missing & labels:
            continue
        looked_into += 1
        for label, text in _texts_in(file, relative, record, missing):
            line = " ".join(visible(text).split())
            if line not in found[label] and len(found[label]) < TEXTS_PER_LABEL:
                found[label].append(line)
    return {label: tuple(texts) for label, texts in found.items() if texts}


def _files_of(labeled: Path, run_id: str) -> Iterator[tuple[Path, Path, frozenset[str] | None]]:
    """The labeled files, those that this run has written first, each with its labels; None where those aren't known."""
    files = MergeState.beside(labeled).files

    def is_older(item: tuple[str, FileState | None]) -> bool:
        return item[1] is None or item[1].run_id != run_id

    for name, state in sorted(files.items(), key=lambda item: (is_older(item), item[0])):
        labels = None if state is None else frozenset(str(group.label) for group in state.groups)
        yield labeled / name, Path(name), labels


def _texts_in(file: Path, relative: Path, record: RunRecord, labels: set[str]) -> list[tuple[str, str]]:
    """A few texts of some labels in one file, as (label, beginning of the text)."""
    prefix = record.job.output.column_prefix
    return (
        with_partitions(scan_parquet(file), SourceFile(file, relative).partitions)
        .head(_MOST_ROWS)
        .select(
            label=pl.col(f"{prefix}label"),
            text=text_of(read_template(record.job.source.text)).str.slice(0, _CHARACTERS),
            status=pl.col(f"{prefix}label_status"),
            is_older=pl.col(f"{prefix}label_run_id").ne_missing(record.run_id),
        )
        .filter(pl.col("status") == "ok", pl.col("label").is_in(sorted(labels)), pl.col("text").is_not_null())
        .sort("is_older", maintain_order=True)
        .unique(["label", "text"], keep="first", maintain_order=True)
        .group_by("label", maintain_order=True)
        .head(TEXTS_PER_LABEL)
        .select("label", "text")
        .collect()
        .rows()
    )
