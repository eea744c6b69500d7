"""The labeled dataset as a Prefect asset, and events for those who watch: what other deployments are triggered by."""

import hashlib
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from prefect.assets import Asset, AssetProperties, add_asset_metadata, materialize
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event
from prefect.logging import get_run_logger

from labelmill.dataset.merge_state import MergeState
from labelmill.report.formatting import visible
from labelmill.run.record import RunRecord
from labelmill.store.address import is_url
from labelmill.store.files import is_there, place_of
from labelmill.store.folder import OutputFolder
from labelmill.store.reading import scan_parquet
from labelmill.store.working import path_at
from tasks.artifact_keys import job_key_of

ANNOUNCED = ("completed", "waiting", "budget_reached", "files_unreadable")
ALERTING = ("budget_reached", "too_many_failures", "files_unreadable", "failed")
LONGEST_KEY = 512
_NOT_IN_A_KEY = re.compile(r"[\s#?&%\"'<>\[\]{}|\\^`\x00]")


def announcements_of(record: RunRecord) -> dict[str, Callable[[], object]]:
    """What the server is told of a run: the labeled dataset as an asset, and an event where a person should look.

    A dataset is announced as labeled by a run that ends well, at its budget or without some unreadable files; not by one that
    failed or was stopped, nor by one that left the labels of an earlier one where they were.
    """
    told: dict[str, Callable[[], object]] = {}
    if record.status in ANNOUNCED and record.is_published:
        told["the labeled dataset"] = partial(_announce_asset, record)
    if record.status in ALERTING:
        told["the run's end"] = partial(_announce_end, record)
    return told


def _announce_asset(record: RunRecord) -> None:
    key = asset_key_of(record.labeled_path)
    url = record.labeled_path if is_url(record.labeled_path) else Path(record.labeled_path).as_uri()
    properties = AssetProperties(name=f"{record.job.name}, labeled", url=url)
    task = materialize(
        Asset(key=key, properties=properties),
        name="materialize",
        task_run_name="announce",
        by="labelmill",
        cache_policy=NO_CACHE,
    )(_materialize)
    task(key, asset_metadata_of(record))


def _announce_end(record: RunRecord) -> None:
    emit_event(**alert_of(record))


def _materialize(key: str, metadata: dict[str, Any]) -> None:
    add_asset_metadata(key, metadata)
    get_run_logger().info("The labeled dataset is the asset %s", key)


def asset_key_of(labeled: str) -> str:
    """The asset's key: `file://` and the absolute path of `labeled/`, or its address in an object store.

    Prefect allows neither spaces nor most marks in a key; a path that loses some gets a short hash, so that two
    datasets never share a key.
    """
    address = labeled if is_url(labeled) else f"file://{Path(labeled).absolute().as_posix()}"
    key = _NOT_IN_A_KEY.sub("_", address)
    if key == address and len(key) <= LONGEST_KEY:
        return key
    digest = hashlib.sha256(address.removeprefix("file://").encode()).hexdigest()[:8]
    return f"{key[: LONGEST_KEY - 9]}-{digest}"


def asset_metadata_of(record: RunRecord) -> dict[str, Any]:
    """What the event's payload tells: counts, cost in USD (null where unknown), schema, and absolute paths."""
    labeled = path_at(record.labeled_path)
    there = (labeled / name for name in sorted(MergeState.beside(labeled).files))
    first = next((file for file in there if is_there(file)), None)
    schema = {} if first is None else scan_parquet(first).collect_schema()
    folder = OutputFolder.of(record.job).run(record.run_id)
    return {
        "job": record.job.name,
        "run_id": record.run_id,
        "status": record.status,
        "practice": record.practice,
        "rows_total": record.rows_total,
        "rows_labeled": record.rows_labeled,
        "rows_failed": record.rows_failed,
        "rows_pending": record.rows_pending,
        "rows_empty": record.rows_empty,
        "rows_unreadable": record.rows_unreadable,
        "labels": record.labels,
        "cost_usd": record.cost_usd,
        "schema": {name: str(dtype) for name, dtype in schema.items()},
        "labeled_path": record.labeled_path,
        "record_path": place_of(folder / "run.json"),
    }


def alert_of(record: RunRecord) -> dict[str, Any]:
    """The event of a run that a person should look at.

    Triggers match the resource's labels, which are strings; the payload holds the numbers.
    """
    return {
        "event": f"labelmill.run.{record.status.replace('_', '-')}",
        "resource": {
            "prefect.resource.id": f"labelmill.job.{job_key_of(record.job)}",
            "prefect.resource.name": record.job.name,
            "labelmill.status": record.status,
            "labelmill.run-id": record.run_id,
            "practice": str(record.practice).lower(),
        },
        "payload": {
            "run_id": record.run_id,
            "sentence": visible(record.message or record.status),
            "rows_total": record.rows_total,
            "rows_labeled": record.rows_labeled,
            "rows_failed": record.rows_failed,
            "rows_pending": record.rows_pending,
            "rows_empty": record.rows_empty,
            "rows_unreadable": record.rows_unreadable,
            "unreadable_files": [file.model_dump() for file in record.unreadable_files],
            "failures": record.failures,
            "provider_messages": [said.model_dump() for said in record.provider_messages],
            "wrong_answers": [said.model_dump() for said in record.wrong_answers],
            "cost_usd": record.cost_usd,
            "max_cost_usd": record.job.run.max_cost_usd,
        },
    }
