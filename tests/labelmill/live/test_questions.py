"""Questions: what is asked again, and what is done with."""

import pytest

from labelmill.errors import BudgetReached, RunStopped
from labelmill.live.guard import RequestFailed
from labelmill.live.questions import Counts, Question, after_failure, configs_of, counts_of
from labelmill.question.failures import POLICY_OF_KIND, Failure, Policy
from labelmill.question.prompt import correction_of

KINDS = sorted(POLICY_OF_KIND)


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_is_answered_as_often_as_its_failure_allows(job_of, kind):
    """Answers that are no label are paid `max_answers` times; whatever else failed is asked again by the guard or not at all."""
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


def test_every_result_is_counted():
    """Labels and failures are counted, and what was never sent is neither."""
    results = [
        "sport",
        Failure("content_filter", "m"),
        Failure("off_label", "m"),
        RequestFailed(Failure("timeout", "m")),
        RunStopped("cancelled", "m"),
        BudgetReached("m"),
    ]
    assert counts_of(results) == Counts(labeled=1, failed=3)


@pytest.mark.parametrize(
    ("result", "raised"),
    [(OSError(28, "full"), OSError), (None, TypeError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_what_is_no_providers_doing_is_raised(result, raised):
    """A full disk or an interrupt is nobody's failed row."""
    with pytest.raises(raised):
        counts_of([result])


def test_each_input_is_marked_with_its_row_and_chunk():
    """The config of every input holds what is shared, and which row it is for."""
    questions = [Question("a", "t"), Question("b", "t", under_schema=True)]
    configs = configs_of(questions, {"max_concurrency": 3}, 7)
    assert [config["metadata"] for config in configs] == [
        {"row_key": "a", "chunk": 7},
        {"row_key": "b", "chunk": 7},
    ]
    assert {config["max_concurrency"] for config in configs} == {3}


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
