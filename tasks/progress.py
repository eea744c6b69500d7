"""Progress as log lines and as a live artifact: now and then, never for one row."""

import contextvars
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.logging import get_run_logger

from labelmill.job.model import LabelJob
from labelmill.live.progress import Snapshot
from labelmill.report.formatting import progress_line
from labelmill.report.markdown import escaped
from labelmill.run.context import RunContext
from tasks.artifact_keys import job_key_of
from tasks.console import survive_closed_console

SECONDS_BETWEEN_LINES = 15.0
SECONDS_BETWEEN_UPDATES = 3.0
_LONGEST_GOODBYE_SECONDS = 5.0


@contextmanager
def progress_lines(run: RunContext) -> Iterator[None]:
    """Tell where a run stands for the length of the block, and once at its end: in the log and on the run's graph."""
    survive_closed_console()
    log = get_run_logger()
    ended = threading.Event()
    ring = _Ring(run.job)

    def report() -> None:
        next_line = time.monotonic() + SECONDS_BETWEEN_LINES
        ring.show(run.progress.now())
        while not ended.wait(SECONDS_BETWEEN_UPDATES):
            now = run.progress.now()
            if time.monotonic() >= next_line:
                log.info(progress_line(now))
                if log.isEnabledFor(logging.INFO):
                    run.progress.told_at = time.monotonic()
                next_line = time.monotonic() + SECONDS_BETWEEN_LINES
            ring.show(now)
        ring.show(run.progress.now())

    log.info("Run %s of %s begins", run.run_id, run.job.name)
    # The thread takes the flow run's context along: it says which run and which API the artifact belongs to.
    context = contextvars.copy_context()
    reporter = threading.Thread(target=context.run, args=(report,), name="progress-lines", daemon=True)
    reporter.start()
    try:
        yield
    finally:
        ended.set()
        # An API that doesn't answer holds up the reporter, never the run.
        reporter.join(_LONGEST_GOODBYE_SECONDS)
        log.info(progress_line(run.progress.now()))


class _Ring:
    """The progress artifact of a run; what goes wrong with it is said once and hurts nothing."""

    def __init__(self, job: LabelJob) -> None:
        self._key = f"{job_key_of(job)}-progress"
        self._id: UUID | None = None
        self._shown: tuple[float, str] | None = None
        self._complained = False

    def show(self, now: Snapshot) -> None:
        """Bring the artifact up to date, unless it is already."""
        # Prefect's pages read it as Markdown.
        shown = (percent_done(now), progress_line(now, escaped))
        if shown == self._shown:
            return
        try:
            if self._id is None:
                made = create_progress_artifact(shown[0], key=self._key, description=shown[1])
                self._id = cast("UUID", made)
            else:
                update_progress_artifact(self._id, shown[0], description=shown[1])
            self._shown = shown
        except Exception as error:  # noqa: BLE001  (a server that is down must not end a paid run)
            if not self._complained:
                get_run_logger().warning("The progress artifact can't be shown: %s", type(error).__name__)
            self._complained = True


def percent_done(now: Snapshot) -> float:
    """How far a run is, in percent of its texts: 0 until they are known, 100 where there is none to ask."""
    if now.texts is None:
        return 0.0
    return round(100 * min(1.0, now.done / now.texts), 1) if now.texts else 100.0
