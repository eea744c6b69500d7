"""A run outlives whoever reads its lines."""

import logging
import os

from prefect.logging.handlers import PrefectConsoleHandler

from tasks.console import survive_closed_console


def test_a_console_without_a_reader_falls_silent():
    """The reader of a run's lines is gone: the lines are lost, and nothing else happens."""
    reads, writes = os.pipe()
    os.close(reads)
    log = logging.getLogger("prefect.test-console")
    handler = PrefectConsoleHandler(stream=os.fdopen(writes, "w", closefd=False))
    log.addHandler(handler)
    try:
        survive_closed_console()
        log.warning("one")
        log.warning("two")
        assert handler.console.quiet
    finally:
        log.removeHandler(handler)
        os.close(writes)
