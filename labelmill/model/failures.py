"""Every way a row can fail: its kind, and what is done about it.

Three policies:
- `RETRY`: the provider failed. Nothing or nothing visible was paid; asked again with backoff, and again next run.
- `ASK_AGAIN`: the answer failed. It was paid; asked again at most `max_answers - 1` times with what was wrong said.
- `GIVE_UP`: asking again would fail again. Remembered in the ledger and not paid for a second time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import openai

from labelmill.errors import RunStopped


class Policy(Enum):
    """What is done about a failure."""

    RETRY = "retry"
    ASK_AGAIN = "ask_again"
    GIVE_UP = "give_up"


POLICY_OF_KIND: Mapping[str, Policy] = {
    "rate_limited": Policy.RETRY,
    "timeout": Policy.RETRY,
    "connection": Policy.RETRY,
    "provider_error": Policy.RETRY,
    "bad_response": Policy.RETRY,
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


@dataclass(frozen=True)
class Failure:
    """Why a row has no label: a kind, a sentence, and for rate limits the wait the provider asked for."""

    kind: str
    message: str
    retry_after_seconds: float | None = None

    @property
    def policy(self) -> Policy:
        """What is done about it."""
        return POLICY_OF_KIND[self.kind]


@dataclass(frozen=True)
class Fatal:
    """Why no row can succeed: the run stops at once, with the provider's own words."""

    message: str


_FATAL_STATUS = {401: "the key was not accepted", 403: "access was denied", 404: "not found"}
_QUOTA_CODES = {"insufficient_quota", "billing_hard_limit_reached"}
_TOO_LARGE = 413
_SERVER_ERROR = 500
_MESSAGE_CHARACTERS = 500


def failure_of(error: BaseException) -> Failure | Fatal:
    """Tell what an exception out of the chain means for its row, or for the run.

    Anything that is not the provider's or the network's doing counts as `bad_response`: it was raised while an
    answer was read.
    """
    match error:
        case openai.APITimeoutError():
            return Failure("timeout", "the provider did not answer in time")
        case openai.APIStatusError():
            return _failure_of_status(error)
        case openai.APIConnectionError():
            return Failure("connection", _words(error.__cause__ or error))
        case openai.ContentFilterFinishReasonError():
            return Failure("content_filter", _words(error))
        case _:
            return Failure("bad_response", _words(error))


def _failure_of_status(error: openai.APIStatusError) -> Failure | Fatal:
    body = error.body if isinstance(error.body, dict) else {}
    code, words = body.get("code"), str(body.get("message") or error.message)[:_MESSAGE_CHARACTERS]
    status = error.status_code
    if code in _QUOTA_CODES or status in _FATAL_STATUS:
        reason = "the quota is used up" if code in _QUOTA_CODES else _FATAL_STATUS[status]
        return Fatal(f"the provider answered {status}, {reason}: {words}")
    if status == openai.RateLimitError.status_code:
        return Failure("rate_limited", words, retry_after_seconds(error.response.headers))
    if status >= _SERVER_ERROR or status in {408, 409}:
        return Failure("provider_error", f"{status}: {words}", retry_after_seconds(error.response.headers))
    if code == "content_filter":
        return Failure("content_filter", words)
    if code == "context_length_exceeded" or status == _TOO_LARGE or "too long" in words:
        return Failure("too_long", words)
    return Failure("bad_request", f"{status}: {words}")


def may_have_been_paid(error: BaseException) -> bool:
    """Whether tokens may have been paid that nobody saw: the request went out, and no refusal came back."""
    if isinstance(error, openai.APIStatusError | RunStopped):
        return False
    return not (isinstance(error, openai.APIConnectionError) and _is_refused(error))


def _is_refused(error: BaseException) -> bool:
    seen: BaseException | None = error
    while seen is not None:
        if type(seen).__name__ in {"ConnectError", "ConnectTimeout", "PoolTimeout"}:
            return True
        seen = seen.__cause__
    return False


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """The wait a provider asks for, in seconds, from `retry-after-ms` or `Retry-After` (seconds); None without one."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) * unit)
        except (KeyError, ValueError):
            continue
    return None


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:_MESSAGE_CHARACTERS]
