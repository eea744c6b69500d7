"""What can be wrong with a job's source, as (place, sentence). Files are looked at, nothing is written."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from labelmill.dataset.columns import free_prefix, names_in_the_way
from labelmill.dataset.source import SourceFile, SourceListing, is_url, list_source, root_of
from labelmill.dataset.template import TemplateError, TextTemplate, read_template
from labelmill.job.file import nearest
from labelmill.job.model import Source

_NAMED_FILES = 5
_NAMED_COLUMNS = 30
_MOST_DIGITS = 38
"""The widest decimal that Polars can write; it reads wider ones."""


def source_mistakes(
    source: Source, column_prefix: str = ""
) -> tuple[SourceListing | None, list[tuple[str, str]]]:
    """A source's files, and what is wrong with them and their columns, as (place, sentence).

    The files are None where none can be looked for. `column_prefix` is what our columns' names begin with.
    """
    template, found = _template_of(source)
    listing, mistakes = _listing_of(source)
    found += mistakes
    if listing is not None:
        found += _file_mistakes(listing.files, template, column_prefix)
    return listing, found


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
        sentences = first_few(listing.mistakes)
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
    found = [("source.path", sentence) for sentence in first_few(unreadable)]
    if template is not None:
        found += [("source.text", sentence) for sentence in first_few(_column_mistakes(readable, template))]
    for sentences in (_taken_names(readable, prefix), _unwritable(readable), _clashes(readable)):
        found += [("source.path", sentence) for sentence in first_few(sentences)]
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


def first_few(sentences: Sequence[str]) -> list[str]:
    """The first of many sentences of one kind, and how many more there are."""
    shown = list(sentences[:_NAMED_FILES])
    more = len(sentences) - len(shown)
    return [*shown, f"and {more} more files like these"] if more else shown
