"""Our columns: what they hold, and what they are called under a job's prefix.

Within the program they have their plain names; the prefix counts where files are written and read.
"""

from collections.abc import Iterable, Sequence

import polars as pl

LABEL_COLUMNS = pl.Schema(
    {
        "label": pl.String,
        "label_status": pl.String,
        "label_error": pl.String,
        "label_confidence": pl.Float64,
        "label_model": pl.String,
        "label_run_id": pl.String,
    }
)
"""What `labeled/` adds to the source's columns, whether or not anything failed."""

FAILURE_COLUMNS = pl.Schema(
    {
        "failure_kind": pl.String,
        "failure_message": pl.String,
        "failure_requests": pl.Int64,
        "failure_cost_usd": pl.Float64,
    }
)
"""What `failed/` adds to the source's columns."""


def label_columns(prefix: str = "") -> pl.Schema:
    """`LABEL_COLUMNS` under a prefix: what is added to a labeled file."""
    return _under(prefix, LABEL_COLUMNS)


def failure_columns(prefix: str = "") -> pl.Schema:
    """`FAILURE_COLUMNS` under a prefix: what is added to a row in `failed/`."""
    return _under(prefix, FAILURE_COLUMNS)


def _under(prefix: str, schema: pl.Schema) -> pl.Schema:
    return pl.Schema({prefix + name: dtype for name, dtype in schema.items()})


def names_in_the_way(columns: Iterable[str], prefix: str) -> dict[str, str]:
    """The columns of a source that clash with one of ours under a prefix: each with our name.

    Upper and lower case count as one: many engines have one column by both names, and hide ours. A file of `failed/` has our
    failure columns, all of them, and is a source like any other: they give way to the new ones.
    """
    columns = set(columns)
    ours = {*label_columns(prefix)}
    failures = {*failure_columns(prefix)}
    theirs = columns - failures if failures <= columns else columns
    by_lower = {name.lower(): name for name in (*ours, *failures)}
    return {name: by_lower[name.lower()] for name in sorted(theirs) if name.lower() in by_lower}


def free_prefix(columns: Sequence[str]) -> str:
    """A prefix under which no column of a source clashes with one of ours."""
    number = 1
    while names_in_the_way(columns, prefix := f"lm{number if number > 1 else ''}_"):
        number += 1
    return prefix


def prefix_in(columns: Sequence[str]) -> str | None:
    """The prefix of a labeled file, told by its last columns; None where it is no labeled file."""
    names = LABEL_COLUMNS.names()
    last = list(columns[-len(names) :])
    prefix = last[0].removesuffix(names[0]) if last else ""
    return prefix if last == label_columns(prefix).names() else None
