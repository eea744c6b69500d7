"""A new job file: the fields that people set, each with what it is for, as TOML that a person goes on writing."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_NAME_CHARACTERS = 60
"""Of four bytes each they still make a file's name."""
_NOT_IN_A_NAME = re.compile(r"[/%&<>\x00-\x1f\x7f]+")
_COMMENT_COLUMN = 36
_ESCAPES = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


@dataclass(frozen=True)
class NewJob:
    """What a new job file says.

    Attributes:
        name: what people call the job.
        slug: what its keys in Prefect begin with; None where the name will do.
        path: the source.
        text: the text of a row.
        labels: the labels, whose meanings are left to the user.
        provider: who is asked.
        model: for which model.
        max_cost_usd: what a run may cost; None where no budget can be kept.
        output: the output folder.
        column_prefix: what our columns begin with, where the source has a column of such a name.
    """

    name: str
    slug: str | None
    path: str
    text: str
    labels: Sequence[str]
    provider: str
    model: str
    max_cost_usd: float | None
    output: str
    column_prefix: str = ""


def job_text_of(new: NewJob) -> str:
    """The file."""
    budget = "the most that one run may cost, in USD"
    prefix = (
        [
            _line(
                "column_prefix",
                new.column_prefix,
                "our columns' names begin so: the source has a label already",
            )
        ]
        if new.column_prefix
        else []
    )
    parts = [
        "# A job of Labelmill. Every field is in docs/job.md; relative paths start at the folder the command runs in.",
        "",
        _line("name", new.name, "what people call it"),
        *([_line("slug", new.slug, "its name in the addresses of Prefect's pages")] if new.slug else []),
        "",
        "[source]",
        _line("path", new.path, 'a Parquet file, a glob such as "news/*.parquet", or a folder'),
        _line("text", new.text, 'a column, or a template over several: "{title}\\n{body}"'),
        "",
        "[labels]",
        '# name = "what it means". A few well-chosen words are worth their tokens, which each request has; "" is none.',
        *(f'{toml_key(label)} = ""' for label in new.labels),
        "",
        "[model]",
        _line(
            "provider",
            new.provider,
            'who is asked (docs/providers.md); "practice" needs no key and costs nothing',
        ),
        _line("name", new.model, "the model, as the provider calls it; the price is looked up by it"),
        "",
        "[run]",
        _line("lane", "live", 'or "batch": about half the price, and an answer within a day'),
        _line("max_concurrency", 32, "the most requests in flight at once"),
        _line("max_cost_usd", new.max_cost_usd, budget)
        if new.max_cost_usd is not None
        else _line("# max_cost_usd", 1.0, f"{budget}: needs [price], since no list has this model's"),
        "",
        "[output]",
        _line("path", new.output, "labeled/, the report and what was paid for go here"),
        *prefix,
    ]
    return "\n".join(parts) + "\n"


def _line(name: str, value: str | float, comment: str) -> str:
    told = toml_string(value) if isinstance(value, str) else str(value)
    line = f"{name} = {told}"
    cells = sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in line)
    return f"{line}{' ' * max(1, _COMMENT_COLUMN - cells)}# {comment}"


def toml_string(value: str) -> str:
    """A string in TOML, on one line, whatever it holds.

    Raises:
        UnicodeEncodeError: it holds half a character, which no TOML file can.
    """
    value.encode()
    return f'"{"".join(map(_escaped, value))}"'


def toml_key(name: str) -> str:
    """A name in TOML, in quotes where it needs them."""
    return name if _BARE.fullmatch(name) else toml_string(name)


def _escaped(sign: str) -> str:
    if sign in _ESCAPES:
        return _ESCAPES[sign]
    is_unseen = not sign.isprintable() and sign != " "
    return f"\\U{ord(sign):08x}" if is_unseen else sign


def job_name_of(words: str) -> str:
    """A job's name made from a file's: without what no name may hold, and not too long."""
    name = _NOT_IN_A_NAME.sub("-", words)
    name = "".join(sign if sign.isprintable() else " " for sign in name).strip(" .-")
    return name[:_NAME_CHARACTERS].rstrip(" .-") or "labels"


_QUOTED = re.compile(r'"([^"]*)"|“([^”]*)”|「([^」]*)」')
_SEPARATOR = re.compile(r"[,，、;；\n\t]")


def labels_in(words: str) -> list[str]:
    """The labels of a list that a person has typed, each once: `sport, business` or `体育、商业`.

    One in quotes may hold a comma or whatever else parts labels.
    """
    labels, position = [], 0
    while position <= len(words):
        start = position + len(words[position:]) - len(words[position:].lstrip(" \u3000"))
        quoted = _QUOTED.match(words, start)
        end = _SEPARATOR.search(words, position)
        if quoted is not None and re.match(r"\s*([,，、;；]|$)", words[quoted.end() :]):
            labels.append(next(part for part in quoted.groups() if part is not None))
            end = _SEPARATOR.search(words, quoted.end())
        else:
            labels.append(words[position : end.start() if end else None])
        position = end.end() if end else len(words) + 1
    return [label for label in dict.fromkeys(label.strip() for label in labels) if label]
