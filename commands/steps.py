"""Where the steps of a run are taken: on the Prefect server that there is, else in this process."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from commands.log_lines import leave_log_to_prefect
from commands.prefect_setup import prepare_environment, refuse_limit_without_server, server_address
from commands.server_check import R, record_left, require_server
from commands.terminal import console
from labelmill import garbage_waits
from labelmill.errors import CannotWrite, LabelmillError
from labelmill.job.model import LabelJob
from labelmill.live.progress import Progress, viewer
from labelmill.report.progress_bar import progress_bar

OPENING = "opening the output"
STOPPED = "Stopped. What was answered is kept, and the next run goes on from it."


def taken(
    job: LabelJob, here: Callable[[], R], flow: Callable[[], Any], read: Callable[[Path], R | None]
) -> R:
    """Run a checked job, with a progress bar where there is a terminal, and return its record.

    Args:
        job: the job.
        here: takes the steps in this process, and imports no Prefect.
        flow: takes them as a flow run, and returns its state.
        read: reads the record in a run's folder; None where there is none.

    Raises:
        JobRefused: another run writes into the same output, the server can't be used, or there is none and the job shares
            a limit.
        CannotWrite: a file can't be written; what was paid is kept.
        ServerLost: the server went away, and the run has left no record.
    """
    prepare_environment(quiet=console.is_terminal)
    url = server_address()
    if url is None:
        refuse_limit_without_server(job)
        with progress_bar(console, OPENING), _run_begins():
            return _taken_here(job, here)
    leave_log_to_prefect()
    with progress_bar(console), _run_begins():
        require_server(url)
        return _taken_as_flow(job, url, flow, read)


@contextmanager
def _run_begins() -> Iterator[None]:
    """See the run begin that is shown in this block.

    Until then no garbage is collected, since all is imports; from then on Ctrl-C is no matter of nothing having been asked.
    """
    begun: list[Progress] = []
    show, opening = viewer.get(), ExitStack()
    opening.enter_context(garbage_waits())

    def begins(progress: Progress) -> None:
        begun.append(progress)
        opening.close()
        if show is not None:
            show(progress)

    token = viewer.set(begins)
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(*([STOPPED] if begun else [])) from None
    finally:
        viewer.reset(token)
        opening.close()


def _taken_here(job: LabelJob, here: Callable[[], R]) -> R:
    try:
        return here()
    except OSError as error:
        raise CannotWrite.because(error, job.output.path) from None


def _taken_as_flow(job: LabelJob, url: str, flow: Callable[[], Any], read: Callable[[Path], R | None]) -> R:
    from tasks.states import record_in  # noqa: PLC0415  (importing Prefect takes a second)

    began = datetime.now(UTC)
    try:
        record: R = record_in(flow())
    except LabelmillError:
        raise
    except Exception as error:  # noqa: BLE001  (whatever Prefect makes of a server that went away)
        record = record_left(error, url, job, began, read)
    return record
