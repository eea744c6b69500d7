"""Compaction: fewer parts, the same ledger; at any moment, whoever dies or looks on."""

import itertools
import math
import os
import shutil
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from unittest.mock import patch

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_makers import NOON, PRICE, RUN, add, anything, digests, journal_of, key_of, labeled, lost
from polars.testing import assert_frame_equal

from labelmill.question.attempts import outcomes_of
from labelmill.run.counts import work_of_run
from labelmill.run.history import read_work, scan_history
from labelmill.store import compaction
from labelmill.store.compaction import (
    FEWEST_PARTS,
    SMALL_BYTES,
    compact,
    compact_ledgers,
    groups_to_compact,
    remove_replaced_parts,
)
from labelmill.store.files import temporaries_in
from labelmill.store.ledger import (
    SCHEMA,
    Ledger,
    frame_of,
    read_again,
    scan_parts,
    scan_run,
    scan_with_journals,
    spent_since,
    start_of_day,
    write_part,
)
from labelmill.store.parts import is_compacted, parts_in, replaced_by, replaced_parts_in, usd_by_day_of

MANY, DAYS = range(FEWEST_PARTS + 2), range(7)
OLD_COLUMNS = [
    name for name in SCHEMA.names() if name not in {"unpriced", "answers", "problem", "service_tier"}
]


def names_in(ledger):
    """The names of the parts that count."""
    return [part.name for part in parts_in(ledger.folder)]


def run_id_of(day):
    """A run's id, which sorts by its day."""
    return f"202603{day + 1:02}-060000-{day:04x}"


def add_days(ledger, days=MANY, chunks=1):
    """Runs of single texts, one a day, the text's number being the day's."""
    for day in days:
        for chunk in range(chunks):
            add(ledger, [labeled(day, at=NOON + timedelta(days=day, seconds=chunk))], run_id_of(day), chunk)


# Which parts are put together


names_and_sizes = st.dictionaries(
    st.builds("{:05}.parquet".format, st.integers(0, 99999)), st.integers(1, 10 * SMALL_BYTES), max_size=60
)


@given(
    sizes=names_and_sizes, apart=st.sets(st.builds("{:05}.parquet".format, st.integers(0, 99999)), max_size=5)
)
def test_groups_are_neighbours_and_keep_off_what_stays_apart(sizes, apart):
    """Each group is a stretch of the parts in their order, of enough parts, without any that stays apart or has one between."""
    together = sorted({*sizes, *apart})
    groups = groups_to_compact(sizes, apart)
    for group in groups:
        first = together.index(group[0])
        assert list(group) == together[first : first + len(group)]
        assert len(group) >= FEWEST_PARTS
        assert not apart & set(group)
    assert len({name for group in groups for name in group}) == sum(map(len, groups))


@settings(max_examples=60, deadline=None)
@given(runs=st.lists(st.lists(st.integers(1, 3 * SMALL_BYTES), max_size=30), max_size=120))
def test_parts_stay_few_and_are_seldom_written_again(runs):
    """Whatever runs add, the number of parts and how often a byte is written grow with the logarithm of all bytes."""
    sizes, written, number = {}, 0, itertools.count()
    for run in runs:
        for size in run:
            sizes[f"{next(number):05}.parquet"] = size
        for group in groups_to_compact(sizes):
            total = sum(sizes.pop(name) for name in group)
            sizes[group[0]] = total
            written += total if total > SMALL_BYTES else 0
    total = sum(sizes.values())
    doublings = math.log2(max(2, total / SMALL_BYTES))
    assert len(sizes) <= (FEWEST_PARTS - 1) * (doublings + 2)
    assert written <= total * (2 + doublings / math.log2(1.5))


# The same ledger


@st.composite
def histories(draw):
    """What runs have left in a ledger: by run and chunk, attempts at moments of their own, and how the part is written."""
    moments = itertools.count()

    def placed(attempts, day):
        at = NOON + timedelta(days=day)
        return [replace(attempt, at_utc=at + timedelta(minutes=7 * next(moments))) for attempt in attempts]

    days = draw(st.lists(st.sampled_from(DAYS), min_size=2, max_size=5, unique=True))
    return [
        (day, chunk, placed(draw(st.lists(anything, min_size=1, max_size=4)), day), draw(st.integers(0, 3)))
        for day in days
        for chunk in range(draw(st.integers(1, 4)))
    ]


def write(ledger, day, chunk, attempts, way):
    """Write a part: from a journal, by a batch's harvest, or as older versions did, without a footer's sums."""
    part = ledger.part_path(run_id_of(day), chunk)
    rows = frame_of(outcomes_of(attempts, RUN), run_id_of(day), "batch" if way == 1 else "live")
    if way == 0:
        add(ledger, attempts, run_id_of(day), chunk)
    elif way == 1:
        part.parent.mkdir(parents=True, exist_ok=True)
        write_part(part, rows)
    else:
        part.parent.mkdir(parents=True, exist_ok=True)
        (rows if way == 2 else rows.select(OLD_COLUMNS)).write_parquet(part)


def readings_of(ledger):
    """All that anybody reads of a ledger and its neighbours, in an order of its own where it has none."""
    ledgers, run_ids = ledger.folder.parent, [run_id_of(day) for day in DAYS]
    days = [start_of_day(NOON) + timedelta(days=day) for day in (-1, *DAYS, 9)]
    by_digest = {
        "labels": ledger.labels().with_columns(pl.col("label", "model", "run_id").cast(pl.String)),
        "failures": ledger.failures(),
        **{f"tries {run_id}": ledger.tries(run_id) for run_id in run_ids},
        **{f"ended {run_id}": ledger.ended_in(run_id) for run_id in run_ids},
        **{
            f"known {retry}": ledger.known_digests(retry_failed=retry, run_id=run_ids[3])
            for retry in (True, False)
        },
    }
    frames = {name: frame.collect().sort("digest") for name, frame in by_digest.items()}
    frames["scan"] = ledger.scan().collect()
    frames |= {f"run {run_id}": ledger.scan_run(run_id).collect() for run_id in run_ids}
    frames |= {f"run in all {run_id}": scan_run(ledgers, run_id).collect() for run_id in run_ids}
    frames["history"] = scan_history(ledgers, RUN).collect()
    for by_tokens in (False, True):
        work = read_work(scan_history(ledgers, RUN), by_tokens=by_tokens)
        frames[f"work {by_tokens}"] = work.sort(work.columns)
    values = {run_id: work_of_run(ledgers, run_id, ledger.folder.name).model_dump() for run_id in run_ids}
    values["spent"] = [spent_since(ledgers, moment) for moment in (*days, NOON + timedelta(days=3))]
    return frames, values, ledger.mean_seconds()


def assert_same(after, before):
    """The same readings, row by row."""
    for name, frame in before[0].items():
        assert_frame_equal(after[0][name], frame, check_exact=True), name
    assert after[1] == before[1]
    assert after[2] == pytest.approx(before[2])


@pytest.mark.slow
@patch.object(compaction, "FEWEST_PARTS", 3)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    own=histories(),
    also=histories() | st.just([]),
    other=histories() | st.just([]),
    cut=st.sampled_from(DAYS),
)
def test_a_compacted_ledger_reads_the_same(tmp_path_factory, own, also, other, cut):
    """Every reading of it is as before, row by row and to the last digit, after one compaction and after more runs and another."""
    ledgers = tmp_path_factory.mktemp("ledgers")
    former = ledgers / "former"
    ledger = Ledger(ledgers / "task", (former,))
    histories_of = {"task": own, "former": also, "other": other}
    for early in (True, False):
        for name, history in histories_of.items():
            for day, chunk, attempts, way in history:
                if (day <= cut) == early:
                    write(Ledger(ledgers / name), day, chunk, attempts, way)
        before, parts = readings_of(ledger), sum(len(parts_in(folder)) for folder in ledgers.iterdir())
        compact_ledgers(ledgers, ledger)
        assert sum(len(parts_in(folder)) for folder in ledgers.iterdir()) <= parts
        assert_same(readings_of(ledger), before)
    for folder in ledgers.iterdir():
        assert not replaced_parts_in(folder)
        assert all(usd_by_day_of(part) is not None for part in parts_in(folder) if is_compacted(part))


def test_a_year_is_a_handful_of_parts_that_others_can_read(ledger):
    """After each run there are few parts; PyArrow and DuckDB read their rows, each once, in the order of the runs."""
    for day in range(12):
        add_days(ledger, [day], chunks=9)
        compact(ledger.folder)
        assert len(parts_in(ledger.folder)) < FEWEST_PARTS
    pattern = str(ledger.folder / "*.parquet")
    expected = sorted((run_id_of(day), key_of(day)) for day in range(12) for _ in range(9))
    asked = duckdb.sql(f"select run_id, row_key from read_parquet('{pattern}')").fetchall()  # noqa: S608
    assert sorted(asked) == expected
    table = pq.read_table(sorted(ledger.folder.iterdir()))
    assert list(zip(table["run_id"].to_pylist(), table["row_key"].to_pylist(), strict=True)) == expected
    assert table.schema.names == SCHEMA.names()


# What stays apart


def test_columns_of_a_later_version_are_not_lost(ledger):
    """A part that has more than this version knows stays as it is, and those on both sides of it are put together."""
    add_days(ledger, range(20))
    later = ledger.part_path(run_id_of(9), 0)
    pl.read_parquet(later).with_columns(from_the_future=pl.lit("kept")).write_parquet(later)
    content = later.read_bytes()
    before = ledger.scan().collect()
    compact(ledger.folder)
    assert later.read_bytes() == content
    assert [name == later.name for name in names_in(ledger)] == [False, True, False]
    assert_frame_equal(ledger.scan().collect(), before)


@pytest.mark.parametrize("suffix", ["", ".unread-0.0.1"])
def test_a_part_whose_journal_is_there_can_be_written_again(ledger, suffix):
    """Whatever left the journal, and whichever version reads it one day: it finds its part where it was, and counts once."""
    add_days(ledger, range(20))
    number = 9
    path = journal_of(
        ledger, [labeled(number, at=NOON + timedelta(days=number)), lost(99)], run_id_of(number)
    )
    if suffix:
        path.rename(f"{path}{suffix}")
    compact(ledger.folder)
    assert len(names_in(ledger)) == 3
    ledger.fold_abandoned(RUN)
    assert digests(ledger.labels()) == list(range(20))
    assert ledger.scan().collect().height == 21
    assert not list(ledger.folder.glob("*.jsonl*"))


def test_a_journal_from_a_backup_is_not_counted_again(ledger):
    """Its part stands in a compacted one: nothing is written, for a run and for whoever only looks."""
    add_days(ledger)
    compact(ledger.folder)
    rows = ledger.scan().collect()
    journal = journal_of(ledger, [labeled(3)], run_id_of(3))
    assert scan_with_journals(ledger.folder, RUN).collect().height == rows.height
    assert scan_with_journals(ledger.folder, RUN, run_id_of(3)).collect().height == 1
    ledger.fold_abandoned(RUN)
    assert ledger.scan().collect().equals(rows)
    assert not journal.exists()


def test_a_backup_put_over_the_ledger_counts_nothing_twice(ledger, tmp_path):
    """Parts that were compacted, and compacted again, are told by name when they come back, and taken away."""
    add_days(ledger)
    shutil.copytree(ledger.folder, tmp_path / "first")
    compact(ledger.folder)
    add_days(ledger, range(10, 20))
    shutil.copytree(ledger.folder, tmp_path / "second")
    compact(ledger.folder)
    rows, names = ledger.scan().collect(), names_in(ledger)
    assert len(names) == 1
    for backup in ("first", "second"):
        shutil.copytree(tmp_path / backup, ledger.folder, dirs_exist_ok=True)
    assert ledger.scan().collect().equals(rows)
    remove_replaced_parts(ledger.folder)
    assert [path.name for path in ledger.folder.iterdir()] == names


def test_a_part_that_comes_back_late_is_counted_and_never_taken_away(ledger, tmp_path):
    """It was missing while its neighbours were put together, so that its name lies among theirs and its rows don't."""
    add_days(ledger)
    part = ledger.part_path(run_id_of(4), 0)
    part.rename(tmp_path / part.name)
    compact(ledger.folder)
    (tmp_path / part.name).rename(part)
    for days in (range(0), range(10, 20), range(20, 28)):
        add_days(ledger, days)
        compact(ledger.folder)
        remove_replaced_parts(ledger.folder)
        assert part.name in names_in(ledger)
        assert ledger.scan_run(run_id_of(4)).collect().height == 1
    assert digests(ledger.known_digests()) == list(range(28))


def test_what_is_broken_or_strange_keeps_no_other_part_from_being_put_together(ledger):
    """An empty file, one that was cut off, one of another name: each stays, byte for byte."""
    add_days(ledger, range(28))
    strange = {
        ledger.part_path(run_id_of(9), 0): b"",
        ledger.part_path(run_id_of(18), 0): b"PAR1 and no more",
        ledger.folder / "notes.parquet": b"mine",
    }
    for path, content in strange.items():
        path.write_bytes(content)
    compact(ledger.folder)
    assert {path: path.read_bytes() for path in strange} == strange
    assert len(names_in(ledger)) == 6


def test_a_compaction_that_fails_is_a_line_in_the_log(ledger, caplog, monkeypatch):
    """The run has ended as it has; other ledgers are compacted all the same, and no row is lost."""
    other = Ledger(ledger.folder.with_name("other"))
    for one in (ledger, other):
        add_days(one)
    rows = ledger.scan().collect()
    sink = pl.LazyFrame.sink_parquet

    def full(frame, path, **options):
        if path.parent == ledger.folder:
            raise pl.exceptions.ComputeError("No space left on device (os error 28)")
        return sink(frame, path, **options)

    monkeypatch.setattr(pl.LazyFrame, "sink_parquet", full)
    compact_ledgers(ledger.folder.parent, ledger)
    (line,) = (record.getMessage() for record in caplog.records)
    assert str(ledger.folder) in line
    assert "No space left" in line
    assert ledger.scan().collect().equals(rows)
    assert (len(names_in(ledger)), len(names_in(other))) == (len(MANY), 1)
    assert not temporaries_in(ledger.folder)


def test_ledgers_that_are_read_as_one_keep_their_order(ledger):
    """Where their runs took turns, neither is put together across the other's: the earliest label stays."""
    former = Ledger(ledger.folder.with_name("former"))
    both = replace(ledger, also=(former.folder,))
    for day in range(20):
        add(former if day % 2 else ledger, [labeled(0, f"label {day}")], run_id_of(day))
    add_days(ledger, range(20, 30))
    before = both.labels().collect()
    compact_ledgers(ledger.folder.parent, both)
    assert both.labels().collect().equals(before)
    assert len(names_in(ledger)) == 11
    former.part_path(run_id_of(1), 0).unlink()
    assert digests(both.labels()) == [0, *range(20, 30)]


# At any moment


class KilledError(BaseException):
    """Stands for SIGKILL: after it, this process does nothing to a file any more."""


STEPS = [(os, "open"), (os, "fsync"), (Path, "replace"), (Path, "unlink"), (pl.LazyFrame, "sink_parquet")]


@pytest.fixture
def at_each_step(monkeypatch):
    """Call something before each operation on a file: `at_each_step(function)`."""

    def arrange(act):
        for owner, name in STEPS:
            real = getattr(owner, name)

            def step(*arguments, real=real, name=name, **options):
                act(name, *arguments)
                return real(*arguments, **options)

            monkeypatch.setattr(owner, name, step)

    return arrange


def die_at(at_each_step, count):
    """Let everything from the `count`-th step on be left undone."""
    steps = itertools.count(1)

    def act(name, *arguments):
        if next(steps) >= count:
            if name == "sink_parquet":
                arguments[1].write_bytes(b"PAR1 and half of what was to come")
            raise KilledError

    at_each_step(act)


def test_killed_at_any_step_it_leaves_the_same_ledger(ledger, tmp_path, monkeypatch, at_each_step):
    """Each row is there once, for whoever looks and for the next run, which finishes what was begun."""
    add_days(ledger, range(9))
    compact(ledger.folder)
    add_days(ledger, range(9, 18))
    rows, spent = ledger.scan().collect(), spent_since(ledger.folder.parent, start_of_day(NOON))
    assert len(names_in(ledger)) == 10
    shutil.copytree(ledger.folder, tmp_path / "before")
    for count in itertools.count(1):
        shutil.rmtree(ledger.folder)
        shutil.copytree(tmp_path / "before", ledger.folder)
        die_at(at_each_step, count)
        try:
            compact(ledger.folder)
            killed = False
        except KilledError:
            killed = True
        finally:
            monkeypatch.undo()
        for _ in range(2):
            assert ledger.scan().collect().equals(rows)
            assert spent_since(ledger.folder.parent, start_of_day(NOON)) == spent
            assert scan_with_journals(ledger.folder, RUN).collect().equals(rows)
            remove_replaced_parts(ledger.folder)
        for left in temporaries_in(ledger.folder):
            left.unlink()
        compact(ledger.folder)
        assert ledger.scan().collect().equals(rows)
        assert len(list(ledger.folder.iterdir())) == 1
        if not killed:
            break
    assert count > len(STEPS) + 10


def test_whoever_reads_meanwhile_sees_each_row_once_or_looks_again(ledger, monkeypatch, at_each_step):
    """However far a compaction is when a reader lists the parts and when it reads them: all rows, or a file that is gone."""
    add_days(ledger, range(9))
    compact(ledger.folder)
    add_days(ledger, range(9, 18))
    rows, begun, looks = ledger.scan().collect(), [], {"whole": 0, "gone": 0}

    def look(*_):
        with monkeypatch.context() as quiet:
            for owner, name in STEPS:
                quiet.setattr(owner, name, real[owner, name])
            begun.append(scan_with_journals(ledger.folder, RUN))
            for reader in begun:
                try:
                    assert reader.collect().equals(rows)
                    looks["whole"] += 1
                except FileNotFoundError:
                    looks["gone"] += 1

    real = {(owner, name): getattr(owner, name) for owner, name in STEPS}
    at_each_step(look)
    compact(ledger.folder)
    monkeypatch.undo()
    assert len(begun) > 10
    assert looks["whole"] > len(begun)
    assert looks["gone"] > 0
    assert begun[-1].collect().equals(rows)


def test_a_reader_looks_again_where_a_part_is_gone(ledger):
    """What it had found is put together before it reads; a file that is gone for good is an error in the end."""
    add_days(ledger)
    rows, looks = ledger.scan().collect(), []

    def read():
        looks.append(1)
        found = scan_with_journals(ledger.folder, RUN)
        compact(ledger.folder)
        return found.collect()

    assert read_again(read).equals(rows)
    assert len(looks) == 2
    with pytest.raises(FileNotFoundError):
        read_again(lambda: scan_parts([ledger.part_path("gone", 0)]).collect())


def test_a_listing_that_saw_neither_the_old_parts_nor_the_new_is_made_again(ledger, monkeypatch):
    """A folder of many files is listed piece by piece, and a compaction may end between two of them."""
    add_days(ledger)
    rows = ledger.scan().collect()
    listings = iter([[], None])
    real = Path.iterdir

    def iterdir(folder):
        torn = next(listings, None)
        if torn is not None:
            compact(folder)
        return iter(torn) if torn is not None else real(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert ledger.scan().collect().equals(rows)


# Sums


def test_a_days_costs_are_told_by_the_footers_alone(ledger):
    """Of parts whose rows can't be read any more the sums are known; those of older versions are read."""
    add(ledger, [labeled(1), lost(2)], run_id_of(0))
    write(ledger, 1, 0, [labeled(3), lost(4)], way=2)
    part = ledger.part_path(run_id_of(0), 0)
    content = bytearray(part.read_bytes())
    footer_bytes = int.from_bytes(content[-8:-4], "little")
    content[4 : -8 - footer_bytes] = b"\xff" * (len(content) - 12 - footer_bytes)
    part.write_bytes(content)
    assert spent_since(ledger.folder.parent, start_of_day(NOON)) == 2 * (PRICE + Decimal("0.25"))
    assert spent_since(ledger.folder.parent, start_of_day(NOON) + timedelta(days=1)) == 0
    assert usd_by_day_of(part) == {NOON.date(): (PRICE, Decimal("0.25"))}


# The state of a ledger


@pytest.mark.slow
@patch.object(compaction, "FEWEST_PARTS", 3)
@settings(max_examples=20, deadline=None)
@given(days=st.lists(st.integers(1, 6), min_size=1, max_size=5), data=st.data())
def test_a_state_is_told_after_compactions_as_long_as_its_parts_are_there(tmp_path_factory, days, data):
    """What was known stays known under its new name, what came since is told from it, and what is gone is missed."""
    ledger = Ledger(tmp_path_factory.mktemp("ledger") / "task")
    state, known = ledger.state(), set()
    assert state == {}
    for day, chunks in enumerate(days):
        add_days(ledger, [day], chunks)
        now = ledger.state_now(state)
        assert now is not None
        rows = scan_parts([ledger.folder.parent / key for key in sorted(now)]).collect()
        assert set(rows["run_id"]) == known
        state, known = ledger.state(), known | {run_id_of(day)}
        compact(ledger.folder)
        assert ledger.state_now(state) == ledger.state()
        if data.draw(st.booleans()):
            state = ledger.state()
    (gone, *_) = parts_in(ledger.folder)
    gone.unlink()
    assert ledger.state_now(state) is None


def test_a_state_is_not_told_where_new_rows_stand_with_old_ones(ledger):
    """A run that could not publish has compacted its parts with those that a state knew; or a part is another one."""
    add_days(ledger, range(5))
    state = ledger.state()
    add_days(ledger, range(5, 10))
    assert ledger.state_now(state) == state
    compact(ledger.folder)
    assert ledger.state_now(state) is None
    state = ledger.state()
    (part,) = parts_in(ledger.folder)
    part.write_bytes(part.read_bytes() + b"!")
    assert ledger.state_now(state) is None


def test_a_compacted_part_names_all_that_it_was_ever_made_from(ledger):
    """Also those that the parts it was made from were made from."""
    add_days(ledger, range(10))
    first = names_in(ledger)
    compact(ledger.folder)
    second = names_in(ledger)
    add_days(ledger, range(10, 20))
    third = names_in(ledger)
    compact(ledger.folder)
    (part,) = parts_in(ledger.folder)
    assert replaced_by(part) == {*first, *second, *third}
    assert part.name == f"{run_id_of(0)}-00000..{run_id_of(19)}-00000.parquet"
