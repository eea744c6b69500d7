"""The faults that are errors, as OpenAI words them."""

from practice.errors import RequestRefusedError, rate_limited
from practice.limits import retry_after
from practice.settings import FaultKind, PracticeSettings


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
