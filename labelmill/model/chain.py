"""The chain: `prompt | model | parser`."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

import openai
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatResult
from langchain_core.runnables import Runnable, RunnableLambda
from pydantic import Field

from labelmill.errors import BudgetReached
from labelmill.job.model import LabelJob
from labelmill.model.answer_form import AnswerForm, form_of
from labelmill.model.answers import SECONDS, LabelSet, answer_of, label_or_failure
from labelmill.model.chat import JobChatOpenAI, chat_settings
from labelmill.model.failures import Failure, failure_of, may_have_been_paid
from labelmill.model.pace import Permit
from labelmill.model.prompt import prompt_of
from labelmill.model.throttle import Throttle
from labelmill.model.worst_case import worst_case_of
from labelmill.money.budget import Budget, Reservation
from labelmill.money.prices import Price, cost_of
from labelmill.money.usage import Usage


@dataclass(frozen=True)
class Toll:
    """What every request passes on its way: the throttle, then its worst case from the budget."""

    throttle: Throttle
    budget: Budget
    price: Price | None

    @contextmanager
    def passage(self, order: int, worst_case: Usage) -> Iterator[tuple[Permit, Reservation]]:
        """Hold a place and the money for one request."""
        worst_cost = cost_of(worst_case, self.price) or Decimal(0)
        with self.throttle.admit(order, worst_case.input_tokens, worst_case.output_tokens) as permit:
            try:
                with self.budget.reserve(worst_cost) as reservation:
                    self.throttle.gate.raise_if_stopped()
                    yield permit, reservation
            except BudgetReached as reached:
                self.throttle.gate.stop(reached)
                raise


class TolledChatOpenAI(JobChatOpenAI):
    """ChatOpenAI behind the toll, which returns every answer that was paid for.

    The openai client raises away an answer that was cut off or filtered under a schema; its tokens were paid, so it
    comes back here as an answer like any other.
    """

    toll: Toll = Field(exclude=True)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        order = run_manager.metadata.get("chunk", 0) if run_manager else 0
        worst_case = worst_case_of(messages, self.max_tokens or 0, kwargs.get("response_format"))
        with self.toll.passage(order, worst_case) as (permit, reservation):
            sent = time.monotonic()
            try:
                result = self._answered(messages, stop, run_manager, **kwargs)
            except Exception as error:
                if may_have_been_paid(error):
                    reservation.settle(cost_of(worst_case, self.toll.price))
                self._tell_throttle(permit, error)
                raise
            generation = result.generations[0]
            message = generation.message
            # Measured here and not by a callback: LangChain's start event comes before the wait at the toll.
            message.response_metadata[SECONDS] = time.monotonic() - sent
            usage = Usage.from_message(message.usage_metadata) if isinstance(message, AIMessage) else None
            reservation.settle(cost_of(usage or worst_case, self.toll.price))
            headers = (generation.generation_info or {}).get("headers") or {}
            self.toll.throttle.answered(permit, usage, headers)
            return result

    def _tell_throttle(self, permit: Permit, error: Exception) -> None:
        failure = failure_of(error)
        if isinstance(failure, Failure):
            headers = error.response.headers if isinstance(error, openai.APIStatusError) else {}
            self.toll.throttle.failed(permit, failure, headers)

    def _answered(self, *args: Any, **kwargs: Any) -> ChatResult:
        try:
            return super()._generate(*args, **kwargs)
        except (openai.LengthFinishReasonError, openai.ContentFilterFinishReasonError) as error:
            if error.completion is None:
                raise
            return self._create_chat_result(error.completion)


def chain_of(
    job: LabelJob, base_url: str, api_key: str, toll: Toll, form: AnswerForm | None = None
) -> Runnable[dict[str, Any], str | Failure]:
    """The chain that labels one text: `{"text": ...}` in, a label or a failure out.

    It asks for answers in the job's own form unless another is given. Every request is seen by the toll.
    """
    form = form or form_of(job)
    model: Runnable[Any, AIMessage] = TolledChatOpenAI(
        **chat_settings(job, base_url, api_key, form), toll=toll
    )
    if form.response_format:
        model = model.bind(response_format=form.response_format)
    return prompt_of(job) | model | RunnableLambda(partial(_read, labels=LabelSet(job.labels), form=form))


def _read(message: AIMessage, labels: LabelSet, form: AnswerForm) -> str | Failure:
    return label_or_failure(answer_of(message), labels, form.reading)
