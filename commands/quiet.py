"""What the core logs, kept out of a command's own output where the command says it itself."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_logs() -> Iterator[None]:
    """Let no line of Labelmill's log reach the terminal in this block: without a handler, warnings go to standard error."""
    log, nowhere = logging.getLogger("labelmill"), logging.NullHandler()
    log.addHandler(nowhere)
    try:
        yield
    finally:
        log.removeHandler(nowhere)
