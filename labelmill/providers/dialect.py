"""How an endpoint wants to be asked, and what to do where it refuses a field of a request by name.

    dialect, what was refused  ->  next_dialect  ->  the other form, or None where there is none

A run has one `SpokenDialect`: what an endpoint has refused once is sent to it no more, by no thread, chunk or batch.
"""

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from labelmill.job.model import LabelJob
from labelmill.question.answers import Answer
from labelmill.question.attempts import Attempt
from labelmill.question.binding import Binding, holds_to
from labelmill.question.form import AnswerForm, correction_form_of, form_of

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

MAX_TOKENS_NAMES = ("max_tokens", "max_completion_tokens")
SYSTEM, ROLES = "system", "roles"
"""What isn't a field of the body by itself: a message of the system's, and the order of the roles."""
_DOUBTS = 2
"""Texts that are refused with a binding and answered without, after which it is given up."""
BINDING_FIELDS = frozenset({binding.field for binding in Binding})


@dataclass(frozen=True)
class Dialect:
    """How an endpoint wants to be asked, as far as it is known.

    `max_tokens_name` is what it calls the longest answer. Without `has_system_role` the system's message stands at the top of
    the user's. Where roles `alternate`, a correction comes after the model's own answer. `bindings` are the means that it may
    have to hold an answer to the labels, the best one first; `refused` holds names that it is not to be sent again.
    """

    max_tokens_name: str | None = None
    has_system_role: bool = True
    alternate: bool = False
    bindings: tuple[Binding, ...] = tuple(Binding)
    refused: frozenset[str] = field(default_factory=frozenset)

    def as_found(self, earlier: "Dialect") -> "Dialect":
        """The same with the names and roles that an earlier run was answered in; bindings are found out anew."""
        return replace(
            self,
            max_tokens_name=earlier.max_tokens_name,
            has_system_role=earlier.has_system_role,
            alternate=earlier.alternate,
        )

    def joined(self, other: "Dialect") -> "Dialect":
        """The same without what another process of the run has found to be refused."""
        told = other.refused - self.refused
        name = (
            other.max_tokens_name
            if told and other.max_tokens_name not in self.refused
            else self.max_tokens_name
        )
        return replace(
            self,
            max_tokens_name=name,
            has_system_role=self.has_system_role and other.has_system_role,
            alternate=self.alternate or other.alternate,
            bindings=tuple(binding for binding in self.bindings if binding in other.bindings),
            refused=self.refused | other.refused,
        )

    def binding_of(self, job: LabelJob, *, is_correction: bool) -> Binding | None:
        """What a request is bound by; None for words alone."""
        if not is_correction and job.model.output == "text":
            return None
        left = self.bindings
        if job.model.output != "choice":
            # A schema is what jobs have always been asked under first, where the endpoint may have it.
            left = tuple(sorted(left, key=lambda binding: binding is not Binding.JSON_SCHEMA))
            if not is_correction:
                left = tuple(binding for binding in left if binding.is_json)
        return left[0] if left else None

    def form_of(self, job: LabelJob, *, is_correction: bool) -> AnswerForm:
        """The form in which a text is asked."""
        binding = self.binding_of(job, is_correction=is_correction)
        if is_correction:
            form = correction_form_of(job, binding)
        elif job.model.output != "text" and binding is None:
            form = correction_form_of(job, None)
        else:
            form = form_of(job, binding)
        return replace(form, max_tokens_name=self.max_tokens_name)

    def arranged(self, messages: Sequence["BaseMessage"]) -> list["BaseMessage"]:
        """A conversation as the endpoint takes it: the same words, under the roles that it knows.

        Among `messages` the model's own answer may stand before a correction. It is sent where roles have to alternate, and
        nowhere else.
        """
        said = [message for message in messages if self.alternate or message.type != "ai"]
        if not self.has_system_role:
            said = _without_system(said)
        return _alternating(said) if self.alternate else said


def _without_system(messages: Sequence["BaseMessage"]) -> list["BaseMessage"]:
    system = [message.text for message in messages if message.type == "system"]
    rest = [message for message in messages if message.type != "system"]
    if not system or not rest:
        return list(messages)
    return [_saying("\n\n".join([*system, rest[0].text]), rest[0]), *rest[1:]]


def _alternating(messages: Sequence["BaseMessage"]) -> list["BaseMessage"]:
    """Join what one role says twice in a row, as where the model's answer is not known or was nothing."""
    joined: list[BaseMessage] = []
    for message in messages:
        if joined and message.type == joined[-1].type == "human":
            joined[-1] = _saying(f"{joined[-1].text}\n\n{message.text}", message)
        else:
            joined.append(message)
    return joined


def _saying(words: str, message: "BaseMessage") -> "BaseMessage":
    """A message of the same role with other words."""
    return message.model_copy(update={"content": words})


def aspect_of(refused: str) -> Literal["max_tokens_name", "has_system_role", "alternate", "bindings"] | None:
    """What of a dialect a refused field is about; None where the job alone says what it holds."""
    if refused in MAX_TOKENS_NAMES:
        return "max_tokens_name"
    if refused in BINDING_FIELDS:
        return "bindings"
    named: dict[str, Literal["has_system_role", "alternate"]] = {
        SYSTEM: "has_system_role",
        ROLES: "alternate",
    }
    return named.get(refused)


def next_dialect(dialect: Dialect, refused: str, job: LabelJob, *, is_correction: bool) -> Dialect | None:
    """The other form after an endpoint has refused a field of a request; None where there is none.

    Each step takes something away for good, so that the steps come to an end.
    """
    match aspect_of(refused):
        case "max_tokens_name":
            return _renamed(dialect, refused)
        case "bindings":
            return _unbound(dialect, job, is_correction=is_correction)
        case "alternate" if is_correction and not dialect.alternate:
            return replace(dialect, alternate=True)
        case "has_system_role" | "alternate":
            # A template without a system role says of it that roles must alternate (vllm-project/vllm#2080).
            return replace(dialect, has_system_role=False) if dialect.has_system_role else None
        case None:
            return None


def _renamed(dialect: Dialect, refused: str) -> Dialect | None:
    names = dialect.refused | {refused}
    other = next((name for name in MAX_TOKENS_NAMES if name not in names), None)
    if other is None or refused in dialect.refused:
        return None
    return replace(dialect, max_tokens_name=other, refused=names)


def _unbound(dialect: Dialect, job: LabelJob, *, is_correction: bool) -> Dialect | None:
    binding = dialect.binding_of(job, is_correction=is_correction)
    if binding is None:
        return None
    left = replace(dialect, bindings=tuple(each for each in dialect.bindings if each is not binding))
    has_another = left.binding_of(job, is_correction=is_correction) is not None
    # A correction is asked in words in the end; a job that wants its answers bound says so, and is told.
    return left if has_another or is_correction else None


class SpokenDialect:
    """What a run has found out of its endpoint's dialect. Threads share it."""

    def __init__(self, job: LabelJob, first: Dialect) -> None:
        self.job = job
        self._now = first
        self._proven: set[Binding] = set()
        self._doubts: Counter[Binding | None] = Counter()
        self._lock = threading.Lock()

    @property
    def now(self) -> Dialect:
        """How the next request is asked."""
        return self._now

    def hear(self, other: Dialect) -> None:
        """Take account of what other processes of the run have found out; a job that wants its answers bound keeps its last means."""
        with self._lock:
            joined = self._now.joined(other)
            is_bound = self._now.binding_of(self.job, is_correction=False) is not None
            if is_bound and joined.binding_of(self.job, is_correction=False) is None:
                joined = replace(joined, bindings=self._now.bindings)
            self._now = joined

    def after(self, asked: Dialect, refused: str, *, is_correction: bool) -> Dialect | None:
        """How to ask again what was asked in a dialect, of which a field was refused; None where there is no other form.

        Of many requests that were in flight in the same form, the first one's refusal is learned from.
        """
        with self._lock:
            aspect = aspect_of(refused)
            if aspect is not None and _differs(self._now, asked, aspect):
                return self._now
            following = next_dialect(self._now, refused, self.job, is_correction=is_correction)
            if following is not None:
                self._now = following
            return following

    def may_be_refused(self, asked: Dialect, *, is_correction: bool) -> bool:
        """Whether a refusal in whatever words may mean what a request is bound by: nothing has been answered under it yet.

        Not where the job itself wants a schema, which no doubt may take from it.
        """
        if self.job.model.output == "schema" and not is_correction:
            return False
        binding = asked.binding_of(self.job, is_correction=is_correction)
        return binding is not None and binding not in self._proven

    def learn(self, asked: Dialect, answer: Answer, attempt: Attempt, *, is_correction: bool) -> bool:
        """See whether an answer kept to what it was bound by; returns whether that is found out now not to be so.

        An endpoint may pass over a field that it doesn't know. It costs nothing to see: what was bound and names no label was
        not bound, and the next text is bound by another means.
        """
        binding = asked.binding_of(self.job, is_correction=is_correction)
        if binding is not None:
            self._proven.add(binding)
        if binding is None or answer.reasoning or answer.arguments:
            return False
        # JSON without its schema may never come to an end: blanks up to the last token.
        is_blank = binding.is_json and answer.content != "" and not answer.content.strip()
        is_other = attempt.failure == "off_label" and not holds_to(binding, answer.content, self.job.labels)
        if not is_other and not is_blank:
            return False
        with self._lock:
            if self._now.bindings != asked.bindings:
                return False
            left = _unbound(self._now, self.job, is_correction=is_correction)
            if left is not None:
                self._now = left
            return left is not None

    def doubt_binding(self, asked: Dialect, *, is_correction: bool) -> None:
        """Take note that the endpoint has answered without a binding what it had refused with it; one may be a coincidence."""
        binding = asked.binding_of(self.job, is_correction=is_correction)
        with self._lock:
            if binding is not None:
                self._doubts[binding] += 1
            if self._now.bindings == asked.bindings and self._doubts[binding] >= _DOUBTS:
                self._now = _unbound(self._now, self.job, is_correction=is_correction) or self._now


def _differs(now: Dialect, asked: Dialect, aspect: str) -> bool:
    if aspect == "alternate":  # either may mend an order of roles
        return (now.alternate, now.has_system_role) != (asked.alternate, asked.has_system_role)
    return bool(getattr(now, aspect) != getattr(asked, aspect))
