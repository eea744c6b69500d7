"""Log lines as a terminal shows them: what comes from outside is in them, and nothing of it is obeyed."""

import logging

from labelmill.report.formatting import visible


class VisibleLines(logging.Filter):
    """Makes a space of each control character of a line and of its traceback; line breaks stay."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every line through."""
        try:
            record.msg, record.args = visible_lines(record.getMessage()), ()
            if record.exc_info:
                told = logging.Formatter().formatException(record.exc_info)
                record.exc_text = visible_lines(told)
        except (AttributeError, TypeError, ValueError):
            pass  # a line whose words and arguments don't fit: its handler says so
        return True


def visible_lines(text: str) -> str:
    """A text of several lines without control characters; its line breaks stay."""
    return "\n".join(map(visible, text.split("\n")))
