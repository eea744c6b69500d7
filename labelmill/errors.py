"""What can go wrong, as exceptions.

LabelmillError
├── JobRefused        the user can mend it; nothing was spent
├── CannotWrite       the disk is full or read-only; what is on it stays
├── AlertNotSent      a run's alert did not reach anybody, or may not have
├── TextTooDear       one text alone could cost more than a whole limit; the others go on
├── RunFailed         the run ended badly; `record` is what it left all the same
│   └── RunNotCompleted  the same of a call from Python; `labeled` is the frame as far as it is labeled
└── RunStopped        the run sends no further request; `reason` says why
    └── BudgetReached the next request could cost more than is left

KeyboardInterrupt
└── RunInterrupted    Ctrl-C during a call from Python, after what was in flight has been kept
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self

_STORE_SIGN = "object-store error"
_STORE_STATUS = re.compile(r"\b([45]\d\d) [A-Z]")
_SAID_OF_A_FILE = {"403", "404", "412", "416"}
"""What a store answers where it is there, and a file in it isn't, isn't for these keys, or isn't what it was."""


def tells_of_a_store(error: BaseException) -> bool:
    """Whether it is a reader's error about an object store: it holds what the store has sent."""
    return _STORE_SIGN in str(error)


def is_outage(error: BaseException) -> bool:
    """Whether a store is not to be had, as a reader says, which tells nothing of the file that was to be read."""
    status = _STORE_STATUS.search(str(error))
    return tells_of_a_store(error) and (status is None or status[1] not in _SAID_OF_A_FILE)


def reader_words(error: BaseException) -> str:
    """What a reader says, on one line, without what a store has sent it: an address, and a body that may hold anything."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    words = str(error)
    if tells_of_a_store(error):
        status = _STORE_STATUS.search(words)
        return f"the store answered {status[1]}" if status else "the store could not be read"
    return next(iter(words.splitlines()), type(error).__name__)


class LabelmillError(Exception):
    """Anything Labelmill raises on purpose."""


@dataclass(frozen=True)
class Mistake:
    """One thing the user can mend: where it stands and a sentence that says what to do."""

    where: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.where}: {self.sentence}" if self.where else self.sentence


class JobRefused(LabelmillError):  # noqa: N818  (the name is the sentence)
    """A job that can't run as it stands, with all its mistakes at once."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        self.mistakes = mistakes
        super().__init__(mistakes)

    def __str__(self) -> str:
        return "\n".join(map(str, self.mistakes))


class CannotWrite(LabelmillError):  # noqa: N818
    """A file can't be written, or one of a source in a bucket can't be read any more: one sentence says where and why.

    Answers that were paid are in the ledger.
    """

    @classmethod
    def because(cls, error: OSError, folder: object) -> Self:
        """Put an OSError into a sentence."""
        return cls(
            f"{error.filename or folder} can't be {getattr(error, 'deed', 'written')}: {reader_words(error)}; "
            "what was paid is kept, and the next run goes on from it"
        )


class AlertNotSent(LabelmillError):  # noqa: N818
    """An alert that did not reach whom it is for, or may not have, in one sentence without its address."""


class TextTooDear(LabelmillError):  # noqa: N818
    """The worst case of one text's request is more than the whole of a limit: it would never be sent.

    Args:
        field: the limit, by its name in `[run]`.
        limit_usd: all of it, whatever is left.
        worst_case_usd: what the request may cost at most.
    """

    def __init__(self, field: str, limit_usd: Decimal, worst_case_usd: Decimal) -> None:
        self.field = field
        self.limit_usd = limit_usd
        self.worst_case_usd = worst_case_usd
        super().__init__(field, limit_usd, worst_case_usd)

    def __str__(self) -> str:
        return (
            f"this text alone may cost ${self.worst_case_usd:.6f}, more than all of {self.field} = {self.limit_usd}; "
            f"raise run.{self.field}, or shorten the text"
        )


class RunFailed(LabelmillError):  # noqa: N818
    """A run that ended badly, in one sentence; `record` is what it left all the same.

    Prefect raises what a failed state holds: whoever looks at the run finds the sentence.
    """

    def __init__(self, record: Any, sentence: str) -> None:
        self.record = record
        super().__init__(record, sentence)

    def __str__(self) -> str:
        return str(self.args[1])


class RunNotCompleted(RunFailed):
    """A call from Python whose rows are not all settled, or of whose rows too many have failed.

    Args:
        record: the run's record, with its bill.
        sentence: how the run ended.
        labeled: the frame that was given, with the label columns as far as they are known; None where a path was given, or
            nothing could be labeled.
    """

    def __init__(self, record: Any, sentence: str, labeled: Any = None) -> None:
        super().__init__(record, sentence)
        self.labeled = labeled

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class RunInterrupted(KeyboardInterrupt):
    """Ctrl-C during a call from Python. What was in flight has been waited for, and what was paid is kept.

    Args:
        record: the run's record, with its bill.
        labeled: as that of `RunNotCompleted`.
    """

    def __init__(self, record: Any, labeled: Any = None) -> None:
        self.record = record
        self.labeled = labeled
        super().__init__(record)

    def __str__(self) -> str:
        return "stopped by Ctrl-C; what was paid is kept, and the same call goes on from there"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class RunStopped(LabelmillError):  # noqa: N818
    """Raised in front of every request once a run has stopped.

    Args:
        reason: the status the run will end in, such as `cancelled`.
        message: one sentence for people, in the provider's own words where it spoke.
    """

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        self.message = message
        super().__init__(reason, message)

    def __str__(self) -> str:
        return self.message


class BudgetReached(RunStopped):
    """The worst case of the next request doesn't fit into what is left of the budget."""

    def __init__(self, message: str) -> None:
        super().__init__("budget_reached", message)
        self.args = (message,)  # what pickle calls this class with
