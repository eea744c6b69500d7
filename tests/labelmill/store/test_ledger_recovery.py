"""The ledger after a crash, a full disk, or another version: nothing that was paid is lost, and no run is kept from starting."""

import errno
import json
import os
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_makers import (
    NOON,
    PRICE,
    RUN,
    add,
    anything,
    digests,
    failed,
    journal_of,
    key_of,
    labeled,
    tried,
    tries,
)

from labelmill.errors import JobRefused
from labelmill.job.model import Run
from labelmill.money.usage import Usage
from labelmill.question.attempts import outcomes_of
from labelmill.store.journal import Journal
from labelmill.store.ledger import (
    KNOWN_USD,
    Ledger,
    faults_named,
    frame_of,
    readable,
    scan_with_journals,
    set_empty_parts_aside,
    spent_since,
)


@settings(max_examples=40, deadline=None)
@given(attempts=st.lists(anything, min_size=1, max_size=15), cut=st.integers(0, 500), again=st.booleans())
def test_a_dead_runs_journal_is_folded_in_whole_and_once(tmp_path_factory, attempts, cut, again):
    """Any interleaving and any torn tail: what was written whole is in the ledger, sums are equal, twice is once."""
    ledger = Ledger(tmp_path_factory.mktemp("ledger") / "task")
    path = journal_of(ledger, attempts, "run", 3)
    lines = path.read_bytes().splitlines(keepends=True)
    torn = lines[-1][: min(cut, len(lines[-1]) - 2)]
    path.write_bytes(b"".join(lines[:-1]) + torn)
    content, whole = path.read_bytes(), attempts[:-1]
    assert ledger.fold_abandoned(RUN) == len(whole)
    rows = ledger.scan().collect()
    if again:  # killed between writing the part and removing the journal
        path.write_bytes(content)
        ledger.fold_abandoned(RUN)
    assert ledger.scan().collect().equals(rows)
    assert [part.name for part in ledger.folder.iterdir()] == (["run-00003.parquet"] if whole else [])
    assert rows.equals(frame_of(outcomes_of(whole, RUN), "run"))
    assert rows["requests"].sum() == len(whole)
    assert rows["output_tokens"].sum() == sum((attempt.usage or Usage()).output_tokens for attempt in whole)
    assert (rows["cost_usd"].sum() or 0) == sum(attempt.cost_usd or 0 for attempt in whole)


def test_a_journal_that_a_living_process_holds_is_left_alone(ledger, held_elsewhere):
    """Folding takes the dead run's journal and not the other; once its holder is gone, that one too."""
    journal_of(ledger, [labeled(1)], "dead")
    held = journal_of(ledger, [labeled(2), labeled(3)], "alive")
    with held_elsewhere("journal", held) as holder:
        assert ledger.fold_abandoned(RUN) == 1
        assert held.exists()
        assert digests(ledger.labels()) == [1]
        holder.kill()
        holder.wait()
    assert ledger.fold_abandoned(RUN) == 2
    assert digests(ledger.labels()) == [1, 2, 3]


def test_a_journal_with_nothing_whole_in_it_goes(ledger):
    """A run that died in its first write leaves a torn line; folding takes it away and writes no part."""
    path = journal_of(ledger, [labeled(1)])
    path.write_bytes(path.read_bytes()[:40])
    assert ledger.fold_abandoned(RUN) == 0
    assert list(ledger.folder.iterdir()) == []


@pytest.mark.parametrize("message", ["\ud800 cut", "a\x00b", "\u202e", "长" * 2000])
def test_whatever_a_provider_said_can_be_folded_in(ledger, message):
    """A journal that holds what Parquet can't must not stop every later run."""
    journal_of(ledger, [failed(1, message=message), labeled(2, model="m-\udfff")])
    assert ledger.fold_abandoned(RUN) == 2
    assert ledger.scan().collect().height == 2


def test_a_ledger_that_can_not_be_written_keeps_its_journal(ledger):
    """When the part can't be written the error is raised, and the journal still holds what was paid."""
    path = journal_of(ledger, [labeled(1)])
    blocker = Path(path.with_suffix(".parquet"))
    blocker.mkdir()
    with pytest.raises(OSError, match="directory"):
        ledger.fold_abandoned(RUN)
    assert sorted(found.name for found in ledger.folder.iterdir()) == ["run-00000.jsonl", "run-00000.parquet"]
    blocker.rmdir()
    assert ledger.fold_abandoned(RUN) == 1
    assert digests(ledger.labels()) == [1]


def test_a_killed_runs_requests_in_flight_are_in_the_ledger(ledger):
    """As requests without usage at their worst case; their texts are asked again."""
    with Journal(ledger.journal_path("run", 0)) as journal:
        journal.note_sent(key_of(1), Decimal("0.25"))
        journal.append(labeled(1))
        for number in (2, 3):
            journal.note_sent(key_of(number), Decimal("0.25"))
    assert ledger.fold_abandoned(RUN_OF_FIVE) == 3
    rows = ledger.scan().sort("row_key")
    assert rows.select("error", "requests", "unseen", "unseen_usd", "cost_usd").collect().rows() == [
        (None, 1, 0, 0, PRICE),
        ("interrupted", 1, 1, Decimal("0.25"), 0),
        ("interrupted", 1, 1, Decimal("0.25"), 0),
    ]
    assert digests(ledger.known_digests()) == [1]
    assert ledger.failures().collect().is_empty()
    assert tries(ledger)[2] == tried(attempts=1, paid_attempts=1)
    assert spent_since(ledger.folder.parent, datetime.now(UTC) - timedelta(minutes=1)) == Decimal("0.5")


RUN_OF_FIVE = Run(max_attempts=5, max_answers=3)


def test_a_text_whose_process_dies_each_time_is_not_paid_for_without_end(ledger):
    """Killed five times while it was asked, it is done with; what earlier runs answered it counts as well."""
    for number in range(5):
        assert digests(ledger.known_digests()) == []
        with Journal(ledger.journal_path(f"run{number}", 0)) as journal:
            journal.note_sent(key_of(1), None)
        ledger.fold_abandoned(RUN_OF_FIVE)
    assert digests(ledger.known_digests()) == [1]
    add(ledger, [failed(2), failed(2)], "a", run=RUN_OF_FIVE)
    with Journal(ledger.journal_path("b", 0)) as journal:
        journal.note_sent(key_of(2), None)
    ledger.fold_abandoned(RUN_OF_FIVE)
    assert tries(ledger)[2] == tried(answers=2, paid_attempts=1, problem="off_label")


def test_a_crash_between_any_two_steps_of_folding_counts_everything_once(ledger):
    """Before the part, with the part half written, with part and journal, after all: the next run comes to the same."""
    with Journal(ledger.journal_path("run", 0)) as journal:
        journal.note_sent(key_of(1), Decimal("0.25"))
        journal.append(failed(1))
        journal.note_sent(key_of(1), Decimal("0.25"))
        journal.note_sent(key_of(2), Decimal("0.25"))
    torn_off = journal.path.read_bytes()
    journal.path.write_bytes(torn_off + b'{"row_key":"v1:' + bytes(5000))  # killed while it wrote
    killed = journal.path.read_bytes()
    ledger.fold_abandoned(RUN_OF_FIVE)
    part, rows = ledger.part_path("run", 0), ledger.scan().collect()
    assert [path.name for path in ledger.folder.iterdir()] == [part.name]
    written = part.read_bytes()
    for has_part in (False, True):
        part.unlink()
        if has_part:
            part.write_bytes(written)
        else:
            (ledger.folder / f".{part.name}.99.tmp").write_bytes(written[:100])
        journal.path.write_bytes(killed)
        ledger.fold_abandoned(RUN_OF_FIVE)
        assert ledger.scan().collect().equals(rows)
        assert not journal.path.exists()


def test_a_later_versions_journal_is_not_lost(ledger, caplog):
    """What can be read of it is folded in, the file is kept, one sentence says so, and the next starts say nothing."""
    path = journal_of(ledger, [labeled(1)])
    line = b'{"v":2,"key":"v1:22","when":"2027-01-01","answers":[{"label":"sport","usd":"0.001"}]}\n'
    path.write_bytes(path.read_bytes() + line * 5)
    content = path.read_bytes()
    assert ledger.fold_abandoned(RUN) == 1
    assert digests(ledger.labels()) == [1]
    (sentence,) = (record.getMessage() for record in caplog.records)
    assert "5 lines" in sentence
    assert str(path) in sentence
    (aside,) = (kept for kept in ledger.folder.iterdir() if kept.suffix != ".parquet")
    assert (aside.read_bytes(), aside.name in sentence) == (content, True)
    assert ledger.fold_abandoned(RUN) == 0
    assert len(caplog.records) == 1


def test_another_version_reads_what_this_one_has_set_aside(ledger):
    """The version that wrote a journal folds it in whole when it runs again."""
    ledger.folder.mkdir(parents=True)
    journal = journal_of(ledger, [labeled(1), labeled(2)])
    journal.rename(f"{journal}.unread-0.0.1")
    add(ledger, [labeled(1)])  # what the other version could read of it
    assert ledger.fold_abandoned(RUN) == 2
    assert digests(ledger.labels()) == [1, 2]
    assert [path.suffix for path in ledger.folder.iterdir()] == [".parquet"]


def test_fields_of_a_later_version_do_not_hide_an_answer(ledger):
    """Its lines are read for what they have in common, whatever kind of failure they tell of."""
    path = journal_of(ledger, [labeled(1), failed(2)])
    lines = [{**json.loads(line), "from_the_future": {"a": 1}} for line in path.read_bytes().splitlines()]
    lines[1]["failure"] = "unheard_of"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert ledger.fold_abandoned(RUN) == 2
    assert [kept.suffix for kept in ledger.folder.iterdir()] == [".parquet"]
    assert digests(ledger.labels()) == [1]
    assert tries(ledger)[2]["answers"] == 1


odd_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=[]), max_size=5)
    | st.sampled_from(
        ["NaN", "1E400", "-1", "0." + "1" * 40, "\ud800", 1e20, 10**30, "v1:", "v1:0g", "sport"]
    ),
    lambda values: st.lists(values, max_size=2) | st.dictionaries(st.text(max_size=5), values, max_size=2),
    max_leaves=4,
)
fields = st.sampled_from(
    [
        *("row_key", "at_utc", "label", "failure", "message", "answered", "confidence", "model", "usage"),
        *("cost_usd", "unseen_usd", "seconds", "answers_before", "paid_before", "service_tier", "gave_up"),
        *("sent", "worst_usd", "unknown"),
    ]
)


@st.composite
def mutated_lines(draw):
    """A line of a journal, of which some fields are gone, odd, or more than there were."""
    attempt = draw(anything)
    values = attempt.to_json()
    if draw(st.booleans()):
        values = {"sent": attempt.row_key, "at_utc": NOON.isoformat(), "worst_usd": "0.25"}
    for _ in range(draw(st.integers(0, 3))):
        name = draw(fields)
        if draw(st.booleans()):
            values.pop(name, None)
        elif name == "usage" and draw(st.booleans()) and "usage" in values:
            counts = st.sampled_from(["input_tokens", "output_tokens", "cache_write_input_tokens"])
            values["usage"] = {**values["usage"], draw(counts): draw(odd_values)}
        else:
            values[name] = draw(odd_values)
    return json.dumps(values).encode()


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(lines=st.lists(mutated_lines() | odd_values.map(lambda value: json.dumps(value).encode()), max_size=6))
def test_any_line_is_an_attempt_that_the_ledger_can_hold_or_is_kept(tmp_path_factory, lines):
    """Whatever stands in a journal, a run that starts can go on: nothing raises, and what can't be read isn't lost."""
    ledger = Ledger(tmp_path_factory.mktemp("ledger") / "task")
    ledger.folder.mkdir(parents=True)
    path = ledger.journal_path("run", 0)
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    with Journal(path) as journal:
        told, unread = len(journal.settled), journal.unread_lines
    assert ledger.fold_abandoned(RUN) == told
    assert ledger.fold_abandoned(RUN) == 0
    asides = list(ledger.folder.glob("*.unread-*"))
    assert len(asides) == bool(unread)
    rows = ledger.scan().collect()
    assert rows["requests"].sum() == told
    assert not rows.filter(pl.col("label").is_null() & pl.col("error").is_null()).height
    assert all(usd >= 0 for usd in rows.select(KNOWN_USD, "unseen_usd").unpivot()["value"])
    for view in (ledger.known_digests(), ledger.labels(), ledger.failures(), ledger.tries("run")):
        view.collect()
    ledger.mean_seconds()


def cut_off(part):
    """Lose the end of a file."""
    part.write_bytes(part.read_bytes()[:-20])


def spoil(part):
    """Break a file within."""
    content = bytearray(part.read_bytes())
    footer_bytes = int.from_bytes(content[-8:-4], "little")
    content[-8 - footer_bytes : -8] = b"\xff" * footer_bytes
    part.write_bytes(content)


def write_otherwise(part):
    """Write a column as another version may."""
    pl.read_parquet(part).with_columns(pl.col("requests").cast(pl.String)).write_parquet(part)


@pytest.mark.parametrize("break_part", [cut_off, lambda part: part.write_text("a note")])
def test_a_part_that_was_cut_off_is_refused_by_its_name(ledger, break_part):
    """What it holds was paid: the sentence names the file and says what to do, wherever money is added up."""
    add(ledger, [labeled(1)], "a")
    add(ledger, [labeled(2)], "b")
    break_part(ledger.part_path("b", 0))
    looks = [
        lambda: readable(list(ledger.folder.iterdir())),
        lambda: spent_since(ledger.folder.parent, NOON),
        lambda: scan_with_journals(ledger.folder, RUN),
    ]
    for look in looks:
        with pytest.raises(JobRefused, match=r"b-00000\.parquet' can't be read: .*paid for.*backup"):
            look()


@pytest.mark.parametrize("break_part", [cut_off, spoil, write_otherwise])
def test_a_part_that_is_broken_within_is_named_where_a_run_trips_over_it(ledger, break_part):
    """All such parts at once, and no others; what has another cause is raised as it was."""
    for run_id in ("a", "b", "c"):
        add(ledger, [labeled(1)], run_id)
    for run_id in ("a", "c"):
        break_part(ledger.part_path(run_id, 0))
    with pytest.raises(JobRefused) as refused, faults_named(ledger.folder.parent):
        ledger.scan().collect()
    assert [name in str(refused.value) for name in ("a-00000", "b-00000", "c-00000")] == [True, False, True]
    assert "\n" not in refused.value.mistakes[0].sentence
    for run_id in ("a", "c"):
        ledger.part_path(run_id, 0).unlink()
    with pytest.raises(pl.exceptions.ColumnNotFoundError), faults_named(ledger.folder.parent):
        ledger.scan().select("no such column").collect()


def test_an_empty_part_holds_nothing_and_stands_in_no_ones_way(ledger, caplog):
    """It is set aside with a sentence; those who only look pass it over."""
    add(ledger, [labeled(1)], "a")
    ledger.part_path("b", 0).touch()
    assert spent_since(ledger.folder.parent, NOON) == PRICE
    assert scan_with_journals(ledger.folder, RUN).collect().height == 1
    assert ledger.part_path("b", 0).exists()
    set_empty_parts_aside(ledger.folder)
    assert digests(ledger.labels()) == [1]
    assert sorted(path.name for path in ledger.folder.iterdir()) == [
        "a-00000.parquet",
        "b-00000.parquet.empty",
    ]
    (sentence,) = (record.getMessage() for record in caplog.records)
    assert "b-00000.parquet" in sentence


def test_what_the_disk_had_no_place_for_is_in_the_part_all_the_same(ledger, monkeypatch):
    """An attempt that could not be appended is kept in memory: where the disk has room again, the part holds it."""
    with Journal(ledger.journal_path("run", 0)) as journal:
        journal.append(labeled(1))

        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", full)
            with pytest.raises(OSError, match="No space"):
                journal.append(labeled(2))
        ledger.add(journal, RUN)
    assert digests(ledger.labels()) == [1, 2]
