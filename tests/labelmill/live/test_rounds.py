"""Rounds: what is asked again, what is done with, and how long to wait."""

import pytest

from labelmill.errors import BudgetReached, RunStopped
from labelmill.live.guard import RequestFailed
from labelmill.live.rounds import Question, after_failure, configs_of, next_round
from labelmill.question.failures import POLICY_OF_KIND, Failure, Policy
from labelmill.question.prompt import correction_of
from practice import FaultKind, PracticeSettings

KINDS = sorted(POLICY_OF_KIND)


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_is_answered_as_often_as_its_failure_allows(job_of, kind):
    """Answers that are no label are paid `max_answers` times; whatever else failed is not a round's affair."""
    job = job_of(run={"max_attempts": 4, "max_answers": 3})
    question, asked = Question("k", "t"), 0
    while question is not None:
        asked += 1
        question = after_failure(question, Failure(kind, "m"), job)
    assert asked == (3 if POLICY_OF_KIND[kind] is Policy.ASK_AGAIN else 1)


def test_what_was_wrong_is_said_and_the_latest_correction_counts(job_of):
    """After an answer that was no label the question carries the correction of the latest."""
    job = job_of(run={"max_answers": 5})
    question = Question("k", "t")
    assert question.as_input() == {"text": "t", "correction": []}
    for kind in ("off_label", "truncated"):
        question = after_failure(question, Failure(kind, "m"), job)
        assert [message.text for message in question.correction] == [correction_of(job, kind)]
    assert question.answers == 2


def test_a_round_sorts_every_result(job_of):
    """Labels and failures are counted, the rest is asked again, and what was never sent is neither."""
    questions = [Question(str(number), "t") for number in range(6)]
    results = [
        "sport",
        Failure("content_filter", "m"),
        Failure("off_label", "m"),
        RequestFailed(Failure("timeout", "m")),
        RunStopped("cancelled", "m"),
        BudgetReached("m"),
    ]
    ended = next_round(questions, results, job_of())
    assert (ended.labeled, ended.failed) == (1, 2)
    assert [(question.row_key, question.answers) for question in ended.again] == [("2", 1)]


@pytest.mark.parametrize(
    ("result", "raised"),
    [(OSError(28, "full"), OSError), (None, TypeError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_what_is_no_providers_doing_is_raised(job_of, result, raised):
    """A full disk or an interrupt is nobody's failed row."""
    with pytest.raises(raised):
        next_round([Question("k", "t")], [result], job_of())


def test_results_that_do_not_fit_the_questions_are_refused(job_of):
    """A batch that lost a result must not shift the labels of the rest."""
    with pytest.raises(ValueError, match="shorter"):
        next_round([Question("a", "t"), Question("b", "t")], ["sport"], job_of())


def test_each_input_is_marked_with_its_row_and_chunk():
    """The config of every input holds what is shared, and which row it is for."""
    questions = [Question("a", "t"), Question("b", "t", under_schema=True)]
    configs = configs_of(questions, {"max_concurrency": 3}, 7)
    assert [config["metadata"] for config in configs] == [
        {"row_key": "a", "chunk": 7},
        {"row_key": "b", "chunk": 7},
    ]
    assert {config["max_concurrency"] for config in configs} == {3}


def test_rounds_over_real_faults_end_with_every_text_labeled_or_failed(practice, job_of, chain_at, guard_of):
    """Asked in rounds, texts whose first attempt fails get their label, and those that always fail are given up."""
    first = dict.fromkeys(
        set(FaultKind) - {FaultKind.HANG, FaultKind.CONTENT_FILTER, FaultKind.TOO_LONG}, 0.08
    )
    practice.configure(
        PracticeSettings(faults=first, stubborn_faults={FaultKind.OFF_LABEL: 0.1}, retry_after_seconds=0.01)
    )
    job = job_of(model={"max_tokens": 40})
    chain = chain_at(job, practice.base_url, guard=guard_of(job, attempts=None))
    questions = [Question(str(number), f"the match number {number}") for number in range(50)]
    labeled = failed = rounds = 0
    while questions:
        rounds += 1
        inputs = [question.as_input() for question in questions]
        configs = configs_of(questions, {"max_concurrency": 8}, 0)
        ended = next_round(questions, chain.batch(inputs, configs, return_exceptions=True), job)
        labeled, failed, questions = labeled + ended.labeled, failed + ended.failed, ended.again
    assert labeled + failed == 50
    assert 0 < failed < 15
    assert 2 <= rounds <= job.run.max_answers


def test_a_correction_knows_the_models_own_answer(job_of):
    """After an answer that was no label the text is asked again, with that answer before what was wrong with it; once."""
    job = job_of(run={"max_answers": 2})
    again = after_failure(Question("v1:a", "text"), Failure("off_label", "no", said="cricket"), job)
    assert (again.under_schema, again.answers) == (True, 1)
    assert [message.type for message in again.correction] == ["ai", "human"]
    assert again.correction[0].text == "cricket"
    nothing = after_failure(Question("v1:a", "text"), Failure("empty_answer", "no", said=" "), job)
    assert [message.type for message in nothing.correction] == ["human"]
    assert after_failure(again, Failure("off_label", "no"), job) is None
    assert after_failure(again, Failure("bad_request", "400: not this text"), job) is None
