"""Whose files are in `labeled/`: Labelmill replaces and removes what it has written, and nothing of anyone else's."""

import json
import os
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl

from labelmill.dataset.columns import label_columns, prefix_in
from labelmill.dataset.merge_state import MergeState, is_within
from labelmill.dataset.source import SourceFile
from labelmill.store.files import is_there


def foreign_files(
    folder: Path, ours: Collection[str], planned: Collection[str]
) -> tuple[list[str], list[str]]:
    """Tell what may be removed from a folder before some files are written into it, and what is in their way.

    Names are relative to the folder, with `/` between folders. What is neither ours nor in the way is not looked at: it
    stays. Removing comes before writing where a folder has to stand in the place of a file of ours, or a file in that of a
    folder.

    Args:
        folder: where the files are written.
        ours: what was written there before.
        planned: what is to be written.

    Returns:
        Those of ours that are there and no longer planned; and what is there, is not ours, and stands where a planned file
        or a folder around it has to be. Both sorted.
    """
    ours, planned = set(ours), set(planned)
    stale = (name for name in ours - planned if is_within(name))
    removable = [name for name in stale if _is_file_or_link(folder / name)]
    blocked: dict[str, bool] = {}
    for name in planned:
        for parent in map(str, PurePosixPath(name).parents):
            if parent != "." and parent not in blocked:
                blocked[parent] = parent not in ours and _is_no_folder(folder / parent)
        if name in ours or os.path.lexists(folder / name):
            blocked[name] = _is_in_the_way(folder / name, name, ours)
    return sorted(removable), sorted(name for name, is_blocked in blocked.items() if is_blocked)


def _is_in_the_way(path: Path, name: str, ours: Collection[str]) -> bool:
    """Whether a file of ours may not take the place of what stands there."""
    if not path.is_dir() or path.is_symlink():
        return name not in ours
    # A folder in which there is nothing but ours goes with its files.
    return any(f"{name}/{below.relative_to(path).as_posix()}" not in ours for below in _files_below(path))


def _files_below(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())


def _is_file_or_link(path: Path) -> bool:
    return is_there(path) and (path.is_symlink() or not path.is_dir())


def _is_no_folder(path: Path) -> bool:
    return os.path.lexists(path) and not path.is_dir()


def names_of_ours(labeled: Path, manifest: Path, runs: Path) -> set[str]:
    """What Labelmill has written into a folder `labeled/`: relative names, with `/` between folders.

    Its manifest and its merge state tell. An earlier version had no state, and took the manifest away before it replaced a
    file: where there is neither, and runs have published here, they died meanwhile, and their files are known by their columns.

    Args:
        labeled: the folder.
        manifest: its manifest, which stands beside it.
        runs: the folder with the records of all runs into this output.
    """
    told = _json_of(manifest).get("files")
    known = set(MergeState.beside(labeled).files)
    if isinstance(told, list):
        return known | {str(file["path"]) for file in told if isinstance(file, dict) and "path" in file}
    if known:
        return known
    if any(_json_of(path).get("labeled_path") for path in runs.glob("*/run.json")):
        return {path.relative_to(labeled).as_posix() for path in _files_below(labeled) if _has_labels(path)}
    return set()


def published_job(manifest: Path, runs: Path) -> tuple[str, str] | None:
    """The name and the source's path of the job whose labels a manifest speaks of; None where that can't be told."""
    run_id = _json_of(manifest).get("run_id")
    job = _json_of(runs / run_id / "run.json").get("job") if isinstance(run_id, str) else None
    try:
        return str(job["name"]), str(job["source"]["path"])  # type: ignore[index]
    except (KeyError, TypeError):
        return None


def _json_of(path: Path) -> dict[str, Any]:
    """The object in a JSON file; an empty one where there is none."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _has_labels(path: Path) -> bool:
    """Whether a file is Parquet and ends with our columns, of our types."""
    try:
        columns = SourceFile(path, path).schema()
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return False
    prefix = prefix_in(columns.names())
    ours = {} if prefix is None else dict(label_columns(prefix))
    return bool(ours) and all(columns[name] == dtype for name, dtype in ours.items())
