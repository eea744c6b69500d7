"""The console of a run: lines that nobody reads any more end no run."""

import logging
from collections.abc import Callable, Iterator

from prefect.logging.handlers import PrefectConsoleHandler
from rich.console import Console


def survive_closed_console() -> None:
    """Let a console whose reader is gone fall silent.

    The output of a deployed run goes through a pipe to its worker. When that worker dies, Prefect's console would end the
    process at its next line: a run that has paid for everything, before it publishes.
    """
    for console in _consoles():
        console.on_broken_pipe = _silence(console)  # type: ignore[method-assign]


def _silence(console: Console) -> Callable[[], None]:
    def fall_silent() -> None:
        console.quiet = True

    return fall_silent


def _consoles() -> Iterator[Console]:
    loggers = [logging.getLogger(), *map(logging.getLogger, list(logging.root.manager.loggerDict))]
    for logger in loggers:
        for handler in logger.handlers:
            if isinstance(handler, PrefectConsoleHandler):
                yield handler.console
