"""Questions: what a text is asked, what is asked after an answer that was no label, and what it comes to in the end."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import RunnableConfig

from labelmill.errors import RunStopped
from labelmill.job.model import LabelJob
from labelmill.live.guard import RequestFailed
from labelmill.question.attempts import Tried
from labelmill.question.failures import Failure, Policy
from labelmill.question.prompt import correction_of


@dataclass(frozen=True)
class Question:
    """One text to ask about, with how many answers to it were no label."""

    row_key: str
    text: str
    answers: int = 0
    correction: tuple[BaseMessage, ...] = field(default=())
    under_schema: bool = False

    def as_input(self) -> dict[str, Any]:
        """The chain's input."""
        return {"text": self.text, "correction": list(self.correction)}


@dataclass(frozen=True)
class Counts:
    """How many texts ended with a label, and how many without."""

    labeled: int
    failed: int


def question_of(row_key: str, text: str, job: LabelJob, tried: Tried | None = None) -> Question:
    """A text's first question of this run; a correction where earlier answers were no label."""
    if tried is None or tried.problem is None:
        return Question(row_key, text)
    correction = HumanMessage(correction_of(job, tried.problem))
    return Question(
        row_key,
        text,
        answers=tried.answers,
        correction=(correction,),
        under_schema=not tried.schema_refused,
    )


def counts_of(results: Iterable[Any]) -> Counts:
    """Count what texts came to, by the results of `chain.batch`.

    A text whose request was never sent, because the run had stopped, is neither labeled nor failed.

    Raises:
        BaseException: a result that is neither an answer nor the provider's failure, such as a full disk.
    """
    labeled = failed = 0
    for result in results:
        if isinstance(result, str):
            labeled += 1
        elif _failure(result) is not None:
            failed += 1
    return Counts(labeled, failed)


def after_failure(question: Question, failure: Failure, job: LabelJob) -> Question | None:
    """The question to ask after a failure; None where the text is done with."""
    if failure.policy is Policy.ASK_AGAIN and question.answers + 1 < job.run.max_answers:
        if failure.lacked_room:  # nothing was wrong with what it said
            return replace(question, answers=question.answers + 1)
        correction = correction_after(failure.said, correction_of(job, failure.kind))
        return replace(question, answers=question.answers + 1, correction=correction, under_schema=True)
    return None


def correction_after(said: str | None, words: str) -> tuple[BaseMessage, ...]:
    """The messages of a correction: the model's own answer, where it is known and was one, and what was wrong with it."""
    answer = (AIMessage(said),) if said and said.strip() else ()
    return (*answer, HumanMessage(words))


def configs_of(questions: Sequence[Question], shared: RunnableConfig, chunk: int) -> list[RunnableConfig]:
    """The config of each input of `chain.batch`: `shared` with its metadata, and which row it is for."""
    known = {**shared.get("metadata", {}), "chunk": chunk}
    return [
        {
            **shared,
            "metadata": {**known, "row_key": question.row_key},
        }
        for question in questions
    ]


def _failure(result: object) -> Failure | None:
    match result:
        case Failure():
            return result
        case RequestFailed():
            return result.failure
        case RunStopped():
            return None
        case BaseException():
            raise result
        case _:
            raise TypeError(f"not an answer: {result!r}")
