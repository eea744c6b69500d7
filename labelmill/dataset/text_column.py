"""Which column of a source holds the text: told from the types, from some of the rows and from the names.

    some rows of the files  ->  facts_in  ->  propose_text: a column, why, and what the others are

What names tell is data, in `text_column.toml`.
"""

import json
import math
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import polars as pl
import polars.selectors as cs

from labelmill.dataset.source import SourceFile
from labelmill.dataset.template import TemplateError, read_template

SAMPLED_ROWS = 1000
_SAMPLED_FILES = 5
_ENOUGH_CHARACTERS = 200
"""A text that is longer is no better a candidate for that."""
_ENOUGH_DISTINCT = 0.5
_NAMED_TEXT, _NAMED_OTHER = 3.0, 0.2
_LEAST_PROSE = 0.05
_ALSO_PROSE = 0.6
_MOSTLY = 0.8
_FEW_WORDS = 2
_FEW_CHARACTERS = 4
_SHOWN_COLUMNS = 20

_WORD = re.compile(r"[^\W\d_]{2,}|[^\W\d_](?=[’'])")
_CHARACTER = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\u0e00-\u0e7f]")
"""Scripts without spaces between words, and Hangul, whose words may be of one sign."""
_ADDRESS = re.compile(
    r"(?:[a-z][a-z0-9+.-]*://|www\.|/|[A-Za-z]:\\)\S*|[^\s@]+@[^\s@]+\.[^\s@]+", re.IGNORECASE
)
_IDENTIFIER = re.compile(r"(?=\S*\d)[\w.:-]{4,}")


@dataclass(frozen=True)
class ColumnFacts:
    """What some rows tell of a column.

    Attributes:
        name: its name.
        kind: its type, as Polars calls it.
        is_text: whether a text can be read from it.
        rows: how many rows were looked at; it may have something to read in all of them.
        filled: in how many it has.
        distinct: how many different values those have.
        mean_characters: how long they are.
        prose: what part of them are words in a row.
        addresses: what part are web addresses, paths or mail addresses.
        identifiers: what part are one word with digits in it, dates among them.
        objects: what part are JSON.
    """

    name: str
    kind: str
    is_text: bool = True
    rows: int = 0
    filled: int = 0
    distinct: int = 0
    mean_characters: float = 0.0
    prose: float = 0.0
    addresses: float = 0.0
    identifiers: float = 0.0
    objects: float = 0.0


@dataclass(frozen=True)
class TextProposal:
    """The column that is proposed, and why; None where no column can hold the text.

    `also` are other columns of words, and `others` says of each remaining one why it isn't the text.
    """

    column: str | None
    reason: str
    also: tuple[str, ...] = ()
    others: tuple[tuple[str, str], ...] = ()


# ---- the rows


def facts_in(sources: Sequence[SourceFile], schemas: Mapping[SourceFile, pl.Schema]) -> list[ColumnFacts]:
    """What the first rows of some files tell of their columns, in the order of these.

    Args:
        sources: the files; those that aren't in `schemas` are passed over.
        schemas: the columns of each file that can be read.
    """
    known = [source for source in sources if source in schemas]
    kinds: dict[str, Any] = {}
    values: dict[str, list[str | None]] = {}
    left = SAMPLED_ROWS
    for number, source in enumerate(known):
        for name, dtype in schemas[source].items():
            if kinds.get(name) in {None, pl.Null}:
                kinds[name] = dtype
        if number >= _SAMPLED_FILES or left <= 0:
            continue
        names = [name for name, dtype in schemas[source].items() if _may_be_text(dtype)]
        read = {name: _values_in(source, name, left) for name in names}
        for name, found in read.items():
            if found is None:
                values.pop(name, None)
                kinds[name] = pl.Object
            else:
                values.setdefault(name, []).extend(found)
        left -= min(left, source.count())
    return [_facts_of(name, kind, values.get(name)) for name, kind in kinds.items()]


def _may_be_text(dtype: Any) -> bool:
    storage = dtype.ext_storage() if isinstance(dtype, pl.BaseExtension) else dtype
    return isinstance(storage, pl.String | pl.Categorical | pl.Enum | pl.Binary)


def _values_in(source: SourceFile, name: str, rows: int) -> list[str | None] | None:
    """A column's first values as text; None where they are none."""
    text = cs.by_name(name).as_expr().ext.storage().cast(pl.String)
    try:
        return source.scan().select(value=text).head(rows).collect()["value"].to_list()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
        return None


def _facts_of(name: str, kind: Any, values: Sequence[str | None] | None) -> ColumnFacts:
    words = "bytes" if kind in {pl.Binary, pl.Object} else str(kind)
    if values is None:
        return ColumnFacts(name, words, is_text=False)
    filled = [value for value in values if value and value.strip()]
    if not filled:
        return ColumnFacts(name, words, rows=len(values))

    def part(of: Iterable[object]) -> float:
        return sum(map(bool, of)) / len(filled)

    return ColumnFacts(
        name,
        words,
        rows=len(values),
        filled=len(filled),
        distinct=len(set(filled)),
        mean_characters=sum(map(len, filled)) / len(filled),
        prose=part(map(is_prose, filled)),
        addresses=part(_ADDRESS.fullmatch(value.strip()) for value in filled),
        identifiers=part(_IDENTIFIER.fullmatch(value.strip()) for value in filled),
        objects=part(map(_is_object, filled)),
    )


def is_prose(value: str) -> bool:
    """Whether a value is words in a row, rather than one name or number, an address or an object."""
    if _ADDRESS.fullmatch(value.strip()) or _is_object(value):
        return False
    enough = len(_CHARACTER.findall(value)) >= _FEW_CHARACTERS
    return enough or len(_WORD.findall(_CHARACTER.sub(" ", value))) >= _FEW_WORDS


def _is_object(value: str) -> bool:
    told = value.strip()
    if not (told.startswith(("{", "[")) and told.endswith(("}", "]"))):
        return False
    try:
        return isinstance(json.loads(told), dict | list)
    except (ValueError, RecursionError):
        return False


# ---- the proposal


def propose_text(facts: Sequence[ColumnFacts]) -> TextProposal:
    """Propose the column that most likely holds what is to be labeled, and say what each other one is."""
    possible = [column for column in facts if _why_never(column) is None]
    if not possible:
        others = tuple((column.name, _why_never(column) or "") for column in facts)
        return TextProposal(None, "no column holds text", others=others)
    best = max(possible, key=_score)
    also = tuple(
        column.name
        for column in possible
        if column is not best and column.prose >= _ALSO_PROSE and _score(column) >= _score(best) / 4
    )
    others = tuple(
        (column.name, _why_never(column) or _description(column)) for column in facts if column is not best
    )
    return TextProposal(best.name, _reason(best), also, others)


def can_be_named(name: str) -> bool:
    """Whether `source.text` can name a column: braces make a template of it."""
    try:
        template = read_template(name)
    except TemplateError:
        return False
    return bool(name) and template.is_column and template.columns == (name,)


def _why_never(column: ColumnFacts) -> str | None:
    """Why a column can't be the text; None where it can."""
    if not column.is_text:
        return column.kind
    if not can_be_named(column.name):
        return "has braces in its name, which stand for a template in a job; rename it to use it"
    return None if column.filled else "empty"


def _score(column: ColumnFacts) -> float:
    words = _LEAST_PROSE + column.prose
    length = min(1.0, math.log1p(column.mean_characters) / math.log1p(_ENOUGH_CHARACTERS))
    differing = min(1.0, column.distinct / column.filled / _ENOUGH_DISTINCT)
    return words * length * (0.1 + differing) * (column.filled / column.rows) * _weight_of(column.name)


def _weight_of(name: str) -> float:
    plain = re.sub(r"[\s-]+", "_", name.strip().casefold())
    if plain in _names()["text"]:
        return _NAMED_TEXT
    return _NAMED_OTHER if plain in _names()["other"] or plain.endswith(("_id", "_url", "_at")) else 1.0


def _reason(column: ColumnFacts) -> str:
    said = f"{_filled_words(column)}, {column.distinct:,} of them different, {_length_words(column)}"
    return f"{said}; its name says so too" if _weight_of(column.name) == _NAMED_TEXT else said


def _filled_words(column: ColumnFacts) -> str:
    if column.filled == column.rows:
        return "the only row has one" if column.rows == 1 else f"all {column.rows:,} rows looked at have one"
    return f"{column.filled:,} of {column.rows:,} rows looked at have one"


def _length_words(column: ColumnFacts) -> str:
    return f"{max(1, round(column.mean_characters)):,} characters on average"


def _description(column: ColumnFacts) -> str:
    """What a column of text is that isn't the proposed one."""
    if column.addresses >= _MOSTLY:
        return "addresses"
    if column.objects >= _MOSTLY:
        return "JSON"
    if column.identifiers >= _MOSTLY:
        return "numbers, dates or identifiers"
    if column.prose >= _ALSO_PROSE and column.distinct >= column.filled * _ENOUGH_DISTINCT:
        return f"words too, {_length_words(column)}"
    values = "1 value" if column.distinct == 1 else f"{column.distinct:,} different values"
    return f"{values} in {column.rows:,} rows"


@cache
def _names() -> Mapping[str, frozenset[str]]:
    data = tomllib.loads(files(__package__).joinpath("text_column.toml").read_text(encoding="utf-8"))
    return {kind: frozenset(names) for kind, names in data.items()}
