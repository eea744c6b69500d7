"""The chain: `prompt | model | parser`."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, Self, TypeVar

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from langchain_core.output_parsers import BaseOutputParser
from langchain_core.outputs import ChatGeneration, ChatResult, Generation
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import get_config_list
from pydantic import Field
from typing_extensions import override

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
from labelmill.question.reading import spoken_in
from labelmill.question.thinking import refuses_room, room_for_thoughts, was_cut_in_thoughts

_REFUSED = frozenset({"denied", "bad_request"})
OUTCOME = "outcome"
"""Where a message's metadata says what the answer amounts to: `{"label": ...}`, or `{"failure": ..., "message": ..., "lacked_room": ...}`."""


@dataclass(frozen=True)
class _Manner:
    """How a text is asked at a moment: in which dialect, and with how many tokens for thoughts.

    It is in words alone where it is not `is_bound`. Where it `is_texts`, a refusal of whatever field is the text's own.
    """

    dialect: Dialect
    room: int
    is_bound: bool = True
    is_texts: bool = False


@dataclass(frozen=True)
class _Way:
    """By which model a text is asked, and in which form. `least_case` is a request's for a text of nothing."""

    live_model: LiveModel
    form: AnswerForm
    least_case: Usage


class Ways:
    """A job's models on the live lane, one for each form that its endpoint turns out to need. Threads share it.

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
        self.room = room_for_thoughts(job.model)
        """What the job's own forms have for thoughts."""
        self._job = job
        self._chat = partial(provider_of(job.model).chat, job, base_url, api_key)
        self._nothing = prompt_of(job).format_messages(text="")
        self._ways: dict[tuple[Dialect, int, bool], _Way] = {}
        self._lock = threading.Lock()

    def way(self, dialect: Dialect, room: int | None = None, *, is_bound: bool = True) -> _Way:
        """The way to ask in a dialect, in words alone where nothing is to bind the answer; with the job's own room for thoughts unless told."""
        room = self.room if room is None else room
        key = (dialect, room, is_bound)
        with self._lock:
            known = self._ways.get(key)
            if known is None:
                speaking = dialect if is_bound else replace(dialect, bindings=())
                own = speaking.form_of(self._job, is_correction=self.is_correction)
                form = replace(own, max_tokens=own.max_tokens + room - self.room)
                least = self.worst_case_of(dialect.arranged(self._nothing), form)
                known = self._ways[key] = _Way(self._chat(form), form, least)
            return known

    def worst_case_of(self, messages: Sequence[BaseMessage], form: AnswerForm) -> Usage:
        """The most tokens that a request can come to, with what the job adds to it."""
        return worst_case_of(messages, form.max_tokens, form.bound_by, self._job.model.extra_body)


class GuardedChatModel(BaseChatModel):
    """A provider's live model behind the guard, which sees whatever comes of every request.

    A request's metadata names its `row_key` and `chunk`, and may name `most_attempts`. An answer that is no label goes to the
    chunk's follow-ups at once. Where the endpoint refuses the form of
    a request, the text is asked in the next one, and with less room for thoughts where it may be the room; each of these is a
    request, and none of them a retry. All of these steps take something away, so that they come to an end.
    """

    ways: Any = Field(exclude=True, repr=False)
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
        manner, rooms = _Manner(spoken.now, self._room_now()), list[int]()
        while True:
            may_be_binding = manner.is_bound and spoken.may_be_refused(
                manner.dialect, is_correction=is_correction
            )
            try:
                answer, attempt = self._ask(
                    messages, metadata, manner, may_be_binding=may_be_binding, is_first=not rooms
                )
                break
            except FormIsStale:
                manner = replace(manner, dialect=spoken.now)
            except RequestFailed as failed:
                failure = failed.failure
                less = self._less_room(manner.room, failure)
                if failure.policy is Policy.OTHER_FORM:
                    manner = self._in_another_form(manner, failure)
                elif less < manner.room:
                    rooms.append(manner.room)
                    manner = replace(manner, room=less)
                elif may_be_binding and failure.kind in _REFUSED and not failure.is_account:
                    # Whatever was meant: a text that is answered so tells what it was.
                    manner = replace(manner, is_bound=False)
                else:
                    raise
        self._note_refused(*rooms, manner.room)
        lacked_room = was_cut_in_thoughts(answer) and manner.room < self._room_now()
        if not manner.is_bound:
            spoken.doubt_binding(manner.dialect, is_correction=is_correction)
        elif not lacked_room:
            spoken.learn(manner.dialect, answer, attempt, is_correction=is_correction)
        message = message_of(answer, attempt, lacked_room=lacked_room)
        if attempt.label is None:
            self.guard.had_no_label(
                metadata.get("row_key", ""), metadata.get("chunk", 0), _failure_in(message)
            )
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _ask(
        self,
        messages: list[BaseMessage],
        metadata: Mapping[str, Any],
        manner: _Manner,
        *,
        may_be_binding: bool,
        is_first: bool,
    ) -> tuple[Answer, Attempt]:
        way = self.ways.way(manner.dialect, manner.room, is_bound=manner.is_bound)
        arranged = manner.dialect.arranged(messages)
        has_own = not manner.is_bound or manner.is_texts
        asked = Asked(
            metadata.get("row_key", ""),
            metadata.get("chunk", 0),
            self.ways.worst_case_of(arranged, way.form),
            metadata.get("most_attempts"),
            may_be_binding,
            way.least_case,
            manner.room,
            # Once a text has a form of its own, no other text's matters to it.
            is_stale=(lambda: False) if has_own else partial(self._is_stale, manner.dialect),
            # What was found out about this text alone would be found out anew.
            can_be_put_off=is_first and not has_own,
        )
        send = partial(way.live_model.send, way.live_model.payload_of(arranged))
        return self.guard.ask(asked, self.judge, partial(_as_texts, send) if manner.is_texts else send)

    def _is_stale(self, dialect: Dialect) -> bool:
        return bool(self.ways.spoken.now != dialect)

    def _in_another_form(self, manner: _Manner, failure: Failure) -> _Manner:
        """How a text is asked after the refusal of a field.

        Raises:
            RunStopped: there is no other form.
        """
        following = self.ways.spoken.after(
            manner.dialect, failure.refused_field or "", is_correction=self.ways.is_correction
        )
        if following is not None:
            return replace(manner, dialect=following, is_texts=False)
        if not self.guard.breaker.has_answers:
            raise self.guard.stop_over(failure) from None
        # What others are answered in is no form that the endpoint refuses: the refusal is this text's.
        return replace(manner, is_texts=True)

    def _room_now(self) -> int:
        own: int = self.ways.room
        return own if self.guard.thoughts is None else self.guard.thoughts.tokens

    def _less_room(self, room: int, failure: Failure) -> int:
        """The room to ask with after a refusal; the same where it can't be the room that was refused."""
        thoughts = self.guard.thoughts
        return thoughts.less_than(room) if thoughts is not None and refuses_room(failure) else room

    def _note_refused(self, *rooms: int) -> None:
        """Note the rooms that a text was asked with; it was answered with the last of them."""
        if self.guard.thoughts is not None:
            for room, less in pairwise(rooms):
                self.guard.thoughts.was_refused(room, less)

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
            "temperature": job.model.sent_temperature,
            "max_tokens": form.max_tokens,
            "response_format": form.response_format,
        },
    )
    return TextPrompt.of(prompt_of(job)) | model | OutcomeParser()


Input = TypeVar("Input")
Output = TypeVar("Output")


class InTurn(Runnable[Input, Output]):
    """A step of the chain that waits for nobody: `batch` takes it for one input after the other.

    A pool of threads, which LangChain has for every step, costs more than such a step itself. Who is told of it by callbacks
    is told as ever.
    """

    def of_one(self, one: Input) -> Output:
        """What comes of one input, told to nobody."""
        raise NotImplementedError

    @override
    def batch(
        self,
        inputs: list[Input],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        results: list[Any] = []
        for one, its in zip(inputs, get_config_list(config, len(inputs)), strict=True):
            callbacks = its.get("callbacks")
            is_watched = callbacks is not None and (isinstance(callbacks, list) or bool(callbacks.handlers))
            try:
                results.append(self.invoke(one, its, **kwargs) if is_watched else self.of_one(one))
            except Exception as error:
                if not return_exceptions:
                    raise
                results.append(error)
        return results


class TextPrompt(InTurn[Any, Any], ChatPromptTemplate):
    """A prompt that is filled in for one text after the other."""

    @classmethod
    def of(cls, prompt: ChatPromptTemplate) -> Self:
        """The same prompt."""
        told = ("input_variables", "optional_variables", "partial_variables", "input_types")
        return cls(messages=prompt.messages, **{name: getattr(prompt, name) for name in told})

    @override
    def of_one(self, one: Any) -> Any:
        return self.format_prompt(**one)


class OutcomeParser(InTurn[Any, Any], BaseOutputParser[str | Failure]):
    """The label that an answer came to, or why it came to none."""

    @override
    def parse_result(self, result: list[Generation], *, partial: bool = False) -> str | Failure:
        (generation,) = result
        if not isinstance(generation, ChatGeneration) or not isinstance(generation.message, AIMessage):
            raise TypeError(f"not an answer: {generation!r}")
        return outcome_in(generation.message)

    @override
    def parse(self, text: str) -> str | Failure:
        raise NotImplementedError("an outcome stands beside the answer's text")

    @override
    def of_one(self, one: Any) -> str | Failure:
        return outcome_in(one)


def outcome_in(message: AIMessage) -> str | Failure:
    """The label that an answer came to, or why it came to none."""
    outcome = message.response_metadata[OUTCOME]
    if "label" in outcome:
        label: str = outcome["label"]
        return label
    return _failure_in(message)


def _failure_in(message: AIMessage) -> Failure:
    outcome = message.response_metadata[OUTCOME]
    return Failure(
        outcome["failure"],
        outcome["message"],
        said=spoken_in(str(message.content)).text,
        lacked_room=outcome["lacked_room"],
    )
