"""The comparison, end to end, with a real provider on loopback."""

import json
from pathlib import Path

import polars as pl
import pytest

from labelmill.errors import JobRefused
from labelmill.pipeline.compare import compare as compare_strategies
from labelmill.pipeline.label import label
from labelmill.report.findings import past_runs
from labelmill.run.history import read_runs
from labelmill.store.folder import OutputFolder
from practice import PracticeSettings

TEXTS = [f"the {word} of day {number}" for number in range(30) for word in ("match", "market")]


@pytest.fixture
def compare(practice):
    """Compare at the session's practice provider and return the comparison."""

    def compare_there(job, settings=None, rows=20, concurrency=(1, 3), batch_wait_minutes=0):
        practice.configure(settings or PracticeSettings())
        practice.reset()
        return compare_strategies(
            job,
            practice.base_url,
            rows=rows,
            concurrency=concurrency,
            batch_wait_minutes=batch_wait_minutes,
        )

    return compare_there


def test_every_strategy_asks_the_sample_and_the_bill_is_the_providers(compare, practice, job_of, write_texts):
    """The provider counts as many requests and tokens as the record, nothing comes out of the ledger, nor out of a run's."""
    write_texts(TEXTS)
    label(job_of(), practice.base_url)
    comparison = compare(job_of())
    totals = practice.totals()
    assert comparison.status == "completed"
    assert comparison.requests == totals["requests"] == 1 + 4 * 20
    assert (comparison.input_tokens, comparison.cached_input_tokens, comparison.output_tokens) == (
        totals["input_tokens"],
        totals["cached_input_tokens"],
        totals["output_tokens"],
    )
    assert [figures.strategy for figures in comparison.strategies] == [
        "sequential",
        "batch",
        "batch",
        "chunks",
    ]
    assert {figures.requests for figures in comparison.strategies} == {20}
    assert {figures.labeled for figures in comparison.strategies} == {20}
    assert comparison.estimate.requests == comparison.requests
    assert comparison.cost_usd <= comparison.estimate.max_cost_usd


def test_a_run_does_not_pay_again_for_what_a_comparison_paid(compare, practice, job_of, write_texts):
    """The answers are in the ledger: the next run asks the other texts only, and its labels name the comparison."""
    write_texts(TEXTS)
    comparison = compare(job_of())
    practice.reset()
    record = label(job_of(), practice.base_url)
    assert practice.totals()["requests"] == record.texts_asked == len(TEXTS) - 20
    assert record.rows_reused == 20
    labeled = pl.read_parquet(f"{record.labeled_path}/*.parquet")
    assert labeled.filter(label_run_id=comparison.run_id).height == 20


def test_what_a_comparison_leaves(compare, job_of, write_texts, tmp_path):
    """A ledger part for each strategy's chunks and compare.json; no copy of a text, and nothing that reads as a run."""
    write_texts(TEXTS)
    comparison = compare(job_of(run={"rows_per_chunk": 8}))
    out = tmp_path / "out"
    left = sorted(
        str(path.relative_to(out)) for path in out.rglob("*") if path.is_file() and path.name != ".lock"
    )
    parts = [
        f"ledger/{comparison.task_key}/{comparison.run_id}-{chunk:05d}.parquet" for chunk in range(1 + 3 + 3)
    ]
    assert left == [*parts, f"runs/{comparison.run_id}/compare.json"]
    written = (out / "runs" / comparison.run_id / "compare.json").read_text()
    assert json.loads(written) == json.loads(comparison.model_dump_json())
    assert not any(text in written for text in TEXTS)


def test_those_who_read_runs_are_not_confused(compare, practice, job_of, write_texts):
    """A comparison is no past run to a report, and the next run leaves its record alone; costs know what it was."""
    write_texts(TEXTS)
    comparison = compare(job_of())
    path = Path(comparison.job.output.path) / "runs" / comparison.run_id / "compare.json"
    before = path.read_bytes()
    record = label(job_of(), practice.base_url)
    folder = OutputFolder.of(comparison.job)
    assert past_runs(folder.runs, record) == ()
    assert path.read_bytes() == before
    # Of one second, which of two ids comes first is chance.
    assert {(facts.run_id, facts.kind, facts.status) for facts in read_runs(folder)} == {
        (comparison.run_id, "comparison", "completed"),
        (record.run_id, "run", "completed"),
    }


def test_a_budget_stops_the_whole_comparison(compare, practice, job_of, write_texts):
    """All strategies share one budget; at it the comparison stops and keeps what it has, and a run goes on from there."""
    write_texts(TEXTS)
    comparison = compare(job_of(run={"max_cost_usd": 0.00055}))
    assert comparison.status == "budget_reached"
    assert 0 < comparison.cost_usd <= 0.00055
    assert practice.totals()["requests"] == comparison.requests < comparison.estimate.requests
    assert comparison.strategies[0].labeled == 20
    assert comparison.strategies[-1].pending > 0
    practice.reset()
    assert label(job_of(), practice.base_url).texts_asked == len(TEXTS) - 20


def test_the_days_budget_counts_comparisons(compare, practice, job_of, write_texts):
    """What a comparison cost counts against the day's limit of the next one."""
    write_texts(TEXTS)
    first = compare(job_of())
    second = compare(job_of(run={"max_cost_usd_per_day": first.cost_usd}))
    assert (second.status, practice.totals()["requests"]) == ("budget_reached", 0)
    assert second.strategies == ()


def test_a_key_that_is_refused_stops_at_the_first_request(compare, practice, job_of, write_texts):
    """The warm-up finds out: one request, the provider's words, and no strategy is tried."""
    write_texts(TEXTS)
    comparison = compare(job_of(), PracticeSettings(required_key="another"))
    assert comparison.status == "failed"
    assert "401" in comparison.message
    assert practice.totals()["requests"] == 1
    assert comparison.strategies == ()


def test_a_source_without_texts_is_refused(compare, practice, job_of, write_texts):
    """Nothing to ask is a sentence before the first request."""
    write_texts([None, " "])
    with pytest.raises(JobRefused, match="no row has a text"):
        compare(job_of())
    assert practice.totals()["requests"] == 0


def test_a_comparison_says_what_it_will_cost_before_it_asks(compare, job_of, write_texts, caplog):
    """The sentence with requests and cost stands in the log before the first strategy's line, and shows no text."""
    write_texts(TEXTS)
    with caplog.at_level("INFO", logger="labelmill"):
        comparison = compare(job_of(run={"max_cost_usd": 1}))
    lines = [line.getMessage() for line in caplog.records]
    told = next(index for index, line in enumerate(lines) if "20 texts, 81 requests: about $" in line)
    done = next(index for index, line in enumerate(lines) if "by 4 strategies in" in line)
    assert told < done
    assert "it stops at max_cost_usd = 1" in lines[told]
    assert not any(text in caplog.text for text in TEXTS)
    assert comparison.requests == 81


def test_the_batch_lane_is_a_strategy_at_its_own_price(compare, practice, job_of, write_texts):
    """One batch with the whole sample: the same labels at half the price, and its answers are in the ledger."""
    write_texts(TEXTS)
    comparison = compare(job_of(), concurrency=[2], batch_wait_minutes=1)
    assert comparison.status == "completed"
    *live, lane = comparison.strategies
    assert (lane.strategy, lane.name, lane.concurrency) == ("batch_lane", "batch lane", None)
    assert (lane.labeled, lane.requests, lane.agreement_fraction) == (20, 20, 1.0)
    assert lane.cost_usd == pytest.approx(live[0].cost_usd / 2, rel=1e-9)
    told = comparison.estimate.strategies[-1]
    assert told.max_cost_usd == pytest.approx(comparison.estimate.strategies[1].max_cost_usd / 2, rel=1e-9)
    assert lane.cost_usd <= told.max_cost_usd
    assert comparison.requests == comparison.estimate.requests == 1 + 4 * 20
    assert comparison.cost_usd == pytest.approx(
        sum(figures.cost_usd for figures in comparison.strategies) + live[0].cost_usd / 20, rel=0.1
    )
    practice.reset()
    assert label(job_of(), practice.base_url).texts_asked == len(TEXTS) - 20


def test_failures_on_the_batch_lane_are_not_asked_again(compare, job_of, write_texts):
    """A text whose answer is no label has failed on the batch lane as in a loop."""
    write_texts(TEXTS)
    job = job_of(model={"max_tokens": 20})
    settings = PracticeSettings(stubborn_faults={"off_label": 0.2})
    comparison = compare(job, settings, concurrency=[2], batch_wait_minutes=1)
    sequential, *_, lane = comparison.strategies
    assert lane.requests == 20
    assert lane.failures == sequential.failures == {"off_label": lane.failed}
    assert 0 < lane.failed < 20
    assert lane.rows_compared == lane.labeled == 20 - lane.failed


def test_a_batch_that_is_late_is_left_to_the_next_run(compare, practice, job_of, write_texts):
    """When the wait is over the comparison ends as waiting, with all else it has; a next run harvests what it paid for."""
    write_texts(TEXTS)
    job = job_of(run={"lane": "batch", "poll_seconds": 0.2})
    late = PracticeSettings(batch_seconds=3600)
    comparison = compare(job, late, concurrency=[2], batch_wait_minutes=0.01)
    assert comparison.status == "waiting"
    assert "20 texts are in a batch" in comparison.message
    *live, lane = comparison.strategies
    assert (lane.pending, lane.seconds, lane.speed_up) == (20, None, None)
    assert [figures.labeled for figures in live] == [20, 20, 20]

    # A second comparison has a batch of its own, whatever becomes of the first one's.
    practice.configure(PracticeSettings())
    second = compare_strategies(job, practice.base_url, rows=20, concurrency=[2], batch_wait_minutes=1)
    assert second.status == "completed"
    assert (second.strategies[-1].requests, second.strategies[-1].labeled) == (20, 20)


def test_without_a_price_for_batches_the_batch_lane_is_left_out(compare, job_of, write_texts):
    """Nobody knows of a Batch API for a home-made model, so that none is tried."""
    write_texts(TEXTS)
    price = {"input_usd_per_mtok": 1, "output_usd_per_mtok": 2}
    comparison = compare(job_of(model={"name": "home-made-7b"}, price=price), batch_wait_minutes=1)
    assert comparison.status == "completed"
    assert [figures.strategy for figures in comparison.strategies][-1] == "chunks"
