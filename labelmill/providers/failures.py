"""What went wrong with a request, told from a response's status and body or from the client's error, as the failure of a row."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType

import openai

from labelmill.providers.network import connection_words, was_sent
from labelmill.providers.wordings import Meaning, error_in, meaning_of
from labelmill.question.failures import Failure, storable

_AFTER_THE_WORK_STATUSES = {408, 499, 502, 504, 520, 521, 522, 523, 524, 598}
"""What a gateway answers that waited for the work in vain: it may have been done, and charged.

Sources: RFC 9110 section 15.6 (502, 504); nginx (499); Cloudflare's 5xx errors (520 to 524).
"""
NOBODY_BEHIND_STATUSES = {502, 520, 521, 522, 523}
"""What a gateway answers while the server behind it is away, as it is during a restart."""
_AGAIN_STATUSES = {408, 409, 425, 499}
_SERVER_ERROR = 500


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
