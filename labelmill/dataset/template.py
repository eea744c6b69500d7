"""The text of a row: one column, or a template over several."""

import re
from dataclasses import dataclass

import polars as pl
import polars.selectors as cs

_FIELD = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|\{|\}")
_SEEN = r"[^\p{White_Space}\p{Default_Ignorable_Code_Point}\p{Cc}\x{2800}\x{fff9}-\x{fffb}]"
"""A character that a reader sees; spaces, controls and marks without width or ink are none. In Polars' own dialect."""


class TemplateError(ValueError):
    """A template with a brace that is never closed, or a field without a name."""


@dataclass(frozen=True)
class TextTemplate:
    """A row's text as literal pieces and columns in turn.

    `pieces` has one element more than `columns`: piece, column, piece, column, ..., piece.
    """

    pieces: tuple[str, ...]
    columns: tuple[str, ...]

    @property
    def is_column(self) -> bool:
        """Whether the text is one column as it stands."""
        return self.pieces == ("", "")


def read_template(text: str) -> TextTemplate:
    """Read `source.text`: a column's name, or a template with `{column}` fields (`{{` and `}}` are literal braces).

    Raises:
        TemplateError: for an unmatched brace or an empty field.
    """
    if "{" not in text and "}" not in text:
        return TextTemplate(("", ""), (text,))
    pieces, columns, start, literal = [], [], 0, ""
    for match in _FIELD.finditer(text):
        literal += text[start : match.start()]
        start = match.end()
        found = match.group()
        if found in ("{{", "}}"):
            literal += found[0]
        elif match.group(1):
            pieces.append(literal)
            columns.append(match.group(1))
            literal = ""
        elif found == "{}":
            raise TemplateError("it holds {} without a column's name")
        else:
            raise TemplateError(
                f"it holds a {found} that has no partner; write {found * 2} for a literal brace"
            )
    pieces.append(literal + text[start:])
    if not columns:
        raise TemplateError("it names no column")
    return TextTemplate(tuple(pieces), tuple(columns))


def text_of(template: TextTemplate) -> pl.Expr:
    """The row's text as the model sees it: String, null where no column has anything to read.

    That is where each is null or holds nothing that can be seen. A number, a mark or an emoji is worth asking about. A null
    among several columns counts as an empty string. Bytes are read as UTF-8; where they are none, reading them raises a
    `polars.exceptions.ComputeError`.
    """
    # A selector takes a name as it is; pl.col would read "*" and "^...$" as patterns.
    # JSON comes as an extension of String, or as Binary; what is no extension is its own storage.
    values = [cs.by_name(column).as_expr().ext.storage().cast(pl.String) for column in template.columns]
    has_words = pl.any_horizontal(value.str.contains(_SEEN).fill_null(value=False) for value in values)
    if template.is_column:
        text = values[0]
    else:
        parts: list[pl.Expr] = [pl.lit(template.pieces[0])]
        for value, piece in zip(values, template.pieces[1:], strict=True):
            parts += [value.fill_null(""), pl.lit(piece)]
        text = pl.concat_str(parts)
    return pl.when(has_words).then(text).otherwise(pl.lit(None, dtype=pl.String))
