"""The recorder: the LangChain callback that hands on every attempt the moment it is known."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult

from labelmill.errors import RunStopped
from labelmill.job.model import LabelJob
from labelmill.model.answer_form import AnswerForm, form_of
from labelmill.model.answers import Answer, answer_of, label_or_failure
from labelmill.model.failures import Failure, Fatal, failure_of, may_have_been_paid
from labelmill.model.reading import LabelSet
from labelmill.model.worst_case import worst_case_of
from labelmill.money.prices import Price, cost_of
from labelmill.money.usage import Usage
from labelmill.store.attempts import Attempt


class Recorder(BaseCallbackHandler):
    """Turns what LangChain reports of each request into an attempt, by the row key in the request's `metadata`.

    Args:
        job: says which answers are labels.
        price: what their tokens cost.
        record: takes each attempt. What it raises (a full disk) reaches the chain's caller: a paid answer that can't
            be kept must not pass silently.
        stop: takes what ends the run, such as a key that is not accepted.
        form: how answers are asked for and read, where it is not the job's own way.
    """

    raise_error = True
    run_inline = True

    def __init__(
        self,
        job: LabelJob,
        price: Price | None,
        record: Callable[[Attempt], None],
        stop: Callable[[RunStopped], None],
        form: AnswerForm | None = None,
    ) -> None:
        self._form = form or form_of(job)
        self._labels = LabelSet(job.labels)
        self._price = price
        self._record = record
        self._stop = stop
        self._requests: dict[UUID, tuple[str, Decimal | None]] = {}
        self._lock = threading.Lock()

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],  # noqa: ARG002
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Remember which row a request is for, and what it may cost at most."""
        worst_case = worst_case_of(messages[0], self._form.max_tokens, self._form.response_format)
        with self._lock:
            self._requests[run_id] = ((metadata or {})["row_key"], cost_of(worst_case, self._price))

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_: Any) -> None:
        """Record an answer, whatever it says."""
        message = cast("ChatGeneration", response.generations[0][0]).message
        row_key, worst_cost = self._take(run_id)
        answer = answer_of(cast("AIMessage", message))
        self._record(attempt_of(row_key, answer, self._labels, self._form, self._price, worst_cost))

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """Record a request that failed; one that was never sent is no attempt, and a fatal one stops the run."""
        row_key, worst_cost = self._take(run_id)
        if isinstance(error, RunStopped):
            return
        failure = failure_of(error)
        if isinstance(failure, Fatal):
            self._stop(RunStopped("failed", failure.message))
            return
        unseen = may_have_been_paid(error)
        self._record(
            Attempt(
                row_key,
                _now(),
                failure=failure.kind,
                message=failure.message,
                usage=None if unseen else Usage(),
                cost_usd=None if unseen else Decimal(0),
                unseen_usd=worst_cost if unseen else None,
            )
        )

    def _take(self, run_id: UUID) -> tuple[str, Decimal | None]:
        with self._lock:
            return self._requests.pop(run_id)


def attempt_of(  # noqa: PLR0913, PLR0917  (all that an answer is judged by)
    row_key: str,
    answer: Answer,
    labels: LabelSet,
    form: AnswerForm,
    price: Price | None,
    worst_cost: Decimal | None,
) -> Attempt:
    """What an answer amounts to, on whichever lane it came: a label or a failure, and what its tokens cost.

    `worst_cost` is what it may have cost in USD where its tokens are not told.
    """
    result = label_or_failure(answer, labels, form.reading)
    failure = result if isinstance(result, Failure) else None
    return Attempt(
        row_key,
        _now(),
        label=result if isinstance(result, str) else None,
        failure=failure.kind if failure else None,
        message=failure.message if failure else None,
        answered=True,
        confidence=answer.confidence,
        model=answer.model,
        usage=answer.usage,
        cost_usd=cost_of(answer.usage, price),
        unseen_usd=worst_cost if answer.usage is None else None,
        seconds=None if answer.seconds is None else round(answer.seconds, 4),
    )


def _now() -> datetime:
    return datetime.now(UTC)
