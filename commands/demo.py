"""`labelmill demo`: the whole job on a sample in two languages, with no key."""

import shutil
from pathlib import Path

import polars as pl
from rich.text import Text

from commands.deploy import with_absolute_paths
from commands.invocation import command
from commands.log_lines import log_lines
from commands.next_steps import see_runs
from commands.prefect_setup import PROJECT, server_address
from commands.run import ending_in_a_sentence, exit_code_of, label
from commands.summary import show
from commands.terminal import console, output
from labelmill.check.job import checked_job
from labelmill.errors import JobRefused
from labelmill.job.file import draft_of_file
from labelmill.job.model import LabelJob
from labelmill.report.tables import FittingTable
from labelmill.store.folder import OutputFolder

JOB_FILE = PROJECT / "deployments" / "demo.toml"


def run_demo() -> int:
    """Label the sample from scratch and print every row; returns the exit code."""
    with ending_in_a_sentence(), log_lines(quiet=console.is_terminal):
        job = demo_job()
        _start_afresh(OutputFolder.of(job))
        record = label(job)
    rows = pl.read_parquet(OutputFolder.of(job).labeled / "*.parquet")
    columns = ("text", "label", "label_status")
    where = output()
    where.print(
        FittingTable(
            columns,
            [tuple(map(str, row)) for row in rows.select(columns).iter_rows()],
            left=frozenset(columns),
            prose=frozenset({"text"}),
            leave_out=("label_status",),
            more=f"the files in {OutputFolder.of(job).labeled} have all",
        )
    )
    show(record, where=where, more=see_runs(record, has_server=server_address() is not None))
    where.print(
        f"\nThat was the job {_shown(JOB_FILE)}. Your own data begins with a job too, and this writes one for a Parquet file; "
        f"put your own file and your own labels in their place:",
        soft_wrap=True,
        markup=False,
    )
    # On one line whatever the width: it is there to be copied.
    where.print(Text(f"  {next_command(job)}"), soft_wrap=True)
    return exit_code_of(record)


def next_command(job: LabelJob) -> str:
    """What to type next: this program as it was called, and the verb that writes a job for the demo's file."""
    return command("init", _shown(Path(job.source.path)), "--labels", ",".join(job.labels))


def demo_job() -> LabelJob:
    """The demo's job, with its paths taken from where Labelmill is rather than from the folder the command runs in.

    Raises:
        JobRefused: it can't run as it stands.
    """
    draft = draft_of_file(JOB_FILE)
    if draft.job is None:
        raise JobRefused(list(draft.mistakes))
    job = with_absolute_paths(draft.job, PROJECT)
    return checked_job(type(draft)(draft.where, draft.values, job, ()))


def _start_afresh(folder: OutputFolder) -> None:
    for part in (folder.labeled, folder.ledgers, folder.runs, folder.path / "failed"):
        shutil.rmtree(part, ignore_errors=True)


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
