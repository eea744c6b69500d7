"""Everything at once: faults and odd answers on every request, live and in batches, and the books still balance."""

import polars as pl
import pytest

from labelmill.pipeline.label import label
from labelmill.question.failures import POLICY_OF_KIND
from practice import FaultKind, PracticeSettings
from practice.odd_answers import UNTOLD
from practice.scorer import score_labels

pytestmark = pytest.mark.slow

LABELS = {"sport": "football, match, team", "sport news": "league", "money": "bank, market, price"}
WORDS = ("match", "market", "team", "bank", "league")
TEXTS = [f"the {word} of day {number}" for number in range(60) for word in WORDS]
FREE_ERRORS = {
    FaultKind.RATE_LIMITED: 0.04,
    FaultKind.RATE_LIMITED_BARE: 0.02,
    FaultKind.SERVER_ERROR: 0.03,
    FaultKind.UNAVAILABLE: 0.03,
    FaultKind.CONTENT_FILTER: 0.02,
    FaultKind.TOO_LONG: 0.02,
}
LOST = {FaultKind.BAD_JSON: 0.03, FaultKind.CUT_OFF: 0.03}
BAD_ANSWERS = {
    FaultKind.TRUNCATED: 0.02,
    FaultKind.OFF_LABEL: 0.02,
    FaultKind.EMPTY: 0.02,
    FaultKind.REFUSAL: 0.02,
}


def chaos(seed, **more):
    """A provider at its worst: a third of the first requests fail, and a third of all answers are odd."""
    faults = FREE_ERRORS | LOST | BAD_ANSWERS | {FaultKind.CONNECTION_RESET: 0.03}
    return PracticeSettings(
        seed=seed, faults=faults, odd_answers=0.35, retry_after_seconds=0.02, latency_seconds=0.003, **more
    )


def faults_of(totals, kinds):
    """How often the provider played these."""
    return sum(totals["faults"].get(kind, 0) for kind in kinds)


def job_for(job_of, **run):
    """A job that gives every answer room."""
    asked = {"max_failed_fraction": 1.0, "max_concurrency": 16, "rows_per_chunk": 50, **run}
    return job_of(labels=LABELS, model={"max_tokens": 100}, run=asked)


def assert_no_wrong_label(record):
    """Every row has the label that is right for it, or has failed with a kind, or is pending."""
    labeled = pl.read_parquet(f"{record.labeled_path}/**/*.parquet")
    for text, given, status, error in labeled.select(
        "text", "label", "label_status", "label_error"
    ).iter_rows():
        if status == "ok":
            assert given == score_labels(text, tuple(LABELS.items()))[0]
        else:
            assert given is None
            assert status in {"failed", "pending"}
            assert status == "pending" or error in POLICY_OF_KIND


def assert_asked_no_more_than_allowed(job, record):
    """No text has more answers than `max_answers` and more requests without one than `max_attempts`, over all runs."""
    parts = pl.read_parquet(f"{job.output.path}/ledger/{record.task_key}/*.parquet")
    texts = parts.group_by("row_key").agg(pl.col("answers", "paid_attempts").sum())
    assert texts["answers"].max() <= job.run.max_answers
    assert texts["paid_attempts"].max() <= job.run.max_attempts


def ledger_of(job):
    """All that was ever recorded of a job's texts."""
    return pl.read_parquet(f"{job.output.path}/ledger/*/*.parquet")


def assert_told_bill(job, totals, *records, lane=""):
    """Tokens and money are the provider's own where it told them; where it didn't, that is counted and not called zero."""
    told = {
        tokens: sum(getattr(record, tokens) for record in records)
        for tokens in ("input_tokens", "cached_input_tokens", "output_tokens")
    }
    counted = {tokens: totals[f"{lane}{tokens}"] for tokens in told}
    assert told == counted
    full = counted["input_tokens"] - counted["cached_input_tokens"]
    billed = (full * 0.15 + counted["cached_input_tokens"] * 0.075 + counted["output_tokens"] * 0.6) / 1e6
    known = float(ledger_of(job)["cost_usd"].cast(pl.Float64).sum())
    assert known == pytest.approx(billed, rel=1e-9)


def assert_live_bill(job, totals, *records):
    """What the runs recorded is what the provider counted: requests, tokens, money, and what nobody could see."""
    assert sum(record.requests for record in records) == totals["requests"]
    assert_told_bill(job, totals, *records)
    untold = sum(totals["odd_answers"].get(kind, 0) for kind in UNTOLD)
    lost = faults_of(totals, [*LOST, FaultKind.CONNECTION_RESET])
    assert sum(record.requests_without_usage for record in records) == untold + lost
    unseen = (totals["unseen_input_tokens"] * 0.15 + totals["unseen_output_tokens"] * 0.6) / 1e6
    assert sum(record.unseen_usd for record in records) >= unseen


@pytest.mark.parametrize("seed", range(2))
def test_a_live_run_keeps_the_providers_books(practice, job_of, write_texts, seed):
    """The bill is the provider's own, no label is wrong, and no text is asked more often than it may be."""
    write_texts(TEXTS)
    practice.reset()
    practice.configure(chaos(seed))
    job = job_for(job_of)
    record = label(job, practice.base_url)
    totals = practice.totals()
    assert record.status == "completed"
    assert_live_bill(job, totals, record)
    assert_no_wrong_label(record)
    assert_asked_no_more_than_allowed(job, record)
    assert totals["most_attempts_of_a_text"] <= job.run.max_attempts + job.run.max_answers
    assert totals["texts_paid_twice"] == 0
    assert sum(totals["odd_answers"].values()) > len(TEXTS) / 4
    practice.configure(PracticeSettings())
    after = label(job, practice.base_url)
    assert_live_bill(job, practice.totals(), record, after)
    assert_no_wrong_label(after)
    assert set(after.failures) <= {kind for kind, policy in POLICY_OF_KIND.items() if policy.name != "RETRY"}


@pytest.mark.parametrize("seed", range(2))
def test_a_budget_holds_whatever_comes_back(practice, job_of, write_texts, seed):
    """Neither what the provider bills nor what is taken for it at worst passes the limit, and the rest is pending."""
    write_texts(TEXTS)
    practice.reset()
    practice.configure(chaos(seed))
    limit = 0.003
    job = job_for(job_of, max_cost_usd=limit)
    record = label(job, practice.base_url)
    totals = practice.totals()
    assert record.status == "budget_reached"
    assert record.rows_pending
    assert_live_bill(job, totals, record)
    known = float(ledger_of(job)["cost_usd"].cast(pl.Float64).sum())
    assert limit / 2 < known + record.unseen_usd <= limit
    assert_no_wrong_label(record)


@pytest.mark.parametrize("seed", range(2))
def test_batches_keep_the_providers_books(practice, job_of, write_texts, seed):
    """The same holds for batches that lose rows and hold odd ones: each row is billed once, and none is lost."""
    write_texts(TEXTS)
    practice.reset()
    practice.configure(chaos(seed, batch_missing_fraction=0.03))
    job = job_of(
        labels=LABELS,
        model={"max_tokens": 100},
        # What never comes is waited for a moment, and looked for a few times.
        run={"max_failed_fraction": 1.0, "lane": "batch", "poll_seconds": 0.05, "patience_minutes": 0.2},
        batch={"max_requests": 110},
    )
    record = label(job, practice.base_url)
    totals = practice.totals()
    assert record.status == "completed"
    assert totals["requests"] == totals["batch_texts_paid_twice"] == 0
    free = faults_of(totals, [*FREE_ERRORS, FaultKind.CONNECTION_RESET])
    assert record.requests == totals["batch_rows_billed"] + free
    untold = sum(totals["odd_answers"].get(kind, 0) for kind in UNTOLD)
    missing = totals["batch_rows_billed"] - totals["batch_rows_answered"]
    assert (record.requests_without_usage > 0) is (untold + missing > 0)
    assert record.input_tokens == totals["batch_input_tokens"] - totals["batch_unseen_input_tokens"]
    assert record.output_tokens == totals["batch_output_tokens"] - totals["batch_unseen_output_tokens"]
    assert_no_wrong_label(record)
    assert_asked_no_more_than_allowed(job, record)
    assert totals["most_attempts_of_a_text"] <= job.run.max_attempts + job.run.max_answers
