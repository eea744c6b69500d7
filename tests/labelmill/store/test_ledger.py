"""The ledger: what was paid for, folded in from any wreck, counted once, exact."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelmill.job.model import Run
from labelmill.model.failures import POLICY_OF_KIND, Policy
from labelmill.money.usage import Usage
from labelmill.store.attempts import Attempt, Outcome, outcomes_of
from labelmill.store.journal import Journal
from labelmill.store.ledger import (
    BY_BATCH,
    LIVE_COST_USD,
    MONEY,
    SCHEMA,
    Ledger,
    frame_of,
    scan_run,
    spent_since,
    start_of_day,
)

RUN = Run(max_attempts=1, max_answers=2)
ONE_TRY = Run(max_attempts=1, max_answers=1)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PRICE = Decimal("0.0000795")


def key_of(number):
    """A row key."""
    return f"v1:{number:032x}"


def labeled(number, label="sport", at=NOON, cost=PRICE, **more):
    """An attempt that got its label."""
    return Attempt(
        key_of(number), at, label=label, answered=True, usage=Usage(450, 0, 20), cost_usd=cost, **more
    )


def failed(number, kind="off_label", at=NOON, cost=PRICE, message="m"):
    """An attempt whose answer was no label."""
    answered = POLICY_OF_KIND[kind] is Policy.ASK_AGAIN
    return Attempt(
        key_of(number),
        at,
        failure=kind,
        message=message,
        answered=answered,
        usage=Usage(450, 0, 20),
        cost_usd=cost,
    )


def lost(number, at=NOON):
    """An attempt whose tokens nobody saw."""
    return Attempt(key_of(number), at, failure="timeout", message="m")


def journal_of(ledger, attempts, run_id="run", chunk=0):
    """Leave a journal as a killed process leaves it."""
    with Journal(ledger.journal_path(run_id, chunk)) as journal:
        for attempt in attempts:
            journal.append(attempt)
    return journal.path


def add(ledger, attempts, run_id="run", chunk=0, run=RUN):
    """Write a part the ordinary way."""
    with Journal(ledger.journal_path(run_id, chunk)) as journal:
        for attempt in attempts:
            journal.append(attempt)
        ledger.add(journal, run)


def digests(frame):
    """The texts' numbers."""
    return sorted(int(digest) for digest in frame.collect()["digest"])


@pytest.fixture
def ledger(tmp_path):
    """An empty ledger."""
    return Ledger(tmp_path / "ledger" / "task")


def test_an_empty_ledger_has_its_schema_everywhere(ledger):
    """Nothing known is no special case: every view is empty and typed."""
    assert ledger.scan().collect_schema() == SCHEMA
    assert ledger.scan_run("run", "part").collect_schema() == {**SCHEMA, "part": pl.String}
    assert ledger.labels().collect().is_empty()
    assert ledger.failures().collect().is_empty()
    assert ledger.known_digests().collect().is_empty()
    assert ledger.tries().collect().is_empty()
    assert ledger.ended_in("run").collect().is_empty()
    assert ledger.mean_seconds() is None
    assert ledger.fold_abandoned(RUN) == 0
    assert spent_since(ledger.folder.parent, NOON) == 0


def test_a_chunk_becomes_one_part_named_after_its_run_and_chunk(ledger):
    """The part's name tells where it is from, the journal is gone, and no other file is left."""
    add(ledger, [labeled(1), lost(2), labeled(2, "money")], "20260301-120000-ab12", 7)
    assert [path.name for path in ledger.folder.iterdir()] == ["20260301-120000-ab12-00007.parquet"]
    rows = ledger.scan_run("20260301-120000-ab12", "part").collect()
    assert rows.drop("part").schema == SCHEMA
    assert rows["part"].str.ends_with("20260301-120000-ab12-00007.parquet").all()
    assert rows.select(
        "row_key", "label", "run_id", "requests", "unseen", "input_tokens", "cost_usd"
    ).rows() == [
        (key_of(1), "sport", "20260301-120000-ab12", 1, 0, 450, PRICE),
        (key_of(2), "money", "20260301-120000-ab12", 2, 1, 450, PRICE),
    ]
    assert ledger.scan_run("20260301-120000-ab1").collect().is_empty()


def test_a_chunk_in_which_nothing_was_asked_leaves_nothing(ledger):
    """No empty part, no empty journal."""
    add(ledger, [])
    assert list(ledger.folder.iterdir()) == []


anything = (
    st.builds(labeled, st.integers(0, 5))
    | st.builds(failed, st.integers(0, 5))
    | st.builds(lost, st.integers(0, 5))
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


@pytest.mark.parametrize("kind", sorted(POLICY_OF_KIND))
def test_what_needs_no_request_follows_from_the_last_failures_policy(ledger, kind):
    """Labeled texts and those that failed for good are known; with `retry_failed` only the labeled ones are."""
    add(ledger, [labeled(1), failed(2, kind), failed(3, kind), failed(3, kind)])
    final = {Policy.RETRY: [1], Policy.ASK_AGAIN: [1, 3], Policy.GIVE_UP: [1, 2, 3]}[POLICY_OF_KIND[kind]]
    assert digests(ledger.known_digests()) == final
    assert digests(ledger.known_digests(retry_failed=True)) == [1]


def test_what_failed_in_a_run_is_not_asked_again_by_the_same_run(ledger):
    """With `retry_failed` the failures of earlier runs are to be asked; those of the run itself are known."""
    add(ledger, [failed(1, "too_long"), failed(2, "too_long"), labeled(3)], "old")
    add(ledger, [failed(2, "too_long"), failed(4, "timeout")], "new")
    assert digests(ledger.known_digests(retry_failed=True, run_id="new")) == [2, 3]
    assert digests(ledger.known_digests(retry_failed=True, run_id="newer")) == [3]
    assert digests(ledger.known_digests(run_id="new")) == [1, 2, 2, 3]


def test_what_a_run_has_tried_to_its_end_is_told_apart_from_what_it_has_not(ledger):
    """Of that run alone; what it may still try again is not in it."""
    two_tries = Run(max_attempts=2, max_answers=2)
    add(
        ledger,
        [lost(1), lost(1), lost(2), labeled(3), failed(4), failed(5, "too_long")],
        "run",
        run=two_tries,
    )
    add(ledger, [lost(6), lost(6)], "runner", run=two_tries)
    add(ledger, [lost(7), lost(7)], "other", run=two_tries)
    assert digests(ledger.ended_in("run")) == [1, 3, 5]
    assert digests(ledger.ended_in("nobody")) == []


def test_tries_count_what_is_worth_asking_again(ledger):
    """Rows without an answer and rows with one that was no label, over all parts; the latest such answer's problem."""
    later = NOON + timedelta(hours=1)
    add(ledger, [lost(1), failed(2, "refused", later), failed(3, "off_label"), labeled(5)], "b")
    add(ledger, [failed(1, "rate_limited"), failed(2, "truncated"), failed(4, "too_long")], "a")
    add(ledger, [lost(2, later + timedelta(hours=1))], "c")
    rows = {int(row.pop("digest")): row for row in ledger.tries().collect().to_dicts()}
    assert rows == {
        1: {"attempts": 2, "answers": 0, "problem": None, "schema_refused": False},
        2: {"attempts": 1, "answers": 2, "problem": "refused", "schema_refused": False},
        3: {"attempts": 0, "answers": 1, "problem": "off_label", "schema_refused": False},
    }


def test_a_schema_that_was_refused_is_remembered(ledger):
    """It is no attempt: the text is asked without one. Where the refusal was final there is nothing to ask."""
    refused = Outcome(
        failed(1, "bad_request"), 1, 0, Usage(), Decimal(0), Decimal(0), final=False, ended=False
    )
    final = replace(refused, last=failed(2, "bad_request"), final=True, ended=True)
    ledger.folder.mkdir(parents=True)
    frame_of([refused, final], "run", "batch").write_parquet(ledger.part_path("run", 0))
    (row,) = ledger.tries().collect().to_dicts()
    assert row == {"digest": 1, "attempts": 0, "answers": 0, "problem": None, "schema_refused": True}


def test_a_row_tells_its_lane_and_what_the_live_lane_would_have_cost(ledger):
    """Parts that an older version wrote say nothing of lanes, and were all live."""
    add(ledger, [labeled(1)], "a")
    outcome = Outcome(
        labeled(2), 1, 0, Usage(1, 0, 1), PRICE, Decimal(0), final=True, ended=True, live_cost_usd=2 * PRICE
    )
    frame_of([outcome], "b", "batch").write_parquet(ledger.part_path("b", 0))
    old = frame_of(outcomes_of([labeled(3)], RUN), "c").drop("lane", "live_cost_usd")
    old.write_parquet(ledger.part_path("c", 0))
    rows = ledger.scan().select("lane", by_batch=BY_BATCH, live=LIVE_COST_USD).collect()
    assert rows.rows() == [("live", False, PRICE), ("batch", True, 2 * PRICE), (None, False, PRICE)]


def test_how_long_an_answer_takes_is_learned_from_the_live_lane(ledger):
    """A batch tells nothing of it."""
    add(ledger, [labeled(1, seconds=1.0), labeled(2, seconds=2.0), lost(3)], "a")
    frame_of(outcomes_of([labeled(4)], RUN), "b", "batch").write_parquet(ledger.part_path("b", 0))
    assert ledger.mean_seconds() == 1.5


def test_a_run_is_charged_for_what_it_harvests_of_other_tasks(ledger):
    """Its bill holds the parts of every task that bear its name, and nobody else's."""
    other = Ledger(ledger.folder.with_name("other"))
    add(ledger, [labeled(1)], "run", 0)
    add(other, [labeled(2), labeled(3)], "run", 1)
    add(other, [labeled(4)], "runner", 0)
    rows = scan_run(ledger.folder.parent, "run", "part").collect()
    assert sorted(rows["row_key"]) == [key_of(number) for number in (1, 2, 3)]
    assert set(rows["part"].str.slice(-13)) == {"00000.parquet", "00001.parquet"}


def test_the_earliest_label_stays(ledger):
    """Whatever later runs answer, and in whatever order parts were written, a text keeps its first label."""
    add(ledger, [labeled(1, "money"), labeled(2, "money")], "20260302-000000-aaaa")
    add(ledger, [failed(2), labeled(1, "sport", confidence=0.5, model="m")], "20260301-000000-ffff")
    add(ledger, [labeled(2, "sport"), labeled(1, "money")], "20260303-000000-0000")
    rows = {int(row["digest"]): row for row in ledger.labels().collect().to_dicts()}
    assert {number: row["label"] for number, row in rows.items()} == {1: "sport", 2: "money"}
    assert (rows[1]["run_id"], rows[1]["confidence"], rows[1]["model"]) == ("20260301-000000-ffff", 0.5, "m")


def test_the_latest_failure_counts_and_all_its_cost(ledger):
    """Kind and message are the latest by time, requests and money are those of all runs, exact."""
    add(ledger, [failed(1, "timeout", NOON + timedelta(hours=5)), failed(2)], "b", run=ONE_TRY)
    add(ledger, [failed(1, "refused", NOON + timedelta(hours=9), message="no"), lost(3)], "a", run=ONE_TRY)
    add(ledger, [failed(1, "truncated", NOON), labeled(4)], "c", run=ONE_TRY)
    rows = {int(row["digest"]): row for row in ledger.failures().collect().to_dicts()}
    assert sorted(rows) == [1, 2, 3]
    assert (rows[1]["error"], rows[1]["message"], rows[1]["run_id"]) == ("refused", "no", "a")
    assert (rows[1]["requests"], rows[1]["cost_usd"]) == (3, 3 * PRICE)
    assert (rows[3]["error"], rows[3]["cost_usd"]) == ("timeout", 0)
    assert ledger.failures().collect_schema()["cost_usd"].is_decimal()


def test_a_text_that_a_stopped_run_had_not_finished_trying_has_not_failed(ledger):
    """Half tried it is pending; once it has failed, what the half cost is part of what it cost."""
    add(ledger, [failed(1)], "a", run=RUN)
    assert ledger.failures().collect().is_empty()
    add(ledger, [failed(1, at=NOON + timedelta(hours=1))], "b", run=ONE_TRY)
    add(ledger, [failed(1, "truncated", NOON + timedelta(hours=2))], "c", run=RUN)
    (row,) = ledger.failures().collect().to_dicts()
    assert (row["error"], row["run_id"], row["requests"], row["cost_usd"]) == ("off_label", "b", 3, 3 * PRICE)


def test_an_unknown_cost_of_a_failed_text_is_null_and_not_zero(ledger):
    """One unknown cost makes the text's whole cost unknown; other texts keep theirs."""
    add(ledger, [failed(1, cost=None), failed(2)], "a", run=ONE_TRY)
    add(ledger, [failed(1)], "b", run=ONE_TRY)
    costs = {int(row["digest"]): row["cost_usd"] for row in ledger.failures().collect().to_dicts()}
    assert costs == {1: None, 2: PRICE}


def test_what_was_spent_is_counted_by_day_and_month_over_all_tasks(tmp_path):
    """All ledgers of an output count, from midnight or the first of the month UTC; unknown costs are left out."""
    now = NOON.replace(hour=10)
    early = now.replace(hour=0, minute=0)
    add(Ledger(tmp_path / "one"), [labeled(1, at=early), labeled(2, at=early - timedelta(microseconds=1))])
    add(
        Ledger(tmp_path / "two"),
        [labeled(3, at=now), failed(4, at=now), labeled(5, at=now, cost=None), lost(6, now)],
    )
    assert start_of_day(now) == early
    assert spent_since(tmp_path, start_of_day(now)) == 3 * PRICE
    assert spent_since(tmp_path, early - timedelta(days=1)) == 4 * PRICE
    assert spent_since(tmp_path, now + timedelta(hours=1)) == 0
    assert spent_since(tmp_path / "none", early) == 0


def test_a_day_begins_at_midnight_utc_wherever_the_clock_is():
    """A moment in another zone belongs to the UTC day it falls in."""
    shanghai = datetime.fromisoformat("2026-03-01T02:00:00+08:00")
    assert start_of_day(shanghai) == datetime(2026, 2, 28, tzinfo=UTC)


@settings(max_examples=30, deadline=None)
@given(
    costs=st.lists(st.integers(0, 10**15).map(lambda units: Decimal(units) / 10**12), min_size=1, max_size=20)
)
def test_money_is_summed_exactly(tmp_path_factory, costs):
    """No float comes between the journal and the sum, to the twelfth digit."""
    folder = tmp_path_factory.mktemp("money")
    add(Ledger(folder / "task"), [labeled(number, cost=cost) for number, cost in enumerate(costs)])
    assert spent_since(folder, NOON) == sum(costs)
    assert SCHEMA["cost_usd"] == MONEY


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


def test_a_part_of_another_version_is_read_with_what_it_has(tmp_path):
    """A part without the answer's seconds, or with a column that is not known here, is no obstacle."""
    ledger = Ledger(tmp_path)
    frame = pl.DataFrame({"row_key": ["v1:0"], "label": ["sport"]})
    missing = [
        pl.lit(None, dtype=kind).alias(name) for name, kind in SCHEMA.items() if name not in frame.columns
    ]
    whole = frame.with_columns(missing).select(SCHEMA.names())
    whole.drop("seconds").write_parquet(tmp_path / "old-00000.parquet")
    whole.with_columns(from_the_future=1).write_parquet(tmp_path / "new-00000.parquet")
    assert ledger.scan().collect().schema == SCHEMA
    assert ledger.scan().collect()["label"].to_list() == ["sport", "sport"]
