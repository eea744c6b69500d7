"""A folder of labeled files over many days: always what a merge of everything would give, and no file touched in vain."""

import shutil
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from merging import Merger

from labelmill.dataset import digests, merge
from labelmill.dataset.labeled_folder import LabeledFolder
from labelmill.dataset.merge_state import MergeState
from labelmill.dataset.parquet import ParquetError
from labelmill.dataset.source import source_files
from labelmill.dataset.template import read_template
from labelmill.store.files import FileStamp, stamp_of
from labelmill.store.ledger import Ledger
from labelmill.store.working import MANIFEST, MERGE_STATE

TEXT = read_template("text")
WORDS = ["a", "b", "c", "d", "e", None, " "]
NAMES = ["0.parquet", "1.parquet", "date=2026-11-30/2.parquet"]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=6)
DAYS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from(NAMES), TEXTS),
        st.tuples(st.just("remove"), st.sampled_from(NAMES)),
        st.tuples(st.just("label"), st.sampled_from("abcde")),
        st.tuples(st.just("fail"), st.sampled_from("abcde"), st.sampled_from(["timeout", "too_long"])),
        st.tuples(st.just("lose the state")),
        st.tuples(st.just("spoil a labeled file"), st.sampled_from(NAMES)),
        st.tuples(st.just("lose a part of the ledger")),
        st.tuples(st.just("another template"), st.sampled_from(["text", "{text}!"])),
    ),
    min_size=1,
    max_size=8,
)


@pytest.fixture(autouse=True)
def _settled_clock(monkeypatch):
    """Let no file be too young to be trusted: tests write and merge within milliseconds, and no two stamps are the same here."""
    monkeypatch.setattr(FileStamp, "is_older_than", lambda _stamp, _moment: True)


def _source_of(folder):
    (folder / "source").mkdir(exist_ok=True)
    return source_files(str(folder / "source"))


def _happen(folder, event, record_answers, run_id):
    kind, *facts = event
    source, labeled, ledger = folder / "source", folder / "labeled", folder / "ledger"
    if kind == "write":
        path = source / facts[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame({"text": facts[1]}, schema={"text": pl.String}).write_parquet(folder / "new")
        (folder / "new").replace(path)
    elif kind == "remove":
        (source / facts[0]).unlink(missing_ok=True)
    elif kind == "label":
        record_answers(ledger, {facts[0]: f"label of {facts[0]}"}, run_id=run_id)
    elif kind == "fail":
        record_answers(ledger, failures={facts[0]: facts[1]}, run_id=run_id)
    elif kind == "lose the state":
        labeled.with_name(MERGE_STATE).unlink(missing_ok=True)
    elif kind == "spoil a labeled file" and (labeled / facts[0]).exists():
        (labeled / facts[0]).write_bytes(b"spoilt")
    elif kind == "lose a part of the ledger":
        for part in sorted(ledger.glob("*.parquet"))[:1]:
            part.unlink()


def _read(folder):
    return {
        path.relative_to(folder): pl.read_parquet(path, hive_partitioning=False, glob=False)
        for path in sorted(folder.rglob("*.parquet"))
    }


def _counts(frames):
    found = {}
    for frame in frames.values():
        for status, label, error in frame.select("label_status", "label", "label_error").iter_rows():
            found[status, label, error] = found.get((status, label, error), 0) + 1
    return found


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(days=DAYS, rows_in_one_bucket=st.sampled_from([0, 2_000_000]))
def test_each_day_gives_what_a_merge_of_everything_gives(record_answers, days, rows_in_one_bucket):
    """Whatever happens between the days to the source, the ledger, the state and the labeled files."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(digests, "_ROWS_IN_A_BUCKET", 2)
        patch.setattr(digests, "_ROWS_IN_ONE_BUCKET", rows_in_one_bucket)
        folder, template = Path(name), TEXT
        _source_of(folder)
        record_answers(
            folder / "ledger", {text: f"label of {text}" for text in "abc"}, {"d": "too_long"}, "first"
        )
        settled = [("write", NAMES[0], ["a", "b", "d"]), ("write", NAMES[2], ["c", None])]
        for number, event in enumerate([*settled, *days]):
            run_id = f"run-{number}"
            _source_of(folder)
            _happen(folder, event, record_answers, run_id)
            template = read_template(event[1]) if event[0] == "another template" else template
            merger = Merger(Ledger(folder / "ledger"), template)
            with merger.into(_source_of(folder), folder / "labeled", run_id) as merge:
                merge.write()
                told = {}
                for group in merge.row_groups():
                    key = (group.status, group.label, group.error)
                    told[key] = told.get(key, 0) + group.rows
            merger.write_labeled(_source_of(folder), folder / "anew" / "labeled")
            frames = _read(folder / "labeled")
            assert {path: frame.to_dicts() for path, frame in frames.items()} == {
                path: frame.to_dicts() for path, frame in _read(folder / "anew" / "labeled").items()
            }
            assert told == _counts(frames)
            shutil.rmtree(folder / "anew")


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(
    texts_of_files=st.lists(TEXTS, min_size=2, max_size=4),
    known=st.dictionaries(st.sampled_from("abcde"), st.sampled_from(["label", "timeout", "too_long"])),
    changed=st.integers(0, 3),
)
def test_what_is_settled_and_unchanged_is_neither_read_nor_written(
    record_answers, write_source, texts_of_files, known, changed
):
    """One file that changed is read and written; of the others those alone are read that still have something open."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_source(
            folder / "source",
            *(pl.DataFrame({"text": texts}, schema={"text": pl.String}) for texts in texts_of_files),
        )
        ledger = record_answers(
            folder / "ledger",
            {text: "sport" for text, state in known.items() if state == "label"},
            {text: state for text, state in known.items() if state != "label"},
        )
        merger = Merger(ledger, TEXT)
        merger.write_labeled(files, folder / "labeled")
        changed %= len(files)
        pl.DataFrame({"text": ["a", "new"]}).write_parquet(folder / "new")
        (folder / "new").replace(files[changed].path)
        before = {file.relative: stamp_of(folder / "labeled" / file.relative) for file in files}
        with merger.into(files, folder / "labeled") as merge:
            merge.write()
            read = set(merge.answers)
        final = {text for text, state in known.items() if state != "timeout"}
        is_open = {
            number
            for number, texts in enumerate(texts_of_files)
            if any(text in set("abcde") - final for text in texts)
        }
        assert read == is_open | {changed}
        after = {file.relative: stamp_of(folder / "labeled" / file.relative) for file in files}
        assert {relative for relative in before if before[relative] != after[relative]} == {
            files[changed].relative
        }


def test_nothing_new_writes_nothing_at_all(tmp_path, record_answers, write_source):
    """Neither a labeled file, nor the state, nor is the manifest taken away."""
    files = write_source(tmp_path / "source", {"text": ["a"]}, {"text": ["b", None]})
    merger = Merger(record_answers(tmp_path / "ledger", {"a": "sport"}, {"b": "too_long"}), TEXT)
    merger.write_labeled(files, tmp_path / "labeled")
    (tmp_path / MANIFEST).write_text("{}")
    before = {path: stamp_of(path) for path in tmp_path.rglob("*")}
    merger.write_labeled(files, tmp_path / "labeled")
    assert {path: stamp_of(path) for path in tmp_path.rglob("*")} == before


def test_a_failed_row_that_got_its_label_since_is_merged(tmp_path, record_answers, write_source):
    """Also where nothing of its file changed, and its failure had been final."""
    files = write_source(tmp_path / "source", {"text": ["a", "b"]}, {"text": ["c"]})
    answers = {"a": "sport", "c": "money"}
    merger = Merger(record_answers(tmp_path / "ledger", answers, {"b": "too_long"}, "run-1"), TEXT)
    merger.write_labeled(files, tmp_path / "labeled")
    untouched = stamp_of(tmp_path / "labeled" / "1.parquet")
    record_answers(tmp_path / "ledger", {"b": "money"}, run_id="run-2")
    merger.write_labeled(files, tmp_path / "labeled")
    assert pl.read_parquet(tmp_path / "labeled" / "0.parquet")["label"].to_list() == ["sport", "money"]
    assert stamp_of(tmp_path / "labeled" / "1.parquet") == untouched


def test_a_file_that_cannot_be_read_is_left_out_and_the_others_are_merged(
    tmp_path, record_answers, write_source
):
    """What was published of it stays; its fault is told, and it is read again once it has changed."""
    files = write_source(tmp_path / "source", *({"text": [text] * 100} for text in "abc"))
    ledger = record_answers(tmp_path / "ledger", {"a": "sport"})
    merger = Merger(ledger, TEXT)
    merger.write_labeled(files, tmp_path / "labeled")
    before = (tmp_path / "labeled" / "1.parquet").read_bytes()
    whole = files[1].path.read_bytes()
    files[1].path.write_bytes(whole[:4] + bytes(len(whole) // 3) + whole[4 + len(whole) // 3 :])
    record_answers(tmp_path / "ledger", {"b": "money", "c": "money"}, run_id="run-2")
    with merger.into(files, tmp_path / "labeled") as merge:
        merge.write()
        assert set(merge.digests.faults) == {1}
    assert (tmp_path / "labeled" / "1.parquet").read_bytes() == before
    assert set(pl.read_parquet(tmp_path / "labeled" / "2.parquet")["label"]) == {"money"}
    files[1].path.write_bytes(whole)
    merger.write_labeled(files, tmp_path / "labeled")
    assert set(pl.read_parquet(tmp_path / "labeled" / "1.parquet")["label"]) == {"money"}


@pytest.mark.parametrize(
    "spoilt", [b"", b"{", b"[]", b'{"version": 99, "files": {"0.parquet": null}}', b"\xff"]
)
def test_a_state_that_cannot_be_read_costs_a_merge(tmp_path, record_answers, write_source, spoilt):
    """And gives what it would have given."""
    files = write_source(tmp_path / "source", {"text": ["a"]})
    merger = Merger(record_answers(tmp_path / "ledger", {"a": "sport"}), TEXT)
    merger.write_labeled(files, tmp_path / "labeled")
    (tmp_path / MERGE_STATE).write_bytes(spoilt)
    merger.write_labeled(files, tmp_path / "labeled")
    assert pl.read_parquet(tmp_path / "labeled" / "0.parquet")["label"].to_list() == ["sport"]
    assert MergeState.beside(tmp_path / "labeled").files["0.parquet"].rows == 1


@pytest.mark.parametrize("name", ["../precious.parquet", "/precious.parquet", "a/../../precious.parquet"])
def test_a_name_that_leads_elsewhere_is_never_ours(tmp_path, record_answers, write_source, name):
    """Whatever a manifest or a state says, nothing outside of the folder is removed."""
    precious = tmp_path / "precious.parquet"
    precious.write_bytes(b"precious")
    named = name if not name.startswith("/") else str(precious)
    files = write_source(tmp_path / "source", {"text": ["a"]})
    (tmp_path / MANIFEST).write_text(f'{{"files": [{{"path": "{named}"}}]}}')
    MergeState(files={named: None}).write_beside(tmp_path / "labeled")
    Merger(record_answers(tmp_path / "ledger", {"a": "sport"}), TEXT).write_labeled(
        files, tmp_path / "labeled"
    )
    assert precious.read_bytes() == b"precious"


def test_what_a_killed_run_had_begun_is_known_to_be_ours(tmp_path, record_answers, write_source, monkeypatch):
    """A file that it put in place and that the source no longer has goes; a person's file of that kind stays."""
    files = write_source(tmp_path / "source", {"text": ["a"]}, {"text": ["b"]})
    merger = Merger(record_answers(tmp_path / "ledger", {"a": "sport"}), TEXT)
    with monkeypatch.context() as patch, merger.into(files, tmp_path / "labeled") as merge:
        patch.setattr(LabeledFolder, "_state_after", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            merge.write()
    (tmp_path / "labeled" / "mine.parquet").write_bytes(b"a person's")
    merger.write_labeled(files[:1], tmp_path / "labeled")
    left = sorted(path.name for path in (tmp_path / "labeled").iterdir())
    assert left == ["0.parquet", "mine.parquet"]


def test_a_file_that_no_columns_can_be_put_beside_costs_itself(
    tmp_path, record_answers, write_source, monkeypatch
):
    """Found out only by merging, it is at fault like one that can't be read: nobody's run ends of it."""
    files = write_source(tmp_path / "source", {"text": ["a"]}, {"text": ["b"]})
    merger = Merger(record_answers(tmp_path / "ledger", {"a": "sport", "b": "money"}), TEXT)
    append = merge.append_columns

    def refuse(source, footer, columns, target):
        if source == files[0].path:
            raise ParquetError(source, "its footer is damaged")
        append(source, footer, columns, target)

    monkeypatch.setattr(merge, "append_columns", refuse)
    with merger.into(files, tmp_path / "labeled") as merged:
        merged.write()
        assert {number: str(error) for number, error in merged.digests.faults.items()} == {
            0: f"{str(files[0].path)!r} can't be labeled: its footer is damaged"
        }
        assert [group.label for group in merged.row_groups()] == ["money"]
    assert [path.name for path in (tmp_path / "labeled").iterdir()] == ["1.parquet"]
