"""Publishing: whole files under the source's names, and nothing else."""

import errno
import os
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
from merging import Merger

from labelmill.dataset import merge
from labelmill.dataset.source import SourceFile, source_files
from labelmill.dataset.template import read_template
from labelmill.errors import CannotWrite
from labelmill.store.ledger import Ledger
from labelmill.store.working import MANIFEST, MERGE_STATE

TEXT = read_template("text")


@pytest.fixture
def merger(tmp_path, record_answers):
    """A merger that knows that `a` is sport."""
    return Merger(record_answers(tmp_path / "ledger", {"a": "sport"}), TEXT)


@pytest.fixture
def full_disk(monkeypatch):
    """In a `with`, let no label column be written: the disk is full."""

    @contextmanager
    def full():
        def raise_full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(merge, "append_columns", raise_full)
            yield

    return full


def _all_files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_files_keep_their_names_and_partitions(tmp_path, write_source, merger):
    """`labeled/` has the source's folders and names, encoded as they were, and gives the partitions to its readers."""
    source = tmp_path / "source"
    for folder in ("主题=科技/date=2026-11-01", "主题=a%20b/date=2026-11-02", "plain"):
        write_source(source / folder, {"text": ["a", "b"]})
    files = source_files(str(source))
    written = merger.write_labeled(files, tmp_path / "labeled")
    assert written == [tmp_path / "labeled" / file.relative for file in files]
    assert _all_files(tmp_path / "labeled") == _all_files(source)
    hive = pl.read_parquet(tmp_path / "labeled" / "主题=*" / "**" / "*.parquet", hive_partitioning=True)
    assert sorted(set(hive["主题"])) == ["a b", "科技"]


@pytest.mark.parametrize(
    "name", ["a[1].parquet", "*.parquet", "50%25.parquet", "a b.pq", "中文.parquet", "noend"]
)
def test_any_name_can_be_written(tmp_path, merger, name):
    """Brackets, stars, per cent signs, spaces and Chinese in a file's or a folder's name are only letters."""
    source = tmp_path / f"in {name}" / name
    source.parent.mkdir()
    pl.DataFrame({"text": ["a"]}).write_parquet(tmp_path / "plain")
    (tmp_path / "plain").rename(source)
    folder = tmp_path / f"out {name}"
    files = source_files(str(source))
    merger.write_labeled(files, folder / "labeled")
    assert _all_files(folder) == sorted([f"labeled/{name}", MERGE_STATE])
    (labeled,) = source_files(str(folder / "labeled" / name))
    assert labeled.scan().collect()["label"].to_list() == ["sport"]
    assert merger.write_failed(files, folder / "failed" / "run.parquet") == 0


def test_a_file_is_replaced_in_one_step(tmp_path, write_source, record_answers):
    """A reader that holds the old file goes on reading the old one; the next one to open it reads the new one whole."""
    files = write_source(tmp_path / "source", {"text": ["a", "b"]})
    ledger = Ledger(tmp_path / "ledger")
    (path,) = Merger(ledger, TEXT).write_labeled(files, tmp_path / "labeled")
    with path.open("rb") as held:
        record_answers(tmp_path / "ledger", {"a": "sport", "b": "money"})
        Merger(ledger, TEXT).write_labeled(files, tmp_path / "labeled")
        assert pl.read_parquet(held)["label"].to_list() == [None, None]
    assert pl.read_parquet(path)["label"].to_list() == ["sport", "money"]
    assert _all_files(tmp_path / "labeled") == ["0.parquet"]


def test_publishing_again_changes_nothing(tmp_path, write_source, merger):
    """With nothing new, publishing twice gives the same bytes."""
    files = write_source(tmp_path / "source", {"text": ["a", "b", None] * 100})
    (path,) = merger.write_labeled(files, tmp_path / "labeled")
    before = path.read_bytes()
    merger.write_labeled(files, tmp_path / "labeled")
    assert path.read_bytes() == before


def test_an_error_in_the_middle_leaves_the_old_file(tmp_path, write_source, merger):
    """Where a source file turns out to be broken, what was published of it stays, and no half file is left."""
    files = write_source(tmp_path / "source", {"text": ["a"]}, {"text": ["a"]})
    merger.write_labeled(files, tmp_path / "labeled")
    before = (tmp_path / "labeled" / "1.parquet").read_bytes()
    whole = (tmp_path / "source" / "1.parquet").read_bytes()
    broken = whole[:4] + bytes(len(whole) // 3) + whole[4 + len(whole) // 3 :]
    (tmp_path / "source" / "1.parquet").write_bytes(broken)
    merger.write_labeled(files, tmp_path / "labeled")
    assert (tmp_path / "labeled" / "1.parquet").read_bytes() == before
    assert _all_files(tmp_path / "labeled") == ["0.parquet", "1.parquet"]


def test_what_the_source_no_longer_has_is_removed(tmp_path, write_source, merger):
    """Labels of files that are gone from the source don't linger, whatever their suffix; a person's files stay."""
    labeled = tmp_path / "labeled"
    write_source(tmp_path / "old" / "date=1", {"text": ["a"]})
    merger.write_labeled(source_files(str(tmp_path / "old")), labeled)
    (labeled / "by-hand.parquet").write_bytes(b"a person's")
    (labeled / "README.txt").write_text("a note of the user's")
    (tmp_path / "new").mkdir()
    for name in ("a.pq", "b.pq"):
        pl.DataFrame({"text": ["a"]}).write_parquet(tmp_path / "new" / name)
    files = source_files(str(tmp_path / "new" / "*.pq"))
    merger.write_labeled(files, labeled)
    assert _all_files(labeled) == ["README.txt", "a.pq", "b.pq", "by-hand.parquet"]
    merger.write_labeled(files[:1], labeled)
    assert _all_files(labeled) == ["README.txt", "a.pq", "by-hand.parquet"]


def test_the_manifest_goes_before_any_file_is_replaced(tmp_path, write_source, merger, full_disk):
    """A run that dies while it publishes leaves no manifest that speaks of files it had begun to replace."""
    files = write_source(tmp_path / "source", {"text": ["a"]})
    labeled = tmp_path / "labeled"
    merger.write_labeled(files, labeled)
    labeled.with_name(MANIFEST).write_text("{}")
    write_source(tmp_path / "source", {"text": ["b"]})
    with full_disk(), pytest.raises(OSError, match="No space left"):
        merger.write_labeled(files, labeled)
    assert not labeled.with_name(MANIFEST).exists()


def test_the_folder_holds_nothing_but_parquet_also_while_it_is_written(
    tmp_path, write_source, merger, full_disk
):
    """Polars reads the folder by its name at any moment: nothing else is ever in it, and nothing is left beside it."""
    files = write_source(tmp_path / "source", {"text": ["a", "b"]})
    labeled = tmp_path / "labeled"
    merger.write_labeled(files, labeled)
    files = write_source(tmp_path / "source", {"text": ["a", "b"]}, {"text": ["b"]})
    with full_disk(), pytest.raises(OSError, match="No space left"):
        merger.write_labeled(files, labeled)
    assert pl.read_parquet(labeled).height == 2
    merger.write_labeled(files, labeled)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_a_link_in_the_way_is_replaced_and_not_followed(tmp_path, write_source, merger):
    """What it led to stays, and so does a link that is in nobody's way."""
    precious = tmp_path / "precious.parquet"
    precious.write_bytes(b"precious")
    files = write_source(tmp_path / "source", {"text": ["a"]})
    (tmp_path / "labeled").mkdir()
    (tmp_path / "labeled" / "0.parquet").symlink_to(precious)
    (tmp_path / "labeled" / "stale.parquet").symlink_to(precious)
    (path,) = merger.write_labeled(files, tmp_path / "labeled")
    assert not path.is_symlink()
    assert (tmp_path / "labeled" / "stale.parquet").is_symlink()
    assert precious.read_bytes() == b"precious"


def test_no_failed_rows_leave_no_file(tmp_path, write_source, record_answers, merger):
    """`failed/` has a file only where rows have failed; a text without words is none."""
    path = tmp_path / "failed" / "run.parquet"
    files = write_source(tmp_path / "source", {"text": ["a", "b"]})
    failing = Merger(record_answers(tmp_path / "ledger-2", failures={"b": "too_long"}), TEXT)
    assert failing.write_failed(files, path) == 1
    assert pl.read_parquet(path)["failure_kind"].to_list() == ["too_long"]
    files = write_source(tmp_path / "source", {"text": ["a", "new", None, " "]})
    assert merger.write_failed(files, path.with_name("other.parquet")) == 0
    assert _all_files(path.parent) == ["run.parquet"]


def test_a_file_without_rows_is_published(tmp_path, write_source, merger):
    """An empty file has an empty twin with all columns."""
    files = write_source(tmp_path / "source", pl.DataFrame(schema={"text": pl.String, "n": pl.Int8}))
    (path,) = merger.write_labeled(files, tmp_path / "labeled")
    frame = pl.read_parquet(path)
    assert frame.height == 0
    assert frame.schema["n"] == pl.Int8
    assert frame.schema["label_confidence"] == pl.Float64
    assert merger.write_failed(files, tmp_path / "failed.parquet") == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_an_error(tmp_path, write_source, merger):
    """A write error is raised and never passed over."""
    files = write_source(tmp_path / "source", {"text": ["a"]})
    (tmp_path / "labeled").mkdir(mode=0o500)
    with pytest.raises(OSError, match="denied"):
        merger.write_labeled(files, tmp_path / "labeled")


def test_a_file_in_the_way_is_an_error(tmp_path, write_source, merger):
    """Where the folder's name is taken by a file, the error is raised and the file stays."""
    files = write_source(tmp_path / "source", {"text": ["a"]})
    (tmp_path / "labeled").write_text("in the way")
    with pytest.raises(OSError, match=r"exists|directory"):
        merger.write_labeled(files, tmp_path / "labeled")
    assert (tmp_path / "labeled").read_text() == "in the way"


def test_a_source_file_that_went_away_is_not_published(tmp_path, write_source, merger):
    """Least of all as an empty one."""
    files = [
        *write_source(tmp_path / "source", {"text": ["a"]}),
        SourceFile(tmp_path / "gone", Path("gone")),
    ]
    merger.write_labeled(files, tmp_path / "labeled")
    assert _all_files(tmp_path / "labeled") == ["0.parquet"]


@pytest.fixture
def replaced_between_scans(monkeypatch, tmp_path):
    """Let the source's file be replaced after its texts were read and before its own columns are, some times over."""

    def arrange(versions):
        scan_texts, left = SourceFile.scan_texts, iter(versions)

        def read_then_replace(file, template):
            texts = scan_texts(file, template).collect().lazy()
            if file.path.name == "0.parquet" and (rows := next(left, None)) is not None:
                pl.DataFrame(rows).write_parquet(tmp_path / "new.parquet")
                (tmp_path / "new.parquet").replace(file.path)
            return texts

        monkeypatch.setattr(SourceFile, "scan_texts", read_then_replace)

    return arrange


ANSWERS = {"a": "sport", "b": "money", "c": "sport"}
VERSIONS = [{"text": ["b", "a"]}, {"text": ["c"]}, {"text": ["b", "c", "a"]}, {"text": [None, "a"]}]


@pytest.mark.parametrize("times", [1, 2])
def test_a_source_that_is_replaced_while_it_is_merged_is_merged_again(
    tmp_path, write_source, record_answers, replaced_between_scans, times
):
    """No row gets another row's label, however often the file was replaced before it stayed."""
    files = write_source(tmp_path / "source", {"text": ["a", "b"]})
    merger = Merger(record_answers(tmp_path / "ledger", ANSWERS), TEXT)
    replaced_between_scans(VERSIONS[:times])
    (path,) = merger.write_labeled(files, tmp_path / "labeled")
    frame = pl.read_parquet(path)
    assert frame["text"].to_list() == VERSIONS[times - 1]["text"]
    assert frame["label"].to_list() == [ANSWERS.get(text) for text in frame["text"]]


def test_a_source_that_never_rests_leaves_what_was_published(
    tmp_path, write_source, record_answers, replaced_between_scans
):
    """A sentence names the file; its labeled file stays as it was, and those of the others are published."""
    files = write_source(tmp_path / "source", {"text": ["a", "b"]})
    merger = Merger(record_answers(tmp_path / "ledger", ANSWERS), TEXT)
    merger.write_labeled(files, tmp_path / "labeled")
    before = (tmp_path / "labeled" / "0.parquet").read_bytes()
    files = write_source(tmp_path / "source", {"text": ["a", "b"]}, {"text": ["c"]})
    replaced_between_scans(VERSIONS[:3])
    with pytest.raises(CannotWrite, match=r"0\.parquet' kept changing") as raised:
        merger.write_labeled(files, tmp_path / "labeled")
    assert "1.parquet" not in str(raised.value)
    assert (tmp_path / "labeled" / "0.parquet").read_bytes() == before
    assert pl.read_parquet(tmp_path / "labeled" / "1.parquet")["label"].to_list() == ["sport"]
    assert _all_files(tmp_path / "labeled") == ["0.parquet", "1.parquet"]


def test_failed_rows_of_a_source_that_is_replaced_are_its_own(
    tmp_path, write_source, record_answers, replaced_between_scans
):
    """Each failed row has its own reason beside it; a source that never rests is a sentence."""
    kinds = {"a": "too_long", "b": "off_label"}
    merger = Merger(record_answers(tmp_path / "ledger", {"c": "sport"}, kinds), TEXT)
    files = write_source(tmp_path / "source", {"text": ["a", "c"]})
    replaced_between_scans([{"text": ["c", "b", "a"]}])
    assert merger.write_failed(files, tmp_path / "failed.parquet") == 2
    failed = pl.read_parquet(tmp_path / "failed.parquet")
    assert failed.select("text", "failure_kind").rows() == [("b", "off_label"), ("a", "too_long")]
    replaced_between_scans(VERSIONS)
    with pytest.raises(CannotWrite, match="kept changing"):
        merger.write_failed(files, tmp_path / "other.parquet")
    assert not (tmp_path / "other.parquet").exists()


def test_a_file_written_into_while_it_is_merged_is_merged_again(
    tmp_path, write_source, record_answers, monkeypatch
):
    """Also where it keeps its place and its size, and its time is set back."""
    files = write_source(tmp_path / "source", {"text": ["a", "b"]})
    merger = Merger(record_answers(tmp_path / "ledger", ANSWERS), TEXT)
    write_source(tmp_path / "other", {"text": ["b", "a"]})
    new = (tmp_path / "other" / "0.parquet").read_bytes()
    scan_texts, done = SourceFile.scan_texts, []

    def read_then_write(file, template):
        texts = scan_texts(file, template).collect().lazy()
        if not done:
            found = file.path.stat()
            file.path.write_bytes(new)
            os.utime(file.path, ns=(found.st_atime_ns, found.st_mtime_ns))
            done.append(file)
        return texts

    monkeypatch.setattr(SourceFile, "scan_texts", read_then_write)
    (path,) = merger.write_labeled(files, tmp_path / "labeled")
    assert pl.read_parquet(path).select("text", "label").rows() == [("b", "money"), ("a", "sport")]
