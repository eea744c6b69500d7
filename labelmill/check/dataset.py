"""What can be wrong with a job's source, as (place, sentence). Files are looked at, nothing is written."""

from collections.abc import Collection, Mapping, Sequence
from errno import EIO
from pathlib import Path
from typing import Any

import polars as pl

from labelmill.dataset.columns import free_prefix, label_columns, names_in_the_way
from labelmill.dataset.merge_state import MergeState, text_key_of
from labelmill.dataset.parquet import ParquetError, read_footer
from labelmill.dataset.source import SourceFile, SourceListing, list_source, root_of, source_files
from labelmill.dataset.template import TemplateError, TextTemplate, read_template
from labelmill.dataset.unreadable import faults_in
from labelmill.errors import JobRefused, Mistake, is_outage, reader_words
from labelmill.job.file import nearest
from labelmill.job.model import LabelJob, Output, Source
from labelmill.plural import counted
from labelmill.store.address import AddressError, is_url, missing_package
from labelmill.store.files import shown_path
from labelmill.store.folder import OutputFolder
from labelmill.store.objects import StoreError
from labelmill.store.working import folder_of

_NAMED_FILES = 5
_NAMED_COLUMNS = 30
_SAMPLED_FILES = 10
_SAMPLED_ROWS = 1000


def source_mistakes(
    source: Source, output: Output | None = None
) -> tuple[SourceListing | None, list[tuple[str, str]]]:
    """A source's files, and what is wrong with them and their columns, as (place, sentence).

    The files are None where none can be looked for. What has been labeled into `output` from the same columns under the same
    names of ours, and has not changed since, is not looked into again.
    """
    template, found = _template_of(source)
    listing, mistakes = listing_of(source)
    found += mistakes
    if listing is not None:
        prefix = output.column_prefix if output is not None else ""
        labeled = _labeled_before(listing.files, output, template)
        new = [file for file in listing.files if file not in labeled]
        found += _file_mistakes(new, template, prefix, have_others=bool(labeled))
    return listing, found


def _labeled_before(
    files: Sequence[SourceFile], output: Output | None, template: TextTemplate | None
) -> set[SourceFile]:
    if output is None or template is None:
        return set()
    folder, names = OutputFolder(folder_of(output)), tuple(label_columns(output.column_prefix))
    states = [MergeState.beside(labeled) for labeled in (folder.labeled, folder.practice_labeled)]
    alike = [state for state in states if (state.text, state.column_names) == (text_key_of(template), names)]
    return {file for file in files if any(state.known(file.relative, file.path) for state in alike)}


def _template_of(source: Source) -> tuple[TextTemplate | None, list[tuple[str, str]]]:
    try:
        return read_template(source.text), []
    except TemplateError as error:
        return None, [("source.text", f"the template can't be read: {error}")]


def listing_of(source: Source) -> tuple[SourceListing | None, list[tuple[str, str]]]:
    """A source's files, and what is wrong with where they lie."""
    if is_url(source.path) and (missing := missing_package()) is not None:
        return None, [("source.path", missing)]
    try:
        listing = list_source(source.path, source.storage)
        sentences = first_few(listing.mistakes)
        if not listing.files and not sentences:
            sentences = [_nothing_at(listing)]
    except AddressError as error:
        return None, [("source.path", str(error))]
    except OSError as error:
        sentence = f"{str(error.filename or source.path)!r} can't be read: {error.strerror}"
        return None, [("source.path", sentence)]
    return listing, [("source.path", sentence) for sentence in sentences]


def _nothing_at(listing: SourceListing) -> str:
    path, passed_over = listing.path, listing.notice()
    if is_url(path):
        sentence = f"there is no *.parquet object at {path!r}"
        return f"{sentence}. {passed_over}" if passed_over else sentence
    if Path(path).is_dir():
        sentence = f"there is no *.parquet file in the folder {str(Path(path).absolute())!r}"
    elif Path(path).exists():
        return f"{str(Path(path).absolute())!r} is not a regular file"
    elif any(mark in path for mark in "*?["):
        sentence = f"no file matches {path!r}; looked in {str(root_of(path).absolute())!r}"
    else:
        sentence = f"there is no file or folder {str(Path(path).absolute())!r}"
    return f"{sentence}. {passed_over}" if passed_over else sentence


def check_columns(job: LabelJob, where: str) -> None:
    """Read all columns of all of a job's files: more than a run needs, and only on demand, since all of it is decoded.

    Args:
        job: the job, checked otherwise.
        where: what its mistakes stand under.

    Raises:
        JobRefused: with every column that can't be read.
    """
    mistakes = [
        Mistake(
            f"{where}, source.path",
            f"{fault.sentence(file.path)}; fix the file or take it out of the source",
        )
        for file in source_files(job.source.path, job.source.storage)
        for fault in faults_in(file.path)
    ]
    if mistakes:
        raise JobRefused(mistakes)


def _file_mistakes(
    files: Sequence[SourceFile], template: TextTemplate | None, prefix: str, *, have_others: bool
) -> list[tuple[str, str]]:
    readable, unreadable = read_schemas(files)
    found = [("source.path", sentence) for sentence in first_few(unreadable)]
    if template is not None:
        sentences = _column_mistakes(readable, template, have_others=have_others)
        found += [("source.text", sentence) for sentence in first_few(sentences)]
    return [*found, *(("source.path", sentence) for sentence in first_few(_taken_names(readable, prefix)))]


def read_schemas(files: Sequence[SourceFile]) -> tuple[dict[SourceFile, pl.Schema], list[str]]:
    """The columns of each file that is Parquet, and a sentence on each that isn't or can't be read.

    Where a store is not to be had, the files after that are not asked for: each would be waited for as long.
    """
    schemas, unreadable = {}, []
    for file in files:
        try:
            read_footer(file.path)
            schemas[file] = file.schema()
        except ParquetError as error:
            unreadable.append(str(error))
        except (pl.exceptions.PolarsError, OSError) as error:
            unreadable.append(f"{shown_path(file.path)!r} can't be read ({reader_words(error)})")
            if is_outage(error) or (isinstance(error, StoreError) and error.errno == EIO):
                break
        except pl.exceptions.PanicException as error:  # a time zone without a name, such as +05:30
            reason = reader_words(error)
            unreadable.append(f"{shown_path(file.path)!r} has a column that Polars can't read ({reason})")
    return schemas, unreadable


def _column_mistakes(
    schemas: Mapping[SourceFile, pl.Schema], template: TextTemplate, *, have_others: bool
) -> list[str]:
    columns_of = {
        file: {**dict.fromkeys(file.partitions, pl.String()), **schema} for file, schema in schemas.items()
    }
    found, binary = [], []
    wanted = list(dict.fromkeys(template.columns))
    typed = {column for columns in columns_of.values() for column in wanted if columns.get(column) != pl.Null}
    if have_others:
        typed |= set(wanted)
    for file, columns in columns_of.items():
        for column in wanted:
            if column not in columns:
                found.append(
                    f"{shown_path(file.path)!r} has no column {column!r}{columns_hint(column, columns)}"
                )
            elif columns[column] == pl.Binary:
                binary.append((file, column))
            # Writers give a column that is null throughout the type Null: no text in this file, but in others.
            elif not _is_readable_as_text(columns[column], alone=template.is_column) and not (
                columns[column] == pl.Null and column in typed
            ):
                found.append(
                    f"the column {column!r} of {shown_path(file.path)!r} is {columns[column]}, not text"
                )
    return [*found, *_binary_mistakes(binary)]


def _binary_mistakes(columns: Sequence[tuple[SourceFile, str]]) -> list[str]:
    """The first binary column found that holds no text; some files and some rows of each are looked at.

    JSON and what old writers leave are text in UTF-8 that isn't called so; pictures and digests are none.
    """
    for file, column in columns[:: max(1, len(columns) // _SAMPLED_FILES)]:
        try:
            row = file.first_not_utf8(column, _SAMPLED_ROWS)
        except (pl.exceptions.PolarsError, OSError) as error:
            reason = reader_words(error)
            return [f"the column {column!r} of {shown_path(file.path)!r} can't be read ({reason})"]
        if row is not None:
            return [
                f"the column {column!r} of {shown_path(file.path)!r} is Binary, and row {row:,} of it is not UTF-8 text"
            ]
    return []


def columns_hint(name: str, columns: Collection[str]) -> str:
    """Which columns there are in the place of one that there isn't, and which of them may have been meant."""
    shown = list(columns)[:_NAMED_COLUMNS]
    more = len(columns) - len(shown)
    listed = ", ".join(map(repr, shown)) + (f" and {more} more" if more else "")
    close = nearest(name, list(columns))
    return f"; its columns are {listed or 'none'}" + (f"; did you mean {close!r}?" if close else "")


def _is_readable_as_text(dtype: Any, *, alone: bool) -> bool:
    if isinstance(dtype, pl.BaseExtension):
        return _is_readable_as_text(dtype.ext_storage(), alone=alone)
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return True
    written_out = dtype.is_numeric() or dtype.is_temporal() or isinstance(dtype, pl.Boolean)
    return not alone and written_out and not isinstance(dtype, pl.Duration)


def _taken_names(schemas: Mapping[SourceFile, pl.Schema], prefix: str) -> list[str]:
    """Columns and partitions that are called like one of ours, and what to do, which the first sentence says."""
    columns_of = {file: [*schema, *file.partitions] for file, schema in schemas.items()}
    found = [
        taken_sentence(repr(shown_path(file.path)), name, ours)
        for file, columns in columns_of.items()
        for name, ours in names_in_the_way(columns, prefix).items()
    ]
    if found:
        free = free_prefix([name for columns in columns_of.values() for name in columns])
        found[0] += (
            f'; rename it, or have ours begin with another prefix: column_prefix = "{free}" under [output]'
        )
    return found


def taken_sentence(whose: str, name: str, ours: str) -> str:
    """Say that a column is called like one of ours."""
    is_what = "which is the name" if name == ours else f"which many programs take for {ours!r}, the name"
    return f"{whose} has a column {name!r}, {is_what} of a column that Labelmill adds"


def first_few(sentences: Sequence[str]) -> list[str]:
    """The first of many sentences of one kind, and how many more there are."""
    shown = list(sentences[:_NAMED_FILES])
    more = len(sentences) - len(shown)
    return [*shown, f"and {counted(more, 'more file')} like these"] if more else shown
