"""Whole runs, end to end, with a real provider on loopback."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from labelmill.live import guard
from labelmill.live.breaker import REFUSALS_IN_A_ROW
from labelmill.pipeline.label import label
from practice import PracticeSettings

TEXTS = [f"the {word} of day {number}" for number in range(40) for word in ("match", "market", "team")]


@pytest.fixture
def run(practice):
    """Run the job against the session's practice provider and return its record."""

    def run_there(job, settings=None):
        practice.configure(settings or PracticeSettings())
        practice.reset()
        return label(job, practice.base_url)

    return run_there


def _labeled(record):
    return pl.read_parquet(f"{record.labeled_path}/**/*.parquet")


def test_every_row_comes_back_in_order_and_the_bill_is_the_providers(run, practice, job_of, write_texts):
    """Every row is labeled, in the source's order, each text is asked once, and tokens equal the provider's count."""
    source = write_texts([*TEXTS, *TEXTS[:7]])
    record = run(job_of())
    assert record.status == "completed"
    assert _labeled(record).select(source.columns).equals(source)
    assert _labeled(record)["label_status"].unique().to_list() == ["ok"]
    totals = practice.totals()
    assert record.texts_asked == record.requests == totals["answered"] == len(TEXTS)
    assert (record.input_tokens, record.output_tokens) == (totals["input_tokens"], totals["output_tokens"])
    assert record.rows_total == record.rows_labeled == len(TEXTS) + 7
    assert record.cost_usd == pytest.approx(
        (record.input_tokens * 0.15 + record.output_tokens * 0.6) / 1e6, rel=1e-12
    )


def test_a_second_run_asks_nothing_and_new_rows_cost_only_themselves(run, practice, job_of, write_texts):
    """With nothing new no request is sent; three new texts are three requests."""
    write_texts(TEXTS)
    run(job_of())
    again = run(job_of())
    assert practice.totals()["requests"] == again.requests == again.texts_asked == 0
    assert (again.rows_reused, again.cost_usd) == (len(TEXTS), 0)
    write_texts([*TEXTS, "a new team", "a new bank", "a new price"])
    third = run(job_of())
    assert practice.totals()["requests"] == third.texts_asked == 3
    assert (third.rows_labeled, third.rows_reused) == (len(TEXTS) + 3, len(TEXTS))


@pytest.mark.parametrize(
    "run_settings",
    [
        {"lane": "auto", "deadline": f"{datetime.now(UTC) + timedelta(hours=12):%H:%M}"},
        {"lane": "batch", "retry_lane": "live"},
    ],
)
def test_failures_asked_again_in_a_batch_are_not_asked_a_third_time_live(
    practice, job_of, write_texts, run_settings
):
    """With `retry_failed`, a text that fails for good in this run's batch has failed in this run."""
    write_texts(TEXTS[:4])
    job = job_of(
        run={"poll_seconds": 0.1, "stop_at_failed_fraction": 1.0, "max_failed_fraction": 1.0, **run_settings}
    )
    practice.reset()
    practice.configure(PracticeSettings(stubborn_faults={"too_long": 1.0}))
    for again in (False, True):
        record = label(job, practice.base_url, retry_failed=again)
        assert (record.rows_failed, record.requests, record.texts_by_batch) == (4, 4, 4)
    assert practice.totals()["requests"] == 0


@pytest.mark.parametrize(
    "change",
    [
        {"labels": {"sport": "football", "money": "bank"}},
        {"model": {"name": "gpt-4o"}},
        {"prompt": {"system": "Sort it:\n{labels}"}},
    ],
)
def test_a_changed_task_relabels(run, practice, job_of, write_texts, change):
    """Another prompt, label set or model is another task: every text is asked anew, and the old ledger stays."""
    write_texts(TEXTS[:5])
    first = run(job_of())
    second = run(job_of(**change))
    assert practice.totals()["requests"] == 5
    assert second.task_key != first.task_key
    back = run(job_of())
    assert practice.totals()["requests"] == 0
    assert back.labels == first.labels


def test_chunks_share_one_limiter(run, practice, job_of, write_texts):
    """Requests in flight reach the job's concurrency and never pass it, however many chunks there are."""
    write_texts(TEXTS)
    job = job_of(run={"max_concurrency": 6, "rows_per_chunk": 10})
    record = run(job, PracticeSettings(latency_seconds=0.05, latency_sigma=1.0))
    assert record.rows_labeled == len(TEXTS)
    assert practice.totals()["peak_in_flight"] == 6


def test_what_a_run_leaves(run, job_of, write_texts, tmp_path):
    """A run leaves labeled files, a ledger, run.json, costs.parquet and report.html, a manifest, and nothing else.

    Rows without words are no failures: they are in no file of failed rows.
    """
    write_texts([*TEXTS[:5], None, "  "])
    record = run(job_of(run={"max_failed_fraction": 0}))
    out = tmp_path / "out"
    left = sorted(
        str(path.relative_to(out)) for path in out.rglob("*") if path.is_file() and path.name != ".lock"
    )
    assert left == [
        "_manifest.json",
        "_merge_state.json",
        "labeled/source.parquet",
        f"ledger/{record.task_key}/{record.run_id}-00000.parquet",
        *(f"runs/{record.run_id}/{name}" for name in ("costs.parquet", "report.html", "run.json")),
    ]
    assert json.loads((out / "runs" / record.run_id / "run.json").read_text()) == json.loads(
        record.model_dump_json()
    )
    costs = pl.read_parquet(out / "runs" / record.run_id / "costs.parquet")
    assert costs["cost_usd"].sum() == pytest.approx(record.cost_usd)
    assert costs["input_tokens"].sum() == record.input_tokens
    assert (record.status, record.failures, record.failed_path) == ("completed", {}, None)
    assert (record.rows_total, record.rows_labeled, record.rows_empty, record.rows_failed) == (7, 5, 2, 0)
    assert _labeled(record)["label_status"].to_list() == ["ok"] * 5 + ["empty"] * 2
    assert _labeled(record)["label_error"].null_count() == 7
    assert record.texts_labeled == 5


def test_the_manifest_says_what_is_there(run, job_of, write_texts):
    """It names every file with its rows, the run and its status, and whether anything is left to ask."""
    write_texts([*TEXTS, None])
    record = run(job_of(run={"max_failed_fraction": 1}))
    folder = Path(record.labeled_path)
    manifest = json.loads(folder.with_name("_manifest.json").read_text())
    assert (manifest["run_id"], manifest["status"], manifest["is_complete"]) == (
        record.run_id,
        "completed",
        True,
    )
    assert manifest["rows"] == {
        "total": len(TEXTS) + 1,
        "ok": len(TEXTS),
        "failed": 0,
        "pending": 0,
        "empty": 1,
        "unreadable": 0,
    }
    assert manifest["unreadable_files"] == []
    assert manifest["labels"] == record.labels
    size = (folder / "source.parquet").stat().st_size
    assert manifest["files"] == [{"path": "source.parquet", "rows": len(TEXTS) + 1, "bytes": size}]
    partial = run(job_of(labels={"sport": "match", "money": "bank"}, run={"max_cost_usd": 0}))
    manifest = json.loads(folder.with_name("_manifest.json").read_text())
    assert (manifest["run_id"], manifest["is_complete"]) == (partial.run_id, False)


def test_a_price_nobody_knows_is_null_and_said_so(run, job_of, write_texts):
    """The cost of a model without a listed price is unknown in the record and in the report; it is never 0."""
    write_texts(TEXTS[:3])
    record = run(job_of(model={"name": "home-made-7b"}))
    assert record.cost_usd is None
    assert record.price is None
    report = Path(record.labeled_path).parent
    page = (report / "runs" / record.run_id / "report.html").read_text()
    assert "unknown, not zero" in page


def test_a_budget_stops_the_run_and_the_next_goes_on(run, practice, job_of, write_texts):
    """At the budget the run stops without passing it, publishes what it has, and the next run asks the rest."""
    write_texts(TEXTS)
    limit = 0.0009
    record = run(job_of(run={"max_cost_usd": limit, "max_concurrency": 4}))
    assert record.status == "budget_reached"
    assert 0 < record.cost_usd <= limit
    assert record.rows_pending == len(TEXTS) - record.rows_labeled > 0
    assert _labeled(record)["label_status"].value_counts().height == 2
    rest = run(job_of())
    assert practice.totals()["requests"] == record.rows_pending
    assert (rest.status, rest.rows_labeled) == ("completed", len(TEXTS))


def test_the_days_budget_counts_earlier_runs(run, practice, job_of, write_texts):
    """What earlier runs spent today counts against max_cost_usd_per_day."""
    write_texts(TEXTS)
    first = run(job_of(run={"max_cost_usd": 0.001}))
    second = run(job_of(run={"max_cost_usd_per_day": first.cost_usd}))
    assert (second.status, practice.totals()["requests"]) == ("budget_reached", 0)


def test_a_key_that_is_refused_stops_the_run_at_once(run, practice, job_of, write_texts):
    """A key the provider doesn't accept ends the run with the provider's words, with no row marked as failed."""
    write_texts(TEXTS)
    record = run(job_of(run={"max_concurrency": 2}), PracticeSettings(required_key="another"))
    assert record.status == "failed"
    assert "401" in record.message
    assert (record.rows_failed, record.rows_pending) == (0, len(TEXTS))
    assert practice.totals()["requests"] <= REFUSALS_IN_A_ROW + 2


def test_too_many_failures_are_a_failed_run_with_its_labels_published(run, job_of, write_texts):
    """When more rows fail than the job allows the run fails, says with what words, and publishes what was labeled."""
    write_texts(TEXTS)
    settings = PracticeSettings(stubborn_faults={"content_filter": 0.3})
    record = run(job_of(run={"max_failed_fraction": 0.1}), settings)
    assert record.status == "too_many_failures"
    (said,) = record.provider_messages
    assert said.count == record.rows_failed
    assert said.text in record.message
    again = run(job_of(run={"max_failed_fraction": 0.1}), settings)
    assert (again.requests, again.provider_messages, again.message) == (0, [said], record.message)
    assert record.rows_failed + record.rows_labeled == len(TEXTS)
    assert _labeled(record).filter(pl.col("label_status") == "ok").height == record.rows_labeled > 0


@pytest.mark.slow
@pytest.mark.parametrize("output", ["text", "schema"])
def test_faults_cost_no_row_but_those_that_always_fail(run, practice, job_of, write_texts, output):
    """With a fifth of first attempts failing in every way, and rows that always fail, the rest is as in a quiet run.

    Labeled and failed rows are all rows, and every token that the provider counted is in the bill.
    """
    texts = [
        f"the {word} of day {number}" for number in range(100) for word in ("match", "market", "team", "bank")
    ]
    write_texts(texts)
    model = {"output": output, "timeout_seconds": 1}
    ignored = {"max_failed_fraction": 1, "max_attempts": 3}
    quiet = run(job_of(model=model, run=ignored))
    expected = _labeled(quiet).select("text", "label")
    once = "rate_limited rate_limited_bare server_error unavailable connection_reset hang bad_json cut_off truncated off_label empty refusal"
    settings = PracticeSettings(
        faults=dict.fromkeys(once.split(), 0.2 / 12),
        stubborn_faults={"content_filter": 0.03, "too_long": 0.03, "off_label": 0.03, "unavailable": 0.03},
        hang_seconds=60,
        retry_after_seconds=0.1,
        seed=4,
    )
    record = run(
        job_of(model=model, run=ignored, output={"path": quiet.job.output.path + "-noisy"}), settings
    )
    totals, rows = practice.totals(), _labeled(record)
    assert set(once.split()) <= set(totals["faults"])
    assert record.rows_labeled + record.rows_failed == len(texts)
    assert set(record.failures) == {"content_filter", "too_long", "off_label", "overloaded"}
    failed = rows.filter(pl.col("label_status") == "failed")["text"]
    assert len(failed) < len(texts) / 4
    quiet_rest = expected.filter(~pl.col("text").is_in(failed.implode()))
    assert rows.filter(pl.col("label_status") == "ok").select("text", "label").equals(quiet_rest)
    assert (record.requests, record.input_tokens, record.output_tokens) == (
        totals["requests"],
        totals["input_tokens"],
        totals["output_tokens"],
    )
    assert record.requests_without_usage > 0
    assert record.unseen_usd > 0


def test_a_run_that_stops_in_the_middle_leaves_half_asked_texts_pending(
    run, job_of, write_texts, monkeypatch
):
    """A text whose provider failed when the run was stopped is pending, not failed: nobody tried it to the end."""
    monkeypatch.setattr(guard, "LONGEST_WAIT_SECONDS", 0.05)
    write_texts(TEXTS)
    settings = PracticeSettings(stubborn_faults={"server_error": 0.5}, latency_seconds=0.01)
    record = run(
        job_of(run={"stop_at_failed_fraction": 0.4, "max_concurrency": 4, "max_attempts": 20}), settings
    )
    assert record.status == "failed"
    assert "of the last 100 requests failed" in record.message
    assert (record.rows_failed, record.failures) == (0, {})
    assert record.rows_pending == len(TEXTS) - record.rows_labeled > 0


def test_a_dataset_without_a_single_word_completes(run, practice, job_of, write_texts):
    """There is nothing to ask and nothing wrong: no request, no failure, every label with no row."""
    write_texts([None, "", " \u200b"])
    record = run(job_of(run={"max_failed_fraction": 0}))
    assert (record.status, record.rows_empty) == ("completed", 3)
    assert record.labels == {"sport": 0, "money": 0}
    assert practice.totals()["requests"] == 0


def test_a_rehearsal_into_a_paid_output_leaves_the_paid_labels(
    practice, scripted, completion, job_of, write_texts, tmp_path
):
    """A model's labels stay in labeled/, and the rehearsal's stand beside."""
    write_texts(["the match", "the market"])
    job = job_of(model={"provider": "openai", "base_url": scripted.base_url})
    scripted.reply((200, completion("money")))
    paid = label(job)
    practice.configure(PracticeSettings())
    rehearsed = label(job, practice.base_url)
    assert (paid.practice, rehearsed.practice) == (False, True)
    assert _labeled(paid)["label"].to_list() == ["money", "money"]
    assert rehearsed.labeled_path == str(tmp_path / "out" / "practice" / "labeled")
    assert _labeled(rehearsed)["label"].to_list() == ["sport", "money"]
    page = tmp_path / "out" / "runs" / rehearsed.run_id / "report.html"
    assert "a folder of their own" in page.read_text()
    scripted.reply((200, completion("sport")))
    changed = label(
        job_of(
            model=job.model.model_dump(),
            labels={"sport": "games", "money": "", "art": ""},
            run={"max_cost_usd": 0},
        )
    )
    assert (changed.status, changed.labeled_run_id) == ("budget_reached", paid.run_id)
    assert _labeled(paid)["label"].to_list() == ["money", "money"]
    assert f"labels of run {paid.run_id}" in changed.message


def test_one_text_that_is_dearer_than_the_budget_fails_alone(run, practice, job_of, write_texts):
    """A huge first row is left out without a request, run after run, and the others are labeled within the limit."""
    write_texts(["a" * 1_000_000, *TEXTS[:20]])
    for _ in range(2):
        record = run(job_of(run={"max_cost_usd": 0.05}))
        assert (record.status, record.rows_labeled, record.rows_failed) == ("completed", 20, 1)
        assert record.failures == {"over_budget": 1}
        assert record.requests == practice.totals()["requests"]
    assert record.requests == 0


def test_a_limit_that_no_text_fits_into_is_a_budget_that_is_reached(run, practice, job_of, write_texts):
    """Where not one request fits into the whole limit, nothing is sent, and every row is pending."""
    write_texts(TEXTS[:5])
    record = run(job_of(run={"max_cost_usd": 0.0000001}))
    assert (record.status, record.rows_pending, practice.totals()["requests"]) == ("budget_reached", 5, 0)
