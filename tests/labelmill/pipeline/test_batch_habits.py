"""The batch lane against a provider with habits of its own, end to end: whole runs over real HTTP."""

import polars as pl
import pytest
from batch_server import BatchServer, answered, refused
from servers.base import serving

from labelmill.pipeline.label import label

pytestmark = pytest.mark.slow

TEXTS = [f"the {word} of day {number}" for number in range(8) for word in ("match", "market", "team")]
BATCH = {"lane": "batch", "poll_seconds": 0.05, "max_failed_fraction": 1}
NO_WAIT = {"max_wait_minutes": 0}


def labels_in(record):
    """The rows that a run has published."""
    return pl.read_parquet(f"{record.labeled_path}/**/*.parquet")


@pytest.fixture
def provider():
    """Start a `BatchServer`, which does to its batches what a test wants."""
    with serving(BatchServer()) as server:
        yield server


@pytest.fixture
def run_at(provider, job_of):
    """Run a job at that server; its answers are taken for a model's. Returns the record."""

    def run_there(**sections):
        sections["run"] = BATCH | sections.get("run", {})
        job = job_of(model={"provider": "openai"}, **sections)
        return label(job, provider.base_url)

    return run_there


def failed_rows(record):
    """The rows that got no label, as `labeled/` has them."""
    rows = labels_in(record)
    return rows.filter(pl.col("label_status") != "ok").select("text", "label_status", "label_error").rows()


@pytest.mark.parametrize(
    ("words", "kind"),
    [("your input was flagged", "content_filter"), ("blocked by the firewall", "bad_request")],
)
def test_a_text_that_is_refused_among_others_fails_alone_and_is_asked_once(
    run_at, provider, write_texts, words, kind
):
    """403 for one text of many: the others are labeled, and no later run stops at it or asks it again."""
    write_texts(TEXTS)
    provider.result_of = lambda text, _: refused(403, words) if text == TEXTS[7] else answered()
    record = run_at()
    assert (record.status, record.rows_labeled, len(provider.batches)) == ("completed", len(TEXTS) - 1, 1)
    assert failed_rows(record) == [(TEXTS[7], "failed", kind)]
    write_texts([*TEXTS, "a new match"])
    again = run_at()
    assert (again.status, again.texts_asked, again.rows_labeled) == ("completed", 1, len(TEXTS))
    assert set(provider.times.values()) == {1}


@pytest.mark.parametrize(
    ("status", "code"), [(403, None), (400, None), (404, None), (401, None), (429, "insufficient_quota")]
)
def test_what_all_texts_are_refused_for_ends_the_run_in_the_providers_words(
    run_at, provider, write_texts, status, code
):
    """One batch, nothing paid, every row pending; once the provider takes them, the next run labels all."""
    write_texts(TEXTS)
    provider.result_of = lambda *_: refused(status, "your account is in arrears", code)
    record = run_at()
    assert (record.status, record.rows_pending, record.cost_usd) == ("failed", len(TEXTS), 0)
    assert "your account is in arrears" in record.message
    assert (len(provider.batches), record.requests) == (1, len(TEXTS))
    provider.result_of = lambda *_: answered()
    healed = run_at()
    assert (healed.status, healed.rows_labeled) == ("completed", len(TEXTS))


def test_money_that_runs_out_within_a_batch_ends_the_run_and_fails_no_text(run_at, provider, write_texts):
    """What was answered before is kept; the others are asked again by the next run."""
    write_texts(TEXTS)
    provider.result_of = lambda text, time: (
        answered() if time > 1 or text in TEXTS[:10] else refused(429, "quota exceeded", "insufficient_quota")
    )
    record = run_at()
    assert (record.status, record.rows_labeled, record.rows_pending) == ("failed", 10, len(TEXTS) - 10)
    assert "quota exceeded" in record.message
    healed = run_at()
    assert (healed.status, healed.rows_labeled, healed.requests) == ("completed", len(TEXTS), len(TEXTS) - 10)


def test_a_quarter_of_a_batch_that_is_missing_goes_into_one_more(run_at, provider, write_texts):
    """76 of 300 rows without a word are no provider that is down: one more batch, and all are labeled."""
    texts = [f"the match of day {number}" for number in range(300)]
    write_texts(texts)
    provider.result_of = lambda text, time: (
        None if time == 1 and text in texts[::4] + texts[1:2] else answered()
    )
    record = run_at(run={"patience_minutes": 0})
    assert (record.status, record.rows_labeled, len(provider.batches)) == ("completed", 300, 2)
    assert (record.requests, record.requests_without_usage) == (376, 76)
    assert sum(provider.billed.values()) == 376


@pytest.mark.parametrize(
    "broken",
    [
        {"finish_reason": "insufficient_system_resource"},
        {"finish_reason": "error"},
        {"finish_reason": None, "error": {"message": "upstream broke", "code": 502}},
    ],
)
def test_an_answer_that_broke_off_is_no_label_and_is_asked_again(run_at, provider, write_texts, broken):
    """An ending that nobody knows, or an error in a choice: the provider's failure, mended by a further batch, and billed."""
    write_texts(TEXTS)
    choice = {"index": 0, "message": {"role": "assistant", "content": "sport"}, **broken}
    provider.result_of = lambda text, time: (
        answered(choices=[choice]) if time == 1 and text in TEXTS[:9] else answered()
    )
    record = run_at(labels={"sport": "", "sport news": ""})
    assert (record.status, record.rows_labeled, len(provider.batches)) == ("completed", len(TEXTS), 2)
    assert record.requests == sum(provider.billed.values()) == len(TEXTS) + 9
    assert record.cost_usd == pytest.approx(record.requests * (50 * 0.075 + 2 * 0.3) / 1e6)


ODD_BODIES = [
    None,
    [],
    "sport",
    7,
    {},
    {"choices": []},
    {"choices": [{}]},
    {"choices": None, "usage": {"prompt_tokens": -5}},
    {"choices": [{"message": {"role": "tool", "content": ["sport"]}, "finish_reason": 3}]},
    {"choices": [{"message": None}], "usage": {"prompt_tokens": "many"}, "model": 5},
    {"choices": [{"message": {"content": "sport", "refusal": {"no": 1}}, "logprobs": 7}], "usage": None},
    {"error": "broken"},
]


def test_odd_answers_are_one_attempt_each_and_never_asked_more_than_allowed(run_at, provider, write_texts):
    """Whatever a body holds: what the provider billed is what is recorded, as cost or as unseen, within the run's budget."""
    texts = [f"match {number}" for number in range(len(ODD_BODIES))]
    write_texts(texts)
    provider.result_of = lambda text, _: {
        "response": {"status_code": 200, "body": ODD_BODIES[texts.index(text)]},
        "error": None,
    }
    record = run_at(run={"max_attempts": 2, "max_answers": 2, "patience_minutes": 0})
    asked = sum(provider.times.values())
    assert record.requests == asked
    assert max(provider.times.values()) <= 2 + 2
    ledger = pl.read_parquet(f"{record.job.output.path}/ledger/*/*.parquet")
    assert ledger["requests"].sum() == asked
    assert record.rows_labeled + record.rows_failed + record.rows_pending == len(texts)


def test_a_late_file_is_waited_for_by_the_next_run_too(run_at, provider, write_texts):
    """A run that may not wait leaves the batch out; nothing is sent again, and the patience goes on from one run to the next."""
    write_texts(TEXTS)
    provider.show = lambda batch, polls: batch | {"output_file_id": None} if polls < 9 else batch
    records = [run_at(run=NO_WAIT)]
    while records[-1].status == "waiting" and len(records) < 9:
        records.append(run_at(run=NO_WAIT))
    assert (records[-1].status, records[-1].rows_labeled) == ("completed", len(TEXTS))
    assert (len(provider.batches), set(provider.billed.values())) == (1, {1})
    assert sum(record.requests for record in records) == len(TEXTS)
    assert provider.files == {}


def test_batches_that_never_ask_anything_are_not_made_for_ever(run_at, provider, write_texts):
    """A provider that ends each batch before its first row's turn, at once: the run stops after `max_attempts` of them."""
    write_texts(TEXTS)
    provider.result_of = lambda *_: refused(400, "too late")
    expired = {"status": "expired", "output_file_id": None, "error_file_id": None}
    provider.show = lambda batch, _: (
        batch | expired | {"request_counts": {"total": len(TEXTS), "completed": 0, "failed": 0}}
    )
    record = run_at(run={"max_attempts": 3})
    assert (record.status, record.rows_pending, len(provider.batches)) == ("failed", len(TEXTS), 3)
    assert "3 batches in a row" in record.message


@pytest.mark.parametrize("limit", [None, 1.0])
def test_answers_of_a_dearer_model_are_said_and_stop_a_budget(run_at, provider, write_texts, limit):
    """A deployment by the name of a cheap model: its answers are billed at their own price, and no further batch is sent."""
    write_texts(TEXTS)
    provider.result_of = lambda text, time: answered(model="gpt-4o") if time > 1 or text != TEXTS[0] else None
    record = run_at(run={"max_cost_usd": limit, "patience_minutes": 0})
    assert any("The provider answers as gpt-4o" in notice for notice in record.notices)
    assert record.cost_usd > len(TEXTS[1:]) * 50 * 0.075e-6 * 10
    assert (record.status, len(provider.batches)) == (
        ("completed", 2) if limit is None else ("budget_reached", 1)
    )
