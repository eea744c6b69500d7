"""What a run does beside its labels, their manifest and its record: whatever goes wrong with it costs a sentence, not the run."""

import errno
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from labelmill.errors import LabelmillError
from labelmill.run.record import Record, RunRecord

T = TypeVar("T")
R = TypeVar("R", bound=Record)

log = logging.getLogger(__name__)

_WHOLE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""What is wrong with the disk, and not with one file on it."""
_MOST_CHARACTERS = 300


@dataclass(frozen=True)
class Omission:
    """Something that a run could not leave or show: `thing` could not be `done` (`written`, `shown`), and why."""

    thing: str
    done: str
    reason: str


class OptionalSteps:
    """Takes the steps of a run that it can do without, and remembers which of them came to nothing."""

    def __init__(self) -> None:
        self.omissions: list[Omission] = []

    def take(self, thing: str, do: Callable[[], T], otherwise: T, done: str = "written") -> T:
        """Take one step; where it raises, note it and return `otherwise`.

        Programming errors count too, and so do panics of Polars, which are no Exception. What ends the process passes:
        KeyboardInterrupt, SystemExit, and whatever else was never meant to be caught.

        Args:
            thing: what the step leaves or shows, as in "the report".
            do: the step.
            otherwise: what stands for its result where there is none.
            done: what could not be done, as in "written".
        """
        try:
            return do()
        except BaseException as error:
            if not is_fault(error):
                raise
            log.debug("%s could not be %s", thing, done, exc_info=error)
            self.omissions.append(Omission(thing, done, reason_of(error)))
            return otherwise

    def take_all(
        self, thing: str, steps: Callable[[], Mapping[str, Callable[[], object]]], done: str
    ) -> None:
        """Take several steps, each by its own thing; `thing` is what comes to nothing where they can't even be told."""
        nothing: Mapping[str, Callable[[], object]] = {}
        for each, do in self.take(thing, steps, nothing, done).items():
            self.take(each, do, None, done)

    @property
    def sentences(self) -> list[str]:
        """What came to nothing, in a sentence for each reason: a full disk is named once, whatever it kept from being written."""
        return sentences_of(self.omissions)

    def told_in(self, record: R) -> R:
        """The record with what came to nothing."""
        said = self.sentences
        told: dict[str, list[str]] = {"omissions": said}
        if isinstance(record, RunRecord):
            others = [notice for notice in record.notices if notice not in record.omissions]
            told["notices"] = [*others, *said]
        return record.model_copy(update=told)


def kept(record: R, written: R, optional: OptionalSteps, write: Callable[[R], object]) -> R:
    """The record as it is at the end, with what came to nothing; it is written again where that is not what was `written`.

    What came to nothing is logged.
    """
    told = optional.told_in(record)
    if told == written:
        return told
    optional.take("the record with its last notices", partial(write, told), None)
    told = optional.told_in(told)
    for sentence in told.omissions:
        if sentence not in written.omissions:
            log.warning("%s", sentence)
    return told


def is_fault(error: BaseException) -> bool:
    """Whether something went wrong, rather than that the process is to end."""
    # Each extension in Rust has a class of this name of its own, and each is a BaseException.
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def is_whole_disk(error: BaseException) -> bool:
    """Whether it is the disk that is full or read-only, and not a file that is at fault."""
    return isinstance(error, OSError) and error.errno in _WHOLE_DISK


def reason_of(error: BaseException) -> str:
    """Why something went wrong, on one line; the same for all that one fault of the disk has kept from being done."""
    if isinstance(error, OSError) and error.errno is not None and is_whole_disk(error):
        return os.strerror(error.errno)
    if isinstance(error, OSError) and error.strerror:
        words = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    elif isinstance(error, LabelmillError):
        words = str(error)
    else:
        words = f"{type(error).__name__}: {error}"
    line = " ".join(words.split()).rstrip(":. ")
    return line if len(line) <= _MOST_CHARACTERS else f"{line[:_MOST_CHARACTERS].rstrip()}…"


def sentences_of(omissions: list[Omission]) -> list[str]:
    """A sentence for each reason, in the order in which they came."""
    reasons: dict[str, dict[str, list[str]]] = {}
    for omission in omissions:
        things = reasons.setdefault(omission.reason, {}).setdefault(omission.done, [])
        if omission.thing not in things:
            things.append(omission.thing)
    return [
        _capitalized(
            f"{', '.join(f'{_listed(things)} could not be {done}' for done, things in by_done.items())}: {reason}"
        )
        for reason, by_done in reasons.items()
    ]


def _capitalized(sentence: str) -> str:
    """A sentence with a capital letter, unless it begins with the name of a file."""
    return re.sub(r"^the\b", "The", sentence)


def _listed(things: list[str]) -> str:
    return things[0] if len(things) == 1 else f"{', '.join(things[:-1])} and {things[-1]}"
