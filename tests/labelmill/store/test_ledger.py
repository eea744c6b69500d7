"""The ledger: what was paid for, counted once, exact, over all runs."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_makers import (
    NOON,
    ONE_TRY,
    PRICE,
    RUN,
    add,
    digests,
    failed,
    free,
    key_of,
    labeled,
    lost,
    tried,
    tries,
)

from labelmill.job.model import Run
from labelmill.money.usage import Usage
from labelmill.question.attempts import Attempt, Outcome, outcomes_of
from labelmill.question.failures import POLICY_OF_KIND, Policy
from labelmill.store.ledger import (
    BY_BATCH,
    COST_USD,
    KNOWN_USD,
    LIVE_COST_USD,
    MONEY,
    SCHEMA,
    UNPRICED,
    Ledger,
    frame_of,
    scan_run,
    spent_since,
    start_of_day,
)


def test_an_empty_ledger_has_its_schema_everywhere(ledger):
    """Nothing known is no special case: every view is empty and typed."""
    assert ledger.scan().collect_schema() == SCHEMA
    assert ledger.scan_run("run", "part").collect_schema() == {**SCHEMA, "part": pl.String}
    assert ledger.labels().collect().is_empty()
    assert ledger.failures().collect().is_empty()
    assert ledger.known_digests().collect().is_empty()
    assert ledger.tries("run").collect().is_empty()
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


@pytest.mark.parametrize("kind", sorted(POLICY_OF_KIND))
def test_what_needs_no_request_follows_from_the_last_failures_policy(ledger, kind):
    """Labeled texts and those that failed for good are known; with `retry_failed` only the labeled ones are."""
    run = Run(max_attempts=2, max_answers=2)
    add(ledger, [labeled(1), failed(2, kind), failed(3, kind), failed(3, kind), free(4), free(4)], run=run)
    final = [1, 2, 3] if POLICY_OF_KIND[kind] is Policy.GIVE_UP else [1, 3]
    assert digests(ledger.known_digests()) == final
    assert digests(ledger.known_digests(retry_failed=True)) == [1]


def test_what_failed_in_a_run_is_not_asked_again_by_the_same_run(ledger):
    """With `retry_failed` the failures of earlier runs are to be asked; those of the run itself are known."""
    add(ledger, [failed(1, "too_long"), failed(2, "too_long"), labeled(3)], "old")
    add(ledger, [failed(2, "too_long"), free(4)], "new")
    assert digests(ledger.known_digests(retry_failed=True, run_id="new")) == [2, 3]
    assert digests(ledger.known_digests(retry_failed=True, run_id="newer")) == [3]
    assert digests(ledger.known_digests(run_id="new")) == [1, 2, 2, 3]


def test_what_a_run_has_tried_to_its_end_is_told_apart_from_what_it_has_not(ledger):
    """Of that run alone; what it may still try again is not in it."""
    two_tries = Run(max_attempts=2, max_answers=2)
    add(
        ledger,
        [free(1), free(1), free(2), labeled(3), failed(4), failed(5, "too_long")],
        "run",
        run=two_tries,
    )
    add(ledger, [free(6), free(6)], "runner", run=two_tries)
    add(ledger, [free(7), free(7)], "other", run=two_tries)
    assert digests(ledger.ended_in("run")) == [1, 3, 5]
    assert digests(ledger.ended_in("nobody")) == []


def test_tries_count_what_is_worth_asking_again(ledger):
    """Answers and what may have been paid in vain over all runs, other requests of the run that asks, the latest problem."""
    later = NOON + timedelta(hours=1)
    run = Run(max_attempts=9, max_answers=5)
    add(ledger, [lost(1), failed(2, "refused", later), failed(3), failed(3), labeled(5)], "b", run=run)
    add(ledger, [free(1), failed(2, "truncated"), failed(4, "too_long"), failed(6), free(6)], "a", run=run)
    add(ledger, [lost(2, later + timedelta(hours=1)), free(2), failed(2, "bad_response")], "c", run=run)
    assert tries(ledger, "b") == {
        1: tried(attempts=1, paid_attempts=1),
        2: tried(answers=2, paid_attempts=2, problem="refused"),
        3: tried(answers=2, problem="off_label"),
        6: tried(answers=1, problem="off_label"),
    }
    assert {number: row["attempts"] for number, row in tries(ledger, "c").items()} == {1: 0, 2: 3, 3: 0, 6: 0}


def test_answers_are_counted_and_not_rows(ledger):
    """A run that stopped after two answers leaves one of three: the next run's answer is the last."""
    run = Run(max_answers=3)
    add(ledger, [failed(1), failed(1)], "a", run=run)
    assert tries(ledger)[1]["answers"] == 2
    add(ledger, [replace(failed(1), answers_before=tries(ledger)[1]["answers"])], "b", run=run)
    assert digests(ledger.known_digests()) == [1]


@settings(max_examples=25, deadline=None)
@given(
    runs=st.lists(st.lists(st.sampled_from(["answer", "lost", "broken", "free"]), max_size=4), max_size=8),
    max_attempts=st.integers(1, 5),
    max_answers=st.integers(1, 4),
)
def test_over_all_runs_no_text_is_paid_for_more_often_than_the_job_says(
    tmp_path_factory, runs, max_attempts, max_answers
):
    """Runs that stop anywhere, each going on from what the ledger tells: the limits hold, and a free failure costs no try."""
    ledger = Ledger(tmp_path_factory.mktemp("ledger") / "task")
    run = Run(max_attempts=max_attempts, max_answers=max_answers)
    make = {"answer": failed, "lost": lost, "broken": lambda n: failed(n, "bad_response"), "free": free}
    answers = paid = 0
    for number, steps in enumerate(runs):
        if digests(ledger.known_digests()):
            break
        before = tries(ledger).get(1, tried())
        assert (before["answers"], before["paid_attempts"]) == (answers, paid)
        made = []
        for step in steps:
            if answers == max_answers or paid == max_attempts:
                break
            made.append(
                replace(make[step](1), answers_before=before["answers"], paid_before=before["paid_attempts"])
            )
            answers += step == "answer"
            paid += step in {"lost", "broken"}
        add(ledger, made, f"run{number}", run=run)
    assert bool(digests(ledger.known_digests())) == (answers == max_answers or paid == max_attempts)


def test_runs_that_gave_up_on_a_refused_text_are_counted(ledger):
    """A refusal while others were answered, run after run; one that was still in doubt when its run stopped is none."""
    refused = free(1, "denied")
    add(ledger, [refused, replace(refused, gave_up=True)], "a")
    add(ledger, [replace(refused, gave_up=True)], "b")
    add(ledger, [refused], "c", run=Run(max_attempts=5))
    assert tries(ledger)[1]["refusals"] == 2
    assert digests(ledger.known_digests()) == []


def test_a_schema_that_was_refused_is_remembered(ledger):
    """It is no attempt: the text is asked without one. Where the refusal was final there is nothing to ask."""
    refused = Outcome(free(1, "bad_request"), 1, 0, Usage(), Decimal(0), Decimal(0), final=False, ended=False)
    final = replace(refused, last=free(2, "bad_request"), final=True, ended=True)
    ledger.folder.mkdir(parents=True)
    frame_of([refused, final], "run", "batch").write_parquet(ledger.part_path("run", 0))
    (row,) = ledger.tries("run").collect().to_dicts()
    assert row == {"digest": 1, **tried(schema_refused=True)}


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
    add(ledger, [free(1, "timeout", NOON + timedelta(hours=5)), failed(2)], "b", run=ONE_TRY)
    add(ledger, [failed(1, "refused", NOON + timedelta(hours=9), message="no"), lost(3)], "a", run=ONE_TRY)
    add(ledger, [failed(1, "truncated", NOON), labeled(4)], "c", run=ONE_TRY)
    rows = {int(row["digest"]): row for row in ledger.failures().collect().to_dicts()}
    assert sorted(rows) == [1, 2, 3]
    assert (rows[1]["error"], rows[1]["message"], rows[1]["run_id"]) == ("refused", "no", "a")
    assert (rows[1]["requests"], rows[1]["cost_usd"]) == (3, 2 * PRICE)
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
    assert spent_since(tmp_path, start_of_day(now)) == 3 * PRICE + Decimal("0.25")
    assert spent_since(tmp_path, early - timedelta(days=1)) == 4 * PRICE + Decimal("0.25")
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


OLD_COLUMNS = [
    *("row_key", "label", "error", "message", "final", "ended", "confidence", "model", "run_id", "requests"),
    *("unseen", "input_tokens", "cached_input_tokens", "output_tokens", "cost_usd", "unseen_usd", "seconds"),
    *("answered_at_utc", "lane", "live_cost_usd"),
]
"""What the parts of version 0.1 hold."""


@pytest.fixture
def write_old(ledger):
    """Write a part as version 0.1 wrote it: `write_old([{...}, ...])`."""
    plain = {"final": False, "ended": False, "requests": 1, "unseen": 0, "answered_at_utc": NOON}
    plain |= {"cost_usd": PRICE, "unseen_usd": Decimal(0), "lane": "live"}

    def write(rows, run_id="old"):
        frame = pl.DataFrame([{**plain, "run_id": run_id, **row} for row in rows], schema=SCHEMA)
        ledger.folder.mkdir(parents=True, exist_ok=True)
        frame.select(OLD_COLUMNS).write_parquet(ledger.part_path(run_id, 0))

    return write


def test_an_older_versions_rows_mean_what_they_meant(ledger, write_old):
    """A null cost is unknown, a row ended with an answer is one answer, and requests that nobody saw may have been paid."""
    write_old(
        [
            {"row_key": key_of(1), "error": "off_label", "requests": 2},
            {"row_key": key_of(2), "error": "timeout", "requests": 5, "unseen": 3, "cost_usd": Decimal(0)},
            {"row_key": key_of(3), "label": "sport", "final": True, "ended": True, "cost_usd": None},
            {"row_key": key_of(4), "error": "off_label", "unseen": 1, "cost_usd": None},
        ]
    )
    rows = ledger.scan().select(UNPRICED, known=KNOWN_USD, cost=COST_USD, live=LIVE_COST_USD).collect()
    assert rows["cost"].to_list() == rows["live"].to_list() == [PRICE, 0, None, None]
    assert (rows["unpriced"].to_list(), rows["known"].to_list()) == ([0, 0, 1, 1], [PRICE, 0, 0, 0])
    assert tries(ledger, "old") == {
        1: tried(attempts=1, answers=1, problem="off_label"),
        2: tried(attempts=5, paid_attempts=3),
        4: tried(answers=1, problem="off_label"),
    }
    assert digests(ledger.known_digests()) == digests(ledger.labels()) == [3]


def test_with_more_answers_allowed_texts_that_were_given_up_stay_so(ledger, write_old):
    """Two answers were the end when there were two; a text that had one left is asked with what is allowed now."""
    ended = {"row_key": key_of(1), "error": "off_label", "requests": 2, "final": True, "ended": True}
    write_old([ended, {"row_key": key_of(2), "error": "off_label"}])
    add(ledger, [replace(failed(2), answers_before=1)], "new", run=Run(max_answers=3))
    assert digests(ledger.known_digests()) == [1]
    assert tries(ledger)[2]["answers"] == 2


def test_what_is_known_of_a_cost_stays_in_the_days_sum(ledger):
    """A text that cost 0.50 and then got an answer of unknown cost: its cost is null, and 0.50 and the worst case are spent."""
    unpriced = Attempt(key_of(1), NOON, label="sport", answered=True, unseen_usd=Decimal("0.1"))
    add(ledger, [failed(1, cost=Decimal("0.5")), unpriced])
    (row,) = ledger.scan().select("cost_usd", "unpriced", known=KNOWN_USD, cost=COST_USD).collect().to_dicts()
    assert row == {"cost_usd": Decimal("0.5"), "unpriced": 1, "known": Decimal("0.5"), "cost": None}
    assert spent_since(ledger.folder.parent, start_of_day(NOON)) == Decimal("0.6")


def test_what_a_row_has_for_its_bill_beside_its_cost(ledger):
    """The tier is the latest answer's, and cache writes add up."""
    usage = Usage(450, 0, 20, cache_write_input_tokens=400)
    first = replace(failed(1), usage=usage, service_tier="priority")
    add(ledger, [first, replace(labeled(1), usage=usage, service_tier="flex"), labeled(2)])
    rows = ledger.scan().select("cache_write_input_tokens", "service_tier").collect().rows()
    assert rows == [(800, "flex"), (0, None)]


def test_ledgers_of_one_task_under_several_keys_are_one(tmp_path):
    """All are read, and the label of the earliest run stays wherever it is; new parts go into the first alone."""
    older = [Ledger(tmp_path / "b"), Ledger(tmp_path / "c")]
    add(
        older[0],
        [labeled(1, "money"), failed(5), labeled(2, seconds=3.0)],
        "20260102-a",
        run=Run(max_answers=5),
    )
    add(older[1], [labeled(1, "sport"), failed(4, "too_long")], "20260101-a")
    ledger = Ledger(tmp_path / "a", (older[0].folder, older[1].folder, tmp_path / "none"))
    add(
        ledger,
        [labeled(3), failed(5), labeled(2, "sport", seconds=1.0)],
        "20260103-a",
        run=Run(max_answers=5),
    )
    rows = {int(row["digest"]): row["label"] for row in ledger.labels().collect().to_dicts()}
    assert rows == {1: "sport", 2: "sport", 3: "sport"}
    assert set(digests(ledger.known_digests())) == {1, 2, 3, 4}
    assert ledger.scan().collect().height == 8
    assert tries(ledger)[5]["answers"] == 2
    assert digests(ledger.failures()) == [4]
    assert ledger.mean_seconds() == 2.0
    assert [part.name for part in (tmp_path / "a").iterdir()] == ["20260103-a-00000.parquet"]
    assert [len(list(old.folder.iterdir())) for old in older] == [1, 1]


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
