"""Rounds: a chunk is asked with `chain.batch`, and what failed is asked again in a further round."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.runnables import RunnableConfig

from labelmill.errors import RunStopped
from labelmill.job.model import LabelJob
from labelmill.model.failures import Failure, Fatal, Policy, failure_of
from labelmill.model.prompt import correction_of

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class Question:
    """One text to ask about, with what has been tried: requests that failed, and answers that were no label."""

    row_key: str
    text: str
    attempts: int = 0
    answers: int = 0
    correction: tuple[BaseMessage, ...] = field(default=())
    under_schema: bool = False

    def as_input(self) -> dict[str, Any]:
        """The chain's input."""
        return {"text": self.text, "correction": list(self.correction)}


@dataclass(frozen=True)
class Round:
    """What a round leaves: how many texts ended with and without a label, what to ask again, and when."""

    labeled: int
    failed: int
    again: list[Question]
    wait_seconds: float


def question_of(
    row_key: str, text: str, job: LabelJob, tried: tuple[int, str, bool] | None = None
) -> Question:
    """A text's first question of this run; a correction where earlier answers were no label.

    `tried` says how many these were, what was wrong with the last, and whether the endpoint has no schemas.
    """
    if tried is None:
        return Question(row_key, text)
    answers, problem, schema_refused = tried
    correction = HumanMessage(correction_of(job, problem))
    return Question(row_key, text, answers=answers, correction=(correction,), under_schema=not schema_refused)


def next_round(
    questions: Sequence[Question], results: Sequence[Any], job: LabelJob, jitter: random.Random
) -> Round:
    """Decide what becomes of each question after `chain.batch` has returned its results.

    A question whose request was never sent, because the run had stopped, is neither done nor asked again.

    Raises:
        BaseException: a result that is neither an answer nor the provider's failure, such as a full disk.
    """
    labeled = failed = 0
    again: list[Question] = []
    waits = [0.0]
    for question, result in zip(questions, results, strict=True):
        if isinstance(result, str):
            labeled += 1
            continue
        failure = _failure(result)
        if failure is None:
            continue
        asked = after_failure(question, failure, job)
        if asked is None:
            failed += 1
        else:
            again.append(asked)
            waits.append(wait_after(asked, failure, jitter))
    return Round(labeled, failed, again, max(waits))


def after_failure(question: Question, failure: Failure, job: LabelJob) -> Question | None:
    """The question to ask after a failure; None where the text is done with."""
    if failure.policy is Policy.RETRY and question.attempts + 1 < job.run.max_attempts:
        return replace(question, attempts=question.attempts + 1)
    if failure.policy is Policy.ASK_AGAIN and question.answers + 1 < job.run.max_answers:
        correction = HumanMessage(correction_of(job, failure.kind))
        return replace(question, answers=question.answers + 1, correction=(correction,), under_schema=True)
    if failure.kind == "bad_request" and question.under_schema:
        # The endpoint has no schemas; a refused request costs nothing.
        return replace(question, under_schema=False)
    return None


def wait_after(question: Question, failure: Failure, jitter: random.Random) -> float:
    """Seconds to wait before a failed request is sent again: what the provider asks for, or a growing, random while.

    An answer that was no label needs no wait.
    """
    if failure.policy is not Policy.RETRY:
        return 0.0
    ceiling: float = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** (question.attempts - 1))
    grown = ceiling * jitter.uniform(0.5, 1.0)
    return min(LONGEST_WAIT_SECONDS, max(grown, failure.retry_after_seconds or 0.0))


def configs_of(questions: Sequence[Question], shared: RunnableConfig, chunk: int) -> list[RunnableConfig]:
    """The config of each input of `chain.batch`: `shared` with its metadata, and which row it is for."""
    known = {**shared.get("metadata", {}), "chunk": chunk}
    return [{**shared, "metadata": {**known, "row_key": question.row_key}} for question in questions]


def _failure(result: object) -> Failure | None:
    if isinstance(result, Failure):
        return result
    if isinstance(result, RunStopped):
        return None
    if isinstance(result, OSError) or not isinstance(result, Exception):
        raise result if isinstance(result, BaseException) else TypeError(f"not an answer: {result!r}")
    failure = failure_of(result)
    return None if isinstance(failure, Fatal) else failure
