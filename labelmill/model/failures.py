"""Every way a row can fail: its kind, and what is done about it.

Four policies:
- `RETRY`: the provider failed. Asked again with backoff, and again next run.
- `DOUBT`: the request was refused, and whether this is the text's doing or everyone's, what the others get will tell.
- `ASK_AGAIN`: the answer failed. It was paid; asked again at most `max_answers - 1` times with what was wrong said.
- `GIVE_UP`: asking again would fail again. Remembered in the ledger and not paid for a second time.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from types import MappingProxyType

import openai

from labelmill.model.network import connection_words, was_sent
from labelmill.model.wordings import Meaning, error_in, meaning_of


class Policy(Enum):
    """What is done about a failure."""

    RETRY = "retry"
    DOUBT = "doubt"
    ASK_AGAIN = "ask_again"
    GIVE_UP = "give_up"


POLICY_OF_KIND: Mapping[str, Policy] = {
    "rate_limited": Policy.RETRY,
    "overloaded": Policy.RETRY,
    "timeout": Policy.RETRY,
    "connection": Policy.RETRY,
    "provider_error": Policy.RETRY,
    "bad_response": Policy.RETRY,
    "interrupted": Policy.RETRY,
    "over_budget": Policy.RETRY,
    "denied": Policy.DOUBT,
    "empty_answer": Policy.ASK_AGAIN,
    "off_label": Policy.ASK_AGAIN,
    "truncated": Policy.ASK_AGAIN,
    "refused": Policy.ASK_AGAIN,
    "content_filter": Policy.GIVE_UP,
    "too_long": Policy.GIVE_UP,
    "bad_request": Policy.GIVE_UP,
    "empty_text": Policy.GIVE_UP,
}
"""Each failure kind's policy.

`over_budget` and `empty_text` are never sent at all; `interrupted` was sent by a process that died before an answer came.
"""

RETRY_KINDS = [kind for kind, policy in POLICY_OF_KIND.items() if policy is Policy.RETRY]
ASK_AGAIN_KINDS = [kind for kind, policy in POLICY_OF_KIND.items() if policy is Policy.ASK_AGAIN]
UNSENT_KINDS = frozenset({"over_budget", "empty_text"})
"""What keeps a text from being sent at all."""
OVERLOAD_KINDS = frozenset({"rate_limited", "overloaded", "timeout", "connection"})
"""What says "too much": fewer requests in flight may mend it."""


@dataclass(frozen=True)
class Failure:
    """Why a row has no label: a kind, a sentence, and for rate limits the wait the provider asked for.

    `is_account` tells of a refusal that it is known to be about the account, the key or the model, and not about the text.
    `refuses_schema` tells of one that the endpoint knows no schemas. `may_have_been_paid` tells that tokens may have been paid
    that nobody saw.
    """

    kind: str
    message: str
    retry_after_seconds: float | None = None
    is_account: bool = False
    refuses_schema: bool = False
    may_have_been_paid: bool = False

    @property
    def policy(self) -> Policy:
        """What is done about it."""
        return POLICY_OF_KIND[self.kind]


_AFTER_THE_WORK_STATUSES = {408, 499, 502, 504, 520, 521, 522, 523, 524, 598}
"""What a gateway answers that waited for the work in vain: it may have been done, and charged.

Sources: RFC 9110 section 15.6 (502, 504); nginx (499); Cloudflare's 5xx errors (520 to 524).
"""
NOBODY_BEHIND_STATUSES = {502, 520, 521, 522, 523}
"""What a gateway answers while the server behind it is away, as it is during a restart."""
_AGAIN_STATUSES = {408, 409, 425, 499}
_SERVER_ERROR = 500
_MESSAGE_CHARACTERS = 500
_ORDERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters and switches of direction."""


def failure_of(error: BaseException) -> Failure:
    """Tell what an exception of the openai client, or anything else that was raised by a request, means for its row.

    Anything that is not known to be the provider's or the network's doing counts as `bad_response`, which may have been paid.
    """
    origin = _origin_of(error)
    match origin:
        case openai.APIStatusError():
            return failure_of_response(
                origin.status_code, origin.body, origin.message, origin.response.headers
            )
        case UnicodeEncodeError(encoding="ascii"):
            sentence = "the request can't be sent: the key holds characters that are not ASCII"
            return Failure("denied", sentence, is_account=True)
        case openai.APITimeoutError() if was_sent(origin):
            return Failure("timeout", "the provider did not answer in time", may_have_been_paid=True)
        case openai.APIConnectionError():
            return _failure_of_connection(origin)
        case _:
            return Failure("bad_response", f"{type(origin).__name__}: {origin}", may_have_been_paid=True)


def _origin_of(error: BaseException) -> BaseException:
    """The openai client's own error, where LangChain has wrapped it in another."""
    while isinstance(error.__cause__, openai.OpenAIError):
        error = error.__cause__
    return error


def _failure_of_connection(error: openai.APIConnectionError) -> Failure:
    """Told by names and words: the client's HTTP library is its own affair, and changes."""
    cause, sent = error.__cause__ or error, was_sent(error)
    words = storable(connection_words(error))
    if type(cause).__name__ == "UnsupportedProtocol":
        return Failure("denied", f"the request can't be sent: {cause}", is_account=True)
    if "Illegal header" in str(cause):  # its words would show the key
        sentence = (
            "the request can't be sent: the key holds a line break or another character that no key has"
        )
        return Failure("denied", sentence, is_account=True)
    # An answer had begun, and has been paid.
    cut_off = any(part in str(cause) for part in ("complete message body", "incomplete chunked"))
    return Failure("bad_response" if cut_off else "connection", words, may_have_been_paid=sent)


def failure_of_response(
    status: int, body: object, fallback: str = "", headers: Mapping[str, str] = MappingProxyType({})
) -> Failure:
    """Tell what an HTTP response of 400 or more means for its row; `fallback` are its words where its body has none."""
    said = error_in(body)
    return _failure_of_error(status, said.code, said.kind, said.words or fallback, headers)


def failure_of_status(
    status: int, code: str | None, said: str, headers: Mapping[str, str] = MappingProxyType({})
) -> Failure:
    """Tell what an HTTP status of 400 or more, with the provider's code and words, means for its row."""
    return _failure_of_error(status, code, None, said, headers)


def _failure_of_error(  # noqa: PLR0911  (a decision table reads best as one)
    status: int, code: str | None, kind: str | None, said: str, headers: Mapping[str, str]
) -> Failure:
    words, wait = f"{status}: {storable(said)}", retry_after_seconds(headers)
    match meaning_of(status, code, kind, said):
        case Meaning.ACCOUNT:
            return Failure("denied", words, wait, is_account=True)
        case Meaning.PERMISSION_SCOPE:
            return Failure("denied", words, wait)
        case Meaning.SCHEMA_REFUSED:
            return Failure("denied", words, wait, refuses_schema=True)
        case Meaning.CONTENT_FILTER:
            return Failure("content_filter", words)
        case Meaning.TOO_LONG:
            return Failure("too_long", words)
        case Meaning.RATE_LIMIT:
            return Failure("rate_limited", words, wait)
        case Meaning.OFF_FORM:  # the model had answered, and the provider keeps the answer to itself
            return Failure("bad_response", words, wait, may_have_been_paid=True)
        case Meaning.OVERLOADED:
            return Failure("overloaded", words, wait, may_have_been_paid=status in _AFTER_THE_WORK_STATUSES)
    if status >= _SERVER_ERROR or status in _AGAIN_STATUSES:
        return Failure("provider_error", words, wait, may_have_been_paid=status in _AFTER_THE_WORK_STATUSES)
    return Failure("denied", words, wait)


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """The wait a provider asks for, in seconds; None without one.

    It stands in `retry-after-ms`, or in `Retry-After` as seconds or as a date.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    try:
        until = parsedate_to_datetime(headers["retry-after"])
    except (KeyError, ValueError):
        return None
    return max(0.0, (until.astimezone(UTC) - datetime.now(UTC)).total_seconds())


def storable(words: str) -> str:
    """A provider's words such that they can be written to a file, and give a terminal no orders: gateways cut characters in two."""
    return _ORDERS.sub(" ", words).encode(errors="replace").decode()


def printable(words: str) -> str:
    """The same, and not too many of them. A key in them is to be hidden before: a part of it would not be found."""
    return storable(words)[:_MESSAGE_CHARACTERS]


def without_key(failure: Failure, key: str | None) -> Failure:
    """The same failure with the key out of its words, should the provider have repeated it, and not too many of them."""
    words = failure.message if not key else failure.message.replace(key, "[key]")
    return replace(failure, message=printable(words))
