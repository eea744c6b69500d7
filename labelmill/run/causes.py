"""What was said to a run's texts that got no label: the provider's messages, and the model's wrong answers."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
from pydantic import BaseModel, ConfigDict

from labelmill.question.failures import ASK_AGAIN_KINDS

MOST_SAID = 3
_CHARACTERS = 200
_STATUS = r"^(\d{3})\b"
_BLANKS = r"[\s\x00-\x1f\x7f]+"
_CHANGING = r"[\w.:-]*\d[\w.:-]*"
"""A word with a digit in it: the id of a request, a moment, a wait. In Polars' own dialect."""


class Said(BaseModel):
    """A message as one text got it, and how many texts got it or one like it."""

    model_config = ConfigDict(frozen=True)

    count: int
    text: str


@dataclass(frozen=True)
class Causes:
    """Why texts have no label, each at most `MOST_SAID` different messages, the most frequent first."""

    provider_messages: tuple[Said, ...] = ()
    wrong_answers: tuple[Said, ...] = ()


def causes_of(rows: pl.LazyFrame) -> Causes:
    """Find the causes in rows of a ledger, such as those that one run added.

    A text that has a label in one of them is left out. Messages that differ by an id, a moment or a number are one,
    unless it is the HTTP status they begin with; answers are compared as they stand.
    """
    rows = rows.select("row_key", "label", "error", "message", "answered_at_utc")
    unlabeled = rows.filter(pl.col("label").is_null() & pl.col("error").is_not_null())
    # The few that failed are held in memory, and not the many that have a label.
    labeled = (
        rows.filter(pl.col("label").is_not_null()).select("row_key").join(unlabeled, on="row_key", how="semi")
    )
    failed = (
        unlabeled.join(labeled, on="row_key", how="anti")
        .with_columns(text=pl.col("message").str.replace_all(_BLANKS, " ").str.strip_chars())
        .filter(pl.col("text").fill_null("") != "")
        .sort("answered_at_utc")
        .unique("row_key", keep="last")
        .select("text", is_answer=pl.col("error").is_in(ASK_AGAIN_KINDS))
    )
    status = pl.col("text").str.extract(_STATUS).fill_null("")
    alike = pl.concat_str(status, pl.col("text").str.replace_all(_CHANGING, "#"))
    found = (
        failed.group_by("is_answer", same=pl.when("is_answer").then("text").otherwise(alike))
        .agg(count=pl.len(), text=pl.col("text").min())
        .sort("count", "text", descending=[True, False])
        .group_by("is_answer", maintain_order=True)
        .head(MOST_SAID)
        .collect()
    )
    said: dict[bool, list[Said]] = {True: [], False: []}
    for is_answer, count, text in found.select("is_answer", "count", "text").iter_rows():
        said[is_answer].append(Said(count=count, text=_cut(text)))
    return Causes(tuple(said[False]), tuple(said[True]))


def causes_sentence(causes: Causes, besides: str = "") -> str:
    """The causes as sentences without a full stop; what the words `besides` them say already is not repeated."""
    parts = [("Why", causes.provider_messages), ("Wrong answers", causes.wrong_answers)]
    told = [(title, [said for said in messages if said.text not in besides]) for title, messages in parts]
    return ". ".join(f"{title}: {_listed(messages)}" for title, messages in told if messages)


def times(count: int) -> str:
    """How often: `once`, `twice`, `1,204 times`."""
    return {1: "once", 2: "twice"}.get(count, f"{count:,} times")


def _listed(messages: Sequence[Said]) -> str:
    return ", ".join(f'"{said.text}" ({times(said.count)})' for said in messages)


def _cut(text: str) -> str:
    return text if len(text) <= _CHARACTERS else text[: _CHARACTERS - 1].rstrip() + "…"
