"""Every way a row can fail: its kind, and what is done about it.

Four policies:
- `RETRY`: the provider failed. Asked again with backoff, and again next run.
- `DOUBT`: the request was refused, and whether this is the text's doing or everyone's, what the others get will tell.
- `ASK_AGAIN`: the answer failed. It was paid; asked again at most `max_answers - 1` times with what was wrong said.
- `GIVE_UP`: asking again would fail again. Remembered in the ledger and not paid for a second time.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from types import MappingProxyType

import openai

from labelmill.errors import RunStopped


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
OVERLOAD_KINDS = frozenset({"rate_limited", "overloaded", "timeout", "connection"})
"""What says "too much": fewer requests in flight may mend it."""


@dataclass(frozen=True)
class Failure:
    """Why a row has no label: a kind, a sentence, and for rate limits the wait the provider asked for.

    `is_account` tells of a refusal that it is known to be about the account, the key or the model, and not about the text.
    `may_have_been_paid` tells that tokens may have been paid that nobody saw.
    """

    kind: str
    message: str
    retry_after_seconds: float | None = None
    is_account: bool = False
    may_have_been_paid: bool = False

    @property
    def policy(self) -> Policy:
        """What is done about it."""
        return POLICY_OF_KIND[self.kind]


_TOO_LONG_CODES = {"context_length_exceeded", "string_above_max_length"}
_MORE_THAN_A_MINUTE = "request too large"
"""OpenAI's 429 for a request with more tokens than a minute allows, which no waiting heals."""
_TOO_LONG_WORDS = (
    "too long",
    "maximum context length",
    "context window",
    "exceeds the maximum number of tokens",
    _MORE_THAN_A_MINUTE,
)
_FILTER_CODES = {"content_filter", "content_policy_violation", "data_inspection_failed"}
_ACCOUNT_CODES = {
    "insufficient_quota",
    "billing_hard_limit_reached",
    "model_not_found",
    "unsupported_parameter",
    "unsupported_value",
}
_ACCOUNT_STATUSES = {401, 402}
_OVERLOADED_STATUSES = {503, 504, 529}
_AFTER_THE_WORK_STATUSES = {408, 499, 502, 504, 520, 521, 522, 523, 524, 598}
"""What a gateway answers that waited for the work in vain: it may have been done, and charged.

Sources: RFC 9110 section 15.6 (502, 504); nginx (499); Cloudflare's 5xx errors (520 to 524).
"""
_NEVER_SENT = {"ConnectError", "ConnectTimeout", "PoolTimeout"}
_TOO_LARGE = 413
_RATE_LIMITED = 429
_SERVER_ERROR = 500
_MESSAGE_CHARACTERS = 500


def failure_of(error: BaseException) -> Failure:
    """Tell what an exception of the openai client, or anything else that was raised by a request, means for its row.

    Anything that is not known to be the provider's or the network's doing counts as `bad_response`, which may have been paid.
    """
    origin = _origin_of(error)
    match origin:
        case openai.APITimeoutError():
            unsent = type(origin.__cause__).__name__ in _NEVER_SENT
            return Failure("timeout", "the provider did not answer in time", may_have_been_paid=not unsent)
        case openai.APIStatusError():
            return failure_of_response(
                origin.status_code, origin.body, origin.message, origin.response.headers
            )
        case openai.APIConnectionError():
            return _failure_of_connection(origin.__cause__ or origin)
        case RunStopped():
            return Failure("connection", str(origin))
        case UnicodeEncodeError(encoding="ascii"):
            sentence = "the request can't be sent: the key holds characters that are not ASCII"
            return Failure("denied", sentence, is_account=True)
        case _:
            return Failure("bad_response", _words(origin), may_have_been_paid=True)


def _origin_of(error: BaseException) -> BaseException:
    """The openai client's own error, where LangChain has wrapped it in another."""
    while isinstance(error.__cause__, openai.OpenAIError):
        error = error.__cause__
    return error


def _failure_of_connection(cause: BaseException) -> Failure:
    """Told by names and words: the client's HTTP library is its own affair, and changes."""
    if type(cause).__name__ == "UnsupportedProtocol":
        return Failure("denied", f"the request can't be sent: {_words(cause)}", is_account=True)
    if "Illegal header" in str(cause):  # its words would show the key
        sentence = (
            "the request can't be sent: the key holds a line break or another character that no key has"
        )
        return Failure("denied", sentence, is_account=True)
    # An answer had begun, and has been paid.
    cut_off = any(words in str(cause) for words in ("complete message body", "incomplete chunked"))
    unsent = type(cause).__name__ in _NEVER_SENT
    return Failure("bad_response" if cut_off else "connection", _words(cause), may_have_been_paid=not unsent)


def failure_of_response(
    status: int, body: object, fallback: str = "", headers: Mapping[str, str] = MappingProxyType({})
) -> Failure:
    """Tell what an HTTP response of 400 or more means for its row; `fallback` are its words where its body has none."""
    told = body if isinstance(body, Mapping) else {"message": body}
    inner = told.get("error")
    if isinstance(inner, Mapping):
        told = inner
    said = told.get("message") or told.get("detail") or inner or fallback
    code = told.get("code")
    return failure_of_status(status, None if code is None else str(code), str(said), headers)


def failure_of_status(
    status: int, code: str | None, said: str, headers: Mapping[str, str] = MappingProxyType({})
) -> Failure:
    """Tell what an HTTP status of 400 or more, with the provider's code and words, means for its row."""
    words = storable(said)
    told = words.casefold()
    if code in _ACCOUNT_CODES or status in _ACCOUNT_STATUSES:
        return Failure("denied", f"{status}: {words}", retry_after_seconds(headers), is_account=True)
    if code in _FILTER_CODES:
        return Failure("content_filter", words)
    is_too_long = code in _TOO_LONG_CODES or status == _TOO_LARGE or _MORE_THAN_A_MINUTE in told
    if is_too_long or (status < _RATE_LIMITED and any(mark in told for mark in _TOO_LONG_WORDS)):
        return Failure("too_long", words)
    if status == _RATE_LIMITED:
        return Failure("rate_limited", words, retry_after_seconds(headers))
    if status >= _SERVER_ERROR or status in {408, 409, 425, 499}:
        kind = "overloaded" if status in _OVERLOADED_STATUSES else "provider_error"
        paid = status in _AFTER_THE_WORK_STATUSES
        return Failure(kind, f"{status}: {words}", retry_after_seconds(headers), may_have_been_paid=paid)
    return Failure("denied", f"{status}: {words}", retry_after_seconds(headers))


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


def _words(error: BaseException) -> str:
    return storable(f"{type(error).__name__}: {error}")


def storable(words: str) -> str:
    """A provider's words such that they can be written to a file: gateways cut characters in two."""
    return words.encode(errors="replace").decode()


def printable(words: str) -> str:
    """The same, and not too many of them. A key in them is to be hidden before: a part of it would not be found."""
    return storable(words)[:_MESSAGE_CHARACTERS]


def without_key(failure: Failure, key: str | None) -> Failure:
    """The same failure with the key out of its words, should the provider have repeated it, and not too many of them."""
    words = failure.message if not key else failure.message.replace(key, "[key]")
    return replace(failure, message=printable(words))
