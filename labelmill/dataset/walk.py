"""A folder gone through by a pattern: what in it the pattern names, each folder once, whatever links there are."""

import fnmatch
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

ANY_FOLDERS = "**"
"""The part of a pattern that stands for any number of folders, also none."""


class Kind(Enum):
    """What stands at a name."""

    FILE = "file"
    FOLDER = "folder"
    DANGLING = "a link that leads nowhere"
    SPECIAL = "a pipe, a socket or a device"
    AGAIN = "a link to a folder that has already been read"


@dataclass(frozen=True, slots=True)
class Entry:
    """What a pattern names.

    Attributes:
        relative: its name from the root, with `/` between folders.
        kind: what stands there.
        is_hidden: whether its name, or a folder's on the way, is a hidden one that the pattern doesn't spell.
        is_linked: whether it, or a folder on the way from the root, is a link.
    """

    relative: str
    kind: Kind
    is_hidden: bool
    is_linked: bool


@dataclass(frozen=True, slots=True)
class _Stop:
    """A folder on the way: `places` are the positions in the pattern that it can be read from, each hidden or not."""

    relative: str
    places: tuple[tuple[int, bool], ...]
    is_linked: bool


def is_hidden(name: str) -> bool:
    """Whether a name is bookkeeping of other programs, by Spark's rule: it begins with a dot, or with an underscore.

    `_year=2026` is a partition.
    """
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


def walk(root: str, pattern: Sequence[str]) -> Iterator[Entry]:
    """All that a pattern names below a folder, in no order that means anything.

    A part of the pattern matches one name, as in a shell; `**` matches folders. Links are followed after everything else,
    and a folder is gone through once: under its own name where it has one here, and never in a circle.

    Raises:
        OSError: a folder can't be read. A hidden one that can't is passed over.
    """
    # At the end, `**` matches what is in folders.
    parts = [_Part(text) for text in (*pattern, *(["*"] if pattern[-1] == ANY_FOLDERS else []))]
    own, links = deque([_Stop("", _reached(parts, [(0, False)]), is_linked=False)]), deque[_Stop]()
    gone_through = set()
    while own or links:
        stop = own.popleft() if own else links.popleft()
        folder = os.path.join(root, stop.relative)
        try:
            found = os.stat(folder)
            seen = (found.st_dev, found.st_ino, stop.places)
            with os.scandir(folder) as scanned:
                entries = sorted(scanned, key=lambda entry: entry.name)
        except OSError:
            if all(hidden for _, hidden in stop.places):
                continue
            raise
        if seen in gone_through:
            yield Entry(stop.relative, Kind.AGAIN, all(hidden for _, hidden in stop.places), stop.is_linked)
            continue
        gone_through.add(seen)
        for entry in entries:
            places = _reached(parts, list(_steps(parts, stop.places, entry.name)))
            if not places:
                continue
            kind, is_link = _kind_of(entry), entry.is_symlink()
            relative = f"{stop.relative}/{entry.name}" if stop.relative else entry.name
            if places[-1][0] == len(parts):
                yield Entry(relative, kind, places[-1][1], stop.is_linked or is_link)
            if kind is Kind.FOLDER and (onward := tuple(place for place in places if place[0] < len(parts))):
                is_linked = stop.is_linked or is_link
                (links if is_linked else own).append(_Stop(relative, onward, is_linked))


def entries_named(names: Iterable[str], pattern: Sequence[str]) -> Iterator[Entry]:
    """The same among names, with `/` between their parts, where there are names and no folders."""
    parts = [_Part(text) for text in (*pattern, *(["*"] if pattern[-1] == ANY_FOLDERS else []))]
    for name in names:
        places = _reached(parts, [(0, False)])
        for part in name.split("/"):
            places = _reached(parts, list(_steps(parts, places, part)))
        if places and places[-1][0] == len(parts):
            yield Entry(name, Kind.FILE, places[-1][1], is_linked=False)


class _Part:
    """A part of a pattern."""

    def __init__(self, text: str) -> None:
        self.is_any_folders = text == ANY_FOLDERS
        self.begins_with = text[:1]
        self.matches = re.compile(fnmatch.translate(text)).match


def _reached(parts: Sequence[_Part], places: Sequence[tuple[int, bool]]) -> tuple[tuple[int, bool], ...]:
    """Places in order, with those behind each `**`, which may stand for nothing; a way that isn't hidden goes first."""
    best: dict[int, bool] = {}
    for place, hidden in places:
        at = place
        while True:
            best[at] = best.get(at, True) and hidden
            if at == len(parts) or not parts[at].is_any_folders:
                break
            at += 1
    return tuple(sorted(best.items()))


def _steps(
    parts: Sequence[_Part], places: Sequence[tuple[int, bool]], name: str
) -> Iterator[tuple[int, bool]]:
    """Where a name leads from some places in a pattern."""
    for place, hidden in places:
        if place == len(parts):
            continue
        part = parts[place]
        if part.is_any_folders:
            yield place, hidden or is_hidden(name)
        elif part.matches(name):
            yield place + 1, hidden or (is_hidden(name) and name[:1] != part.begins_with)


def _kind_of(entry: os.DirEntry[str]) -> Kind:
    try:
        if entry.is_dir():
            return Kind.FOLDER
        if entry.is_file():
            return Kind.FILE
    except OSError:  # a link to itself
        return Kind.DANGLING
    return Kind.SPECIAL if os.path.exists(entry.path) else Kind.DANGLING
