"""`_manifest.json`, beside `labeled/`: says to readers that know nothing of Prefect what is there, and that it is whole."""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from labelmill.dataset.columns import label_columns
from labelmill.dataset.merge_state import FileState, MergeState
from labelmill.dataset.parquet import read_footer
from labelmill.run.record import RunRecord
from labelmill.store.files import stamp_of, write_text_whole
from labelmill.store.working import MANIFEST, bring, path_at


def manifest_of(
    record: RunRecord, files: list[dict[str, Any]], created: datetime, unreadable: Sequence[str] = ()
) -> dict[str, Any]:
    """What the manifest says. `is_complete` is whether every row with a text was asked: none is `pending` or `unreadable`.

    `labels` are the rows by label, also of those labels that no row has.

    `files` are the published files as (`path`, relative to `labeled/`; `rows`; `bytes`). `unreadable` are the paths of those
    whose source could not be read: where they are among the `files`, an earlier run has written them.
    """
    prefix = record.job.output.column_prefix
    return {
        "job": record.job.name,
        "run_id": record.run_id,
        "status": record.status,
        "is_complete": not (record.rows_pending or unreadable),
        "practice": record.practice,
        "task_key": record.task_key,
        "created_at_utc": created.isoformat(),
        "rows": {
            "total": record.rows_total,
            "ok": record.rows_labeled,
            "failed": record.rows_failed,
            "pending": record.rows_pending,
            "empty": record.rows_empty,
            "unreadable": record.rows_unreadable,
        },
        "labels": record.labels,
        "column_prefix": prefix,
        "label_columns": {name: str(kind) for name, kind in label_columns(prefix).items()},
        "files": files,
        "unreadable_files": list(unreadable),
    }


def write_manifest(
    record: RunRecord, relative: list[Path], created: datetime, unreadable: Sequence[Path] = ()
) -> None:
    """Write the manifest of what was published, after its last file, whole or not at all.

    Of the files whose source is `unreadable` it names those that an earlier run has left.

    It stands beside `labeled/` rather than in it: Polars refuses to read a folder that holds anything but Parquet.
    """
    folder = path_at(record.labeled_path)
    states = MergeState.beside(folder).files
    files = [_facts_of(folder, path, states.get(path.as_posix())) for path in (*relative, *unreadable)]
    left_out = [path.as_posix() for path in unreadable]
    manifest = manifest_of(record, [facts for facts in files if facts], created, left_out)
    write_text_whole(folder.with_name(MANIFEST), json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")


def _facts_of(folder: Path, path: Path, state: FileState | None) -> dict[str, Any] | None:
    if state is not None:
        return {"path": path.as_posix(), "rows": state.rows, "bytes": state.labeled.size}
    stamp = stamp_of(folder / path)
    return stamp and {
        "path": path.as_posix(),
        "rows": read_footer(bring(folder / path)).rows,
        "bytes": stamp.size,
    }
