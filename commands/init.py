"""`labelmill init`: look at a Parquet file and write a job for it."""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from dotenv import find_dotenv, load_dotenv
from slugify import slugify

from commands.invocation import command, file_word
from commands.questions import ask
from commands.run import ending_in_a_sentence
from commands.terminal import console, shown
from labelmill.check.dataset import first_few, listing_of, read_schemas, source_mistakes
from labelmill.check.job import checked_job
from labelmill.check.output import output_mistakes
from labelmill.check.prompt import label_mistakes
from labelmill.dataset.columns import free_prefix, names_in_the_way
from labelmill.dataset.source import SourceFile, SourceListing, root_of
from labelmill.dataset.text_column import TextProposal, facts_in, propose_text
from labelmill.errors import CannotWrite, JobRefused, Mistake
from labelmill.job.file import draft_of_text
from labelmill.job.model import Output, Source
from labelmill.job.new_file import NewJob, job_name_of, job_text_of, labels_in
from labelmill.plural import counted
from labelmill.providers.environment import bypass_proxies
from labelmill.providers.first_models import FirstModel, first_model
from labelmill.providers.wire import is_text

FIRST_BUDGET_USD = 1.0
_SHOWN_COLUMNS = 12
_LABELS_EXAMPLE = "sport,business,technology"
_MOST_OUTPUTS = 20
_SLUG_CHARACTERS = 60


def init_job(paths: Sequence[str], *, labels: str | None, text: str | None, output: Path | None) -> int:
    """Write a job file for a source; returns the exit code."""
    with ending_in_a_sentence(stopped="Stopped; no job file was written."):
        load_dotenv(find_dotenv(usecwd=True))
        bypass_proxies()
        path = _only(paths)
        name = job_name_of(_name_of(path))
        file = output or Path(f"{name}.toml")
        _refuse_existing(file)
        source = look_at(path)
        _show_source(path, source)
        is_asked = sys.stdin.isatty() and console.is_terminal
        column = _text_of(source, text, is_asked=is_asked)
        chosen = _labels_of(labels, is_asked=is_asked)
        model = first_model()
        new = new_job(name, path, column, chosen, model, source)
        _write(new, file)
        _show_job(new, model, file)
    return 0


# ---- the source


@dataclass(frozen=True)
class SeenSource:
    """What was seen of a source: its files, its columns and partitions, and which of these may be the text."""

    path: str
    listing: SourceListing
    columns: Sequence[str]
    proposal: TextProposal

    @property
    def prefix(self) -> str:
        """What our columns' names have to begin with."""
        return free_prefix(self.columns) if names_in_the_way(self.columns, "") else ""


def look_at(path: str) -> SeenSource:
    """See what a source is made of; some of its rows are read.

    Raises:
        JobRefused: there are no files, or none that can be read.
    """
    listing, mistakes = listing_of(Source(path=path, text="any"))
    if listing is None or mistakes:
        raise JobRefused([Mistake("FILE", sentence) for _, sentence in mistakes])
    schemas, unreadable = read_schemas(listing.files)
    if not schemas:
        raise JobRefused([Mistake("FILE", sentence) for sentence in first_few(unreadable)])
    columns = [name for schema in schemas.values() for name in schema]
    columns += [name for file in listing.files for name in file.partitions]
    return SeenSource(
        path, listing, list(dict.fromkeys(columns)), propose_text(facts_in(listing.files, schemas))
    )


def _only(paths: Sequence[str]) -> str:
    """The path, where there is one.

    Raises:
        JobRefused: there are several, as where a shell has spelled out a glob.
    """
    if len(paths) == 1 and paths[0]:
        return paths[0]
    if len(paths) == 1:
        raise JobRefused(
            [Mistake("FILE", "found nothing, expected a Parquet file, a folder, or a glob in quotes")]
        )
    folder = os.path.commonpath(map(os.path.abspath, paths))
    glob = os.path.relpath(folder) + "/*.parquet"
    sentence = f"found {len(paths):,} paths, expected one; write a glob in quotes, so that the shell leaves it alone: {glob!r}"
    raise JobRefused([Mistake("FILE", sentence)])


def _name_of(path: str) -> str:
    """What a source is called: by its file without the ending, or by its folder."""
    if Path(path).is_file():
        return Path(path).stem
    return (Path(path) if Path(path).is_dir() else root_of(path)).resolve().name


def _refuse_existing(file: Path) -> None:
    if os.path.lexists(file):
        sentence = "there is such a file already, and it stays as it is; name another with --output"
        raise JobRefused([Mistake(str(file), sentence)])


def _show_source(path: str, source: SeenSource) -> None:
    files = source.listing.files
    rows = sum(file.count() for file in files if _is_countable(file))
    _say(f"{path}: {counted(len(files), 'file')}, {counted(rows, 'row')}")
    if passed_over := source.listing.notice():
        _say(passed_over)
    proposal = source.proposal
    if proposal.column is not None:
        _say(f"The text is probably in {proposal.column!r}: {proposal.reason}.")
    others = [f"{name!r} ({what})" for name, what in proposal.others[:_SHOWN_COLUMNS]]
    more = len(proposal.others) - len(others)
    if others:
        others += [f"and {more:,} more"] if more > 0 else []
        _say(f"Other columns: {', '.join(others)}.")
    if proposal.column is not None and proposal.also:
        template = "\\n".join(f"{{{name}}}" for name in (proposal.also[0], proposal.column))
        _say(f"A template takes several: {template}")
    if source.prefix:
        there = ", ".join(map(repr, names_in_the_way(source.columns, "")))
        ours = f"{source.prefix}label"
        _say(
            f"The source has {there} already, so our columns begin with {source.prefix!r}: the labels will be in {ours!r}."
        )


def _is_countable(file: SourceFile) -> bool:
    try:
        file.count()
    except (pl.exceptions.PolarsError, OSError):
        return False
    return True


# ---- what is asked


def _text_of(source: SeenSource, told: str | None, *, is_asked: bool) -> str:
    """The text of a row: what `--text` says, what is typed, or what is proposed.

    Raises:
        JobRefused: it can't be read from the source, or nothing was proposed.
    """
    proposed = source.proposal.column
    if told is None and proposed is None and not is_asked:
        raise JobRefused(
            [Mistake("FILE", f"{source.proposal.reason}; name one with --text, or a template over several")]
        )
    if told is not None or not is_asked:
        text = told if told is not None else proposed or ""
        if mistakes := _text_mistakes(source, text):
            raise JobRefused([Mistake("--text", sentence) for sentence in mistakes])
        return text
    while True:
        typed = ask("Text column", proposed)
        text = typed.replace("\\n", "\n")
        mistakes = _text_mistakes(source, text)
        if not mistakes:
            return text
        for sentence in mistakes:
            _say(sentence)


def _text_mistakes(source: SeenSource, text: str) -> list[str]:
    if not text:
        return ["expected a column's name, or a template"]
    _, mistakes = source_mistakes(
        Source(path=source.path, text=text), Output(path="out", column_prefix=source.prefix)
    )
    return [sentence for place, sentence in mistakes if place == "source.text"]


def _labels_of(told: str | None, *, is_asked: bool) -> list[str]:
    """The labels: what `--labels` says, or what is typed.

    Raises:
        JobRefused: there is something to mend, or nobody to ask.
    """
    if told is None and not is_asked:
        sentence = (
            f"is needed without a terminal; give two labels or more, such as --labels {_LABELS_EXAMPLE}"
        )
        raise JobRefused([Mistake("--labels", sentence)])
    if told is not None:
        labels = labels_in(told)
        if mistakes := _label_mistakes(labels):
            raise JobRefused([Mistake("--labels", sentence) for sentence in mistakes])
        return labels
    while True:
        labels = labels_in(ask("Labels, with commas between them"))
        mistakes = _label_mistakes(labels)
        if not mistakes:
            return labels
        for sentence in mistakes:
            _say(sentence)


def _label_mistakes(labels: Sequence[str]) -> list[str]:
    broken = [label for label in labels if not is_text(label)]
    if broken:
        return [f"{label!a} is not UTF-8 text" for label in broken]
    return [sentence for _, sentence in label_mistakes(dict.fromkeys(labels, ""))]


# ---- the job


def new_job(  # noqa: PLR0913, PLR0917  (what a job is made of)
    name: str, path: str, text: str, labels: Sequence[str], model: FirstModel, source: SeenSource
) -> NewJob:
    """The job that is proposed.

    Raises:
        JobRefused: no folder was found for its output.
    """
    is_plain = name.isascii()
    slug = slugify(name, max_length=_SLUG_CHARACTERS) if not is_plain else ""
    return NewJob(
        name=name,
        slug=slug or None,
        path=path,
        text=text,
        labels=labels,
        provider=model.provider,
        model=model.name,
        max_cost_usd=FIRST_BUDGET_USD if model.has_price else None,
        output=_output_for(name, source.listing),
        column_prefix=source.prefix,
    )


def _output_for(name: str, listing: SourceListing) -> str:
    """The first folder that is neither in the source nor another job's.

    Raises:
        JobRefused: none was found.
    """
    mistakes: list[tuple[str, str]] = []
    for folder in _folders(name):
        found = output_mistakes(Output(path=folder), listing, name)
        if not found:
            return folder
        mistakes = mistakes or found
    raise JobRefused([Mistake("output.path", sentence) for _, sentence in mistakes])


def _folders(name: str) -> Iterator[str]:
    for base in (f"out/{name}", f"../{name}-labels"):
        yield base
        yield from (f"{base}-{number}" for number in range(2, _MOST_OUTPUTS))


def _write(new: NewJob, file: Path) -> None:
    """Write the job file where there is none, once it has passed the check.

    Raises:
        JobRefused: the job has mistakes, or there is such a file.
        CannotWrite: the folder can't be written.
    """
    try:
        content = job_text_of(new)
    except UnicodeEncodeError:
        raise JobRefused(
            [Mistake("FILE", f"{new.path!a} is not UTF-8 text, which a job file has to be")]
        ) from None
    checked_job(draft_of_text(content, str(file)))
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(content)
    except FileExistsError:
        _refuse_existing(file)
        raise
    except OSError as error:
        raise CannotWrite(f"{file} can't be written: {error.strerror or error}") from None


def _show_job(new: NewJob, model: FirstModel, file: Path) -> None:
    for note in model.notes:
        _say(f"{note}.")
    if model.key is None:
        _say(
            "No key was found in the environment or in .env, so the job rehearses with the practice provider: nothing is paid."
        )
    else:
        others = f" (so are {', '.join(model.other_keys)})" if model.other_keys else ""
        limit = (
            f", up to ${new.max_cost_usd:.2f} a run" if new.max_cost_usd is not None else ", without a limit"
        )
        _say(
            f"{model.key} is set{others}, so the job asks {model.name} ({model.provider}), which costs money{limit}."
        )
    word = file_word(file)
    console.print(f"\nWrote {shown(str(file))}. Say in it what each label means, then:\n", soft_wrap=True)
    for line in (command("check", word), command("preview", word), command("run", word)):
        console.print(f"  {shown(line)}", soft_wrap=True)


def _say(words: str) -> None:
    """Print prose: a terminal gets lines that end between words, a file or a pipe one line."""
    console.print(shown(words), soft_wrap=not console.is_terminal)
