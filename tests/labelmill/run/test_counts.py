"""What a run's files add up to."""

from datetime import UTC, datetime
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelmill.dataset.merge_state import Tally
from labelmill.money.usage import Usage
from labelmill.question.attempts import Attempt
from labelmill.run.counts import (
    AnswerSeconds,
    RowCounts,
    Work,
    rows_of,
    work_of,
    work_of_run,
)
from labelmill.store.journal import Journal
from labelmill.store.ledger import MONEY, SCHEMA


def test_rows_are_counted_by_what_became_of_them():
    """Every row is counted once, whichever file it is in; all of the job's labels are named, the most frequent first."""
    groups = [
        Tally(status="ok", label="sport", rows=1),
        Tally(status="ok", label="sport", is_new=True, rows=1),
        Tally(status="ok", label="money", is_new=True, rows=1),
        Tally(status="failed", error="timeout", rows=1),
        Tally(status="empty", rows=1),
        Tally(status="pending", rows=1),
    ]
    counts = rows_of(groups, ["unused", "money", "sport", "another"])
    assert counts == RowCounts(
        total=6,
        labeled=3,
        reused=1,
        failed=1,
        pending=1,
        empty=1,
        labels={"sport": 2, "money": 1, "unused": 0, "another": 0},
        failures={"timeout": 1},
    )
    assert list(counts.labels) == ["sport", "money", "unused", "another"]
    assert counts.with_text == 5
    assert rows_of([], ["a", "b"]) == RowCounts(labels={"a": 0, "b": 0})


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.sampled_from(["ok", "failed", "pending", "empty"]), max_size=30))
def test_the_counts_add_up_to_the_rows(rows):
    """Labeled, failed, pending and empty are all rows, whatever there is of each."""
    groups = [
        Tally(
            status=status,
            label="a" if status == "ok" else None,
            error="timeout" if status == "failed" else None,
            rows=1,
        )
        for status in rows
    ]
    counts = rows_of(groups, ["a", "b"])
    assert counts.total == len(rows) == counts.labeled + counts.failed + counts.pending + counts.empty
    assert counts.labels == {"a": rows.count("ok"), "b": 0}


def _part(**values):
    filled = {name: [value] for name, value in values.items()}
    frame = pl.DataFrame(
        filled, schema_overrides={"cost_usd": MONEY, "live_cost_usd": MONEY, "unseen_usd": MONEY}
    )
    return frame.select(
        *(pl.col(n).cast(t) if n in filled else pl.lit(None, dtype=t).alias(n) for n, t in SCHEMA.items())
    )


def test_work_adds_up_exactly_and_counts_a_text_once():
    """Costs add up as decimals, and a text asked again in the salvage pass is one text with two rows of cost."""
    facts = {"unseen": 1, "input_tokens": 10, "cached_input_tokens": 2, "output_tokens": 3}
    parts = [
        _part(
            row_key=key, requests=2, cost_usd=Decimal("0.0000001"), answered_at_utc=datetime.now(UTC), **facts
        )
        for key in ("a", "b", "b")
    ]
    assert work_of(pl.concat(parts).lazy()) == Work(
        texts_asked=2,
        requests=6,
        requests_without_usage=3,
        input_tokens=30,
        cached_input_tokens=6,
        output_tokens=9,
        cost_usd=Decimal("0.0000003"),
        live_cost_usd=Decimal("0.0000003"),
    )


def test_one_unknown_cost_makes_the_sum_unknown():
    """A sum that leaves something out would be a number that isn't so."""
    parts = [_part(row_key="a", requests=1, cost_usd=cost) for cost in (Decimal(1), None)]
    assert work_of(pl.concat(parts).lazy()).cost_usd is None


@pytest.mark.parametrize(
    "unknown",
    [
        {"cost_usd": None},
        {"cost_usd": Decimal("0.5"), "unpriced": 1},
        {"cost_usd": Decimal(0), "unpriced": 2},
    ],
)
def test_a_text_of_which_a_part_has_no_price_makes_the_cost_unknown(unknown):
    """Whether an older version wrote null, or this one what is known; a row without such answers is known."""
    parts = [_part(row_key="a", requests=1, cost_usd=Decimal(1), unpriced=0), _part(row_key="b", **unknown)]
    assert work_of(parts[0].lazy()).cost_usd == 1
    assert work_of(pl.concat(parts).lazy()).cost_usd is None


def test_a_runs_work_holds_what_the_disk_had_no_place_for(tmp_path):
    """Journals that did not become parts count, with what was sent and not heard of; other runs' and living ones' don't."""
    folder = tmp_path / "0123456789abcdef"
    now = datetime.now(UTC)
    for run_id, cost in (("run", "0.5"), ("runner", "4")):
        with Journal(folder / f"{run_id}-00001.jsonl") as journal:
            paid = {"answered": True, "usage": Usage(10, 0, 2), "cost_usd": Decimal(cost)}
            journal.append(Attempt("v1:0a", now, label="sport", **paid))
            journal.note_sent("v1:0b", Decimal("0.25"))
    part = _part(
        row_key="v1:0c", requests=1, cost_usd=Decimal(1), unpriced=0, unseen_usd=Decimal(0), unseen=0
    )
    part.write_parquet(folder / "run-00000.parquet")
    work = work_of_run(tmp_path, "run", "0123456789abcdef")
    assert (work.requests, work.requests_without_usage) == (3, 1)
    assert (work.cost_usd, work.unseen_usd, work.other_tasks_cost_usd) == (Decimal("1.5"), Decimal("0.25"), 0)
    assert work_of_run(tmp_path, "run", "another task").other_tasks_cost_usd == Decimal("1.5")
    assert work_of_run(tmp_path, "no run", "0123456789abcdef") == Work()


def test_no_work_costs_nothing():
    """A run that asked nothing cost 0, which is known."""
    assert work_of(pl.LazyFrame(schema=SCHEMA)) == Work()


def test_texts_that_got_their_label_are_counted_apart_from_those_asked():
    """What a thousand labels cost is told by these: a run that was cut off has asked more than it got."""
    parts = [
        _part(row_key="a", requests=1, error="timeout"),
        _part(row_key="a", requests=1, label="sport"),
        _part(row_key="b", requests=1, error="off_label"),
        _part(row_key="c", requests=1, label="money"),
    ]
    work = work_of(pl.concat(parts).lazy())
    assert (work.texts_asked, work.texts_labeled) == (3, 2)


def test_how_long_answers_took_is_counted_over_those_that_came():
    """The median, the 95th of a hundred and the longest; a text without an answer is left out."""
    parts = [_part(row_key=str(number), seconds=number / 100) for number in range(1, 101)]
    work = work_of(pl.concat([*parts, _part(row_key="lost", requests=1)]).lazy())
    assert work.answer_seconds == AnswerSeconds(p50=0.51, p95=0.96, max=1.0)
    assert work_of(_part(row_key="lost").lazy()).answer_seconds is None


def test_what_the_batch_lane_saved_can_be_told():
    """Its texts are counted apart, and all of a run's tokens are also priced as if they had been asked live."""
    parts = [
        _part(row_key="a", cost_usd=Decimal(1), live_cost_usd=Decimal(2), lane="batch"),
        _part(row_key="a", cost_usd=Decimal(1), live_cost_usd=Decimal(2), lane="batch"),
        _part(row_key="b", cost_usd=Decimal(3), lane="live"),
        _part(row_key="c", cost_usd=Decimal(4)),
    ]
    work = work_of(pl.concat(parts).lazy())
    assert (work.texts_asked, work.texts_by_batch) == (3, 1)
    assert (work.cost_usd, work.live_cost_usd) == (Decimal(9), Decimal(11))


def test_a_live_cost_that_is_unknown_for_one_text_is_unknown():
    """Also where the batch lane's own cost is known, and the other way round."""
    by_batch = [
        _part(row_key="a", cost_usd=cost, live_cost_usd=live, lane="batch")
        for cost, live in ((Decimal(1), None), (None, Decimal(2)))
    ]
    works = [work_of(part.lazy()) for part in by_batch]
    assert [(work.cost_usd, work.live_cost_usd) for work in works] == [(Decimal(1), None), (None, Decimal(2))]
    assert work_of(_part(row_key="a", lane="live").lazy()).live_cost_usd is None
