"""Progress as log lines: one now and then, never one per row."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.logging import get_run_logger

from labelmill.report.progress_words import progress_line
from labelmill.run.live import LiveRun

SECONDS_BETWEEN_LINES = 15.0


@contextmanager
def progress_lines(live: LiveRun) -> Iterator[None]:
    """Log where a run stands for the length of the block, and once at its end."""
    log = get_run_logger()
    ended = threading.Event()

    def report() -> None:
        while not ended.wait(SECONDS_BETWEEN_LINES):
            log.info(progress_line(live.progress.now()))

    log.info("Run %s of %s begins", live.run.run_id, live.run.job.name)
    reporter = threading.Thread(target=report, name="progress-lines", daemon=True)
    reporter.start()
    try:
        yield
    finally:
        ended.set()
        reporter.join()
        log.info(progress_line(live.progress.now()))
