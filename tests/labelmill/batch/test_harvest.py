"""Harvesting: every kind of answer and error, counted and priced as on the live lane, and judged by the whole batch."""

from collections import Counter
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labelmill.batch.harvest import (
    NOT_IN_RESULTS,
    AnswerReader,
    Tally,
    harvest_of,
    reason_to_stop,
    rows_in,
)
from labelmill.batch.record import REQUESTS_SCHEMA
from labelmill.money.prices import cost_of
from labelmill.money.usage import Usage
from labelmill.providers.anthropic import answer_of_message
from labelmill.providers.batches import answers_in
from labelmill.providers.completions import answer_of_completion
from labelmill.providers.openai import row_of
from labelmill.providers.protocol import BatchAnswer, BatchState, BatchStatus, RowError
from labelmill.providers.table import price_of
from labelmill.question.answers import Answer
from labelmill.question.failures import POLICY_OF_KIND, Policy

PAID = Usage(11, 0, 2)
WORST = Decimal("0.01")
ACCOUNT = RowError(429, "insufficient_quota", "no more money")
FLAGGED = RowError(403, None, "blocked by the firewall")


@pytest.fixture
def reader_of(record_of, job_of):
    """Build the reader of a batch: `reader_of(run={...}, under_schema=True)`; `priced=False` knows no price."""

    def build(*, under_schema=False, priced=True, **sections):
        record = record_of(job=job_of(**sections), under_schema=under_schema)
        prices = [price_of(record.job.model, lane=lane) if priced else None for lane in ("batch", "live")]
        if not priced:
            record = record.model_copy(update={"worst_case_usd": None})
        return AnswerReader.of(record, *prices)

    return build


@pytest.fixture
def answer(completion):
    """Build an answer as a batch's client does, its usage left out on request."""

    def build(content="sport", *, usage=True, **choice):
        body = completion(content, **choice)
        return answer_of_completion(body if usage else {**body, "usage": None})

    return build


def keys_of(tried):
    """The rows of a batch, from (attempts, answers), and further counts where they are not 0, by row key."""
    rows = [(key, *counts, *[0] * (4 - len(counts))) for key, counts in tried.items()]
    return pl.DataFrame(rows, schema=REQUESTS_SCHEMA, orient="row")


def harvest(answers, reader, tried=None, status=BatchStatus.COMPLETED, others=False, **counts):
    """What came of a batch; texts that were not tried before unless it is said."""
    keys = keys_of(tried or {row.row_key: (0, 0) for row in answers})
    rows = rows_in(answers, keys["row_key"])
    state = BatchState(status, **(counts or {"total": keys.height, "completed": keys.height}))
    return harvest_of(rows, keys, reader, state, others_were_answered=others)


def harvested(*arguments, **options):
    """The same, by row key."""
    return {outcome.last.row_key: outcome for outcome in harvest(*arguments, **options).outcomes}


def one(answer, reader, tried=(0, 0)):
    """The outcome of a text of a batch in which others were answered."""
    rows = [answer, *answered(3)]
    return harvested(rows, reader, {row.row_key: tried for row in rows})[answer.row_key]


def answered(count):
    """Rows with labels."""
    return [BatchAnswer(f"v1:ok{number}", label_answer()) for number in range(count)]


def label_answer(usage=PAID):
    """A plain answer."""
    return Answer("sport", None, "stop", "scripted", None, usage)


def error(status, code=None, message="m", key="v1:a"):
    """A row's error."""
    return BatchAnswer(key, error=RowError(status, code, message))


def refused(count, error):
    """Rows with the same error."""
    return [BatchAnswer(f"v1:no{number}", error=error) for number in range(count)]


def test_a_label_is_final_and_paid_at_the_batch_price(reader_of, answer, job_of):
    """What the live lane would have cost stands beside it; how long the answer took is unknown, and not guessed."""
    outcome = one(BatchAnswer("v1:a", answer("Sport.")), reader_of())
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
def test_an_answer_that_is_no_label_was_paid_and_counts_as_one(reader_of, answer, kind):
    """It ends with the last answer that the job allows, counted over all its batches."""
    final_at = {}
    for answers in range(3):
        outcome = one(
            BatchAnswer("v1:a", answer(**ANSWERS[kind])), reader_of(run={"max_answers": 3}), (0, answers)
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
        (429, None, "Rate limit reached for requests", "rate_limited"),
        (500, "server_error", "oops", "provider_error"),
        (503, None, "oops", "overloaded"),
        (408, None, "oops", "provider_error"),
        (400, "content_filter", "oops", "content_filter"),
        (400, "context_length_exceeded", "oops", "too_long"),
        (413, None, "oops", "too_long"),
        (400, None, "oops", "bad_request"),
        (422, None, "oops", "bad_request"),
    ],
)
def test_every_error_of_a_row_has_the_kind_it_would_have_live(reader_of, status, code, words, kind):
    """A request that got no answer cost nothing."""
    outcome = one(error(status, code, words), reader_of(run={"max_attempts": 3}))
    attempt = outcome.last
    assert (attempt.failure, attempt.label, attempt.answered) == (kind, None, False)
    assert words in attempt.message
    assert outcome.cost_usd == outcome.live_cost_usd == 0
    assert (outcome.unseen, outcome.unseen_usd) == (0, 0)
    assert outcome.final == outcome.ended == (POLICY_OF_KIND[kind] is Policy.GIVE_UP)


REFUSALS = [(400, None), (403, None), (404, None), (403, "flagged")]
OF_ACCOUNT = [(401, "invalid_api_key"), (402, None), (429, "insufficient_quota"), (400, "model_not_found")]


@pytest.mark.parametrize(("status", "code"), REFUSALS)
def test_what_only_some_texts_get_is_their_own(reader_of, status, code):
    """Whatever the status: others were answered. It has failed for good, costs nothing, and doesn't stop the run."""
    rows = [*refused(5, RowError(status, code, "flagged")), *answered(6)]
    result = harvest(rows, reader_of())
    assert result.everyones is None
    of_texts = [one for one in result.outcomes if one.last.failure]
    assert {(one.last.failure, one.final, one.ended, one.cost_usd) for one in of_texts} == {
        ("bad_request", True, True, 0)
    }
    assert len(of_texts) == 5
    assert all("flagged" in one.last.message for one in of_texts)


@pytest.mark.parametrize(("status", "code"), [*REFUSALS, *OF_ACCOUNT])
def test_what_all_texts_get_is_everyones(reader_of, status, code):
    """The run ends in the provider's words; the texts are pending, each has its attempt, and none has failed for good."""
    result = harvest(refused(5, RowError(status, code, "no more")), reader_of(run={"max_attempts": 1}))
    assert "5 of 5 texts" in result.everyones
    assert result.everyones.count("no more") == 1
    assert [(one.last.failure, one.final, one.ended, one.cost_usd) for one in result.outcomes] == [
        ("denied", False, False, 0)
    ] * 5


@pytest.mark.parametrize(("status", "code"), OF_ACCOUNT)
@pytest.mark.parametrize(("count", "is_everyones"), [(1, False), (2, False), (3, True)])
def test_what_is_about_the_account_is_no_texts_failure(reader_of, status, code, count, is_everyones):
    """Though others were answered: one or two are asked again later, and at the third the run ends."""
    rows = [*refused(count, RowError(status, code, "pay first")), *answered(9)]
    result = harvest(rows, reader_of())
    assert ("pay first" in (result.everyones or "")) == is_everyones
    denied = [one for one in result.outcomes if one.last.failure]
    assert [(one.last.failure, one.final, one.ended) for one in denied] == [("denied", False, False)] * count


def test_money_that_runs_out_within_a_batch_is_known_by_its_words(reader_of):
    """Anthropic tells of it as of an invalid request, row by row: no text has failed, and the run says what it is."""
    words = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing."
    rows = [*refused(4, RowError(400, "invalid_request_error", words)), *answered(9)]
    result = harvest(rows, reader_of())
    assert "credit balance is too low" in result.everyones
    assert {one.last.failure for one in result.outcomes} == {None, "denied"}


def test_a_few_texts_that_are_asked_again_are_measured_by_the_answers_before(reader_of):
    """A batch of its own for a flagged text doesn't make it everyone's; one about the account does."""
    flagged = harvest(refused(2, FLAGGED), reader_of(), others=True)
    assert (flagged.everyones, {one.last.failure for one in flagged.outcomes}) == (None, {"bad_request"})
    several = harvest(refused(3, FLAGGED), reader_of(), others=True)
    assert "firewall" in several.everyones
    assert "no more money" in harvest(refused(1, ACCOUNT), reader_of(), others=True).everyones


def test_refusals_that_stop_a_run_are_not_final(reader_of):
    """Most of a large batch, in words that nobody knows: the money may have run out in the middle of it."""
    rows = [*refused(110, RowError(400, "Arrearage", "in arrears")), *answered(90)]
    result = harvest(rows, reader_of())
    assert Counter(one.last.failure for one in result.outcomes) == {"denied": 110, None: 90}
    assert not any(one.final for one in result.outcomes if one.last.failure)
    assert "in arrears" in reason_to_stop([result.tally], 0.5, 5)


def test_what_earlier_runs_refused_while_they_labeled_others_is_the_texts_own(reader_of):
    """Though nothing else is left to be asked: such texts don't end every later run. What is new among them may be everyone's."""
    rows = refused(4, FLAGGED)
    known = {row.row_key: (0, 0, 0, 1) for row in rows}
    result = harvest(rows, reader_of(), known)
    assert (result.everyones, {one.last.failure for one in result.outcomes}) == (None, {"bad_request"})
    assert harvest(rows, reader_of(), known | {"v1:no0": (0, 0)}).everyones is not None


def test_a_refusal_beside_nothing_but_the_providers_errors_is_undecided(reader_of):
    """Neither final nor everyone's: other texts' answers will tell. `max_attempts` bounds it."""
    rows = [error(403), error(500, key="v1:b")]
    for attempts, ended in ((0, False), (1, True)):
        found = harvest(rows, reader_of(run={"max_attempts": 2}), {"v1:a": (attempts, 0), "v1:b": (0, 0)})
        (undecided,) = [one for one in found.outcomes if one.last.row_key == "v1:a"]
        assert (undecided.last.failure, undecided.final, undecided.ended) == ("denied", False, ended)
        assert found.everyones is None


@pytest.mark.parametrize(
    ("attempts", "answers", "ended"),
    [(0, 0, False), (1, 0, False), (2, 0, True), (9, 0, True), (0, 1, False)],
)
def test_attempts_are_counted_over_all_batches(reader_of, attempts, answers, ended):
    """With `max_attempts` = 3 the third row without an answer is the last of this run, and never final."""
    outcome = one(error(500), reader_of(run={"max_attempts": 3}), (attempts, answers))
    assert (outcome.final, outcome.ended) == (False, ended)


def test_an_answer_after_failed_attempts_is_not_taken_for_one(reader_of, answer):
    """Attempts and answers have each their own limit."""
    reader = reader_of(run={"max_attempts": 2, "max_answers": 2})
    outcome = one(BatchAnswer("v1:a", answer("weather")), reader, (1, 0))
    assert (outcome.final, outcome.ended) == (False, False)


@pytest.mark.parametrize("max_attempts", [1, 5])
def test_a_refused_schema_is_no_attempt(reader_of, max_attempts):
    """The text is asked again without one, however few attempts the job allows; asked without, a refusal is final."""
    run = {"max_attempts": max_attempts}
    refused = one(error(400, None, "no schemas here"), reader_of(run=run, under_schema=True), (0, 1))
    assert (refused.last.failure, refused.final, refused.ended) == ("bad_request", False, False)
    plain = one(error(400, None, "no"), reader_of(run=run), (0, 1))
    assert (plain.final, plain.ended) == (True, True)


@pytest.mark.parametrize("status", [400, 404, 422, 403])
def test_an_endpoint_without_schemas_does_not_stop_the_run(reader_of, status):
    """It refuses every text of such a batch, in whichever way: all are asked in another form, and none of it counts."""
    rows = refused(5, RowError(status, None, "response_format is not supported"))
    result = harvest(rows, reader_of(under_schema=True))
    assert (result.everyones, result.of_form.refused_field) == (None, "response_format")
    assert {(one.last.failure, one.final, one.ended) for one in result.outcomes} == {
        ("field_refused", False, False)
    }
    assert (result.tally.rows, result.tally.failures.total()) == (0, 0)


def test_a_schema_refused_in_words_that_nobody_knows_is_asked_without(reader_of):
    """Where all rows of a correction are refused, it may have been what binds them."""
    result = harvest(refused(5, RowError(400, None, "not like this")), reader_of(under_schema=True))
    assert result.everyones is None
    assert {(one.last.failure, one.final, one.ended) for one in result.outcomes} == {
        ("bad_request", False, False)
    }


def test_a_text_that_reads_like_a_refused_field_is_its_own(reader_of, answer):
    """All rows of a batch are in one form: where one is answered, the form is not what another was refused for."""
    echo = RowError(400, None, "Unsupported parameter: 'temperature' is not supported")
    rows = [BatchAnswer("v1:a", answer("money")), BatchAnswer("v1:b", error=echo)]
    result = harvest(rows, reader_of())
    assert result.of_form is None
    assert {one.last.failure for one in result.outcomes} == {None, "bad_request"}


def test_answers_under_a_schema_are_read_as_such(reader_of, answer):
    """JSON or text, whichever was asked for: an endpoint may know no schemas, or have made JSON a habit."""
    by_json, by_text = (
        BatchAnswer("v1:a", answer('{"label": "money"}')),
        BatchAnswer("v1:a", answer("money")),
    )
    correcting = reader_of(under_schema=True)
    assert [one(answer, correcting).last.label for answer in (by_json, by_text)] == ["money", "money"]
    plain = reader_of()
    assert [one(answer, plain).last.label for answer in (by_json, by_text)] == ["money", "money"]
    schema = reader_of(model={"output": "schema"})
    assert [one(answer, schema).last.label for answer in (by_json, by_text)] == ["money", "money"]


def test_a_provider_that_calls_its_batch_api_a_service_tier_is_billed_once_at_it(reader_of):
    """Anthropic's answers say `batch`: that is the batch lane's price, and no discount on the live lane's."""
    reader = reader_of(model={"provider": "anthropic", "name": "claude-haiku-4-5"})
    usage = {"input_tokens": 11, "output_tokens": 2, "service_tier": "batch"}
    said = {"content": [{"type": "text", "text": "sport"}], "stop_reason": "end_turn", "usage": usage}
    outcome = one(BatchAnswer("v1:a", answer_of_message(said)), reader)
    assert outcome.last.label == "sport"
    live = cost_of(PAID, reader.live_price)
    assert (outcome.cost_usd, outcome.live_cost_usd) == (live / 2, live)


def test_an_answer_without_usage_may_have_cost_its_worst_case(reader_of, answer):
    """Its label counts, its cost is unknown, and what it may have cost is said."""
    outcome = one(BatchAnswer("v1:a", answer(usage=False)), reader_of())
    assert (outcome.last.label, outcome.final) == ("sport", True)
    assert (outcome.cost_usd, outcome.live_cost_usd) == (None, None)
    assert (outcome.unseen, outcome.unseen_usd, outcome.usage) == (1, WORST, Usage())


def test_an_unknown_price_makes_costs_unknown_and_never_zero(reader_of, answer):
    """Tokens are kept, for a price that comes later."""
    outcome = one(BatchAnswer("v1:a", answer()), reader_of(priced=False))
    assert (outcome.cost_usd, outcome.live_cost_usd, outcome.usage) == (None, None, PAID)
    lost = harvested([], reader_of(priced=False), {"v1:a": (0, 0)})["v1:a"]
    assert (lost.cost_usd, lost.unseen, lost.unseen_usd) == (0, 1, 0)


def test_rows_that_nobody_asked_for_are_passed_over(reader_of, answer):
    """An unknown key changes nothing; a second answer for a row is not counted."""
    answers = [
        BatchAnswer("v1:x", answer()),
        BatchAnswer("v1:a", answer()),
        BatchAnswer("v1:a", answer("money")),
    ]
    found = harvested(answers, reader_of(), {"v1:a": (0, 0)})
    assert {key: outcome.last.label for key, outcome in found.items()} == {"v1:a": "sport"}


@pytest.mark.parametrize("status", [BatchStatus.EXPIRED, BatchStatus.CANCELLED, BatchStatus.COMPLETED])
def test_texts_of_a_batch_that_ended_early_were_not_asked(reader_of, answer, status):
    """They are as they were. Of a completed batch, a text without a word was asked, and may have been paid."""
    answers = [
        BatchAnswer("v1:a", answer()),
        BatchAnswer("v1:b", error=RowError(None, "batch_expired", "not executed")),
    ]
    sent = {"v1:a": (0, 0), "v1:b": (0, 0), "v1:c": (0, 0)}
    found = harvested(answers, reader_of(), sent, status, total=3, completed=1)
    if status is not BatchStatus.COMPLETED:
        assert list(found) == ["v1:a"]
        return
    assert list(found) == ["v1:a", "v1:c"]
    missing = found["v1:c"]
    assert (missing.last.failure, missing.last.message) == ("bad_response", NOT_IN_RESULTS)
    assert (missing.requests, missing.unseen, missing.unseen_usd, missing.cost_usd) == (1, 1, WORST, 0)
    assert not missing.final


@pytest.mark.parametrize(
    ("counts", "lost"),
    [
        ({"total": 4, "completed": 1}, 0),
        ({"total": 4, "completed": 1, "failed": 3}, 0),
        ({"total": 4, "completed": 3}, 2),
        ({"total": 4, "completed": 99}, 3),
        ({"total": 0, "completed": 0}, 3),
    ],
)
def test_rows_that_an_early_end_has_swallowed_may_have_been_paid(reader_of, answer, counts, lost):
    """As many as the provider counts beyond the answers that came; where it counts nothing, all that have no word."""
    sent = dict.fromkeys(("v1:a", "v1:b", "v1:c", "v1:d"), (0, 0))
    found = harvested([BatchAnswer("v1:a", answer())], reader_of(), sent, BatchStatus.EXPIRED, **counts)
    assert sum(one.unseen for one in found.values()) == lost == len(found) - 1


@pytest.mark.parametrize(
    ("status", "counts", "told", "is_whole"),
    [
        (BatchStatus.COMPLETED, {"total": 5, "completed": 5}, (0, 0), False),
        (BatchStatus.COMPLETED, {"total": 5, "completed": 5}, (4, 0), False),
        (BatchStatus.COMPLETED, {"total": 5, "completed": 5}, (5, 0), True),
        (BatchStatus.COMPLETED, {"total": 5, "completed": 3, "failed": 2}, (3, 0), False),
        (BatchStatus.COMPLETED, {"total": 5, "completed": 3, "failed": 2}, (0, 2), False),
        (BatchStatus.COMPLETED, {"total": 5, "completed": 3, "failed": 2}, (3, 2), True),
        # Some count what has failed among the completed.
        (BatchStatus.COMPLETED, {"total": 5, "completed": 5, "failed": 0}, (3, 2), True),
        (BatchStatus.COMPLETED, {"total": 5, "completed": 0, "failed": 5}, (0, 5), True),
        (BatchStatus.COMPLETED, {"total": 5, "completed": 9}, (5, 0), True),
        # The provider itself says that two are lost.
        (BatchStatus.COMPLETED, {"total": 5, "completed": 3}, (3, 0), True),
        # Counts that say nothing.
        (BatchStatus.COMPLETED, {}, (4, 0), False),
        (BatchStatus.COMPLETED, {"total": 5}, (4, 0), False),
        (BatchStatus.COMPLETED, {}, (5, 0), True),
        (BatchStatus.EXPIRED, {"total": 5, "completed": 3, "failed": 2}, (3, 0), True),
        (BatchStatus.EXPIRED, {"total": 5, "completed": 3}, (2, 0), False),
        (BatchStatus.CANCELLED, {"total": 5, "completed": 3}, (3, 2), True),
        (BatchStatus.CANCELLED, {}, (0, 0), False),
        (BatchStatus.CANCELLED, {}, (2, 3), True),
    ],
)
def test_results_are_whole_once_there_is_a_word_on_all_that_is_counted(
    answer, status, counts, told, is_whole
):
    """By the provider's own count of what it has finished; where it has none, on all texts."""
    keys = [f"v1:{number}" for number in range(5)]
    rows = [
        BatchAnswer(key, answer()) if place < told[0] else error(500, key=key)
        for place, key in enumerate(keys[: sum(told)])
    ]
    assert rows_in(rows, keys).is_whole(BatchState(status, **counts)) == is_whole


def test_a_batch_without_an_answer_at_all_is_empty(reader_of):
    """An expired batch of which nothing was done leaves no rows."""
    result = harvest([], reader_of(), {"v1:a": (0, 0)}, BatchStatus.EXPIRED, total=1)
    assert (result.outcomes, result.everyones, result.tally.was_asked) == ([], None, False)


@pytest.mark.parametrize(("paid", "final"), [(0, False), (1, False), (2, True)])
def test_what_may_have_been_paid_is_asked_no_more_than_max_attempts_over_all_runs(reader_of, paid, final):
    """A text that a completed batch loses for the third time is left alone, by the next runs too; a free failure is not."""
    reader, tried = reader_of(run={"max_attempts": 3}), {"v1:a": (0, 0, paid)}
    lost = harvested([], reader, tried)["v1:a"]
    assert (lost.final, lost.ended) == (final, final)
    free = harvested([error(500)], reader, tried)["v1:a"]
    assert (free.final, free.ended) == (False, False)


def tally(rows=0, kinds=None, **facts):
    """A harvest in short."""
    return Tally(rows, Counter(kinds or {}), ("500: oops",), **facts)


SILENT = tally(was_silent=True)
UNASKED = tally(was_asked=False)


@pytest.mark.parametrize(
    ("tallies", "words"),
    [
        ([tally(300)], None),
        ([tally(300, {"off_label": 150})], None),
        (
            [tally(300, {"off_label": 151})],
            'failed (151 off_label), so the rest was not asked. What came back: "500: oops"',
        ),
        ([tally(99, {"off_label": 99})], None),
        ([tally(60, {"truncated": 60}), tally(60, {"truncated": 60})], "120 of the last 120 requests"),
        ([tally(300), tally(60, {"truncated": 60})], None),
        ([tally(9000), tally(200, {"truncated": 101, "off_label": 9})], "110 of the last 200 requests"),
        ([SILENT], None),
        ([SILENT, tally(9)], None),
        ([SILENT, SILENT], "two batches in a row"),
        ([UNASKED] * 2, None),
        ([UNASKED] * 3, "ended 3 batches in a row before asking"),
        ([UNASKED, tally(1), UNASKED, UNASKED], None),
        ([], None),
    ],
)
def test_a_run_is_stopped_by_harvests_as_a_whole(tallies, words):
    """Where most rows of the last hundred or more fail, where batches lose everything, or never ask anything."""
    sentence = reason_to_stop(tallies, 0.5, 3)
    assert (sentence is None) if words is None else (words in sentence)


def test_rows_that_a_batch_has_lost_are_no_sign_of_a_provider_that_is_down(reader_of):
    """76 of 300 without a word, or all of them: one more batch mends that. Lost again, they count as failed."""
    keys = {f"v1:ok{number}": (0, 0) for number in range(300)}
    first = harvest(answered(224), reader_of(), keys)
    assert (len(first.outcomes), first.tally.failures.total(), first.tally.rows) == (300, 0, 224)
    assert reason_to_stop([first.tally], 0.5, 5) is None
    everything = harvest([], reader_of(), keys)
    assert (len(everything.outcomes), everything.tally.was_silent) == (300, True)
    assert reason_to_stop([everything.tally], 0.5, 5) is None
    again = harvest([], reader_of(), dict.fromkeys(keys, (1, 0)))
    assert again.tally.failures == {"bad_response": 300}
    assert reason_to_stop([first.tally, again.tally], 0.5, 5) is not None


NAMES = """choices message content role usage error code type finish_reason prompt_tokens completion_tokens response
    status_code body refusal""".split()  # noqa: SIM905
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 600) | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(NAMES),
            inner,
            max_size=4,
        )
    ),
    max_leaves=9,
)
lines = st.fixed_dictionaries(
    {"custom_id": st.sampled_from(["v1:a", "v1:b", "v1:c", "v1:x"]) | json_values},
    optional={
        "response": json_values
        | st.fixed_dictionaries(
            {"status_code": st.sampled_from([200, 400, 403, 429, 500, None, "200"]) | json_values},
            optional={"body": json_values},
        ),
        "error": json_values,
    },
)


@pytest.mark.slow
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    results=st.lists(lines, max_size=8),
    status=st.sampled_from([status for status in BatchStatus if status.is_final]),
    counts=st.tuples(*[st.integers(0, 9)] * 3),
    others=st.booleans(),
)
def test_any_json_gives_each_text_one_attempt_and_makes_no_money(reader_of, results, status, counts, others):
    """Whatever the lines hold: nothing raises, a row that may have been executed has exactly one attempt, and none has two.

    What is counted for a batch, as cost or as unseen, is what its rows come to.
    """
    sent = {"v1:a": (0, 0), "v1:b": (4, 1), "v1:c": (0, 0)}
    told = list(answers_in(map(row_of, results), {key: key for key in sent}))
    state = BatchState(status, *counts)
    result = harvest(
        told, reader_of(), sent, status, others, total=counts[0], completed=counts[1], failed=counts[2]
    )
    keys = [outcome.last.row_key for outcome in result.outcomes]
    executed = {row.row_key for row in told if row.answer or row.error.was_executed}
    assert len(set(keys)) == len(keys)
    assert executed <= set(keys) <= set(sent)
    if status is BatchStatus.COMPLETED or not state.has_counts:
        not_executed = {row.row_key for row in told} - executed
        assert set(keys) == set(sent) - not_executed
    for outcome in result.outcomes:
        assert (outcome.last.label is None) == (outcome.last.failure is not None)
        assert outcome.ended or not outcome.final
        assert outcome.requests == 1
        if outcome.last.usage is None:
            assert (outcome.unseen, outcome.unseen_usd) == (1, WORST)
        elif outcome.last.usage == Usage():
            assert outcome.cost_usd == 0
        else:
            assert outcome.cost_usd > 0
