"""The chain: `prompt | model | parser`."""

import time
from functools import partial
from typing import Any

import openai
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import InputTokenDetails, UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable, RunnableLambda
from pydantic import Field

from labelmill.job.model import LabelJob
from labelmill.live.guard import Asked, RequestGuard
from labelmill.money.usage import Usage
from labelmill.providers.chat import JobChatOpenAI, chat_settings
from labelmill.providers.failures import failure_of
from labelmill.providers.responses import Response
from labelmill.question.answers import Answer
from labelmill.question.attempts import Attempt
from labelmill.question.failures import Failure
from labelmill.question.form import AnswerForm, form_of, worst_case_of
from labelmill.question.judge import Judge
from labelmill.question.prompt import prompt_of

OUTCOME = "outcome"
"""Where a message's metadata says what the answer amounts to: `{"label": ...}`, or `{"failure": ..., "message": ...}`."""


class GuardedChatOpenAI(JobChatOpenAI):
    """ChatOpenAI behind the guard, which sees every response as it came, before any client has read it.

    A request's metadata names its `row_key` and `chunk`, and may name `most_attempts` and `schema_may_be_refused`.
    """

    guard: RequestGuard = Field(exclude=True)
    judge: Judge = Field(exclude=True)
    least_case: Usage = Field(exclude=True)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        metadata = run_manager.metadata if run_manager else {}
        asked = Asked(
            metadata.get("row_key", ""),
            metadata.get("chunk", 0),
            worst_case_of(messages, self.max_tokens or 0, kwargs.get("response_format")),
            metadata.get("most_attempts"),
            metadata.get("schema_may_be_refused", False),
            self.least_case,
        )
        payload = self._get_request_payload(messages, stop=stop, **kwargs)
        answer, attempt = self.guard.ask(asked, self.judge, partial(self._send, payload))
        return ChatResult(generations=[ChatGeneration(message=message_of(answer, attempt))])

    def _send(self, payload: dict[str, Any]) -> Response | Failure:
        """Send one request, and return whatever came of it."""
        sent = time.monotonic()
        try:
            # What comes back is read by Labelmill itself: the client raises over what it doesn't expect, paid or not.
            came = self.client.with_raw_response.create(**payload).http_response
            return Response(came.status_code, came.content, came.headers, time.monotonic() - sent)
        except openai.APIStatusError as error:
            try:
                content = error.response.content
            except Exception:  # noqa: BLE001  (its body could not be read)
                return failure_of(error)
            return Response(error.status_code, content, error.response.headers, time.monotonic() - sent)
        except Exception as error:  # noqa: BLE001  (something was sent, and may have been paid)
            return failure_of(error)


def message_of(answer: Answer, attempt: Attempt) -> AIMessage:
    """An answer as LangChain's message, with what it amounts to."""
    usage = answer.usage
    outcome = (
        {"label": attempt.label}
        if attempt.label is not None
        else {"failure": attempt.failure, "message": attempt.message}
    )
    return AIMessage(
        content=answer.content,
        additional_kwargs={} if answer.refusal is None else {"refusal": answer.refusal},
        response_metadata={
            "model_name": answer.model,
            "finish_reason": answer.finish_reason,
            OUTCOME: outcome,
        },
        usage_metadata=None
        if usage is None
        else UsageMetadata(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            total_tokens=usage.input_tokens + usage.output_tokens,
            input_token_details=InputTokenDetails(cache_read=usage.cached_input_tokens),
        ),
    )


def chain_of(
    job: LabelJob, base_url: str, api_key: str, guard: RequestGuard, form: AnswerForm | None = None
) -> Runnable[dict[str, Any], str | Failure]:
    """The chain that labels one text: `{"text": ...}` in, a label or a failure out.

    It asks for answers in the job's own form unless another is given. Every request passes the guard.
    """
    form = form or form_of(job)
    prompt = prompt_of(job)
    model: Runnable[Any, AIMessage] = GuardedChatOpenAI(
        **chat_settings(job, base_url, api_key, form),
        guard=guard,
        judge=Judge.of(job, form, guard.price),
        least_case=worst_case_of(prompt.format_messages(text=""), form.max_tokens, form.response_format),
    )
    if form.response_format:
        model = model.bind(response_format=form.response_format)
    return prompt | model | RunnableLambda(outcome_in)


def outcome_in(message: AIMessage) -> str | Failure:
    """The label that an answer came to, or why it came to none."""
    outcome = message.response_metadata[OUTCOME]
    return outcome["label"] if "label" in outcome else Failure(outcome["failure"], outcome["message"])
