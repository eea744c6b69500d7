"""What is said of an output folder before anything is spent."""

import json
import os

import polars as pl
import pytest

from labelmill.check.dataset import source_mistakes
from labelmill.check.output import output_mistakes, store_mistakes
from labelmill.dataset.columns import label_columns
from labelmill.job.model import Output, Source


def _output(path, source=None, job="test"):
    listing = None if source is None else source_mistakes(Source(path=str(source), text="text"))[0]
    return output_mistakes(Output(path=str(path)), listing, job)


@pytest.fixture
def folder(tmp_path):
    """A folder with one good file in it."""
    (tmp_path / "in").mkdir()
    pl.DataFrame({"text": ["a"], "n": [1]}).write_parquet(tmp_path / "in" / "good.parquet")
    return tmp_path / "in"


def test_a_good_output_has_no_mistake(folder):
    """A folder beside the source, there or not."""
    assert _output(folder.parent / "out", folder) == []
    (folder.parent / "out").mkdir()
    assert _output(folder.parent / "out", folder) == []


def test_a_path_that_no_system_takes(tmp_path):
    """A name too long for the file system is a sentence and not a traceback."""
    name = "x" * 300
    assert _output(tmp_path / name) == [
        ("output.path", f"'{tmp_path}/{name}' can't be written: File name too long")
    ]


@pytest.mark.parametrize("url", ["https://host/x", "s3a://bucket/x", "s3://bucket/a/../x"])
def test_addresses_that_can_not_be_used_are_refused(url):
    """An output's address that can't be used is one sentence."""
    ((place, sentence),) = store_mistakes(Output(path=url), None)
    assert place == "output.path"
    assert sentence.startswith(f"found '{url}'")


@pytest.mark.parametrize("out", ["in", "in/out", "in/deep/er"])
@pytest.mark.parametrize("path", ["in", "in/", "in/**/*.parquet"])
def test_an_output_inside_the_source(folder, path, out):
    """An output that the next run would take for its source is refused."""
    ((place, sentence),) = _output(folder.parent / out, f"{folder.parent}/{path}")
    assert place == "output.path"
    assert "choose a folder outside" in sentence


@pytest.mark.parametrize(
    ("path", "out", "refused"),
    [
        ("in/*.parquet", "in/out", False),
        ("in/*/*.parquet", "in/out", True),
        ("in/*/*/*.parquet", "in/out", True),
        ("in/date=*/*.parquet", "in/out", False),
        ("in/date=*/*.parquet", "in/date=2026", True),
        ("in/date=*/*.parquet", "in/out/date=2026", False),
        ("in/good.parquet", "in/out", False),
        ("in/good.parquet", "in", True),
        ("in/*.parquet", "in", True),
        ("in/good.parquet", "in/../in", True),
        ("in", "inside", False),
    ],
)
def test_an_output_beside_the_source_files(folder, path, out, refused):
    """A folder below a glob's root is fine where the glob doesn't reach into it."""
    assert bool(_output(folder.parent / out, folder.parent / path)) == refused


def test_a_source_inside_the_output(folder):
    """An output around the source is refused: what a run leaves must not mix with what it reads."""
    assert _output(folder.parent, folder) == [
        ("output.path", f"the source '{folder}' is inside it; choose another folder")
    ]


def test_links_are_seen_through(folder):
    """An output that is inside the source by way of a link is refused, and so is a source by way of one."""
    (folder.parent / "link").symlink_to(folder)
    assert "choose a folder outside" in _output(folder.parent / "link" / "out", folder)[0][1]
    assert "choose a folder outside" in _output(folder / "out", folder.parent / "link")[0][1]


@pytest.mark.parametrize("path", ["in", "in/**/*.parquet", "in/*/*.parquet"])
def test_files_that_are_links_into_the_output(folder, path):
    """A run's own labeled files are not its source, whatever way leads to them."""
    out = folder.parent / "out"
    (out / "labeled").mkdir(parents=True)
    pl.DataFrame({"text": ["a"]}).write_parquet(out / "labeled" / "x.parquet")
    (folder / "elsewhere").symlink_to(out / "labeled")
    assert _output(out, folder.parent / path) == [
        ("output.path", f"files of the source are links into '{out}'; choose another folder")
    ]
    (folder / "elsewhere").unlink()
    (folder / "y").mkdir()
    (folder / "y/x.parquet").symlink_to(out / "labeled" / "x.parquet")
    assert len(_output(out, folder.parent / path)) == 1


def test_relative_paths_are_seen_through(folder, monkeypatch):
    """Relative paths are compared as what they mean."""
    monkeypatch.chdir(folder)
    assert "choose a folder outside" in _output("out", ".")[0][1]
    assert "choose a folder outside" in _output("../in/out", "**/*.parquet")[0][1]
    assert _output("../out", ".") == []


def test_an_output_that_is_a_file(tmp_path):
    """A file where the folder, or one above it, should be is named."""
    (tmp_path / "file").touch()
    assert _output(tmp_path / "file" / "out") == [
        ("output.path", f"'{tmp_path}/file' is a file, so there can be no folder '{tmp_path}/file/out'")
    ]
    assert "is a file" in _output(tmp_path / "file")[0][1]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_that_cannot_be_written(tmp_path):
    """The nearest folder there is must be writable."""
    (tmp_path / "closed").mkdir(mode=0o500)
    assert _output(tmp_path / "closed" / "a" / "b") == [
        ("output.path", f"'{tmp_path}/closed' is not writable")
    ]


def test_a_labeled_file_whose_path_no_system_takes(tmp_path, monkeypatch):
    """A path that is too long below the output is known before anything is paid."""
    deep = "/".join(["d" * 200] * 18)
    monkeypatch.chdir(tmp_path)
    os.makedirs("s/" + deep)  # noqa: PTH103
    pl.DataFrame({"text": ["a"]}).write_parquet(f"s/{deep}/a.parquet")
    assert _output("out", "s") == []
    out = "o/" + "/".join(["o" * 200] * 2)
    ((place, sentence),) = _output(out, "s")
    total = len(os.fsencode(f"{tmp_path}/{out}/practice/labeled/{deep}/a.parquet"))
    assert place == "output.path"
    assert (
        sentence
        == f"the labeled file of 's/{deep}/a.parquet' would have a path of {total} bytes, and the system takes 4095; choose a shorter folder"
    )


def test_a_name_that_the_outputs_file_system_does_not_take(folder, monkeypatch):
    """Bytes count, not letters; file systems that encrypt names take 143 of them."""
    pl.DataFrame({"text": ["a"]}).write_parquet(folder / f"{'技' * 50}.parquet")
    asked = os.pathconf
    monkeypatch.setattr(
        os, "pathconf", lambda path, name: 143 if name == "PC_NAME_MAX" else asked(path, name)
    )
    ((_, sentence),) = _output(folder.parent / "out", folder)
    assert sentence == (
        f"the name '{'技' * 50}.parquet' has 158 bytes, and names in '{folder.parent}/out' can have 143; rename it, or "
        "choose a folder on another file system"
    )


@pytest.fixture
def out(folder):
    """An output folder that a run of the job `test` has published `good.parquet` into; the source is `in/`."""
    out = folder.parent / "out"
    (out / "labeled").mkdir(parents=True)
    (out / "runs" / "r1").mkdir(parents=True)
    ours = {name: pl.Series([None], dtype=dtype) for name, dtype in label_columns().items()}
    pl.DataFrame({"text": ["a"], **ours}).write_parquet(out / "labeled" / "good.parquet")
    files = [{"path": "good.parquet", "rows": 1, "bytes": 1}]
    (out / "_manifest.json").write_text(json.dumps({"run_id": "r1", "files": files}))
    job = {"name": "test", "source": {"path": str(folder), "text": "text"}}
    record = {"job": job, "labeled_path": str(out / "labeled")}
    (out / "runs" / "r1" / "run.json").write_text(json.dumps(record))
    return out


def test_a_persons_file_in_the_way_is_said_before_anything_is_spent(folder, out):
    """What no manifest names is not ours, where a labeled file would go; elsewhere it is in nobody's way."""
    assert _output(out, folder) == []
    gold = out / "labeled" / "gold.parquet"
    pl.DataFrame({"text": ["by hand"]}).write_parquet(gold)
    assert _output(out, folder) == []
    pl.DataFrame({"text": ["a"]}).write_parquet(folder / "gold.parquet")
    assert _output(out, folder) == [
        (
            "output.path",
            f"'{gold}' stands where a labeled file would go, and no run has written it; move it away, or choose another folder",
        )
    ]


def test_many_files_in_the_way_are_counted(folder):
    """A folder of a person's own that is called `labeled`, with the source's names."""
    labeled = folder.parent / "out" / "labeled"
    labeled.mkdir(parents=True)
    for number in range(12):
        for where in (folder, labeled):
            pl.DataFrame({"text": ["a"]}).write_parquet(where / f"{number:02}.parquet")
    found = [sentence for _, sentence in _output(folder.parent / "out", folder)]
    assert len(found) == 6
    assert found[0].startswith(f"'{labeled}/00.parquet' stands where")
    assert found[-1] == "and 7 more files like these"


def test_labels_of_a_run_that_died_while_it_published_are_ours(folder, out):
    """An earlier version took the manifest away first: where runs have published, its files are known by their columns."""
    (out / "_manifest.json").unlink()
    assert _output(out, folder) == []
    pl.DataFrame({"text": ["a"]}).write_parquet(out / "labeled" / "good.parquet")
    assert len(_output(out, folder)) == 1


def test_a_file_in_the_place_of_labeled(folder):
    """There can be no folder of that name."""
    (folder.parent / "out").mkdir()
    (folder.parent / "out" / "labeled").touch()
    assert _output(folder.parent / "out", folder) == [
        (
            "output.path",
            f"'{folder.parent}/out/labeled' is not a folder, and labeled files go there; move it away",
        )
    ]


def test_another_jobs_labels_are_not_replaced(folder, out):
    """A job of another name and another source needs a folder of its own; one that was renamed or moved is the same."""
    (folder.parent / "other").mkdir()
    pl.DataFrame({"text": ["b"]}).write_parquet(folder.parent / "other" / "b.parquet")
    assert _output(out, folder.parent / "other", "else") == [
        (
            "output.path",
            (
                f"'{out}/labeled' holds the labels of the job 'test' from '{folder}', and those of this job, 'else' from "
                f"'{folder.parent}/other', would take their place; choose another folder"
            ),
        )
    ]
    assert _output(out, folder.parent / "other", "test") == []
    assert _output(out, folder, "else") == []
    (out / "runs" / "r1" / "run.json").unlink()
    assert _output(out, folder.parent / "other", "else") == []


def test_checking_writes_nothing(folder, out):
    """The check leaves no folder and no file behind."""
    before = sorted(folder.parent.rglob("*"))
    _output(out, folder)
    _output(folder.parent / "new" / "deep", folder)
    assert sorted(folder.parent.rglob("*")) == before
