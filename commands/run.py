"""`labelmill run`: label what is not labeled yet."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from dotenv import find_dotenv, load_dotenv

from commands.log_lines import log_lines
from commands.next_steps import see_runs
from commands.prefect_setup import server_address
from commands.server_check import ServerLost, end_without_server
from commands.steps import taken
from commands.summary import show
from commands.terminal import console, output, print_json, shown
from labelmill.check.dataset import check_columns
from labelmill.check.job import checked_job
from labelmill.check.provider import answering_endpoint
from labelmill.errors import CannotWrite, JobRefused
from labelmill.job.file import draft_of, draft_of_file
from labelmill.job.model import LabelJob
from labelmill.pipeline.alerts import alert_without_record, told_by_file, told_by_job
from labelmill.providers.environment import bypass_proxies
from labelmill.report.progress_bar import CHECKING, progress_bar
from labelmill.run.record import RunRecord, read_record

if TYPE_CHECKING:
    from labelmill.compare.record import Comparison
    from labelmill.pipeline.preview import Preview

EXIT_CODES = {
    "completed": 0,
    "waiting": 5,
    "budget_reached": 4,
    "too_many_failures": 3,
    "files_unreadable": 6,
    "failed": 1,
    "cancelled": 1,
}
EXIT_USER = 2
EXIT_OTHER = 1


def read_job(path: Path, max_cost_usd: float | None, model_base_url: str | None) -> LabelJob:
    """Read and check a job file; the command line's budget takes the place of the job's.

    Raises:
        JobRefused: with every mistake in it.
    """
    load_dotenv(find_dotenv(usecwd=True))
    bypass_proxies()
    draft = draft_of_file(path)
    if max_cost_usd is not None and isinstance(draft.values.get("run", {}), dict):
        run = {**draft.values.get("run", {}), "max_cost_usd": max_cost_usd}
        draft = draft_of({**draft.values, "run": run}, str(path))
    return checked_job(draft, model_base_url)


@contextmanager
def ending_in_a_sentence(stopped: str = "Stopped before anything was asked.") -> Iterator[None]:
    """End a command with a sentence where a person can mend what is wrong, or stops it.

    `stopped` is that of a command that is stopped early, where nothing else is said.

    Raises:
        typer.Exit: with the exit code.
    """
    try:
        yield
    except JobRefused as refused:
        raise typer.Exit(refuse(refused)) from None
    except (CannotWrite, ServerLost) as cannot:
        console.print(f"[bold red]error[/] {shown(str(cannot))}", soft_wrap=True)
        raise typer.Exit(end_without_server(EXIT_OTHER)) from None
    except KeyboardInterrupt as interrupt:
        console.print(str(interrupt) or stopped)
        raise typer.Exit(EXIT_OTHER) from None


def run_job(  # noqa: PLR0913  (an option each)
    path: Path,
    *,
    max_cost_usd: float | None,
    model_base_url: str | None,
    retry_failed: bool,
    rows: int | None = None,
    check_files: bool,
    as_json: bool,
) -> int:
    """Run a job file and print its record; returns the exit code."""
    # Who looks at a terminal sees what is wrong; at night nobody does.
    alert = alert_without_record(partial(told_by_file, path), is_seen=console.is_terminal)
    with ending_in_a_sentence(), log_lines(quiet=console.is_terminal), alert:
        with progress_bar(console, CHECKING):
            job = read_job(path, max_cost_usd, model_base_url)
            if check_files:
                check_columns(job, str(path))
            answering_endpoint(job, model_base_url)  # before anything else is waited for
        record = label(job, model_base_url, retry_failed=retry_failed, rows=rows)
    if as_json:
        print_json(record.model_dump_json(indent=2))
    has_server = as_json or server_address() is not None
    show(record, str(path), output(as_json=as_json), more=see_runs(record, has_server=has_server))
    return end_without_server(exit_code_of(record))


def label(
    job: LabelJob, model_base_url: str | None = None, *, retry_failed: bool = False, rows: int | None = None
) -> RunRecord:
    """Label by a checked job what is not labeled yet, with a progress bar where there is a terminal.

    Raises:
        JobRefused: another run is writing into the same output.
    """

    def here() -> RunRecord:
        from labelmill.pipeline.label import label as label_here  # noqa: PLC0415  (what asks takes a second to import)

        with alert_without_record(partial(told_by_job, job)):
            return label_here(job, model_base_url, retry_failed=retry_failed, rows=rows)

    def flow() -> Any:
        from flows.label import label_dataset  # noqa: PLC0415  (importing Prefect takes a second)
        from tasks.tags import run_tags  # noqa: PLC0415

        with run_tags(job.name):
            return label_dataset(job, model_base_url, retry_failed=retry_failed, rows=rows, return_state=True)

    return taken(job, here, flow, read_record)


def exit_code_of(record: "RunRecord | Comparison | Preview") -> int:
    """The exit code of a run, a comparison or a preview. One that failed before anything was spent is the user's to mend."""
    is_out = isinstance(record, RunRecord) and record.texts_out
    spent = record.input_tokens or record.requests_without_usage or is_out
    if record.status == "failed" and not spent:
        return EXIT_USER
    return EXIT_CODES[record.status]


def refuse(refused: JobRefused) -> int:
    """Print what is wrong with a job, a line each; returns the exit code."""
    for mistake in refused.mistakes:
        console.print(f"[bold red]error[/] {shown(str(mistake))}", soft_wrap=True)
    return EXIT_USER
