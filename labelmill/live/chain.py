"""The chain: `prompt | model | parser`."""

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable, RunnableLambda
from pydantic import Field, PrivateAttr

from labelmill.job.model import LabelJob
from labelmill.live.guard import Asked, RequestFailed, RequestGuard
from labelmill.money.usage import Usage
from labelmill.providers.protocol import LiveModel
from labelmill.providers.table import provider_of
from labelmill.question.answers import Answer
from labelmill.question.attempts import Attempt
from labelmill.question.failures import Failure
from labelmill.question.form import AnswerForm, form_of, worst_case_of
from labelmill.question.judge import Judge
from labelmill.question.prompt import prompt_of
from labelmill.question.thinking import refuses_room, room_for_thoughts, was_cut_in_thoughts

OUTCOME = "outcome"
"""Where a message's metadata says what the answer amounts to: `{"label": ...}`, or `{"failure": ..., "message": ..., "lacked_room": ...}`."""


class GuardedChatModel(BaseChatModel):
    """A provider's live model behind the guard, which sees whatever comes of every request.

    A request's metadata names its `row_key` and `chunk`, and may name `most_attempts` and `schema_may_be_refused`.
    """

    live_model: Any = Field(exclude=True)
    chat: Callable[[AnswerForm], Any] = Field(exclude=True, repr=False)
    thought_room: int = 0
    guard: RequestGuard = Field(exclude=True)
    judge: Judge = Field(exclude=True)
    form: AnswerForm = Field(exclude=True)
    least_case: Usage = Field(exclude=True)
    extra_body: dict[str, Any] = Field(default={}, exclude=True, repr=False)
    settings: dict[str, Any]
    _with_room: dict[int, "GuardedChatModel"] = PrivateAttr(default_factory=dict)
    _making: Any = PrivateAttr(default_factory=threading.Lock)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002
        run_manager: CallbackManagerForLLMRun | None = None,
        **_: Any,
    ) -> ChatResult:
        room = self._room_now()
        metadata = run_manager.metadata if run_manager else {}
        try:
            return self._in(room)._asked(messages, metadata)  # noqa: SLF001  (its own)
        except RequestFailed as failed:
            thoughts = self.guard.thoughts
            less = room if thoughts is None else thoughts.less_than(room)
            if thoughts is None or less == room or not refuses_room(failed.failure):
                raise
            answered = self._in(less)._asked(messages, metadata)  # noqa: SLF001
            thoughts.was_refused(room, less)
            return answered

    def _asked(self, messages: list[BaseMessage], metadata: dict[str, Any]) -> ChatResult:
        asked = Asked(
            metadata.get("row_key", ""),
            metadata.get("chunk", 0),
            worst_case_of(messages, self.form.max_tokens, self.form.response_format, self.extra_body),
            metadata.get("most_attempts"),
            metadata.get("schema_may_be_refused", False),
            self.least_case,
            self.thought_room,
        )
        payload = self.live_model.payload_of(messages)
        answer, attempt = self.guard.ask(asked, self.judge, partial(self.live_model.send, payload))
        lacked_room = was_cut_in_thoughts(answer) and self.thought_room < self._room_now()
        message = message_of(answer, attempt, lacked_room=lacked_room)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _room_now(self) -> int:
        return self.thought_room if self.guard.thoughts is None else self.guard.thoughts.tokens

    def _in(self, room: int) -> "GuardedChatModel":
        """The same with other room for thoughts, which grows in the middle of a run."""
        if room == self.thought_room:
            return self
        with self._making:
            if room not in self._with_room:
                more = room - self.thought_room
                form = replace(self.form, max_tokens=self.form.max_tokens + more)
                least = replace(self.least_case, output_tokens=form.max_tokens)
                changes = {
                    "live_model": self.chat(form),
                    "thought_room": room,
                    "form": form,
                    "least_case": least,
                    "settings": {**self.settings, "max_tokens": form.max_tokens},
                }
                self._with_room[room] = self.model_copy(update=changes)
            return self._with_room[room]

    @property
    def _llm_type(self) -> str:
        return "labelmill"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return self.settings

    def _get_ls_params(self, stop: list[str] | None = None, **_: Any) -> LangSmithParams:  # noqa: ARG002
        return LangSmithParams(
            ls_provider=self.settings["provider"],
            ls_model_name=self.settings["model"],
            ls_model_type="chat",
            ls_temperature=self.settings["temperature"],
            ls_max_tokens=self.form.max_tokens,
        )


def message_of(answer: Answer, attempt: Attempt, *, lacked_room: bool = False) -> AIMessage:
    """An answer as LangChain's message, with what it amounts to."""
    usage = answer.usage
    outcome = (
        {"label": attempt.label}
        if attempt.label is not None
        else {"failure": attempt.failure, "message": attempt.message, "lacked_room": lacked_room}
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
            output_token_details=OutputTokenDetails(reasoning=usage.reasoning_tokens),
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

    def chat(form: AnswerForm) -> LiveModel:  # no partial, whose words would have the key
        return provider_of(job.model).chat(job, base_url, api_key, form)

    model = GuardedChatModel(
        cache=False,
        live_model=chat(form),
        chat=chat,
        thought_room=room_for_thoughts(job.model),
        guard=guard,
        judge=Judge.of(job, guard.price),
        form=form,
        least_case=worst_case_of(
            prompt.format_messages(text=""), form.max_tokens, form.response_format, job.model.extra_body
        ),
        extra_body=job.model.extra_body,
        settings={
            "provider": job.model.provider,
            "model": job.model.name,
            "temperature": job.model.sent_temperature,
            "max_tokens": form.max_tokens,
            "response_format": form.response_format,
        },
    )
    return prompt | model | RunnableLambda(outcome_in)


def outcome_in(message: AIMessage) -> str | Failure:
    """The label that an answer came to, or why it came to none."""
    outcome = message.response_metadata[OUTCOME]
    if "label" in outcome:
        return str(outcome["label"])
    return Failure(outcome["failure"], outcome["message"], lacked_room=outcome["lacked_room"])
