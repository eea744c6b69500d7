"""The lines that Labelmill's own modules log: they go where Prefect's go, to the terminal and to the run's page."""

import logging

from prefect.logging.handlers import APILogHandler, PrefectConsoleHandler

from labelmill.report.log_lines import VisibleLines


def forward_logs() -> None:
    """Let Prefect take the log lines of `labelmill`, at its own level, unless somebody has set another.

    Prefect's lines hold what comes from outside too, such as a state's message. Terminals show it, and obey nothing in it.
    """
    theirs, ours = logging.getLogger("prefect.extra"), logging.getLogger("labelmill")
    if ours.level == logging.NOTSET:
        ours.setLevel(theirs.level)
    if not any(isinstance(handler, APILogHandler) for handler in ours.handlers):
        ours.addHandler(APILogHandler())
    for logger in [logging.getLogger(), *map(logging.getLogger, list(logging.root.manager.loggerDict))]:
        for handler in logger.handlers:
            if isinstance(handler, APILogHandler | PrefectConsoleHandler):
                handler.addFilter(_VISIBLE)


_VISIBLE = VisibleLines()
