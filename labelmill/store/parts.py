"""The parts of a ledger folder: which of them count, what a compacted one holds, and what each says of itself.

    <run id>-<chunk>.parquet                            a chunk's outcomes
    <run id>-<chunk>..<run id>-<chunk>.parquet          those of several parts in their order, from the first to the last

A compacted part takes the place of others by one rename. Its footer names every part that it was ever made from, and from
that rename on those count no more, whether or not they are still there: whoever lists the folder reads each row once, at any
moment at which a process may die. Parts are told by their names alone as long as nothing lies within a compacted one's
range, so that looking costs one listing and no open file.
"""

import base64
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Self

import polars as pl
from polars.exceptions import PolarsError

SUFFIX = ".parquet"
_BETWEEN = ".."
_CHUNK_NAME = re.compile(r"[^.]+-\d{5,}(\.\.[^.]+-\d{5,})?\.parquet")
_REPLACED = "labelmill.replaced"
_USD_BY_DAY = "labelmill.usd_by_day"

UsdByDay = Mapping[date, tuple[Decimal, Decimal]]
"""By UTC day: what is known of the cost, and what requests without usage may have cost at most, in USD."""


@dataclass(frozen=True, order=True)
class Span:
    """What a part's name says of it: the names of the first and the last part that are in it, itself unless it is compacted."""

    first: str
    last: str

    @classmethod
    def of(cls, name: str) -> Self:
        """The span of a part, by its name."""
        first, between, last = name.removesuffix(SUFFIX).partition(_BETWEEN)
        return cls(f"{first}{SUFFIX}", f"{last}{SUFFIX}") if between else cls(name, name)

    @property
    def is_compacted(self) -> bool:
        """Whether it has more parts than one."""
        return self.first != self.last

    def covers(self, other: "Span") -> bool:
        """Whether another span lies within this one."""
        return self.first <= other.first and other.last <= self.last

    def may_hold(self, run_id: str) -> bool:
        """Whether any part of a run lies within it."""
        return self.first <= f"{run_id}-\U0010ffff" and f"{run_id}-" <= self.last


def is_chunk_name(name: str) -> bool:
    """Whether a part's name is one that Labelmill gives to chunks' parts, compacted or not."""
    return _CHUNK_NAME.fullmatch(name) is not None


def name_of_journal_part(journal: Path) -> str:
    """The name of the part that a journal becomes, also of one that was set aside."""
    return journal.name.partition(".jsonl")[0] + SUFFIX


def compacted_name(names: Iterable[str]) -> str:
    """The name of the part that takes the place of these: it sorts where the first of them does."""
    spans = [Span.of(name) for name in names]
    first, last = min(span.first for span in spans), max(span.last for span in spans)
    return f"{first.removesuffix(SUFFIX)}{_BETWEEN}{last}"


def parts_in(folder: Path) -> list[Path]:
    """The parts of a ledger folder that count, those of earlier runs first: a run's id sorts by time."""
    names, replaced = _listing(folder)
    return [folder / name for name in sorted(names - replaced)]


def replaced_parts_in(folder: Path) -> list[Path]:
    """The parts that a compacted one has replaced and that are still there."""
    names, replaced = _listing(folder)
    return [folder / name for name in sorted(names & replaced)]


def parts_of_run(folder: Path, run_id: str) -> list[Path]:
    """The parts that count and may hold what a run has added; compacted ones hold other runs' rows too."""
    return [part for part in parts_in(folder) if _may_hold(part.name, run_id)]


def is_compacted(part: Path) -> bool:
    """Whether a part was made from several."""
    return Span.of(part.name).is_compacted


def are_holding(parts: Iterable[Path], name: str) -> bool:
    """Whether some parts that count hold the rows of a part that was written under this name: it is one of them or in one.

    Raises:
        FileNotFoundError: one is gone.
    """
    span = Span.of(name)
    return any(
        part.name == name
        or (is_compacted(part) and Span.of(part.name).covers(span) and name in replaced_by(part))
        for part in parts
    )


def replaced_by(part: Path) -> frozenset[str]:
    """The names of all parts that a compacted part was ever made from. One that can't be read has replaced none.

    Raises:
        FileNotFoundError: it is gone.
    """
    found = _footer_of(part).get(_REPLACED)
    return frozenset(zlib.decompress(base64.b85decode(found)).decode().splitlines()) if found else frozenset()


def footer_of_compacted(parts: Iterable[Path]) -> dict[str, str]:
    """What the footer of the part that takes the place of these says of them."""
    names = {name for part in parts for name in (part.name, *replaced_by(part))}
    packed = zlib.compress("\n".join(sorted(names)).encode())
    return {_REPLACED: base64.b85encode(packed).decode()}


def footer_of_usd(usd_by_day: UsdByDay) -> dict[str, str]:
    """What a part's footer says of its cost, to the last digit."""
    days = {day.isoformat(): [str(usd) for usd in sums] for day, sums in usd_by_day.items()}
    return {_USD_BY_DAY: json.dumps(days)}


def usd_by_day_of(part: Path) -> UsdByDay | None:
    """What a part cost by day, as its footer says; None where it doesn't: an older version wrote it, or it can't be read.

    Raises:
        FileNotFoundError: it is gone.
    """
    found = _footer_of(part).get(_USD_BY_DAY)
    if found is None:
        return None
    days = json.loads(found).items()
    return {date.fromisoformat(day): (Decimal(known), Decimal(unseen)) for day, (known, unseen) in days}


def state_of(folders: Iterable[Path]) -> dict[str, int]:
    """The parts that count in some ledger folders, as `<folder>/<name>`, and the bytes of each."""
    state = {}
    for part in (part for folder in folders for part in parts_in(folder)):
        with suppress(FileNotFoundError):
            state[_key_of(part)] = part.stat().st_size
    return state


def state_now(state: Mapping[str, int], folders: Iterable[Path]) -> dict[str, int] | None:
    """What has become of the parts of an earlier `state_of` the same folders, in the names of those that hold them now.

    Parts that are there now and not in it were written since. None where that can't be told: a part is gone or is another
    one, or was put together with one that was written since.
    """
    folders = list(folders)
    now = state_of(folders)
    missing = state.keys() - now.keys()
    held = {key: size for key, size in state.items() if key not in missing}
    if any(now[key] != size for key, size in held.items()):
        return None
    for part in (part for folder in folders for part in parts_in(folder)) if missing else ():
        if is_compacted(part) and _key_of(part) not in state:
            made_of = {_key_of(part.with_name(name)) for name in replaced_by(part)}
            if made_of & missing:
                if not all(_is_told_by(state, key) for key in made_of):
                    return None
                missing -= made_of
                held[_key_of(part)] = now[_key_of(part)]
    return None if missing else held


def _is_told_by(state: Mapping[str, int], key: str) -> bool:
    """Whether a part is one of a state, or lies in a compacted one of it, or is made of such."""
    folder, name = key.split("/")
    span = Span.of(name)
    return (
        key in state
        or span.is_compacted
        or any(
            Span.of(other).covers(span)
            for other_folder, other in (other.split("/") for other in state if _BETWEEN in other)
            if other_folder == folder
        )
    )


def _key_of(part: Path) -> str:
    return f"{part.parent.name}/{part.name}"


def _may_hold(name: str, run_id: str) -> bool:
    span = Span.of(name)
    return span.may_hold(run_id) if span.is_compacted else name.startswith(f"{run_id}-")


def _listing(folder: Path) -> tuple[frozenset[str], frozenset[str]]:
    """The names of all parts in a folder, and those that compacted ones have replaced."""
    names: frozenset[str] | None = None
    while True:
        found = _names_in(folder)
        try:
            return found, _replaced_among(folder, found)
        except FileNotFoundError:
            # One that was compacted in its turn, while it was looked at: another takes its place.
            if found == names:
                raise
            names = found


def _names_in(folder: Path) -> frozenset[str]:
    """The names of a folder's parts as they stand together.

    A listing is no moment: one in which a part came and others went may have seen neither. It is then seen by the next.
    """
    before: frozenset[str] | None = None
    while True:
        try:
            names = frozenset(path.name for path in folder.iterdir() if path.name.endswith(SUFFIX))
        except FileNotFoundError:
            return frozenset()
        if names == before:
            return names
        before = names


def _replaced_among(folder: Path, names: frozenset[str]) -> frozenset[str]:
    compacted = {name: span for name in names if (span := Span.of(name)).is_compacted}
    if not compacted:
        return frozenset()
    spans = {name: Span.of(name) for name in names}
    covering = [
        name
        for name, span in compacted.items()
        if any(span.covers(other) and other_name != name for other_name, other in spans.items())
    ]
    return frozenset[str]().union(*(replaced_by(folder / name) for name in covering))


def _footer_of(part: Path) -> dict[str, str]:
    try:
        return pl.read_parquet_metadata(part)
    except PolarsError:
        return {}
