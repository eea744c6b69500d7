"""What a provider's error response means: its codes and words are data in `wordings.toml`, each with its source.

    status, body  ->  error_in(body): code, kind, words  ->  meaning_of(status, code, kind, words): a meaning, or None

Providers say the same thing in many ways, and the same thing of different things: `insufficient_quota` is a wallet that
is empty at OpenAI and a minute that is full at DashScope; a number is one thing at Zhipu and another at Mistral. So the
most specific entry that fits decides:

1. a code together with words,
2. a code by itself (a number only where the error has no type beside it),
3. the longest wording,
4. a code that says little, such as `rate_limit_exceeded` (`weak` in the data),
5. the status by itself.

Providers quote what was sent to them. A customer's text must not pass for a provider's word: wordings are looked for in
the message's first characters only, outside quotes, and before whatever it announces as an echo.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, NamedTuple


class Meaning(StrEnum):
    """What an error response says."""

    TOO_LONG = "too_long"
    """This text is longer than the model or a whole minute's allowance; waiting does not heal it."""
    CONTENT_FILTER = "content_filter"
    """A filter refused this text or the answer to it."""
    ACCOUNT = "account"
    """Every text would be answered the same until a person acts or a day passes."""
    RATE_LIMIT = "rate_limit"
    """Too many requests or tokens for this account; waiting a little mends it."""
    OVERLOADED = "overloaded"
    """Too much for the server, whoever asks; waiting a little mends it."""
    SCHEMA_REFUSED = "schema_refused"
    """The endpoint doesn't know `response_format`, or not this schema; without it, it would have answered."""
    PERMISSION_SCOPE = "permission_scope"
    """The key is known, but lacks a permission for what was asked."""
    OFF_FORM = "off_form"
    """The endpoint threw the model's answer away because it did not follow the schema; asking again may do."""


class ErrorSaid(NamedTuple):
    """An error as its body tells it: the code, the type or status beside it, and the sentence worth showing."""

    code: str | None
    kind: str | None
    words: str


@dataclass(frozen=True)
class ErrorWording:
    """One entry of `wordings.toml`.

    `codes` fit the error's code or its type, without case, `*` for anything. `phrases` fit in the order of their parts
    between `*`; `^` and `$` tie a phrase to the message's beginning and end. `statuses` restrict an entry.
    """

    provider: str
    meaning: Meaning
    statuses: tuple[int, ...]
    codes: tuple[str, ...]
    phrases: tuple[str, ...]
    weak: bool
    source: str
    example: Mapping[str, Any]


_MOST_WORDS = 2000
_WINDOW = 600
"""Providers say what is the matter first; what follows may be anybody's text."""
_GAP = 200
"""The most characters between two parts of a phrase."""
_MOST_DEPTH = 6
_ERROR_STATUSES = range(400, 600)


@cache
def wordings() -> tuple[ErrorWording, ...]:
    """All entries, in the order of the file."""
    data = tomllib.loads(files(__package__).joinpath("wordings.toml").read_text(encoding="utf-8"))
    return tuple(
        ErrorWording(
            provider=entry["provider"],
            meaning=Meaning(entry["meaning"]),
            statuses=tuple(entry.get("status", ())),
            codes=tuple(code.casefold() for code in entry.get("code", ())),
            phrases=tuple(entry.get("words", ())),
            weak=entry.get("weak", False),
            source=entry["source"],
            example=entry["example"],
        )
        for entry in data["wording"]
    )


def meaning_of(status: int | None, code: str | None, kind: str | None, words: str) -> Meaning | None:
    """What an error response means; None where it tells nothing that is known.

    Args:
        status: The HTTP status; None or below 400 for an error within an answer, whose code may then be a status.
        code: `error.code`.
        kind: `error.type`, or a status by name such as `RESOURCE_EXHAUSTED`.
        words: The message: any language, any length.
    """
    said, name = _name_of(code), _name_of(kind)
    if not isinstance(status, int) or status < _ERROR_STATUSES.start:
        status = _status_in(said) or _status_in(name)
    return _meaning(status, said, name, words[:_MOST_WORDS] if isinstance(words, str) else "")


class _Phrase(NamedTuple):
    """A phrase in its parts, ready to be looked for."""

    parts: tuple[str, ...]
    from_start: bool
    to_end: bool
    meaning: Meaning
    statuses: tuple[int, ...]

    def fits(self, words: str) -> bool:
        at = 0
        if self.from_start and not words.startswith(self.parts[0]):
            return False
        for index, part in enumerate(self.parts):
            begin = words.find(part, at)
            if begin < 0 or (index and begin - at > _GAP):
                return False
            at = begin + len(part)
        return not self.to_end or at == len(words)


class _Rules(NamedTuple):
    """The entries, sorted for a quick look."""

    spoken: Mapping[str, tuple[_Phrase, ...]]  # code -> phrases that decide together with it
    codes: Mapping[str, list[ErrorWording]]
    patterns: list[tuple[re.Pattern[str], ErrorWording]]  # codes with a `*`
    phrases: Mapping[str, tuple[tuple[int, _Phrase], ...]]  # word -> phrases with it, and their rank
    weak: Mapping[str, list[ErrorWording]]
    statuses: Mapping[int, Meaning]


@cache
def _rules() -> _Rules:
    spoken: dict[str, list[_Phrase]] = {}
    codes: dict[str, list[ErrorWording]] = {}
    weak: dict[str, list[ErrorWording]] = {}
    patterns, phrases, statuses = [], [], {}
    for entry in wordings():
        for code in entry.codes:
            if entry.phrases:
                spoken.setdefault(code, []).extend(_phrases_of(entry))
            elif "*" in code:
                patterns.append((re.compile(re.escape(code).replace(r"\*", ".*")), entry))
            else:
                (weak if entry.weak else codes).setdefault(code, []).append(entry)
        if not entry.codes and entry.phrases:
            phrases.extend(_phrases_of(entry))
        if not entry.codes and not entry.phrases:
            statuses.update(dict.fromkeys(entry.statuses, entry.meaning))
    spoken_for = {code: _longest_first(found) for code, found in spoken.items()}
    return _Rules(spoken_for, codes, patterns, _indexed(_longest_first(phrases)), weak, statuses)


def _phrases_of(entry: ErrorWording) -> list[_Phrase]:
    return [
        _Phrase(
            parts=tuple(part for part in phrase.removeprefix("^").removesuffix("$").split("*") if part),
            from_start=phrase.startswith("^"),
            to_end=phrase.endswith("$"),
            meaning=entry.meaning,
            statuses=entry.statuses,
        )
        for phrase in entry.phrases
    ]


def _longest_first(phrases: Iterable[_Phrase]) -> tuple[_Phrase, ...]:
    return tuple(sorted(phrases, key=lambda phrase: -sum(map(len, phrase.parts))))


_WORD = re.compile(r"[a-z0-9_]+")


def _indexed(phrases: tuple[_Phrase, ...]) -> dict[str, tuple[tuple[int, _Phrase], ...]]:
    """The phrases by a word that a message must hold for each, so that few of them need a look."""
    found: dict[str, list[tuple[int, _Phrase]]] = {}
    for rank, phrase in enumerate(phrases):
        # A word at an end of a part may go on in the message.
        inner = [word for part in phrase.parts for word in _WORD.findall(part)[1:-1]]
        found.setdefault(max(inner, key=len, default=""), []).append((rank, phrase))
    return {word: tuple(phrases) for word, phrases in found.items()}


def _candidates(rules: _Rules, words: str) -> list[_Phrase]:
    index = rules.phrases
    found = {
        rank: phrase
        for word in index.keys() & {"", *_WORD.findall(words)}
        for rank, phrase in index[word]
        if phrase.parts[0] in words
    }
    return [found[rank] for rank in sorted(found)]


@lru_cache(maxsize=256)
def _meaning(status: int | None, code: str | None, kind: str | None, words: str) -> Meaning | None:
    rules = _rules()
    whole, own = plain_words(words)
    names = [name for name in (code, kind) if name and not _is_foreign_number(name, kind)]
    for name in names:
        if found := _phrase_in(rules.spoken.get(name, ()), status, whole, own):
            return found
    for name in names:
        if found := _entry_for(rules.codes.get(name, ()), status):
            return found
        for pattern, entry in rules.patterns:
            if pattern.fullmatch(name):
                return entry.meaning
    if found := _phrase_in(_candidates(rules, whole), status, whole, own):
        return found
    for name in names:
        if found := _entry_for(rules.weak.get(name, ()), status):
            return found
    return rules.statuses.get(status) if status else None


def _phrase_in(phrases: Iterable[_Phrase], status: int | None, whole: str, own: str) -> Meaning | None:
    for phrase in phrases:
        # What is tied to the beginning is the provider's own, whatever it announces.
        words = whole if phrase.from_start else own
        if (not phrase.statuses or status in phrase.statuses) and phrase.fits(words):
            return phrase.meaning
    return None


def _entry_for(entries: Iterable[ErrorWording], status: int | None) -> Meaning | None:
    return next((entry.meaning for entry in entries if not entry.statuses or status in entry.statuses), None)


def _name_of(name: object) -> str | None:
    return name.strip().casefold() or None if isinstance(name, str) else None


def _is_foreign_number(name: str, kind: str | None) -> bool:
    """Numbers mean something else at each provider; those that the data knows come without a type."""
    return name.isdecimal() and kind not in {None, name}


def _status_in(name: str | None) -> int | None:
    if name is None or len(name) != len("429") or not name.isascii() or not name.isdecimal():
        return None
    return int(name) if int(name) in _ERROR_STATUSES else None


_OPENING = re.compile("['\"“‘`「《]")
_CLOSING_OF = {"“": "”", "‘": "’", "「": "」", "《": "》"}
_NAME = re.compile(r"[\x21-\x7e]{1,80}")
_ECHOES = (
    "invalid prompt", "invalid value", "invalid input", "invalid content", "invalid text", "prompt", "input", "content",
    "text", "query", "input_value", "received", "you sent", "输入", "内容", "文本", "提示词",
)  # fmt: skip
"""What stands before the colon of an echo."""
_COLON = re.compile("[:=：]")


def plain_text(words: str) -> str:
    """Words without case, line ends and typographer's apostrophes."""
    return " ".join(words.replace("’", "'").split()).casefold()


def plain_words(words: str) -> tuple[str, str]:
    """A message as wordings are compared with, and what of it stands before any echo of what was sent."""
    whole = _without_quotes(words)
    return whole, _before_an_echo(whole)


def _without_quotes(words: str) -> str:
    """The message as wordings are compared with: its beginning, without case, and no sentence within quotes.

    A name in quotes stays: a model, a field, a value.
    """
    plain = plain_text(words[:_WINDOW])
    kept, at = [], 0
    for opening in _OPENING.finditer(plain):
        start = opening.start()
        if start < at or (opening[0] == "'" and start and plain[start - 1].isalnum()):
            continue
        end = _end_of_quote(plain, start, _CLOSING_OF.get(opening[0], opening[0]))
        kept += [plain[at:end]] if _NAME.fullmatch(plain, start, end) else [plain[at:start], "…"]
        at = end
    return "".join([*kept, plain[at:]]) if kept else plain


def _end_of_quote(plain: str, start: int, closing: str) -> int:
    """Where a quote ends: one that is cut off with the message, and one with apostrophes in it, end too."""
    end = plain.find(closing, start + 1)
    while closing == "'" and 0 < end < len(plain) - 1 and plain[end + 1].isalnum():
        end = plain.find(closing, end + 1)
    return end + 1 if end > 0 else len(plain)


def _before_an_echo(words: str) -> str:
    for colon in _COLON.finditer(words):
        before = words[: colon.start()].rstrip()
        if announced := _echo_at_the_end_of(before):
            return before[: -len(announced)]
    return words


def _echo_at_the_end_of(before: str) -> str | None:
    """What announces an echo right there, as a word of its own."""
    name = (
        next((echo for echo in _ECHOES if before.endswith(echo)), None) if before.endswith(_ECHOES) else None
    )
    return name if name and not (name.isascii() and before[: -len(name)][-1:].isalnum()) else None


# --- reading a body -------------------------------------------------------------------------------------------------

_MESSAGE_FIELDS = (
    "message", "detail", "msg", "error_message", "error_msg", "errormessage", "errormsg", "status_msg", "error_description",
    "title", "reason", "details",
)  # fmt: skip
_CODE_FIELDS = ("code", "error_code", "errorcode", "status_code", "reason")
_KIND_FIELDS = ("type", "error_type", "status", "name")
_EMPTY_KINDS = {"", "error", "object"}
_MOST_NAME = 120
_MOST_NUMBER = 10**9
_MOST_ITEMS = 3
_ENVELOPE = re.compile(r"^\s*(?:<!doctype|<html|<\?xml|<head|<body|<h1|<center)", re.IGNORECASE)
_TITLE = re.compile(r"<(title|h1)[^>]*>(.{1,300}?)</\1>", re.IGNORECASE | re.DOTALL)
_MARKUP = re.compile(r"<(script|style)\b.*?(?:</\1>|$)|<[^>]{0,1000}>", re.IGNORECASE | re.DOTALL)
_REPR_MESSAGE = re.compile(r"""['"](?:message|msg)['"]\s*:\s*(['"])(.{1,2000}?)\1\s*[,}]""", re.DOTALL)
_REPR_PLACE = re.compile(r"""['"]loc['"]\s*:\s*[(\[]([^)\]]{1,200})[)\]]""")
_REPR_NAME = re.compile(r"""['"](code|type)['"]\s*:\s*['"]?([\w.\-]{1,120})""")
_NOTHING = ErrorSaid(None, None, "")


def error_in(body: object) -> ErrorSaid:
    """The error that a response's body tells of; reads any body, and never raises.

    Args:
        body: Parsed JSON of any shape, or the bytes or the text that came instead.
    """
    try:
        said = _read(body, 0)
        unknown = isinstance(body, dict | list) and body and not said.words
        words = json.dumps(body, ensure_ascii=False) if unknown else said.words
    except (RecursionError, TypeError, ValueError):  # nested too deep, no JSON, thousands of digits
        return _NOTHING
    return ErrorSaid(said.code, said.kind, words.strip()[:_MOST_WORDS])


def _read(value: object, depth: int) -> ErrorSaid:
    if depth > _MOST_DEPTH:
        return _NOTHING
    match value:
        case bytes() | bytearray():
            return _read_text(bytes(value[: _MOST_WORDS * 10]).decode(errors="replace"), depth)
        case str():
            return _read_text(value[: _MOST_WORDS * 10], depth)
        case list() | tuple():
            return _read_list(value, depth)
        case dict():
            return _read_object({str(key).casefold(): item for key, item in value.items()}, depth)
        case _:
            return _NOTHING


def _read_text(text: str, depth: int) -> ErrorSaid:
    """A message, which may be a page, JSON, or a sentence with an upstream's error in it."""
    if _ENVELOPE.match(text):
        return ErrorSaid(None, None, _page_words(text))
    start = min((at for at in (text.find("{"), text.find("[{")) if at >= 0), default=-1)
    if start < 0 or not any(mark in text for mark in ("error", "message", "detail")):
        return ErrorSaid(None, None, text)
    before = text[:start].strip()
    if _OPENING.match(before[-1:]) or _echo_at_the_end_of(before.rstrip(":= ").casefold()):
        return ErrorSaid(None, None, text)  # somebody's text that holds an error, and not the provider's
    try:
        inner, _ = json.JSONDecoder().raw_decode(text[start:])
    except (ValueError, RecursionError):
        return _read_repr(before, text, start)
    said = _read(inner, depth + 1)
    return ErrorSaid(said.code, said.kind, _joined(before, said.words) if said.words else text)


def _read_repr(before: str, text: str, start: int) -> ErrorSaid:
    """An upstream's error as Python prints it, as gateways put it into their own message."""
    message = _REPR_MESSAGE.search(text, start)
    if message is None:
        return ErrorSaid(None, None, text)
    names = {name: found for name, found in _REPR_NAME.findall(text[start:]) if found not in {"None", "null"}}
    place = _REPR_PLACE.search(text, start)
    field = ".".join(part.strip(" '\"") for part in place[1].split(",")) if place else ""
    return ErrorSaid(names.get("code"), names.get("type"), _joined(before, _joined(field, message[2])))


def _page_words(page: str) -> str:
    """What a web page says: its title and its first heading, or its first words."""
    titles = list(dict.fromkeys(_plain(found[1]) for found in _TITLE.findall(page[: _MOST_WORDS * 2])))
    return ": ".join(title for title in titles if title) or _plain(page)[:300]


def _plain(markup: str) -> str:
    return " ".join(_MARKUP.sub(" ", markup).split())


def _read_list(items: list[object] | tuple[object, ...], depth: int) -> ErrorSaid:
    """A list of errors, of sentences, or of what is wrong with each field of the request."""
    found = [said for said in (_read(item, depth + 1) for item in items[:_MOST_ITEMS]) if said != _NOTHING]
    words = "; ".join(dict.fromkeys(said.words for said in found if said.words))
    return found[0]._replace(words=words) if found else _NOTHING


def _read_object(body: dict[str, Any], depth: int) -> ErrorSaid:
    place = body.get("loc")  # of a validator: the field that is meant
    names = (
        [str(part)[:40] for part in place[:8] if isinstance(part, str | int)]
        if isinstance(place, list)
        else []
    )
    kind = _first(body, _KIND_FIELDS) or ""
    known = kind.casefold() not in _EMPTY_KINDS and not kind.isdecimal()
    own = ErrorSaid(_first(body, _CODE_FIELDS), kind if known else None, ".".join(names))
    for field in ("error", "errors", "base_resp", *_MESSAGE_FIELDS):
        inner = _read(body[field], depth + 1) if body.get(field) else _NOTHING
        if inner != _NOTHING:
            # MiniMax's numbers are its own.
            inner = inner._replace(kind="base_resp") if field == "base_resp" else inner
            break
    else:
        inner = _NOTHING
    outer = body.get("message") if isinstance(body.get("error"), str) else None
    words = _joined(inner.words, outer) if isinstance(outer, str) else inner.words
    said = ErrorSaid(_telling(inner.code, own.code), inner.kind or own.kind, _joined(own.words, words))
    return _with_details(said, body, depth)


def _with_details(said: ErrorSaid, body: dict[str, Any], depth: int) -> ErrorSaid:
    """The same with what OpenAI, Google, OpenRouter and Azure put beside the message."""
    code, kind, words = said
    parameter = body.get("param")
    if isinstance(parameter, str) and 0 < len(parameter) < _MOST_NAME and parameter not in words and words:
        words = f"{words} ({parameter})"
    if isinstance(details := body.get("details"), list):
        code = _telling(_google_reason(details), code)
    if isinstance(metadata := body.get("metadata"), dict):
        upstream = _read(metadata.get("raw"), depth + 1)
        code = _telling(_first(metadata, ("limit_source",)), upstream.code, code)
        kind = _first(metadata, ("error_type",)) or upstream.kind or kind
        kind = "moderation" if metadata.get("reasons") else kind
        words = _joined(words, upstream.words)
    if isinstance(inner := body.get("innererror"), dict):
        kind = kind or _first(inner, ("code",))
    return ErrorSaid(code, kind, words)


def _google_reason(details: list[Any]) -> str | None:
    """Google's own reason: that of an `ErrorInfo`, or the quota that was exceeded, the one for a day first."""
    objects = [detail for detail in details if isinstance(detail, dict)]
    quotas = [
        quota
        for detail in objects
        if isinstance(detail.get("violations"), list)
        for violation in detail["violations"]
        if isinstance(violation, dict) and isinstance(quota := violation.get("quotaId"), str)
    ]
    daily = [quota for quota in quotas if "PerDay" in quota]
    return next(iter(daily or quotas), None) or next(
        (reason for detail in objects if (reason := _first(detail, ("reason",)))), None
    )


def _first(body: dict[str, Any], fields: Iterable[str]) -> str | None:
    """The first of the fields that holds a name or a number, as text."""
    for field in fields:
        match body.get(field):
            case str() as name if 0 < len(name.strip()) <= _MOST_NAME:
                return name.strip()
            case bool():
                continue
            case int() as number if 0 < abs(number) < _MOST_NUMBER:
                return str(number)
    return None


def _telling(*codes: str | None) -> str | None:
    """The first code that is more than an HTTP status, or the first at all."""
    known = [code for code in codes if code]
    return next((code for code in known if _status_in(code) is None), known[0] if known else None)


def _joined(before: str, after: str | None) -> str:
    """Two parts of a message, said once each."""
    if not before or not after or before == after:
        return before or after or ""
    if after.startswith(before):
        return after
    return f"{before.rstrip(' -:')}: {after}"
