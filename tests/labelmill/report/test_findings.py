"""What a report tells beside the record, read from what earlier runs and this one left."""

import json
from datetime import timedelta
from decimal import Decimal

import polars as pl
import pytest

from labelmill.dataset.template import read_template
from labelmill.report.findings import (
    Example,
    PastRun,
    failure_examples,
    findings_of,
    past_runs,
    seconds_bins_of,
)
from labelmill.run.context import RunContext
from labelmill.run.optional import OptionalSteps


def test_past_runs_are_the_jobs_own_that_came_to_an_end(tmp_path, record_of, job_of):
    """Other jobs, practice beside paid work, running, later and unreadable ones are passed over; the latest is last."""
    now = record_of()

    def left(run_id, **fields):
        record = record_of(**fields).model_dump(mode="json") | {"run_id": run_id, "from_the_future": 1}
        (tmp_path / run_id).mkdir()
        (tmp_path / run_id / "run.json").write_text(json.dumps(record | fields.get("raw", {})))

    left("20260227-120000-0001", status="failed", cost_usd=None)
    left("20260226-120000-0002")
    left("20260228-120000-0003", job=job_of(name="another"))
    left("20260228-120000-0004", practice=True)
    left("20260302-120000-0005", started_at_utc=now.started_at_utc + timedelta(days=1))
    left(now.run_id)
    for broken, words in {
        "20260228-120000-0006": "{",
        "20260228-120000-0007": '{"status": "running"}',
    }.items():
        (tmp_path / broken).mkdir()
        (tmp_path / broken / "run.json").write_text(words)
    assert [past.run_id[-4:] for past in past_runs(tmp_path, now)] == ["0002", "0001"]


def test_rows_without_a_text_of_an_earlier_version_are_empty_and_not_failed(record_of):
    """They were counted as failures once, and the next report compares like with like."""
    old = record_of().model_dump(mode="json") | {
        "rows_failed": 30,
        "failures": {"empty_text": 25, "timeout": 5},
    }
    del old["rows_empty"]
    past = PastRun.model_validate(old)
    assert (past.rows_failed, past.rows_empty) == (5, 25)
    del old["failures"]
    assert PastRun.model_validate(old).rows_failed == 30


def test_a_run_that_is_still_running_is_not_the_last(tmp_path, record_of):
    """Only what came to an end can be compared with."""
    running = record_of().model_dump(mode="json") | {"run_id": "20260228-120000-0001", "status": "running"}
    (tmp_path / running["run_id"]).mkdir()
    (tmp_path / running["run_id"] / "run.json").write_text(json.dumps(running))
    assert past_runs(tmp_path, record_of()) == ()


def test_at_most_three_examples_of_each_kind(tmp_path):
    """Distinct texts, their beginnings, in the order of the rows; a row without a text says so by None."""
    rows = [("off_label", f"{number} " + "x" * 500, "m" * 500) for number in range(5)]
    rows += [
        ("off_label", rows[0][1], "again"),
        ("empty_text", None, "the row has no text"),
        ("empty_text", None, ""),
    ]
    frame = pl.DataFrame(rows, schema=["failure_kind", "text", "failure_message"], orient="row")
    frame.write_parquet(tmp_path / "f.parquet")
    found = failure_examples([tmp_path / "f.parquet"], read_template("text"))
    assert [example.text[:2] for example in found["off_label"]] == ["0 ", "1 ", "2 "]
    assert {len(example.text) for example in found["off_label"]} == {200}
    assert found["empty_text"] == (Example(None, "the row has no text"),)


def test_examples_are_read_under_the_columns_prefix(tmp_path):
    """A source's own `failure_kind` is not taken for ours."""
    columns = {
        "lm_failure_kind": ["refused"],
        "lm_failure_message": ["no"],
        "failure_kind": ["own"],
        "text": ["a"],
    }
    pl.DataFrame(columns).write_parquet(tmp_path / "f.parquet")
    found = failure_examples([tmp_path / "f.parquet"], read_template("text"), "lm_")
    assert found == {"refused": (Example("a", "no"),)}


def test_examples_come_from_all_files_of_a_run(tmp_path):
    """Those of a kind are three in all; a file whose text could not be read has messages without texts."""
    names = ["failure_kind", "text", "failure_message"]
    parts = {
        "1": [("off_label", "a", "no"), ("off_label", "b", "no")],
        "2": [
            ("off_label", "a", "no"),
            ("off_label", "c", "no"),
            ("off_label", "d", "no"),
            ("too_long", "e", "no"),
        ],
    }
    for name, rows in parts.items():
        pl.DataFrame(rows, schema=names, orient="row").write_parquet(tmp_path / f"{name}.parquet")
    rest = pl.DataFrame([("refused", "no")], schema=["failure_kind", "failure_message"], orient="row")
    rest.write_parquet(tmp_path / "3.parquet")
    found = failure_examples([tmp_path / f"{name}.parquet" for name in "123"], read_template("text"))
    texts = {kind: [example.text for example in examples] for kind, examples in found.items()}
    assert texts == {"off_label": ["a", "b", "c"], "too_long": ["e"], "refused": [None]}


def test_what_can_not_be_read_is_left_out_and_said(record_of, job_of, tmp_path):
    """A file of failed rows that somebody took away costs the examples and nothing else."""
    job = job_of(run={"max_cost_usd": 1.0})
    record = record_of(job, failed_path=str(tmp_path / "gone.parquet"))
    run = RunContext(
        job=job, run_id=record.run_id, base_url="", practice=False, started_at_utc=record.started_at_utc
    )
    optional = OptionalSteps()
    found = findings_of(run, record, optional)
    assert (found.examples, len(found.limits), found.past) == ({}, 1, ())
    (sentence,) = optional.sentences
    assert sentence.startswith("The examples of failures could not be read: ")


def test_every_answer_is_in_one_bin():
    """The few that took very long are in the last bin and don't squeeze the others together."""
    seconds = pl.Series([None, 0.0, *(number / 1000 for number in range(1, 1001)), 600.0])
    bins = seconds_bins_of(seconds)
    assert sum(count for _, count in bins) == 1002
    assert len(bins) == 20
    assert bins[9][0] < 1
    assert seconds_bins_of(pl.Series([None], dtype=pl.Float64)) == ()
    assert sum(count for _, count in seconds_bins_of(pl.Series([0.0, 0.0]))) == 2


@pytest.mark.parametrize(
    ("fields", "spent"),
    [
        ({"cost_usd": 0.25}, "0.25"),
        ({"cost_usd": None, "cost_known_usd": 0.25}, "0.25"),
        ({"cost_usd": None, "cost_known_usd": 0.25, "requests_without_usage": 2, "unseen_usd": 0.5}, "0.75"),
        ({"cost_usd": None}, "0"),
    ],
)
def test_what_is_known_of_an_unknown_cost_counts_for_the_limit(record_of, job_of, fields, spent):
    """A run whose cost is partly unknown has used at least the known part of its limit."""
    job = job_of(run={"max_cost_usd": 1.0})
    record = record_of(job, **fields)
    run = RunContext(
        job=job, run_id=record.run_id, base_url="", practice=False, started_at_utc=record.started_at_utc
    )
    (use,) = findings_of(run, record, OptionalSteps()).limits
    assert (use.field, use.spent_usd) == ("max_cost_usd", Decimal(spent))
