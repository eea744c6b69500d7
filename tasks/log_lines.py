"""The lines that Labelmill's own modules log: they go where Prefect's go, to the terminal and to the run's page."""

import logging

from prefect.logging.handlers import APILogHandler, PrefectConsoleHandler

from labelmill.report.formatting import visible


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


class _Visible(logging.Filter):
    """Makes a space of each control character of a line and of its traceback; line breaks stay."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every line through."""
        try:
            record.msg, record.args = _visible_lines(record.getMessage()), ()
            if record.exc_info:
                told = logging.Formatter().formatException(record.exc_info)
                record.exc_text = _visible_lines(told)
        except (AttributeError, TypeError, ValueError):
            pass  # a line whose words and arguments don't fit: its handler says so
        return True


def _visible_lines(text: str) -> str:
    return "\n".join(map(visible, text.split("\n")))


_VISIBLE = _Visible()
