"""Artifacts: what a run and a comparison leave in Prefect, each under the job's key, so that its versions are the history."""

from collections.abc import Callable
from functools import partial, singledispatch
from pathlib import Path
from typing import Any

import polars as pl
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from labelmill.compare.record import Comparison
from labelmill.report.comparison import comparison_report
from labelmill.report.findings import Findings
from labelmill.report.markdown import (
    Cells,
    cost_report,
    costs_table,
    escaped,
    failures_table,
    labels_table,
)
from labelmill.run.record import RunRecord
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

    def show_link(what: str, path: Path, title: str) -> None:
        # The path stands beside the link because browsers follow no file:// link from a page of a server.
        create_link_artifact(
            path.absolute().as_uri(),
            link_text=f"{title} of {name}",
            key=f"{key}-{what}",
            description=f"{title} of {name}: {escaped(str(path.absolute()))}",
        )

    labels, failures = partial(labels_table, record, findings), partial(failures_table, record, findings)
    shown: Thunks = {"the report": show_report}
    if costs is not None:
        shown["the table of costs"] = partial(
            show_table, "costs", partial(costs_table, costs), "Cost by chunk"
        )
    shown["the table of labels"] = partial(show_table, "labels", labels, "Labels")
    shown["the table of failures"] = partial(show_table, "failures", failures, "Failures")
    shown["the link to the labels"] = partial(show_link, "labeled", Path(record.labeled_path), "Labeled data")
    if page is not None:
        shown["the link to the report"] = partial(show_link, "page", page, "Report page")
    return shown


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
