"""Every way a row can fail: its kind, and what is done about it.

Four policies:
- `RETRY`: the provider failed. Nothing or nothing visible was paid; asked again with backoff, and again next run.
- `DOUBT`: the request was refused, and whether this is the text's doing or everyone's, what the others get will tell.
- `ASK_AGAIN`: the answer failed. It was paid; asked again at most `max_answers - 1` times with what was wrong said.
- `GIVE_UP`: asking again would fail again. Remembered in the ledger and not paid for a second time.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
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
"""Each failure kind's policy. `empty_text` is never sent at all."""

RETRY_KINDS = [kind for kind, policy in POLICY_OF_KIND.items() if policy is Policy.RETRY]
ASK_AGAIN_KINDS = [kind for kind, policy in POLICY_OF_KIND.items() if policy is Policy.ASK_AGAIN]


OVERLOAD_KINDS = frozenset({"rate_limited", "overloaded", "timeout", "connection"})
"""What says "too much": fewer requests in flight may mend it."""


@dataclass(frozen=True)
class Failure:
    """Why a row has no label: a kind, a sentence, and for rate limits the wait the provider asked for.

    `is_account` tells of a refusal that it is known to be about the account, the key or the model, and not about the text.
    """

    kind: str
    message: str
    retry_after_seconds: float | None = None
    is_account: bool = False

    @property
    def policy(self) -> Policy:
        """What is done about it."""
        return POLICY_OF_KIND[self.kind]


@dataclass(frozen=True)
class Fatal:
    """Why no row can succeed: the run stops at once, with the provider's own words."""

    message: str


_FATAL_STATUS = {
    401: "the key was not accepted",
    402: "payment is required",
    403: "access was denied",
    404: "not found",
}
_FATAL_CODES = {
    "insufficient_quota": "the quota is used up",
    "billing_hard_limit_reached": "the quota is used up",
    "model_not_found": "there is no such model",
    "unsupported_parameter": "a setting of the job is not supported",
    "unsupported_value": "a setting of the job is not supported",
}
"""Codes that tell that every other row would be answered the same, whatever status they come with."""
_FILTER_CODES = {"content_filter", "content_policy_violation", "data_inspection_failed"}
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
_NEVER_SENT = {"ConnectError", "ConnectTimeout", "PoolTimeout"}
_TOO_LARGE = 413
_SERVER_ERROR = 500
_MESSAGE_CHARACTERS = 500


def failure_of(error: BaseException) -> Failure | Fatal:
    """Tell what an exception out of the chain means for its row, or for the run.

    Anything that is not the provider's or the network's doing counts as `bad_response`: it was raised while an
    answer was read.
    """
    origin = _origin_of(error)
    match origin:
        case openai.APITimeoutError():
            return Failure("timeout", "the provider did not answer in time")
        case openai.APIStatusError():
            return _failure_of_status(origin)
        case openai.APIConnectionError():
            return _failure_of_connection(origin.__cause__ or origin)
        case openai.ContentFilterFinishReasonError():
            return Failure("content_filter", _words(origin))
        case UnicodeEncodeError(encoding="ascii"):
            return Fatal("the request can't be sent: the key holds characters that are not ASCII")
        case _:
            return Failure("bad_response", _words(origin))


def _origin_of(error: BaseException) -> BaseException:
    """The openai client's own error, where LangChain has wrapped it in another."""
    while isinstance(error.__cause__, openai.OpenAIError):
        error = error.__cause__
    return error


def _failure_of_connection(cause: BaseException) -> Failure | Fatal:
    """Told by names and words: the client's HTTP library is its own affair, and changes."""
    if type(cause).__name__ == "UnsupportedProtocol":
        return Fatal(f"the request can't be sent: {_words(cause)}")
    if "Illegal header" in str(cause):  # its words would show the key
        return Fatal(
            "the request can't be sent: the key holds a line break or another character that no key has"
        )
    # An answer had begun, and has been paid.
    cut_off = any(words in str(cause) for words in ("complete message body", "incomplete chunked"))
    return Failure("bad_response" if cut_off else "connection", _words(cause))


def _failure_of_status(error: openai.APIStatusError) -> Failure | Fatal:
    body = error.body if isinstance(error.body, dict) else {"message": error.body}
    said = body.get("message") or body.get("detail") or error.message
    return failure_of_status(error.status_code, str(body.get("code")), str(said), error.response.headers)


def failure_of_status(
    status: int, code: str | None, said: str, headers: Mapping[str, str] = MappingProxyType({})
) -> Failure | Fatal:
    """Tell what an HTTP status of 400 or more, with the provider's code and words, means for its row, or for the run."""
    words = printable(said)
    reason = _FATAL_CODES.get(code or "") or _FATAL_STATUS.get(status)
    if reason:
        return Fatal(f"the provider answered {status}, {reason}: {words}")
    if status >= _SERVER_ERROR or status in {408, 409}:
        return Failure("provider_error", f"{status}: {words}", retry_after_seconds(headers))
    told = words.casefold()
    if status == openai.RateLimitError.status_code and _MORE_THAN_A_MINUTE not in told:
        return Failure("rate_limited", words, retry_after_seconds(headers))
    if code in _FILTER_CODES:
        return Failure("content_filter", words)
    if code in _TOO_LONG_CODES or status == _TOO_LARGE or any(mark in told for mark in _TOO_LONG_WORDS):
        return Failure("too_long", words)
    return Failure("bad_request", f"{status}: {words}")


def may_have_been_paid(error: BaseException) -> bool:
    """Whether tokens may have been paid that nobody saw: the request went out, and no refusal came back."""
    origin = _origin_of(error)
    if isinstance(origin, openai.APIStatusError | RunStopped) or isinstance(failure_of(origin), Fatal):
        return False
    return type(origin.__cause__).__name__ not in _NEVER_SENT


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
    return printable(f"{type(error).__name__}: {error}")


def printable(words: str) -> str:
    """A provider's words, not too many, and such that they can be written to a file: gateways cut characters in two."""
    return words[:_MESSAGE_CHARACTERS].encode(errors="replace").decode()
