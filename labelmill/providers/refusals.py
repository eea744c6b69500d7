"""Which field of a request an error response refuses by its name: the wordings are data in `refusals.toml`, each with its source.

A refusal of a field is none of the text's: the same text is asked again in another form. So no text may pass for one. What
counts as one stands outside quotes and echoes (as in `wordings.py`), names a field that was sent, and stands in no text that
was sent.
"""

import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from labelmill.providers.dialect import BINDING_FIELDS, ROLES, SYSTEM
from labelmill.providers.wordings import Meaning, meaning_of, plain_text, plain_words
from labelmill.question.failures import FORM_KIND, Failure

_NO_REFUSALS = frozenset({401, 402, 407, 408, 413, 429})
"""What these say is said by the status itself."""
_TELL_OTHERWISE = frozenset(Meaning) - {Meaning.ACCOUNT, Meaning.SCHEMA_REFUSED}
_OF_THE_TEXT = frozenset({"messages", "model"})
"""Fields whose refusal is no matter of form."""
_NAME = r"(?:[`'\"“‘]|body\.)*(?P<field>[a-z_][\w.]*)(?:\[[^\]]*\])?[`'\"”’]*"
_GAP = ".{0,200}?"


@dataclass(frozen=True)
class RefusalWording:
    """One entry of `refusals.toml`.

    `field` is what is refused, where the words don't name it. Where the endpoint `wants` a setting, that is what stands for the
    field, whether or not the request held it.
    """

    provider: str
    codes: frozenset[str]
    phrases: tuple[str, ...]
    field: str | None
    wants: str | None
    source: str
    example: Mapping[str, Any]


class _Pattern(NamedTuple):
    """A phrase, ready to be looked for. `literal` is the longest part of it that stands there as it is: a quick look."""

    literal: str
    fits: re.Pattern[str]
    from_start: bool
    codes: frozenset[str]
    field: str | None
    wants: str | None


@cache
def _data() -> Mapping[str, Any]:
    return tomllib.loads(files(__package__).joinpath("refusals.toml").read_text(encoding="utf-8"))


@cache
def refusal_wordings() -> tuple[RefusalWording, ...]:
    """All entries, in the order of the file."""
    return tuple(
        RefusalWording(
            provider=entry["provider"],
            codes=frozenset(code.casefold() for code in entry.get("code", ())),
            phrases=tuple(entry["words"]),
            field=entry.get("field"),
            wants=entry.get("wants"),
            source=entry["source"],
            example=entry["example"],
        )
        for entry in _data()["refusal"]
    )


@cache
def known_fields() -> frozenset[str]:
    """The fields that a request of ours may hold, whatever a job adds."""
    return frozenset(_data()["advice"]) - {"others"}


def advice_on(refused: str) -> str:
    """What to do about a field's refusal in the job, where there is no other form."""
    advice: Mapping[str, str] = _data()["advice"]
    return advice.get(refused, advice["others"]).replace("{field}", refused)


@cache
def _patterns() -> tuple[_Pattern, ...]:
    found = []
    for entry in refusal_wordings():
        for phrase in entry.phrases:
            inner = phrase.removeprefix("^").removesuffix("$")
            literal = max(re.split(r"\*|\{field\}", inner), key=len)
            parts = (re.escape(part) for part in inner.replace("{field}", "\0").split("*"))
            pattern = _GAP.join(parts).replace("\0", _NAME)
            # A name in the middle of a longer word is none.
            begins = r"(?<![\w.])" if inner.startswith("{field}") else ""
            ends = "$" if phrase.endswith("$") else ""
            compiled = re.compile(("^" if phrase.startswith("^") else begins) + pattern + ends)
            from_start = phrase.startswith("^")
            found.append(_Pattern(literal, compiled, from_start, entry.codes, entry.field, entry.wants))
    return tuple(found)


@dataclass(frozen=True)
class Sent:
    """What a request held: its fields by their names in its body, and what its messages said.

    Without `fields`, where nobody can tell them, they are those that are known.
    """

    fields: Collection[str] | None = None
    texts: tuple[str, ...] = ()

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "Sent":
        """The body of a chat completion, or of a message to Claude."""
        contents = [body.get("system"), *(message.get("content") for message in body.get("messages", ()))]
        texts = (text for content in contents for text in _texts_in(content))
        return cls(frozenset(_usual_name(name) for name in body), tuple(texts))


def refused_field(status: int, code: str | None, kind: str | None, words: str, sent: Sent) -> str | None:
    """The field of a request that an error response refuses by its name, or the setting that it wants; None for neither.

    Args:
        status: the HTTP status.
        code: `error.code`.
        kind: `error.type`.
        words: the message.
        sent: the request.
    """
    if status in _NO_REFUSALS or status < 400:  # noqa: PLR2004
        return None
    meaning = meaning_of(status, code, kind, words)
    if meaning in _TELL_OTHERWISE:
        return None
    fields = _fields_of(sent)
    whole, own = plain_words(words)
    names = {name.casefold() for name in (code, kind) if name}
    said = [plain_text(text) for text in sent.texts]
    for pattern in _patterns():
        if pattern.codes and not pattern.codes & names:
            continue
        message = whole if pattern.from_start else own
        if pattern.literal not in message:
            continue
        for found in pattern.fits.finditer(message):
            refused = pattern.wants or pattern.field or _field_in(found["field"], fields)
            is_meant = refused is not None and (pattern.wants is not None or refused in fields)
            if is_meant and not _is_echo(found, said):
                return refused
    if meaning is Meaning.SCHEMA_REFUSED and not any(text and whole in text for text in said):
        # Where nobody can tell which was sent, it is the one that most are sent.
        bindings = sorted(fields & BINDING_FIELDS, key=lambda name: (name != "response_format", name))
        return next(iter(bindings), None)
    return None


def field_refusal(  # noqa: PLR0913, PLR0917  (all that an error tells, and what was sent)
    failure: Failure, status: int, code: str | None, kind: str | None, words: str, sent: Sent | None
) -> Failure | None:
    """A failure as the refusal of a field that it is; None where it is none."""
    refused = None if sent is None else refused_field(status, code, kind, words, sent)
    return Failure(FORM_KIND, failure.message, refused_field=refused) if refused else None


def refusal_words(failure: Failure, address: str) -> str:
    """Why a run ends where an endpoint refuses a field that there is no other form for, and what of the job to change."""
    refused = failure.refused_field or ""
    at = f" (requests go to {address})" if address else ""
    is_wanted = any(entry.wants == refused for entry in refusal_wordings())
    what = f"wants {refused}" if is_wanted else f"refuses {_called(refused)}"
    return f"the endpoint {what}: {failure.message.rstrip('.')}; {advice_on(refused)}{at}"


def _called(refused: str) -> str:
    if refused == SYSTEM:
        return "a system message"
    return "the order of the messages' roles" if refused == ROLES else f"the field {refused!r}"


def _fields_of(sent: Sent) -> frozenset[str]:
    fields = known_fields() if sent.fields is None else frozenset(sent.fields)
    return (fields | {SYSTEM, ROLES}) - _OF_THE_TEXT


def _field_in(name: str, sent: Collection[str]) -> str | None:
    """The field of the body that a name leads to: the first of a path that is no table of Gemini's, whatever its case."""
    path = [part for part in name.strip(".").split(".") if _plain(part) not in _TABLES]
    first = _usual_name(path[0]) if path else ""
    return next((each for each in sent if each.casefold() == first), None)


_TABLES = frozenset({"generatecontentrequest", "generationconfig"})


def _plain(name: str) -> str:
    return name.replace("_", "").casefold()


def _usual_name(name: str) -> str:
    """What OpenAI calls a field that Claude or Gemini has under another name."""
    aliases: Mapping[str, str] = _data()["alias"]
    return aliases.get(_plain(name), name)


def _texts_in(content: object) -> Iterator[str]:
    """What a message says, as text or in parts."""
    for part in content if isinstance(content, list) else [content]:
        text = part.get("text") if isinstance(part, Mapping) else part
        if isinstance(text, str):
            yield text


_QUOTES = "'\"`\u2018\u2019\u201c\u201d"


def _is_echo(found: re.Match[str], texts: Iterable[str]) -> bool:
    """Whether a wording stands in a text that was sent, or the field's name in one that the message holds whole."""
    # A mark at its end may be the one that the server quotes a text with.
    matched, message = found[0].strip(_QUOTES), found.string
    start, end = found.span("field") if "field" in found.re.groupindex else found.span()
    for text in texts:
        if not text:
            continue
        if matched in text:
            return True
        at = message.find(text)
        while at >= 0:
            if at <= start and end <= at + len(text):
                return True
            at = message.find(text, at + 1)
    return False
