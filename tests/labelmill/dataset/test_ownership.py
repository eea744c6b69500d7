"""Whose files are in a folder: ours are replaced and removed, a person's never."""

import json
import os

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelmill.dataset.columns import LABEL_COLUMNS, label_columns
from labelmill.dataset.ownership import foreign_files, names_of_ours, published_job

NAMES = st.lists(st.sampled_from(["a", "b", "c.parquet"]), min_size=1, max_size=3).map("/".join)
TREES = st.sets(NAMES, max_size=6)


def _files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()
    }


def _write(folder, names, content):
    """Write what can be written beside what is there; return the names of what was."""
    written = set()
    for name in sorted(names):
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(path):
                path.write_text(content)
                written.add(name)
        except OSError:
            continue
    return written


def _without_empty_folders(folder):
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


@settings(max_examples=80)
@given(ours=TREES, theirs=TREES, planned=TREES, gone=TREES)
def test_nothing_of_a_persons_is_touched(tmp_path_factory, ours, theirs, planned, gone):
    """After removing and writing as told, every planned file is ours and every file of a person's is as it was.

    Where something is in the way, writing would have replaced it or failed.
    """
    folder = tmp_path_factory.mktemp("labeled")
    # A source has no file in the place of another's folder.
    planned = {name for name in planned if not any(other.startswith(f"{name}/") for other in planned)}
    ours = _write(folder, ours, "ours")
    theirs = _write(folder, theirs, "theirs")
    removable, in_the_way = foreign_files(folder, ours | gone - theirs, planned)
    before = _files(folder)
    assert removable == sorted(ours - planned)
    if in_the_way:
        for name in in_the_way:
            assert os.path.lexists(folder / name)
            blocks = [other for other in theirs if other == name or other.startswith(f"{name}/")]
            assert blocks
        return
    for name in removable:
        (folder / name).unlink()
    _without_empty_folders(folder)
    for name in planned:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("new")
    after = _files(folder)
    assert {name for name, content in after.items() if content == "new"} == planned
    assert {name: after.get(name) for name in theirs} == {name: before[name] for name in theirs}
    assert set(after) == planned | theirs


def test_names_that_lead_out_of_the_folder_are_nobodys(tmp_path):
    """A manifest is a file like any other: what somebody wrote into it removes nothing outside."""
    (tmp_path / "labeled").mkdir()
    (tmp_path / "mine.parquet").write_text("mine")
    names = {"../mine.parquet", str(tmp_path / "mine.parquet"), "x/../../mine.parquet", "\0", ""}
    assert foreign_files(tmp_path / "labeled", names, {"a.parquet"}) == ([], [])


def test_links_are_what_they_are_themselves(tmp_path):
    """A person's link in a file's place is in the way, wherever it leads; ours is replaced; a link to a folder is a folder."""
    labeled = tmp_path / "labeled"
    (tmp_path / "disk").mkdir()
    labeled.mkdir()
    (labeled / "a.parquet").symlink_to("nowhere")
    (labeled / "day=1").symlink_to(tmp_path / "disk")
    (labeled / "b").symlink_to(tmp_path / "disk")
    assert foreign_files(labeled, set(), {"a.parquet", "day=1/x.parquet"}) == ([], ["a.parquet"])
    assert foreign_files(labeled, {"a.parquet"}, {"a.parquet"}) == ([], [])
    assert foreign_files(labeled, {"a.parquet"}, set()) == (["a.parquet"], [])
    assert foreign_files(labeled, set(), {"b"}) == ([], ["b"])


def test_the_manifest_tells_what_is_ours(tmp_path):
    """Its names count, also where a file's columns are other ones; what it doesn't name is not ours."""
    labeled = tmp_path / "labeled"
    labeled.mkdir()
    _labeled_file(labeled / "copy.parquet")
    manifest = tmp_path / "_manifest.json"
    manifest.write_text(json.dumps({"files": [{"path": "a.parquet"}, {"path": "d=1/a.parquet"}, {}, 3]}))
    assert names_of_ours(labeled, manifest, tmp_path / "runs") == {"a.parquet", "d=1/a.parquet"}


def _labeled_file(path, prefix="", **columns):
    ours = {name: pl.Series([None], dtype=dtype) for name, dtype in label_columns(prefix).items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame({"text": ["a"], **ours}).with_columns(**columns).write_parquet(path)


@pytest.mark.parametrize("manifest", [None, "", "[]", '{"files": 3}', '{"files"', "[" * 100_000])
def test_without_a_manifest_the_columns_tell(tmp_path, manifest):
    """Where runs have published and no manifest can be read, files that end with our columns are ours, under any prefix."""
    labeled, runs = tmp_path / "labeled", tmp_path / "runs"
    if manifest is not None:
        (tmp_path / "_manifest.json").write_text(manifest)
    _labeled_file(labeled / "day=1" / "a.parquet")
    _labeled_file(labeled / "b[1].pq", "lm_")
    _labeled_file(labeled / "typed.parquet", label=pl.lit(1))
    pl.DataFrame({**dict.fromkeys(LABEL_COLUMNS, "x"), "text": ["a"]}).write_parquet(labeled / "own.parquet")
    (labeled / "notes.txt").write_text("mine")
    (labeled / "gone.parquet").symlink_to("nowhere")
    assert names_of_ours(labeled, tmp_path / "_manifest.json", runs) == set()
    (runs / "r1").mkdir(parents=True)
    (runs / "r1" / "run.json").write_text(json.dumps({"labeled_path": str(labeled)}))
    assert names_of_ours(labeled, tmp_path / "_manifest.json", runs) == {"day=1/a.parquet", "b[1].pq"}


def test_whose_labels_a_manifest_speaks_of(tmp_path):
    """The record of its run knows the job; where that can't be read, nothing is said."""
    manifest = tmp_path / "_manifest.json"
    (tmp_path / "runs" / "r1").mkdir(parents=True)
    assert published_job(manifest, tmp_path / "runs") is None
    manifest.write_text(json.dumps({"run_id": "r1"}))
    assert published_job(manifest, tmp_path / "runs") is None
    for record in ([], {}, {"job": None}, {"job": {"name": "a"}}, {"job": {"name": "a", "source": None}}):
        (tmp_path / "runs" / "r1" / "run.json").write_text(json.dumps(record))
        assert published_job(manifest, tmp_path / "runs") is None
    record = {"job": {"name": "a", "source": {"path": "/data"}}}
    (tmp_path / "runs" / "r1" / "run.json").write_text(json.dumps(record))
    assert published_job(manifest, tmp_path / "runs") == ("a", "/data")
