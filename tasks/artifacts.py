"""Artifacts: what a run and a comparison leave in Prefect, each under the job's key, so that its versions are the history."""

import glob
import re
from collections.abc import Callable
from functools import partial, singledispatch
from pathlib import Path
from typing import Any

import polars as pl
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from labelmill.compare.record import Comparison
from labelmill.report.comparison import comparison_report
from labelmill.report.findings import Findings
from labelmill.report.formatting import visible
from labelmill.report.markdown import (
    Cells,
    cost_report,
    costs_table,
    escaped,
    failures_table,
    labels_table,
)
from labelmill.run.record import RunRecord
from labelmill.store.address import is_url
from labelmill.store.files import place_of
from labelmill.store.working import MANIFEST
from tasks.artifact_keys import job_key_of

Thunks = dict[str, Callable[[], object]]


@singledispatch
def artifacts_of(record: Any, *_: Any) -> Thunks:
    """The artifacts of a record, with what of its report is not in it: by what each shows, what makes it."""
    raise TypeError(f"no record: {record!r}")


@artifacts_of.register
def _(record: RunRecord, findings: Findings, costs: pl.DataFrame | None, page: Path | None) -> Thunks:
    name, key = escaped(record.job.name), job_key_of(record.job)

    def show_report() -> None:
        create_markdown_artifact(
            cost_report(record, findings), key=f"{key}-report", description=f"Report of {name}"
        )

    def show_table(what: str, rows_of: Callable[[], list[Cells]], description: str) -> None:
        create_table_artifact(rows_of(), key=f"{key}-{what}", description=f"{description} of {name}")

    def show_place(what: str, words: str, title: str) -> None:
        create_markdown_artifact(words, key=f"{key}-{what}", description=f"{title} of {name}")

    labels, failures = partial(labels_table, record, findings), partial(failures_table, record, findings)
    shown: Thunks = {"the report": show_report}
    if costs is not None:
        shown["the table of costs"] = partial(
            show_table, "costs", partial(costs_table, costs), "Cost by chunk"
        )
    shown["the table of labels"] = partial(show_table, "labels", labels, "Labels")
    shown["the table of failures"] = partial(show_table, "failures", failures, "Failures")
    labeled = labeled_place(record.labeled_path)
    shown["the place of the labels"] = partial(show_place, "labeled", labeled, "Labeled data")
    if page is not None:
        shown["the place of the report"] = partial(show_place, "page", page_place(page), "Report page")
    return shown


def labeled_place(path: str) -> str:
    """Where the labels are, and the line that reads them: a server's page follows no link to a file."""
    if is_url(path):
        return _bucket_place(path)
    # A line of its own for the path: the page of an artifact is narrow.
    lines = [
        "import polars as pl",
        "",
        "rows = pl.read_parquet(",
        f"    {_quoted(f'{glob.escape(path)}/**/*.parquet')},",
        "    hive_partitioning=True,",
        ")",
    ]
    code = _code("\n".join(lines), "python")
    return f"The labels are Parquet files in this folder:\n\n{_code(visible(path))}\n\n{code}\n"


def _bucket_place(path: str) -> str:
    """The same in a bucket, where the manifest says which files count."""
    output = path.rpartition("/")[0]
    lines = [
        "import fsspec, json",
        "import polars as pl",
        "",
        f"output = {_quoted(output)}",
        f'with fsspec.open(f"{{output}}/{MANIFEST}") as file:',
        '    files = json.load(file)["files"]',
        "rows = pl.read_parquet(",
        "    [f\"{output}/{file['stored_as']}\" for file in files],",
        "    hive_partitioning=True,",
        ")",
    ]
    code = _code("\n".join(lines), "python")
    return f"The labels are Parquet files below this address, and `{MANIFEST}` says which of them count:\n\n{_code(visible(path))}\n\n{code}\n"


def page_place(page: Path) -> str:
    """Where the report is that a browser opens by itself."""
    path = _code(visible(place_of(page)))
    return f"The report is a page of its own. Open this file in a browser, on the machine where it is:\n\n{path}\n"


def _code(text: str, language: str = "") -> str:
    """Text as a block of code, which shows it as it is: the fence is longer than any run of backticks in it."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _quoted(path: str) -> str:
    """A path as a string of Python's, in double quotes wherever that can be."""
    plain = repr(path)
    is_simple = plain[0] == "'" and '"' not in path and "\\" not in plain
    return f'"{path}"' if is_simple else plain


@artifacts_of.register
def _(comparison: Comparison) -> Thunks:
    name = comparison.job.name

    def show_comparison() -> None:
        create_markdown_artifact(
            comparison_report(comparison),
            key=f"{job_key_of(comparison.job)}-compare",
            description=f"Strategies compared for {escaped(name)}",
        )

    return {"the comparison": show_comparison}
