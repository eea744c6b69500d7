"""The log of a command that runs without Prefect: lines on standard error, as Prefect's console writes them."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from labelmill.report.log_lines import VisibleLines

_LEVEL = "PREFECT_LOGGING_LEVEL"
"""One variable for the log of every run, wherever its steps are taken."""


class _StandardError(logging.Handler):
    """Writes to the standard error of the moment, which is the one that a progress bar lets lines pass above it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001  (as every handler of Python's does)
            self.handleError(record)
            return
        # A reader that is gone ends no run that has been paid for.
        with suppress(OSError, ValueError):
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()


@contextmanager
def log_lines(*, quiet: bool) -> Iterator[None]:
    """Write the log to standard error for the length of the block: Labelmill's lines, and the warnings of other libraries.

    `quiet` leaves out what a progress bar shows already: warnings alone are told, unless the user has set another level.
    """
    handler = _StandardError()
    handler.addFilter(VisibleLines())
    form = "%(asctime)s.%(msecs)03d | %(levelname)-7s | %(message)s"
    handler.setFormatter(logging.Formatter(form, "%H:%M:%S"))
    everyones, ours = logging.getLogger(), logging.getLogger("labelmill")
    before = ours.level
    everyones.addHandler(handler)
    ours.setLevel(_level(quiet=quiet))
    try:
        yield
    finally:
        everyones.removeHandler(handler)
        ours.setLevel(before)


def leave_log_to_prefect() -> None:
    """Write no line from here on: Prefect, which is imported next, has a console of its own."""
    everyones = logging.getLogger()
    for handler in everyones.handlers[:]:
        if isinstance(handler, _StandardError):
            everyones.removeHandler(handler)
    # Prefect gives Labelmill's lines its own level where they have none.
    logging.getLogger("labelmill").setLevel(logging.NOTSET)


def _level(*, quiet: bool) -> int:
    told = logging.getLevelNamesMapping().get(os.environ.get(_LEVEL, "").strip().upper())
    return told or (logging.WARNING if quiet else logging.INFO)
