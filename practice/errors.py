"""How the practice provider says no: OpenAI's error body, with a status and headers."""

import math
from dataclasses import dataclass, field
from typing import Any

from practice.settings import FaultKind, PracticeSettings


@dataclass(eq=False)
class RequestRefusedError(Exception):
    """A request that gets an error instead of an answer."""

    status: int
    message: str
    code: str | None = None
    type: str = "invalid_request_error"
    param: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, Any]:
        """The error as OpenAI writes it."""
        said = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": said}


def malformed(message: str, param: str | None = None) -> RequestRefusedError:
    """400: the request cannot be read."""
    return RequestRefusedError(400, message, param=param)


def wrong_key() -> RequestRefusedError:
    """401: the API key is not the required one."""
    return RequestRefusedError(401, "Incorrect API key provided to the practice provider.", "invalid_api_key")


def unknown_model(model: str) -> RequestRefusedError:
    """404: the practice provider was told not to know this model."""
    message = f"The model `{model}` does not exist or you do not have access to it."
    return RequestRefusedError(404, message, "model_not_found", param="model")


def rate_limited(message: str, headers: dict[str, str]) -> RequestRefusedError:
    """429: come back later."""
    return RequestRefusedError(429, message, "rate_limit_exceeded", "requests", headers=headers)


def quota_exhausted() -> RequestRefusedError:
    """429 that no waiting heals."""
    message = "You exceeded your current quota, please check your plan and billing details."
    return RequestRefusedError(429, message, "insufficient_quota", "insufficient_quota")


def retry_after(seconds: float) -> dict[str, str]:
    """Both headers that ask to wait: whole seconds as HTTP wants them, and milliseconds."""
    return {"retry-after": str(math.ceil(seconds)), "retry-after-ms": str(math.ceil(seconds * 1000))}


def error_of(  # noqa: PLR0911 - one for each fault
    fault: FaultKind, settings: PracticeSettings, input_tokens: int
) -> RequestRefusedError | None:
    """The error a fault is, or None for a fault of another kind."""
    match fault:
        case FaultKind.RATE_LIMITED:
            wait = settings.retry_after_seconds
            message = f"Rate limit reached (a practice fault). Please try again in {wait:g}s."
            return rate_limited(message, retry_after(wait))
        case FaultKind.RATE_LIMITED_BARE:
            return rate_limited("Rate limit reached (a practice fault).", {})
        case FaultKind.SERVER_ERROR:
            message = "The server had an error while processing your request (a practice fault)."
            return RequestRefusedError(500, message, "server_error", "server_error")
        case FaultKind.UNAVAILABLE:
            message = "The engine is currently overloaded, please try again later (a practice fault)."
            return RequestRefusedError(503, message, "overloaded", "server_error")
        case FaultKind.CONTENT_FILTER:
            message = "The prompt was filtered by the content management policy (a practice fault)."
            return RequestRefusedError(400, message, "content_filter", param="prompt")
        case FaultKind.TOO_LONG:
            message = (
                f"This model's maximum context length is {input_tokens - 1} tokens, and your messages have "
                f"{input_tokens} (a practice fault)."
            )
            return RequestRefusedError(400, message, "context_length_exceeded", param="messages")
        case _:
            return None
