"""What a pattern names in a folder: as a shell would have it, each folder once."""

import glob
import os
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelmill.dataset.walk import ANY_FOLDERS, Kind, is_hidden, walk

NAMES = st.sampled_from(["a", "b", "A", "x.parquet", "y.parquet", "a[1]", "k=v", "_k=v", "_a", ".a", "ü"])
TREES = st.sets(st.lists(NAMES, min_size=1, max_size=4).map("/".join), max_size=12)
PARTS = st.sampled_from(
    ["*", "**", "?", "*.parquet", "a*", "[ab]", "[!a]*", "_*", ".*", "a", "_a", "k=*", "ü"]
)


def _written(folder, names):
    for name in sorted(names):
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        except OSError:  # a file stands where a folder would be
            continue
    return folder


def _files(folder, pattern):
    return {entry.relative: entry for entry in walk(str(folder), pattern) if entry.kind is Kind.FILE}


@given(names=TREES, pattern=st.lists(PARTS, min_size=1, max_size=4))
def test_a_pattern_finds_what_python_finds(tmp_path_factory, names, pattern):
    """Together with what is hidden, it is what `glob` finds that looks at hidden names too; without, no name is hidden unspelt."""
    folder = _written(tmp_path_factory.mktemp("tree"), names)
    found = _files(folder, pattern)
    # A star of glob's doesn't match a dot; with include_hidden it does.
    expected = {
        name
        for name in glob.glob("/".join(pattern), root_dir=folder, recursive=True, include_hidden=True)  # noqa: PTH207
        if (folder / name).is_file()
    }
    assert set(found) == {str(PurePosixPath(name)) for name in expected}
    spelt = {part[0] for part in pattern} & {".", "_"}
    for name, entry in found.items():
        hidden = [part for part in name.split("/") if is_hidden(part)]
        assert not entry.is_hidden or hidden
        if not spelt:
            assert entry.is_hidden == bool(hidden)
        assert not entry.is_linked


@given(names=TREES)
def test_everything_below_a_folder_is_found_once(tmp_path_factory, names):
    """Each file and folder comes once, under its own name."""
    folder = _written(tmp_path_factory.mktemp("tree"), names)
    entries = [entry.relative for entry in walk(str(folder), [ANY_FOLDERS, "*"])]
    assert sorted(entries) == sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@given(names=TREES, links=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=4))
def test_links_lose_nothing_and_end(tmp_path_factory, names, links):
    """With links to any folders, also to those around them, own names are found as before, and no folder twice."""
    around = tmp_path_factory.mktemp("around")
    folder = _written(around / "in", names)
    _written(around / "elsewhere", ["a/x.parquet", "y.parquet"])
    folder.mkdir(exist_ok=True)
    before = {entry.relative for entry in walk(str(folder), [ANY_FOLDERS, "*"])}
    inside = [folder, *sorted(path for path in folder.rglob("*") if path.is_dir())]
    targets = [*inside, around, around / "elsewhere"]
    for number, (at, target) in enumerate(links):
        (inside[at % len(inside)] / f"link{number}").symlink_to(targets[target % len(targets)])
    entries = list(walk(str(folder), [ANY_FOLDERS, "*"]))
    assert {entry.relative for entry in entries if not entry.is_linked} == before
    seen = [os.path.realpath(folder / e.relative) for e in entries if e.kind is Kind.FILE and not e.is_hidden]
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("_a", True),
        (".a", True),
        ("._k=v", True),
        (".k=v", True),
        ("_k=v", False),
        ("k=v", False),
        ("a_", False),
    ],
)
def test_what_is_hidden_is_sparks_rule(name, hidden):
    """A dot hides always, an underscore unless the name is a partition's."""
    assert is_hidden(name) == hidden


def test_what_is_no_file_is_told_apart(tmp_path):
    """Pipes, links that lead nowhere and links to themselves are no files, and are never opened."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "self").symlink_to("self")
    found = {entry.relative: entry.kind for entry in walk(str(tmp_path), ["*"])}
    assert found == {"pipe": Kind.SPECIAL, "gone": Kind.DANGLING, "self": Kind.DANGLING}
