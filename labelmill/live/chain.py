"""The chain: `prompt | model | parser`."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import InputTokenDetails, UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable, RunnableLambda
from pydantic import Field

from labelmill.job.model import LabelJob
from labelmill.live.guard import Asked, FormIsStale, RequestFailed, RequestGuard
from labelmill.money.usage import Usage
from labelmill.providers.dialect import Dialect, SpokenDialect
from labelmill.providers.protocol import LiveModel, Reply
from labelmill.providers.table import provider_of
from labelmill.question.answers import Answer
from labelmill.question.attempts import Attempt
from labelmill.question.failures import Failure, Policy
from labelmill.question.form import AnswerForm, worst_case_of
from labelmill.question.judge import Judge
from labelmill.question.prompt import prompt_of

_REFUSED = frozenset({"denied", "bad_request"})
OUTCOME = "outcome"
"""Where a message's metadata says what the answer amounts to: `{"label": ...}`, or `{"failure": ..., "message": ...}`."""


@dataclass(frozen=True)
class _Way:
    """How a text is asked at a moment: by which model, and in which form. `least_case` is a request's for a text of nothing."""

    live_model: LiveModel
    form: AnswerForm
    least_case: Usage


class Ways:
    """A job's models on the live lane, one for each dialect that its endpoint turns out to speak. Threads share it.

    Args:
        job: what is asked.
        base_url: where the requests go.
        api_key: by which key.
        spoken: what the run has found out of the endpoint's dialect.
        is_correction: whether texts are asked again after an answer that was no label.
    """

    def __init__(
        self, job: LabelJob, base_url: str, api_key: str, spoken: SpokenDialect, *, is_correction: bool
    ) -> None:
        self.spoken = spoken
        self.is_correction = is_correction
        self._job = job
        self._chat = partial(provider_of(job.model).chat, job, base_url, api_key)
        self._nothing = prompt_of(job).format_messages(text="")
        self._ways: dict[tuple[Dialect, bool], _Way] = {}
        self._lock = threading.Lock()

    def way(self, dialect: Dialect, *, is_bound: bool = True) -> _Way:
        """The way to ask in a dialect; in words alone where nothing is to bind the answer."""
        with self._lock:
            known = self._ways.get((dialect, is_bound))
            if known is None:
                speaking = dialect if is_bound else replace(dialect, bindings=())
                form = speaking.form_of(self._job, is_correction=self.is_correction)
                least = worst_case_of(dialect.arranged(self._nothing), form.max_tokens, form.bound_by)
                known = self._ways[dialect, is_bound] = _Way(self._chat(form), form, least)
            return known


class GuardedChatModel(BaseChatModel):
    """A provider's live model behind the guard, which sees whatever comes of every request.

    A request's metadata names its `row_key` and `chunk`, and may name `most_attempts`. Where the endpoint refuses the form of
    a request, the text is asked in the next one; each of these is a request, and none of them a retry.
    """

    ways: Any = Field(exclude=True)
    guard: RequestGuard = Field(exclude=True)
    judge: Judge = Field(exclude=True)
    settings: dict[str, Any]

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002
        run_manager: CallbackManagerForLLMRun | None = None,
        **_: Any,
    ) -> ChatResult:
        metadata = run_manager.metadata if run_manager else {}
        spoken, is_correction = self.ways.spoken, self.ways.is_correction
        dialect, is_bound, is_texts = spoken.now, True, False
        while True:
            may_be_binding = is_bound and spoken.may_be_refused(dialect, is_correction=is_correction)
            try:
                answer, attempt = self._ask(
                    messages, metadata, dialect, is_bound=is_bound, may_be=may_be_binding, is_texts=is_texts
                )
            except FormIsStale:
                dialect = spoken.now
                continue
            except RequestFailed as failed:
                failure = failed.failure
                if failure.policy is Policy.OTHER_FORM:
                    following = spoken.after(
                        dialect, failure.refused_field or "", is_correction=is_correction
                    )
                    if following is None and not self.guard.breaker.has_answers:
                        raise self.guard.stop_over(failure) from None
                    # What others are answered in is no form that the endpoint refuses: the refusal is this text's.
                    is_texts = following is None
                    dialect = following or dialect
                    continue
                if may_be_binding and failure.kind in _REFUSED and not failure.is_account:
                    is_bound = False  # whatever was meant: a text that is answered so tells what it was
                    continue
                raise
            break
        if is_bound:
            spoken.learn(dialect, answer, attempt, is_correction=is_correction)
        else:
            spoken.doubt_binding(dialect, is_correction=is_correction)
        return ChatResult(generations=[ChatGeneration(message=message_of(answer, attempt))])

    def _ask(  # noqa: PLR0913  (a request is told by all of these)
        self,
        messages: list[BaseMessage],
        metadata: Mapping[str, Any],
        dialect: Dialect,
        *,
        is_bound: bool,
        may_be: bool,
        is_texts: bool,
    ) -> tuple[Answer, Attempt]:
        way, arranged = self.ways.way(dialect, is_bound=is_bound), dialect.arranged(messages)
        asked = Asked(
            metadata.get("row_key", ""),
            metadata.get("chunk", 0),
            worst_case_of(arranged, way.form.max_tokens, way.form.bound_by),
            metadata.get("most_attempts"),
            may_be,
            way.least_case,
            # Once a text has a form of its own, no other text's matters to it.
            is_stale=partial(self._is_stale, dialect) if is_bound and not is_texts else lambda: False,
        )
        send = partial(way.live_model.send, way.live_model.payload_of(arranged))
        return self.guard.ask(asked, self.judge, partial(_as_texts, send) if is_texts else send)

    def _is_stale(self, dialect: Dialect) -> bool:
        return bool(self.ways.spoken.now != dialect)

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
            ls_max_tokens=self.settings["max_tokens"],
        )


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


def _as_texts(send: Callable[[], Reply]) -> Reply:
    """A reply in which a field's refusal is one of the text's, as any other refusal may be."""
    reply = send()
    if not isinstance(reply.result, Failure) or reply.result.policy is not Policy.OTHER_FORM:
        return reply
    return replace(reply, result=Failure("denied", reply.result.message))


def chain_of(  # noqa: PLR0913  (it is where everything comes together)
    job: LabelJob,
    base_url: str,
    api_key: str,
    guard: RequestGuard,
    spoken: SpokenDialect | None = None,
    *,
    is_correction: bool = False,
) -> Runnable[dict[str, Any], str | Failure]:
    """The chain that labels one text: `{"text": ...}` in, a label or a failure out.

    It asks in the dialect that the run has found out by then, corrections in the form that is theirs. Every request passes the
    guard.
    """
    spoken = spoken or SpokenDialect(job, provider_of(job.model).dialect)
    ways = Ways(job, base_url, api_key, spoken, is_correction=is_correction)
    form = ways.way(spoken.now).form
    model = GuardedChatModel(
        cache=False,
        ways=ways,
        guard=guard,
        judge=Judge.of(job, guard.price),
        settings={
            "provider": job.model.provider,
            "model": job.model.name,
            "temperature": job.model.temperature,
            "max_tokens": form.max_tokens,
            "response_format": form.response_format,
        },
    )
    return prompt_of(job) | model | RunnableLambda(outcome_in)


def outcome_in(message: AIMessage) -> str | Failure:
    """The label that an answer came to, or why it came to none."""
    outcome = message.response_metadata[OUTCOME]
    if "label" in outcome:
        label: str = outcome["label"]
        return label
    return Failure(outcome["failure"], outcome["message"], said=str(message.content))
