"""The lines that Labelmill's own modules log: they go where Prefect's go, to the terminal and to the run's page."""

import logging

from prefect.logging.handlers import APILogHandler


def hear_labelmill() -> None:
    """Let Prefect take the log lines of `labelmill`, at its own level, unless somebody has set another."""
    theirs, ours = logging.getLogger("prefect.extra"), logging.getLogger("labelmill")
    if ours.level == logging.NOTSET:
        ours.setLevel(theirs.level)
    if not any(isinstance(handler, APILogHandler) for handler in ours.handlers):
        ours.addHandler(APILogHandler())
