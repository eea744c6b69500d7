"""Live requests in Anthropic's and in Gemini's words: how each is read, answered and refused."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from practice.batches import anthropic, gemini
from practice.batches.dialect import list_in, mapping_in, object_in
from practice.completion import Asked, Wire
from practice.connection import json_response
from practice.errors import RequestRefusedError, malformed
from practice.question import read_question

GEMINI_MODELS = "/v1beta/models"

_ANTHROPIC_REFUSALS: Mapping[str | None, tuple[int, str]] = {
    "content_filter": (400, "Output blocked by content filtering policy (a practice fault)."),
    "context_length_exceeded": (400, "prompt is too long: {words}"),
    "insufficient_quota": (400, "Your credit balance is too low to access the Anthropic API."),
    "invalid_api_key": (401, "invalid x-api-key"),
    "overloaded": (529, "Overloaded (a practice fault)."),
}
"""By OpenAI's code: the status, and the words. https://platform.claude.com/docs/en/api/errors"""
_GEMINI_REFUSALS: Mapping[str | None, tuple[int, str]] = {
    "content_filter": (400, "The prompt was blocked, blockReason: PROHIBITED_CONTENT (a practice fault)."),
    "context_length_exceeded": (400, "The input token count exceeds the maximum: {words}"),
    "insufficient_quota": (429, "Your prepayment credits are depleted."),
    "invalid_api_key": (400, "API key not valid. Please pass a valid API key."),
    "model_not_found": (404, "models/{words} is not found for API version v1beta"),
    "overloaded": (503, "The model is overloaded. Please try again later."),
}
"""The same of Gemini. https://ai.google.dev/gemini-api/docs/troubleshooting"""
_GEMINI_STATUSES = {
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
}


def _in_words_of(
    refusals: Mapping[str | None, tuple[int, str]], refusal: RequestRefusedError
) -> tuple[int, str]:
    status, words = refusals.get(refusal.code, (refusal.status, "{words}"))
    return status, words.replace("{words}", refusal.message)


# ---- Anthropic: https://platform.claude.com/docs/en/api/messages


def _read_message(_: Request, raw: bytes) -> Asked:
    params = object_in(raw)
    if params.get("stream"):
        raise malformed("stream: practice does not stream messages")
    marked = [
        str(block.get("text"))
        for block in map(mapping_in, list_in(params.get("system")))
        if mapping_in(block.get("cache_control")).get("type") == "ephemeral"
    ]
    return Asked(read_question(anthropic.chat_of(params)), "\n".join(marked) if marked else None)


def _refuse_message(refusal: RequestRefusedError) -> Response:
    status, words = _in_words_of(_ANTHROPIC_REFUSALS, refusal)
    return json_response(anthropic.error_of(status, words), status, _anthropic_headers(refusal.headers))


def _anthropic_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The limits under Anthropic's names; the wait in whole seconds."""
    told = {}
    for name, value in headers.items():
        if name.startswith("x-ratelimit-"):
            what, unit = name.removeprefix("x-ratelimit-").split("-")
            told[f"anthropic-ratelimit-{unit}-{what}"] = value
        else:
            told[name] = value
    return told


MESSAGES_WIRE = Wire(
    read=_read_message,
    write=anthropic.message_of,
    refuse=_refuse_message,
    headers=_anthropic_headers,
    has_marks=True,
    words_only=True,
)

# ---- Gemini: https://ai.google.dev/api/generate-content


def _read_content(request: Request, raw: bytes) -> Asked:
    return Asked(read_question(gemini.chat_of(object_in(raw), request.path_params["model"])))


def _refuse_content(refusal: RequestRefusedError) -> Response:
    status, words = _in_words_of(_GEMINI_REFUSALS, refusal)
    error: dict[str, Any] = {
        "code": status,
        "message": words,
        "status": _GEMINI_STATUSES.get(status, "INTERNAL"),
    }
    if "retry-after-ms" in refusal.headers:  # it has no header for that
        wait = int(refusal.headers["retry-after-ms"]) / 1000
        kind = "type.googleapis.com/google.rpc.RetryInfo"
        error["details"] = [{"@type": kind, "retryDelay": f"{wait:g}s"}]
    return json_response({"error": error}, status)


CONTENT_WIRE = Wire(
    read=_read_content,
    write=gemini.content_of,
    refuse=_refuse_content,
    headers=lambda _: {},
    words_only=True,
)
