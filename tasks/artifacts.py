"""Artifacts: what a run and a comparison leave in Prefect, each under the job's key, so that its versions are the history."""

from functools import singledispatch
from pathlib import Path
from typing import Any

import polars as pl
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from labelmill.compare.record import Comparison
from labelmill.report.comparison import comparison_report
from labelmill.report.findings import Findings
from labelmill.report.markdown import cost_report, costs_table, escaped, failures_table, labels_table
from labelmill.run.record import RunRecord
from tasks.artifact_keys import artifact_key_of


@singledispatch
def show(record: Any, *_: Any) -> None:
    """Leave the artifacts of a record, with what of its report is not in it."""
    raise TypeError(f"no record: {record!r}")


@show.register
def _(record: RunRecord, findings: Findings, costs: pl.DataFrame, page: Path) -> None:
    name, key = escaped(record.job.name), artifact_key_of(record.job.name)
    create_markdown_artifact(
        cost_report(record, findings), key=f"{key}-report", description=f"Report of {name}"
    )
    tables = {
        "costs": (costs_table(costs), f"Cost by chunk of {name}"),
        "labels": (labels_table(record, findings), f"Labels of {name}"),
        "failures": (failures_table(record, findings), f"Failures of {name}"),
    }
    for what, (rows, description) in tables.items():
        create_table_artifact(rows, key=f"{key}-{what}", description=description)
    links = {"labeled": (Path(record.labeled_path), "Labeled data"), "page": (page, "Report page")}
    for what, (path, title) in links.items():
        # The path stands beside the link because browsers follow no file:// link from a page of a server.
        create_link_artifact(
            path.absolute().as_uri(),
            link_text=f"{title} of {name}",
            key=f"{key}-{what}",
            description=f"{title} of {name}: {escaped(str(path.absolute()))}",
        )


@show.register
def _(comparison: Comparison) -> None:
    name = comparison.job.name
    create_markdown_artifact(
        comparison_report(comparison),
        key=f"{artifact_key_of(name)}-compare",
        description=f"Strategies compared for {escaped(name)}",
    )
