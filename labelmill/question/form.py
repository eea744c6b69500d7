"""The form of an answer: what is asked for, how what comes back is read, and what a request may come to at most."""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

from labelmill.job.model import LabelJob
from labelmill.money.usage import Usage
from labelmill.question.binding import Binding, value_of
from labelmill.question.thinking import room_for_thoughts

_JSON_BYTES = len('{"label": ""}') + 8


@dataclass(frozen=True)
class AnswerForm:
    """How an answer is asked for: the room it has, and what of a request's body binds it to the labels.

    `response_format` binds it in OpenAI's field for that, `own_fields` in fields of the endpoint's own. `max_tokens_name` is
    what the endpoint calls the room; None leaves that to the provider.
    """

    max_tokens: int
    response_format: dict[str, Any] | None
    own_fields: Mapping[str, Any] = field(default_factory=dict)
    max_tokens_name: str | None = None

    @property
    def bound_by(self) -> Mapping[str, Any] | None:
        """What binds the answer; None where nothing does."""
        return self.own_fields or self.response_format


def form_of(job: LabelJob, binding: Binding | None = None) -> AnswerForm:
    """The form a job asks for, bound by the means that the endpoint has; without it, by a schema where the job wants any.

    Either form is read whichever was asked for: a label is a label, and an endpoint may ignore a schema, or have made JSON a habit.
    """
    if job.model.output == "text":
        return AnswerForm(_longest_of(job, max_tokens_of_text(job.labels)), None)
    binding = binding or Binding.JSON_SCHEMA
    return _bound(job, binding, _longest_of(job, room_of(job, binding)))


def correction_form_of(job: LabelJob, binding: Binding | None = Binding.JSON_SCHEMA) -> AnswerForm:
    """The form in which a text is asked again after an answer that was no label: bound by the means that the endpoint has."""
    if binding is None:
        return AnswerForm(_longest_of(job, max_tokens_of_text(job.labels)), None)
    room = room_of(job, binding)
    return _bound(job, binding, max(_longest_of(job, room), room))


def room_of(job: LabelJob, binding: Binding) -> int:
    """The tokens that the longest label takes under a binding."""
    return max_tokens_of_json(job.labels) if binding.is_json else max_tokens_of_text(job.labels)


def _longest_of(job: LabelJob, room: int) -> int:
    """The longest answer that a job asks for: its own limit, or the label's room with that for thoughts."""
    asked = job.model.max_tokens
    return room + room_for_thoughts(job.model) if asked == "auto" else asked


def _bound(job: LabelJob, binding: Binding, max_tokens: int) -> AnswerForm:
    value = value_of(binding, job.labels)
    if binding.is_json:
        return AnswerForm(max_tokens, value)
    return AnswerForm(max_tokens, None, {binding.field: value})


def max_tokens_of_text(labels: Iterable[str]) -> int:
    """Room for the longest label, in tokens, however a tokenizer cuts it."""
    return max(len(name.encode()) for name in labels) + 2


def max_tokens_of_json(labels: Iterable[str]) -> int:
    """The same within a schema's JSON, where a model may write a character as an escape."""
    written = (form for name in labels for form in (json.dumps(name), json.dumps(name, ensure_ascii=False)))
    return max(len(form.encode()) for form in written) + _JSON_BYTES


def response_format_of(labels: Mapping[str, str]) -> dict[str, Any]:
    """The JSON schema of an answer, as the provider's `response_format`."""
    response_format: dict[str, Any] = value_of(Binding.JSON_SCHEMA, labels)
    return response_format


def schema_in(form: AnswerForm) -> dict[str, Any] | None:
    """The JSON schema by itself, for providers that have it elsewhere; None where an answer is asked for as text."""
    if form.response_format is None:
        return None
    schema: dict[str, Any] = form.response_format["json_schema"]["schema"]
    return schema


_TOKENS_PER_MESSAGE = 8
"""More than any chat format known to wrap a message in (OpenAI's counting recipe says 3, and 3 for the reply)."""
_TOKENS_PER_REQUEST = 96
"""More than chat templates add of their own: gpt-oss's names the model, its channels and the date in about 70 tokens
(https://cookbook.openai.com/articles/openai-harmony), Llama 3.1's the date in 25, Qwen2.5's its maker in 20.
"""
_HANGUL_SYLLABLES = range(0xAC00, 0xD7A4)


class HasText(Protocol):
    """A message, whoever's class it is."""

    @property
    def text(self) -> str:
        """Its words."""


def worst_case_of(
    messages: Sequence[HasText],
    max_tokens: int,
    bound_by: Mapping[str, Any] | None = None,
    extra_body: Mapping[str, Any] | None = None,
) -> Usage:
    """The most tokens a request can come to.

    A byte-level tokenizer never makes more tokens than there are bytes, so this needs no tokenizer at hand. What
    binds the answer is counted with the messages, since providers put a schema into the prompt, and so is what the job adds
    to the body, such as tools. All of it may be written to a cache, which some providers do unasked and charge for.
    """
    text_bytes = sum(most_bytes_of(message.text) for message in messages)
    schema_bytes = sum(len(json.dumps(part, default=str)) for part in (bound_by, extra_body) if part)
    sent = text_bytes + schema_bytes + _TOKENS_PER_MESSAGE * (len(messages) + 1) + _TOKENS_PER_REQUEST
    return Usage(sent, 0, max_tokens, cache_write_input_tokens=sent)


def most_bytes_of(text: str) -> int:
    """The bytes of a text in UTF-8, in whichever Unicode form is longest.

    Tokenizers bring texts into one: Qwen's into NFC, SentencePiece's into NFKC, and some characters grow by it (U+FDFA
    from 3 bytes to 33). Counted by character, since normalising takes the square of the time for some texts.
    """
    if text.isascii():
        return len(text)
    return sum(_most_bytes_of_character(character) * count for character, count in Counter(text).items())


@lru_cache(maxsize=65_536)
def _most_bytes_of_character(character: str) -> int:
    own = len(character.encode(errors="surrogatepass"))
    if ord(character) in _HANGUL_SYLLABLES:  # every form that is in use puts it together again
        return own
    return max(own, len(unicodedata.normalize("NFKD", character).encode(errors="surrogatepass")))
