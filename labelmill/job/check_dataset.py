"""What can be wrong with a job's source and output, as (place, sentence). Files are looked at, nothing is written."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from labelmill.dataset.merge import LABEL_COLUMNS
from labelmill.dataset.source import SourceFile, is_url, root_of, source_files
from labelmill.dataset.template import TemplateError, TextTemplate, read_template
from labelmill.job.file import near
from labelmill.job.model import Output, Source

_NAMED_FILES = 5


def source_mistakes(source: Source) -> list[tuple[str, str]]:
    """What is wrong with a source's files and columns, as (place, sentence)."""
    found: list[tuple[str, str]] = []
    template: TextTemplate | None = None
    try:
        template = read_template(source.text)
    except TemplateError as error:
        found.append(("source.text", f"the template can't be read: {error}"))
    if is_url(source.path):
        found.append(
            (
                "source.path",
                "object-store addresses can't be read by this version; found " + repr(source.path),
            )
        )
        return found
    files = source_files(source.path)
    if not files:
        found.append(("source.path", _nothing_at(source.path)))
    readable, unreadable = _schemas_of(files)
    found += [("source.path", sentence) for sentence in _first_few(unreadable)]
    if template is not None:
        found += [("source.text", sentence) for sentence in _first_few(_column_mistakes(readable, template))]
    found += [("source.path", sentence) for sentence in _first_few(_taken_names(readable))]
    return found


def _nothing_at(path: str) -> str:
    if Path(path).is_dir():
        return f"there is no *.parquet file in the folder {Path(path).absolute()}"
    if any(mark in path for mark in "*?["):
        return f"no file matches {path!r}; looked in {root_of(path).absolute()}"
    return f"there is no file or folder {str(Path(path).absolute())!r}"


def _schemas_of(files: Sequence[SourceFile]) -> tuple[dict[SourceFile, pl.Schema], list[str]]:
    schemas, unreadable = {}, []
    for file in files:
        try:
            schemas[file] = file.schema()
        except (pl.exceptions.PolarsError, OSError) as error:
            reason = str(error).splitlines()[0]
            unreadable.append(f"{str(file.path)!r} is not a Parquet file, or it is truncated ({reason})")
    return schemas, unreadable


def _column_mistakes(schemas: Mapping[SourceFile, pl.Schema], template: TextTemplate) -> list[str]:
    found = []
    for file, schema in schemas.items():
        columns = {**dict.fromkeys(file.partitions, pl.String()), **schema}
        for column in template.columns:
            if column not in columns:
                hint = near(column, list(columns), "columns")
                found.append(f"{str(file.path)!r} has no column {column!r}{hint}")
            elif not _is_readable_as_text(columns[column], alone=template.is_column):
                found.append(f"the column {column!r} of {str(file.path)!r} is {columns[column]}, not text")
    return found


def _is_readable_as_text(dtype: Any, *, alone: bool) -> bool:
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return True
    return not alone and not (dtype.is_nested() or isinstance(dtype, pl.Binary | pl.Object | pl.Null))


def _taken_names(schemas: Mapping[SourceFile, pl.Schema]) -> list[str]:
    return [
        f"{str(file.path)!r} has a column {name!r}, which is the name of a column that Labelmill adds; rename it"
        for file, schema in schemas.items()
        for name in schema
        if name in LABEL_COLUMNS
    ]


def _first_few(sentences: Sequence[str]) -> list[str]:
    shown = list(sentences[:_NAMED_FILES])
    more = len(sentences) - len(shown)
    return [*shown, f"and {more} more files like these"] if more else shown


def output_mistakes(output: Output, source: Source | None) -> list[tuple[str, str]]:
    """What is wrong with an output folder, as (place, sentence)."""
    if is_url(output.path):
        return [
            ("output.path", f"results can be written to folders only by this version; found {output.path!r}")
        ]
    folder = Path(output.path).resolve()
    found = []
    if source is not None and not is_url(source.path):
        root = root_of(source.path).resolve()
        whole_folder = Path(source.path).is_dir() or "**" in source.path
        if folder == root or (whole_folder and folder.is_relative_to(root)):
            found.append(
                (
                    "output.path",
                    f"{str(folder)!r} is inside the source {str(root)!r}; choose a folder outside",
                )
            )
        elif root.is_relative_to(folder):
            found.append(("output.path", f"the source {str(root)!r} is inside it; choose another folder"))
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not nearest.is_dir():
        found.append(
            ("output.path", f"{str(nearest)!r} is a file, so there can be no folder {str(folder)!r}")
        )
    elif not os.access(nearest, os.W_OK | os.X_OK):
        found.append(("output.path", f"{str(nearest)!r} is not writable"))
    return found
