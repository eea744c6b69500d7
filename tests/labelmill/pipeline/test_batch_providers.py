"""Jobs of providers with batches of their own, end to end: from the check to the bill, against their APIs on loopback."""

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from labelmill.batch.session import BatchSession
from labelmill.errors import JobRefused
from labelmill.pipeline.label import label
from labelmill.providers.table import provider_of
from labelmill.question.task_key import task_key_of
from practice import PracticeSettings

pytestmark = pytest.mark.slow

TEXTS = [f"the {word} of day {number}" for number in range(6) for word in ("match", "market", "team")]
PRICES = {"anthropic": ("claude-haiku-4-5", 0.5, 2.5), "google": ("gemini-2.5-flash-lite", 0.05, 0.2)}
"""A model of each provider, and what its Batch API costs by genai-prices: USD per million tokens, in and out."""


@pytest.fixture(params=PRICES)
def provider(request):
    """Each provider in turn."""
    return request.param


@pytest.fixture(params=["openai", "langasync"])
def adapter(request):
    """Each adapter in turn; earlier versions had jobs of these providers name the second."""
    return request.param


@pytest.fixture
def job(job_of, provider):
    """Build a job of the provider: `job(run={...})`."""

    def build(run=None, **sections):
        return job_of(
            model={"provider": provider, "name": PRICES[provider][0]},
            run={"lane": "batch", "poll_seconds": 0.05, "max_failed_fraction": 1} | (run or {}),
            **sections,
        )

    return build


@pytest.fixture
def run(practice):
    """Run the job against the session's practice provider, which speaks the provider's dialect; returns the record."""
    practice.configure(PracticeSettings())
    practice.reset()

    def run_there(job, settings=None):
        if settings is not None:
            practice.configure(settings)
        root = practice.base_url.removesuffix("/v1")
        address = f"{root}/v1beta" if job.model.provider == "google" else root
        return label(job, address)

    yield run_there
    practice.configure(PracticeSettings())
    practice.reset()


def cost_of(totals, provider):
    """What the provider's batches cost."""
    _, per_input, per_output = PRICES[provider]
    return (totals["batch_input_tokens"] * per_input + totals["batch_output_tokens"] * per_output) / 1e6


def test_a_job_of_the_provider_is_labeled_and_billed(run, practice, job, provider, adapter, write_texts):
    """Every text gets its label at the provider's batch price, half of the live one; a second run asks nothing.

    Whichever adapter the job names: that is a choice for OpenAI's batches alone.
    """
    write_texts([*TEXTS, TEXTS[0]])
    record = run(job(batch={"adapter": adapter}))
    totals = practice.totals()
    assert (record.status, record.rows_labeled, record.texts_by_batch) == ("completed", 19, 18)
    assert record.labels == {"sport": 13, "money": 6}
    assert (totals["requests"], totals["batches"], totals["batch_texts_paid_twice"]) == (0, 1, 0)
    assert record.cost_usd == pytest.approx(cost_of(totals, provider), rel=1e-9)
    assert record.live_cost_usd == pytest.approx(record.cost_usd * 2, rel=1e-9)
    # A model's answers and practice's are never taken for each other's.
    assert record.practice
    assert record.task_key == "practice-" + task_key_of(job())
    costs = pl.read_parquet(Path(record.labeled_path).parent / "runs" / record.run_id / "costs.parquet")
    assert costs["input_usd_per_mtok"].to_list() == [PRICES[provider][1]]
    again = run(job())
    assert (again.texts_asked, again.cost_usd, again.rows_labeled) == (0, 0, 19)


def test_a_prompt_of_one_message_is_asked_and_corrected_without_a_system_message(run, job, write_texts):
    """What follows the text in the same message is its correction: each text gets a label at its second answer."""
    write_texts(TEXTS)
    prompt = {"system": "", "user": "One of: {labels}\n\nText: {text}\n\nLabel:", "label_separator": ", "}
    record = run(job({"max_answers": 2}, prompt=prompt), PracticeSettings(faults={"off_label": 0.4}))
    assert (record.status, record.rows_labeled) == ("completed", len(TEXTS))
    assert len(TEXTS) < record.requests < 2 * len(TEXTS)


def test_an_answer_that_is_no_label_is_corrected_under_the_schema(run, practice, job, write_texts, provider):
    """The second batch tells the model what was wrong, and leaves it no other answer than a label."""
    write_texts(TEXTS)
    record = run(job({"max_answers": 5}), PracticeSettings(faults={"off_label": 0.4}))
    assert (record.status, record.rows_labeled) == ("completed", len(TEXTS))
    totals = practice.totals()
    assert totals["batches"] > 1
    assert record.cost_usd == pytest.approx(cost_of(totals, provider), rel=1e-9)
    records = [json.loads(path.read_bytes()) for path in Path(job().output.path).glob("batches/*/batch.json")]
    assert {(each["is_correction"], each["under_schema"]) for each in records} == {
        (False, False),
        (True, True),
    }
    assert sum(each["texts"] for each in records if not each["is_correction"]) == len(TEXTS)


def test_what_an_expired_batch_has_finished_is_kept_and_the_rest_asked_again(
    run, practice, job, write_texts, provider, monkeypatch
):
    """Rows that were not executed cost nothing and go into the next batch."""
    write_texts(TEXTS)
    harvest = BatchSession.harvest

    def harvest_then_recover(session, name):
        result = harvest(session, name)
        practice.configure(PracticeSettings())
        return result

    monkeypatch.setattr(BatchSession, "harvest", harvest_then_recover)
    record = run(job(), PracticeSettings(batch_outcome="expired", batch_finished_fraction=0.5))
    assert (record.status, record.rows_labeled, record.requests) == ("completed", len(TEXTS), len(TEXTS))
    assert [batch.texts for batch in record.batches] == [len(TEXTS), len(TEXTS) // 2]
    totals = practice.totals()
    assert totals["batch_texts_paid_twice"] == 0
    assert record.cost_usd == pytest.approx(cost_of(totals, provider), rel=1e-9)


def test_a_batch_that_was_made_without_an_answer_is_taken_over(run, practice, job, write_texts):
    """The connection breaks after the provider has made it: it is found, and not made twice."""
    write_texts(TEXTS)
    record = run(job(), PracticeSettings(batch_errors={"create": "connection_reset"}))
    assert (record.status, record.rows_labeled) == ("completed", len(TEXTS))
    totals = practice.totals()
    assert (totals["batches"], totals["batch_texts_paid_twice"]) == (1, 0)


def test_a_changed_job_cancels_the_batch_that_is_out_and_keeps_what_was_paid(
    run, practice, job, write_texts, provider
):
    """The earlier job's answers go into its own ledger, and into the bill."""
    write_texts(TEXTS)
    out = run(job({"max_wait_minutes": 0}), PracticeSettings(batch_seconds=3600, batch_finished_fraction=0.5))
    assert (out.status, out.texts_out) == ("waiting", len(TEXTS))
    changed = job(prompt={"system": "Sort it: {labels}"})
    sent = run(changed.model_copy(update={"run": changed.run.model_copy(update={"max_wait_minutes": 0.0})}))
    practice.configure(PracticeSettings())
    done = run(changed)
    assert (done.status, done.rows_labeled) == ("completed", len(TEXTS))
    bills = sum(record.cost_usd for record in (out, sent, done))
    assert bills == pytest.approx(cost_of(practice.totals(), provider), rel=1e-9)


def test_a_budget_holds(run, job, provider, write_texts):
    """A batch's worst case is set aside at the provider's batch price; what doesn't fit is not sent."""
    write_texts(TEXTS)
    limit_usd = PRICES[provider][1] * 0.0008
    record = run(job({"max_cost_usd": limit_usd}))
    assert record.status == "budget_reached"
    assert 0 < record.rows_labeled < len(TEXTS)
    assert record.cost_usd < limit_usd


def test_a_batch_holds_no_more_than_the_provider_takes(
    run, practice, job, provider, write_texts, monkeypatch
):
    """Whatever the job says: its defaults are OpenAI's limits."""
    write_texts(TEXTS)
    known = {provider: replace(provider_of(job().model), max_requests=5)}
    monkeypatch.setattr("labelmill.providers.table.PROVIDERS", known)
    assert run(job()).rows_labeled == len(TEXTS)
    assert practice.totals()["batches"] == 4


def test_what_the_provider_cannot_do_is_refused_before_anything_is_asked(run, practice, job_of, write_texts):
    """In one sentence, also for a job that came from the Prefect UI."""
    write_texts(TEXTS)
    model = {"provider": "anthropic", "name": "claude-haiku-4-5", "confidence": True}
    with pytest.raises(JobRefused) as refused:
        run(job_of(model=model, run={"lane": "batch"}))
    assert [mistake.where for mistake in refused.value.mistakes] == ["test, model.confidence"]
    assert practice.totals()["batches"] == practice.totals()["requests"] == 0
