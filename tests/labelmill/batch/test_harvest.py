"""Harvesting: every kind of answer and error, counted and priced as on the live lane."""

from decimal import Decimal

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage

from labelmill.batch.client import BatchAnswer, BatchStatus, RowError
from labelmill.batch.harvest import NOT_IN_RESULTS, Reading, crop_of
from labelmill.batch.output import CompletionReader
from labelmill.batch.record import REQUESTS_SCHEMA
from labelmill.model.failures import POLICY_OF_KIND, Policy
from labelmill.money.prices import cost_of, price_of
from labelmill.money.usage import Usage

PAID = Usage(11, 0, 2)
WORST = Decimal("0.01")


@pytest.fixture
def reading_of(record_of, job_of):
    """Build the reading of a batch: `reading_of(run={...}, under_schema=True)`; `priced=False` knows no price."""

    def build(*, under_schema=False, priced=True, **sections):
        record = record_of(job=job_of(**sections), under_schema=under_schema)
        prices = [price_of(record.job.model, lane=lane) if priced else None for lane in ("batch", "live")]
        if not priced:
            record = record.model_copy(update={"worst_case_usd": None})
        return Reading.of(record, *prices)

    return build


@pytest.fixture
def message(completion):
    """Build a message as a batch's client does, its usage left out on request."""
    reader = CompletionReader.of("gpt-4o-mini")

    def build(content="sport", *, usage=True, **choice):
        body = completion(content, **choice)
        return reader.message_of(body if usage else {**body, "usage": None})

    return build


def keys_of(tried):
    """The rows of a batch, from (attempts, answers) by row key."""
    rows = [(key, *counts) for key, counts in tried.items()]
    return pl.DataFrame(rows, schema=REQUESTS_SCHEMA, orient="row")


def harvested(answers, reading, tried=None, status=BatchStatus.COMPLETED):
    """What came of a batch, by row key; texts that were not tried before unless it is said."""
    crop = crop_of(answers, keys_of(tried or {answer.row_key: (0, 0) for answer in answers}), reading, status)
    return {outcome.last.row_key: outcome for outcome in crop.outcomes}


def one(answer, reading, tried=(0, 0)):
    """The outcome of a batch of one text."""
    return harvested([answer], reading, {answer.row_key: tried})[answer.row_key]


def error(status, code=None, message="m"):
    """A row's error."""
    return BatchAnswer("v1:a", error=RowError(status, code, message))


def test_a_label_is_final_and_paid_at_the_batch_price(reading_of, message, job_of):
    """What the live lane would have cost stands beside it; how long the answer took is unknown, and not guessed."""
    outcome = one(BatchAnswer("v1:a", message("Sport.")), reading_of())
    attempt = outcome.last
    assert (attempt.label, attempt.failure, attempt.answered) == ("sport", None, True)
    assert (attempt.model, attempt.usage) == ("scripted", PAID)
    live = cost_of(PAID, price_of(job_of().model))
    assert (outcome.cost_usd, outcome.live_cost_usd) == (live / 2, live)
    assert (outcome.requests, outcome.unseen, outcome.unseen_usd) == (1, 0, 0)
    assert (outcome.final, outcome.ended, outcome.seconds) == (True, True, None)


ANSWERS = {
    "off_label": {"content": "weather"},
    "empty_answer": {"content": " "},
    "truncated": {"content": "sport", "finish_reason": "length"},
    "refused": {"message": {"role": "assistant", "content": None, "refusal": "no"}},
    "content_filter": {"content": "", "finish_reason": "content_filter"},
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_an_answer_that_is_no_label_was_paid_and_counts_as_one(reading_of, message, kind):
    """It ends with the last answer that the job allows, counted over all its batches."""
    final_at = {}
    for answers in range(3):
        outcome = one(
            BatchAnswer("v1:a", message(**ANSWERS[kind])), reading_of(run={"max_answers": 3}), (0, answers)
        )
        assert (outcome.last.failure, outcome.last.answered, outcome.last.usage) == (kind, True, PAID)
        assert outcome.cost_usd > 0
        assert outcome.ended == outcome.final
        final_at[answers] = outcome.final
    gives_up = POLICY_OF_KIND[kind] is Policy.GIVE_UP
    assert final_at == {0: gives_up, 1: gives_up, 2: True}


@pytest.mark.parametrize(
    ("status", "code", "words", "kind"),
    [
        (429, None, "slow down", "rate_limited"),
        (500, "server_error", "oops", "provider_error"),
        (503, None, "oops", "provider_error"),
        (408, None, "oops", "provider_error"),
        (400, "content_filter", "oops", "content_filter"),
        (400, "context_length_exceeded", "oops", "too_long"),
        (413, None, "oops", "too_long"),
        (400, None, "oops", "bad_request"),
        (422, None, "oops", "bad_request"),
        (200, "bad_response", "no completion", "bad_response"),
    ],
)
def test_every_error_of_a_row_has_the_kind_it_would_have_live(reading_of, status, code, words, kind):
    """A refused request cost nothing; one whose answer can't be read may have cost its worst case."""
    outcome = one(error(status, code, words), reading_of(run={"max_attempts": 3}))
    attempt = outcome.last
    assert (attempt.failure, attempt.label, attempt.answered) == (kind, None, False)
    assert words in attempt.message
    assert outcome.cost_usd == outcome.live_cost_usd == 0
    assert (outcome.unseen, outcome.unseen_usd) == ((1, WORST) if kind == "bad_response" else (0, 0))
    assert outcome.final == outcome.ended == (POLICY_OF_KIND[kind] is Policy.GIVE_UP)


@pytest.mark.parametrize(
    ("status", "code"), [(401, None), (404, None), (429, "insufficient_quota"), (400, "model_not_found")]
)
def test_what_no_text_can_survive_stops_the_run_and_leaves_the_texts_as_they_are(
    reading_of, message, status, code
):
    """The provider's words come out; the other rows' answers are kept."""
    answers = [error(status, code, "no more"), BatchAnswer("v1:b", message())]
    crop = crop_of(answers, keys_of({"v1:a": (0, 0), "v1:b": (0, 0)}), reading_of(), BatchStatus.COMPLETED)
    assert "no more" in crop.fatal
    assert [(outcome.last.row_key, outcome.last.label) for outcome in crop.outcomes] == [("v1:b", "sport")]


@pytest.mark.parametrize(
    ("attempts", "answers", "ended"),
    [(0, 0, False), (1, 0, False), (2, 0, True), (9, 0, True), (0, 1, False)],
)
def test_attempts_are_counted_over_all_batches(reading_of, attempts, answers, ended):
    """With `max_attempts` = 3 the third row without an answer is the last of this run, and never final."""
    outcome = one(error(500), reading_of(run={"max_attempts": 3}), (attempts, answers))
    assert (outcome.final, outcome.ended) == (False, ended)


def test_an_answer_after_failed_attempts_is_not_taken_for_one(reading_of, message):
    """Attempts and answers have each their own limit."""
    reading = reading_of(run={"max_attempts": 2, "max_answers": 2})
    outcome = one(BatchAnswer("v1:a", message("weather")), reading, (1, 0))
    assert (outcome.final, outcome.ended) == (False, False)


@pytest.mark.parametrize("max_attempts", [1, 5])
def test_a_refused_schema_is_no_attempt(reading_of, max_attempts):
    """The text is asked again without one, however few attempts the job allows; asked without, a refusal is final."""
    run = {"max_attempts": max_attempts}
    refused = one(error(400, None, "no schemas here"), reading_of(run=run, under_schema=True), (0, 1))
    assert (refused.last.failure, refused.final, refused.ended) == ("bad_request", False, False)
    plain = one(error(400, None, "no"), reading_of(run=run), (0, 1))
    assert (plain.final, plain.ended) == (True, True)


def test_answers_under_a_schema_are_read_as_such(reading_of, message):
    """A correction is read as JSON, or as text where the endpoint knows no schemas; a schema job's as JSON only."""
    by_json, by_text = (
        BatchAnswer("v1:a", message('{"label": "money"}')),
        BatchAnswer("v1:a", message("money")),
    )
    correcting = reading_of(under_schema=True)
    assert [one(answer, correcting).last.label for answer in (by_json, by_text)] == ["money", "money"]
    plain = reading_of()
    assert [one(answer, plain).last.label for answer in (by_json, by_text)] == [None, "money"]
    schema = reading_of(model={"output": "schema"})
    assert [one(answer, schema).last.label for answer in (by_json, by_text)] == ["money", None]


def test_an_answer_without_usage_may_have_cost_its_worst_case(reading_of, message):
    """Its label counts, its cost is unknown, and what it may have cost is said."""
    outcome = one(BatchAnswer("v1:a", message(usage=False)), reading_of())
    assert (outcome.last.label, outcome.final) == ("sport", True)
    assert (outcome.cost_usd, outcome.live_cost_usd) == (None, None)
    assert (outcome.unseen, outcome.unseen_usd, outcome.usage) == (1, WORST, Usage())


def test_an_unknown_price_makes_costs_unknown_and_never_zero(reading_of, message):
    """Tokens are kept, for a price that comes later."""
    outcome = one(BatchAnswer("v1:a", message()), reading_of(priced=False))
    assert (outcome.cost_usd, outcome.live_cost_usd, outcome.usage) == (None, None, PAID)
    lost = one(error(200), reading_of(priced=False))
    assert (lost.cost_usd, lost.unseen, lost.unseen_usd) == (0, 1, 0)


def test_rows_that_nobody_asked_for_are_passed_over(reading_of, message):
    """An unknown key changes nothing; a second answer for a row is not counted."""
    answers = [
        BatchAnswer("v1:x", message()),
        BatchAnswer("v1:a", message()),
        BatchAnswer("v1:a", message("money")),
    ]
    found = harvested(answers, reading_of(), {"v1:a": (0, 0)})
    assert {key: outcome.last.label for key, outcome in found.items()} == {"v1:a": "sport"}


@pytest.mark.parametrize("status", [BatchStatus.EXPIRED, BatchStatus.CANCELLED, BatchStatus.COMPLETED, None])
def test_texts_of_a_batch_that_ended_early_were_not_asked(reading_of, message, status):
    """They are as they were. Of a completed batch, a text without a word was asked, and may have been paid."""
    answers = [
        BatchAnswer("v1:a", message()),
        BatchAnswer("v1:b", error=RowError(None, "batch_expired", "not executed")),
    ]
    found = harvested(answers, reading_of(), {"v1:a": (0, 0), "v1:b": (0, 0), "v1:c": (0, 0)}, status)
    if status is not BatchStatus.COMPLETED:
        assert list(found) == ["v1:a"]
        return
    assert list(found) == ["v1:a", "v1:c"]
    missing = found["v1:c"]
    assert (missing.last.failure, missing.last.message) == ("bad_response", NOT_IN_RESULTS)
    assert (missing.requests, missing.unseen, missing.unseen_usd, missing.cost_usd) == (1, 1, WORST, 0)
    assert not missing.final


def test_a_batch_without_an_answer_at_all_is_empty(reading_of):
    """An expired batch of which nothing was done leaves no rows."""
    crop = crop_of([], keys_of({"v1:a": (0, 0)}), reading_of(), BatchStatus.EXPIRED)
    assert (crop.outcomes, crop.fatal) == ([], None)


MESSAGE = AIMessage("sport", usage_metadata={"input_tokens": 11, "output_tokens": 2, "total_tokens": 13})
answers = st.builds(
    lambda key, error: BatchAnswer(key, *((None, error) if error else (MESSAGE,))),
    st.sampled_from(["v1:a", "v1:b", "v1:c", "v1:x"]),
    st.none()
    | st.builds(
        RowError,
        st.none() | st.integers(200, 599),
        st.none() | st.sampled_from(["content_filter"]),
        st.text(),
    ),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(answers, max_size=6), status=st.sampled_from(BatchStatus))
def test_each_text_has_one_outcome_at_most_and_no_money_is_made(reading_of, rows, status):
    """Whatever comes back: no row twice, none that was not sent, and what is counted is within what was set aside."""
    sent = {"v1:a": (0, 0), "v1:b": (4, 1), "v1:c": (0, 0)}
    crop = crop_of(rows, keys_of(sent), reading_of(), status)
    keys = [outcome.last.row_key for outcome in crop.outcomes]
    assert len(set(keys)) == len(keys)
    assert set(keys) <= set(sent)
    spent = sum(outcome.cost_usd + outcome.unseen_usd for outcome in crop.outcomes)
    assert spent <= WORST * len(sent)
    for outcome in crop.outcomes:
        assert (outcome.last.label is None) == (outcome.last.failure is not None)
        assert outcome.ended or not outcome.final
