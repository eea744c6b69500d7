"""What can be wrong with a job's source and output, as (place, sentence). Files are looked at, nothing is written."""

import fnmatch
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from labelmill.dataset.columns import free_prefix, names_in_the_way
from labelmill.dataset.source import SourceFile, SourceListing, is_url, list_source, root_of
from labelmill.dataset.template import TemplateError, TextTemplate, read_template
from labelmill.job.file import nearest
from labelmill.job.model import Output, Source

_NAMED_FILES = 5
_NAMED_COLUMNS = 30
_MOST_DIGITS = 38
"""The widest decimal that Polars can write; it reads wider ones."""


def dataset_mistakes(source: Source | None, output: Output | None) -> list[tuple[str, str]]:
    """What is wrong with a source's files and columns and with an output folder, as (place, sentence).

    A section that is None is not looked at.
    """
    found: list[tuple[str, str]] = []
    listing: SourceListing | None = None
    if source is not None:
        template, mistakes = _template_of(source)
        found += mistakes
        listing, mistakes = _listing_of(source)
        found += mistakes
        if listing is not None:
            prefix = output.column_prefix if output is not None else ""
            found += _file_mistakes(listing.files, template, prefix)
    if output is not None:
        found += _output_mistakes(output, listing)
    return found


def _template_of(source: Source) -> tuple[TextTemplate | None, list[tuple[str, str]]]:
    try:
        return read_template(source.text), []
    except TemplateError as error:
        return None, [("source.text", f"the template can't be read: {error}")]


def _listing_of(source: Source) -> tuple[SourceListing | None, list[tuple[str, str]]]:
    """A source's files, and what is wrong with where they lie."""
    if is_url(source.path):
        sentence = f"object-store addresses can't be read by this version; found {source.path!r}"
        return None, [("source.path", sentence)]
    try:
        listing = list_source(source.path)
        sentences = _first_few(listing.mistakes)
        if not listing.files and not sentences:
            sentences = [_nothing_at(listing)]
    except OSError as error:
        sentence = f"{str(error.filename or source.path)!r} can't be read: {error.strerror}"
        return None, [("source.path", sentence)]
    return listing, [("source.path", sentence) for sentence in sentences]


def _nothing_at(listing: SourceListing) -> str:
    path, passed_over = listing.path, listing.notice()
    if Path(path).is_dir():
        sentence = f"there is no *.parquet file in the folder {str(Path(path).absolute())!r}"
    elif Path(path).exists():
        return f"{str(Path(path).absolute())!r} is no regular file"
    elif any(mark in path for mark in "*?["):
        sentence = f"no file matches {path!r}; looked in {str(root_of(path).absolute())!r}"
    else:
        sentence = f"there is no file or folder {str(Path(path).absolute())!r}"
    return f"{sentence}; {passed_over}" if passed_over else sentence


def _file_mistakes(
    files: Sequence[SourceFile], template: TextTemplate | None, prefix: str
) -> list[tuple[str, str]]:
    readable, unreadable = read_schemas(files)
    found = [("source.path", sentence) for sentence in _first_few(unreadable)]
    if template is not None:
        found += [("source.text", sentence) for sentence in _first_few(_column_mistakes(readable, template))]
    for sentences in (_taken_names(readable, prefix), _unwritable(readable), _clashes(readable)):
        found += [("source.path", sentence) for sentence in _first_few(sentences)]
    return found


def read_schemas(files: Sequence[SourceFile]) -> tuple[dict[SourceFile, pl.Schema], list[str]]:
    """The columns of each file that is Parquet, and a sentence on each that isn't or can't be read."""
    schemas, unreadable = {}, []
    for file in files:
        try:
            schemas[file] = file.schema()
        except (pl.exceptions.PolarsError, OSError) as error:
            reason = str(error).splitlines()[0]
            unreadable.append(f"{str(file.path)!r} is not a Parquet file, or it is truncated ({reason})")
        except pl.exceptions.PanicException as error:  # a time zone without a name, such as +05:30
            reason = str(error).splitlines()[0]
            unreadable.append(f"{str(file.path)!r} has a column that Polars can't read ({reason})")
    return schemas, unreadable


def _column_mistakes(schemas: Mapping[SourceFile, pl.Schema], template: TextTemplate) -> list[str]:
    found = []
    columns_of = {
        file: {**dict.fromkeys(file.partitions, pl.String()), **schema} for file, schema in schemas.items()
    }
    for file, columns in columns_of.items():
        for column in dict.fromkeys(template.columns):
            if column not in columns:
                found.append(f"{str(file.path)!r} has no column {column!r}{_columns_hint(column, columns)}")
            elif not _is_readable_as_text(columns[column], alone=template.is_column) and not (
                # Writers give a column that is null throughout the type Null: no text in this file, but in others.
                columns[column] == pl.Null
                and any(other.get(column) != pl.Null for other in columns_of.values())
            ):
                found.append(f"the column {column!r} of {str(file.path)!r} is {columns[column]}, not text")
    return found


def _columns_hint(name: str, columns: Mapping[str, Any]) -> str:
    shown = list(columns)[:_NAMED_COLUMNS]
    more = len(columns) - len(shown)
    listed = ", ".join(map(repr, shown)) + (f" and {more} more" if more else "")
    close = nearest(name, list(columns))
    return f"; its columns are {listed or 'none'}" + (f"; did you mean {close!r}?" if close else "")


def _is_readable_as_text(dtype: Any, *, alone: bool) -> bool:
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return True
    written_out = dtype.is_numeric() or dtype.is_temporal() or isinstance(dtype, pl.Boolean)
    return not alone and written_out and not isinstance(dtype, pl.Duration)


def _taken_names(schemas: Mapping[SourceFile, pl.Schema], prefix: str) -> list[str]:
    """Columns and partitions that are called like one of ours, and what to do, which the first sentence says."""
    columns_of = {file: [*schema, *file.partitions] for file, schema in schemas.items()}
    found = [
        f"{str(file.path)!r} has a column {name!r}, "
        + ("which is the name" if name == ours else f"which many programs take for {ours!r}, the name")
        + " of a column that Labelmill adds"
        for file, columns in columns_of.items()
        for name, ours in names_in_the_way(columns, prefix).items()
    ]
    if found:
        free = free_prefix([name for columns in columns_of.values() for name in columns])
        found[0] += (
            f'; rename it, or have ours begin with another prefix: column_prefix = "{free}" under [output]'
        )
    return found


def _unwritable(schemas: Mapping[SourceFile, pl.Schema]) -> list[str]:
    return [
        f"the column {name!r} of {str(file.path)!r} is a decimal of more than {_MOST_DIGITS} digits, "
        "which can be read but not written again; cast or drop it"
        for file, schema in schemas.items()
        for name, dtype in schema.items()
        if any(isinstance(part, pl.Decimal) and part.precision > _MOST_DIGITS for part in _parts_of(dtype))
    ]


def _parts_of(dtype: Any) -> Iterator[Any]:
    """A type and all that is nested in it."""
    yield dtype
    inner = [getattr(dtype, name, None) for name in ("inner", "key", "value")]
    for part in [*inner, *(field.dtype for field in getattr(dtype, "fields", ()))]:
        if part is not None:
            yield from _parts_of(part)


def _clashes(schemas: Mapping[SourceFile, pl.Schema]) -> list[str]:
    """Columns whose types in two files have none in common, so that one file can't hold the failed rows of both."""
    found = []
    first: dict[str, tuple[SourceFile, Any]] = {}
    for file, schema in schemas.items():
        for name, dtype in schema.items():
            before, known = first.setdefault(name, (file, dtype))
            if known != dtype and not _go_together(known, dtype):
                found.append(
                    f"the column {name!r} is {known} in {str(before.path)!r} and {dtype} in {str(file.path)!r}, "
                    "which don't go together; cast one of them"
                )
    return found


def _go_together(one: Any, other: Any) -> bool:
    try:
        frames = [pl.LazyFrame(schema={"column": dtype}) for dtype in (one, other)]
        pl.concat(frames, how="vertical_relaxed").collect()
    except pl.exceptions.PolarsError:
        return False
    return True


def _first_few(sentences: Sequence[str]) -> list[str]:
    shown = list(sentences[:_NAMED_FILES])
    more = len(sentences) - len(shown)
    return [*shown, f"and {more} more files like these"] if more else shown


def _output_mistakes(output: Output, listing: SourceListing | None) -> list[tuple[str, str]]:
    """What is wrong with an output folder, as (place, sentence)."""
    if is_url(output.path):
        return [
            ("output.path", f"results can be written to folders only by this version; found {output.path!r}")
        ]
    try:
        folder = Path(output.path).resolve()
        found = [] if listing is None else _overlap(folder, listing)
        found += _obstacle(folder)
    except OSError as error:
        return [("output.path", f"{output.path!r} can't be written: {error.strerror}")]
    return [("output.path", sentence) for sentence in found]


def _overlap(folder: Path, listing: SourceListing) -> list[str]:
    root = root_of(listing.path).resolve()
    if folder == root:
        return [f"{str(folder)!r} is the source's own folder; choose a folder outside"]
    if folder.is_relative_to(root) and _reaches_below(listing.path, folder.relative_to(root)):
        return [f"{str(folder)!r} is inside the source {str(root)!r}; choose a folder outside"]
    if root.is_relative_to(folder):
        return [f"the source {str(root)!r} is inside it; choose another folder"]
    # By way of a link, whose own place says nothing.
    places = {file.path if file.path.is_symlink() else file.path.parent for file in listing.files}
    if any(place.resolve().is_relative_to(folder) for place in places):
        return [f"files of the source are links into {str(folder)!r}; choose another folder"]
    return []


def _reaches_below(source_path: str, relative: Path) -> bool:
    """Whether a source finds files below a folder of its root."""
    path = Path(source_path)
    if path.exists():
        return path.is_dir()
    folders = path.parts[len(root_of(source_path).parts) : -1]
    return "**" in folders or (
        len(folders) >= len(relative.parts) and all(map(fnmatch.fnmatch, relative.parts, folders))
    )


def _obstacle(folder: Path) -> list[str]:
    nearest_there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not nearest_there.is_dir():
        return [f"{str(nearest_there)!r} is a file, so there can be no folder {str(folder)!r}"]
    if not os.access(nearest_there, os.W_OK | os.X_OK):
        return [f"{str(nearest_there)!r} is not writable"]
    return []
