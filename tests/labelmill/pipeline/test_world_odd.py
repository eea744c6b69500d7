"""Whole runs against a provider that answers with anything: one bill, and no budget passed."""

import polars as pl
import pytest
from servers.odd import Odd

from commands.run import exit_code_of

pytestmark = pytest.mark.slow


def _texts(count):
    return [f"the {word} of day {number}" for number in range(count // 2) for word in ("match", "market")]


def _assert_is_sound(world, server, limit):
    """Record, ledger and the server's own count are one bill; nothing passed the limit; no label is wrong."""
    world.assert_bill_is(server)
    # Also what is known of texts of which another part is unknown, which the record's own sum leaves out.
    known, unseen = (world.ledger[name].sum() for name in ("cost_usd", "unseen_usd"))
    assert known + unseen <= limit * len(world.records)
    statuses = dict(world.rows.group_by("label_status").len().iter_rows())
    world.assert_labels(statuses.pop("ok"), **statuses)


@pytest.mark.parametrize("seed", [1])
def test_two_thousand_odd_responses_are_one_bill(world, seed):
    """One run gets 2,000 odd responses and ends by itself; over more runs, nothing is asked more often than allowed."""
    limit = 2.0
    world.has(_texts(1600))
    sections = {"run": {"max_concurrency": 16, "stop_at_failed_fraction": 1, "max_cost_usd": limit}}
    with Odd(seed) as server:
        record = world.run(server, **sections)
        assert record.status == "completed", record.message
        assert server.requests >= 2000
        _assert_is_sound(world, server, limit)
        for _ in range(2):
            world.run(server, **sections)
            _assert_is_sound(world, server, limit)
        often = world.ledger.group_by("row_key").agg(pl.col("answers", "paid_attempts").sum())
        run = record.job.run
        assert often["answers"].max() <= run.max_answers
        assert often["paid_attempts"].max() <= run.max_attempts


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_odd_responses_pass_no_budget(world, seed):
    """However odd what comes back, a run stops before what was paid and what may have been pass its limit."""
    limit = 0.01
    world.has(_texts(1200))
    sections = {"run": {"max_concurrency": 16, "stop_at_failed_fraction": 1, "max_cost_usd": limit}}
    with Odd(seed) as server:
        record = world.run(server, **sections)
        assert (record.status, exit_code_of(record)) == ("budget_reached", 4)
        assert record.rows_pending
        _assert_is_sound(world, server, limit)
