"""The check before anything is spent: all that a user can mend, found at once.

Everything here reads; nothing writes and nothing asks a model.
"""

import os
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from labelmill.dataset.merge import LABEL_COLUMNS
from labelmill.dataset.source import SourceFile, is_url, root_of, source_files
from labelmill.dataset.template import TemplateError, TextTemplate, read_template
from labelmill.errors import JobRefused, Mistake
from labelmill.job.file import JobDraft, near
from labelmill.job.model import LabelJob, Output, Prompt, Run, Source
from labelmill.model.answers import normalise
from labelmill.model.endpoint import Endpoint, endpoint_of
from labelmill.money.prices import price_of

_FEWEST_LABELS = 2
_NAMED_FILES = 5


def checked_job(draft: JobDraft, model_base_url: str | None = None) -> LabelJob:
    """The job of a draft in which there is nothing to mend.

    Raises:
        JobRefused: with every mistake in the job and its dataset.
    """
    mistakes = [*draft.mistakes, *_dataset_mistakes(draft)]
    if draft.job is not None:
        mistakes += _model_mistakes(draft.job, draft.where, endpoint_of(draft.job, model_base_url))
    if mistakes or draft.job is None:
        raise JobRefused(mistakes)
    return draft.job


def _dataset_mistakes(draft: JobDraft) -> list[Mistake]:
    found: list[tuple[str, str]] = []
    labels, prompt = draft.section("labels"), draft.section("prompt")
    source, output = draft.section("source"), draft.section("output")
    if isinstance(labels, Mapping):
        found += label_mistakes(labels)
    if isinstance(prompt, Prompt):
        found += prompt_mistakes(prompt)
    if isinstance(source, Source):
        found += source_mistakes(source)
    if isinstance(output, Output):
        found += output_mistakes(output, source if isinstance(source, Source) else None)
    return [Mistake(f"{draft.where}, {place}", sentence) for place, sentence in found]


def label_mistakes(labels: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with a set of labels, as (place, sentence)."""
    found = []
    if len(labels) < _FEWEST_LABELS:
        has = f"only {next(iter(labels))!r}" if labels else "none"
        found.append(("labels", f"there must be two labels or more, and there is {has}"))
    seen: dict[str, str] = {}
    for name in labels:
        key = normalise(name)
        if not key:
            found.append(("labels", f"the label {name!r} is blank"))
        elif "\n" in name:
            found.append(("labels", f"the label {name!r} holds a line break, which a short answer can't"))
        elif key in seen:
            found.append(
                ("labels", f"{seen[key]!r} and {name!r} differ only by case, width or space; rename one")
            )
        seen.setdefault(key, name)
    return found


def prompt_mistakes(prompt: Prompt) -> list[tuple[str, str]]:
    """What is wrong with a job's own wording, as (place, sentence)."""
    found = []
    fields: dict[str, set[str]] = {}
    for part in ("system", "user"):
        words = getattr(prompt, part)
        if words is None:
            continue
        try:
            fields[part] = {name for _, name, _, _ in string.Formatter().parse(words) if name is not None}
        except ValueError as error:
            found.append((f"prompt.{part}", f"its braces don't match ({error}); write a literal brace twice"))
            continue
        unknown = fields[part] - {"labels", "text"}
        if unknown:
            named = ", ".join("{" + name + "}" for name in sorted(unknown))
            found.append((f"prompt.{part}", f"it names {named}, but there is only {{labels}} and {{text}}"))
    if "user" in fields and "text" not in fields["user"]:
        found.append(("prompt.user", "it has no {text}, so the model would not see the row"))
    if "system" in fields and "labels" not in fields["system"] | fields.get("user", set()):
        found.append(
            ("prompt.system", "it has no {labels}, and neither has prompt.user: the model would not see them")
        )
    return found


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
        elif root.is_relative_to(folder / "labeled"):
            found.append(("output.path", f"the source {str(root)!r} is inside it, and would be written over"))
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not nearest.is_dir():
        found.append(
            ("output.path", f"{str(nearest)!r} is a file, so there can be no folder {str(folder)!r}")
        )
    elif not os.access(nearest, os.W_OK | os.X_OK):
        found.append(("output.path", f"{str(nearest)!r} is not writable"))
    return found


def _model_mistakes(job: LabelJob, where: str, endpoint: Endpoint) -> list[Mistake]:
    found = []
    if endpoint.needs_key and not os.environ.get(endpoint.api_key_env):
        found.append(
            Mistake(
                endpoint.api_key_env,
                f"{where} needs a key for {endpoint.base_url}, and neither the environment nor .env has "
                f'{endpoint.api_key_env}; to try the job without one, set model.provider = "practice"',
            )
        )
    limits = [
        name
        for name in Run.model_fields
        if name.startswith("max_cost_usd") and getattr(job.run, name) is not None
    ]
    if limits and price_of(job, endpoint.base_url) is None:
        found.append(
            Mistake(
                f"{where}, run.{limits[0]}",
                f"a budget can't be kept, since the price of {job.model.name!r} is unknown; "
                "add a [price] section with input_usd_per_mtok and output_usd_per_mtok",
            )
        )
    return found
