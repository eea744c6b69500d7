"""Rounds: what is asked again, what is done with, and how long to wait."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelmill.errors import BudgetReached, RunStopped
from labelmill.model.failures import POLICY_OF_KIND, Failure, Policy
from labelmill.model.prompt import correction_of
from labelmill.model.rounds import (
    LONGEST_WAIT_SECONDS,
    Question,
    after_failure,
    configs_of,
    next_round,
    wait_after,
)
from labelmill.practice import FaultKind, PracticeSettings

KINDS = sorted(POLICY_OF_KIND)


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_is_asked_as_often_as_its_failure_allows(job_of, kind):
    """Provider failures are sent `max_attempts` times, answers paid `max_answers` times, the rest once."""
    job = job_of(run={"max_attempts": 4, "max_answers": 3})
    question, asked = Question("k", "t"), 0
    while question is not None:
        asked += 1
        question = after_failure(question, Failure(kind, "m"), job)
    assert asked == {Policy.RETRY: 4, Policy.ASK_AGAIN: 3, Policy.GIVE_UP: 1}[POLICY_OF_KIND[kind]]


def test_what_was_wrong_is_said_and_the_latest_correction_counts(job_of):
    """After an answer that was no label the question carries the correction; a provider's failure keeps it."""
    job = job_of(run={"max_answers": 5})
    question = Question("k", "t")
    assert question.as_input() == {"text": "t", "correction": []}
    for kind in ("off_label", "truncated"):
        question = after_failure(question, Failure(kind, "m"), job)
        assert [message.text for message in question.correction] == [correction_of(job, kind)]
    kept = after_failure(question, Failure("timeout", "m"), job)
    assert (kept.correction, kept.answers, kept.attempts) == (question.correction, 2, 1)


@settings(max_examples=50, deadline=None)
@given(
    attempts=st.integers(1, 30),
    asked=st.none() | st.floats(0, 1e6),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 99),
)
def test_a_wait_is_what_the_provider_asks_or_more_and_never_for_ever(attempts, asked, kind, seed):
    """Waits grow with the attempts, hold at least what was asked for, and end at a minute; answers need none."""
    failure = Failure(kind, "m", asked)
    seconds = wait_after(Question("k", "t", attempts), failure, random.Random(seed))
    if failure.policy is Policy.RETRY:
        assert min(asked or 0.25, LONGEST_WAIT_SECONDS) <= seconds <= LONGEST_WAIT_SECONDS
    else:
        assert seconds == 0


def test_a_round_sorts_every_result(job_of):
    """Labels and failures are counted, the rest is asked again, and what was never sent is neither."""
    questions = [Question(str(number), "t") for number in range(6)]
    results = [
        "sport",
        Failure("content_filter", "m"),
        Failure("off_label", "m"),
        ValueError("not JSON"),
        RunStopped("cancelled", "m"),
        BudgetReached("m"),
    ]
    ended = next_round(questions, results, job_of(), random.Random(0))
    assert (ended.labeled, ended.failed) == (1, 1)
    assert [(question.row_key, question.answers, question.attempts) for question in ended.again] == [
        ("2", 1, 0),
        ("3", 0, 1),
    ]
    assert ended.wait_seconds > 0


@pytest.mark.parametrize(
    ("result", "raised"),
    [(OSError(28, "full"), OSError), (None, TypeError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_what_is_no_providers_doing_is_raised(job_of, result, raised):
    """A full disk or an interrupt is nobody's failed row."""
    with pytest.raises(raised):
        next_round([Question("k", "t")], [result], job_of(), random.Random(0))


def test_results_that_do_not_fit_the_questions_are_refused(job_of):
    """A batch that lost a result must not shift the labels of the rest."""
    with pytest.raises(ValueError, match="shorter"):
        next_round([Question("a", "t"), Question("b", "t")], ["sport"], job_of(), random.Random(0))


def test_each_input_is_marked_with_its_row_and_chunk():
    """The config of every input holds what is shared and which row it is for."""
    configs = configs_of([Question("a", "t"), Question("b", "t")], {"max_concurrency": 3}, 7)
    assert [config["metadata"] for config in configs] == [
        {"row_key": "a", "chunk": 7},
        {"row_key": "b", "chunk": 7},
    ]
    assert {config["max_concurrency"] for config in configs} == {3}


def test_rounds_over_real_faults_end_with_every_text_labeled_or_failed(practice, job_of, chain_at):
    """Asked in rounds, texts whose first attempt fails get their label, and those that always fail are given up."""
    first = dict.fromkeys(
        set(FaultKind) - {FaultKind.HANG, FaultKind.CONTENT_FILTER, FaultKind.TOO_LONG}, 0.08
    )
    practice.configure(PracticeSettings(faults=first, stubborn_faults={FaultKind.OFF_LABEL: 0.1}))
    job = job_of(model={"max_tokens": 40})
    chain = chain_at(job, practice.base_url)
    questions = [Question(str(number), f"the match number {number}") for number in range(50)]
    jitter = random.Random(1)
    labeled = failed = rounds = 0
    while questions:
        rounds += 1
        inputs = [question.as_input() for question in questions]
        results = chain.batch(inputs, {"max_concurrency": 8}, return_exceptions=True)
        ended = next_round(questions, results, job, jitter)
        labeled, failed, questions = labeled + ended.labeled, failed + ended.failed, ended.again
    assert labeled + failed == 50
    assert 0 < failed < 15
    assert 2 <= rounds <= job.run.max_attempts + job.run.max_answers


def test_a_correction_is_asked_under_the_schema_and_without_it_where_the_endpoint_has_none(job_of):
    """After an answer that was no label the schema is asked for; a 400 to that is no answer and costs no try."""
    job = job_of(run={"max_answers": 2})
    again = after_failure(Question("v1:a", "text"), Failure("off_label", "no"), job)
    assert (again.under_schema, again.answers) == (True, 1)
    plain = after_failure(again, Failure("bad_request", "400: no response_format here"), job)
    assert (plain.under_schema, plain.answers, plain.correction) == (False, 1, again.correction)
    assert after_failure(plain, Failure("bad_request", "400: still no"), job) is None
    assert after_failure(plain, Failure("off_label", "no"), job) is None
