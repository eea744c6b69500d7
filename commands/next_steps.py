"""What to do after a run: a sentence and a command that works as printed, by how the run ended."""

import glob
import re
from collections.abc import Iterator
from dataclasses import dataclass

from commands.invocation import command
from labelmill.plural import counted
from labelmill.providers.table import provider_of
from labelmill.run.record import RunRecord
from labelmill.store.address import is_url
from labelmill.store.folder import OutputFolder
from labelmill.store.working import MANIFEST

_LIMIT = re.compile(r"(max_cost_usd\w*) = ")
_UNITS = {"max_cost_usd_per_day": "day", "max_cost_usd_per_month": "month"}


@dataclass(frozen=True)
class NextStep:
    """A sentence, and below it a line to be copied, if there is one."""

    sentence: str
    line: str | None = None


def next_steps(record: RunRecord, job_file: str) -> list[NextStep]:
    """What whoever ran a job may do next."""
    return [*_read_labels(record), *_go_on(record, job_file), *_look_at_failures(record, job_file)]


def see_runs(record: RunRecord, *, has_server: bool) -> list[NextStep]:
    """How runs are seen in a browser, where no server shows this one. It is told after the first run into an output alone."""
    if has_server or len(list(OutputFolder.of(record.job).runs.glob("*/"))) > 1:
        return []
    return [NextStep("To see runs in Prefect's UI as well, start its server first:", command("up"))]


def polars_line(labeled: str) -> str:
    """How to read labels with Polars, by where they are. In a bucket the manifest says which files count."""
    if is_url(labeled):
        output = labeled.rpartition("/")[0]
        manifest = f"json.load(fsspec.open({f'{output}/{MANIFEST}'!r}).open())"
        files = f"[{output + '/'!r} + file['stored_as'] for file in {manifest}['files']]"
        return f"pl.read_parquet({files}, hive_partitioning=True)"
    return f"pl.read_parquet({glob.escape(str(labeled)) + '/**/*.parquet'!r}, hive_partitioning=True)"


def _read_labels(record: RunRecord) -> Iterator[NextStep]:
    if record.is_published and record.rows_labeled:
        prefix = record.job.output.column_prefix
        column = f" from the column {prefix + 'label'!r}" if prefix else ""
        imports = (
            "import fsspec, json, polars as pl" if is_url(record.labeled_path) else "import polars as pl"
        )
        yield NextStep(
            f"Read the labels{column} in Python ({imports}):",
            polars_line(record.labeled_path),
        )


def _go_on(record: RunRecord, job_file: str) -> Iterator[NextStep]:
    run = command("run", job_file)
    match record.status:
        case "completed" if record.practice:
            yield NextStep(_made_real(record, job_file), run)
        case "budget_reached":
            yield _after_budget(record, job_file)
        case "waiting" if record.texts_out:
            yield NextStep(
                "A batch may take up to a day. Run the job again now and then; it fetches what is done:", run
            )
        case "waiting":
            yield NextStep("Run it again to ask the rest:", run)
        case "files_unreadable":
            yield NextStep("When the files can be read, or are out of the source, run it again:", run)
        case "cancelled":
            yield NextStep("Nothing that was answered is asked again. To go on from there:", run)
        case "failed":
            yield NextStep(
                "Nothing that was answered is asked again. Once the cause above is removed, run it again:",
                run,
            )


def _made_real(record: RunRecord, job_file: str) -> str:
    if provider_of(record.job.model).is_practice:
        return (
            f'These are practice labels. For those of a model, set provider = "openai" (or another of docs/providers.md) '
            f"under [model] in {job_file}, put its key into the environment or into .env, and run the job again:"
        )
    return (
        "These are practice labels, since the requests went to a practice provider. For those of a model, take its address "
        "away (base_url, --model-base-url or the variable that holds it), and run the job again:"
    )


def _after_budget(record: RunRecord, job_file: str) -> NextStep:
    found = _LIMIT.search(record.message or "")
    field = found[1] if found else "max_cost_usd"
    run = command("run", job_file)
    if unit := _UNITS.get(field):
        return NextStep(f"Raise {field} in {job_file}, or run it again next {unit} (UTC):", run)
    limit = record.job.run.max_cost_usd or 0
    if record.texts_labeled:
        return NextStep(
            f"Run it again to go on (it may spend {field} = {limit:g} once more), or raise the limit:", run
        )
    raised = command("run", job_file, "--max-cost-usd", f"{max(2 * limit, 0.01):g}")
    return NextStep(f"Raise {field} in {job_file}, or for one run:", raised)


def _look_at_failures(record: RunRecord, job_file: str) -> Iterator[NextStep]:
    if record.rows_failed:
        why = "; the file above says why" if record.failed_path else ""
        yield NextStep(
            f"{counted(record.rows_failed, 'row')} failed{why}. To ask again those that failed for good:",
            command("run", job_file, "--retry-failed"),
        )
