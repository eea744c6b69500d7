"""Anthropic's Message Batches and the rows of practice's own batches: each read as the other."""

from collections.abc import Mapping
from typing import Any

from practice.errors import RequestRefusedError, malformed

MESSAGES = "/v1/messages"
"""The endpoint of these batches, which tells them from OpenAI's."""

_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens"}
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
_NOT_RUN = {"batch_expired": "expired", "batch_cancelled": "canceled"}


def error_of(status: int, message: str) -> dict[str, Any]:
    """An error as Anthropic writes it."""
    kind = _ERROR_TYPES.get(status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": None}


def row_of(asked: Any, place: str) -> dict[str, Any]:
    """A request of Message Batches as a row of a batch.

    Raises:
        RequestRefusedError: it is none.
    """
    params = asked.get("params") if isinstance(asked, Mapping) else None
    if not isinstance(asked, Mapping) or not isinstance(params, Mapping):
        raise malformed(f"{place}: a request needs a 'custom_id' and 'params'.")
    for name, kind in (("model", str), ("max_tokens", int), ("messages", list)):
        if not isinstance(params.get(name), kind):
            raise malformed(f"{place}.params.{name}: Field required")
    if (
        not isinstance(temperature := params.get("temperature", 1.0), int | float)
        or not 0 <= temperature <= 1
    ):
        raise malformed(f"{place}.params.temperature: Input should be from 0 to 1")
    system = [{"role": "system", "content": params["system"]}] if params.get("system") else []
    body = {
        "model": params["model"],
        "messages": [*system, *params["messages"]],
        "max_tokens": params["max_tokens"],
    }
    return {"custom_id": asked.get("custom_id"), "method": "POST", "url": MESSAGES, "body": body}


def result_of(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line of a batch's output or errors as a result of Message Batches."""
    error, response = line.get("error"), line.get("response")
    if isinstance(error, Mapping) and error["code"] in _NOT_RUN:
        result: dict[str, Any] = {"type": _NOT_RUN[error["code"]]}
    elif not isinstance(response, Mapping):
        result = {"type": "errored", "error": error_of(500, str(error))}
    elif response["status_code"] == 200:  # noqa: PLR2004  (an HTTP status)
        result = {"type": "succeeded", "message": _message_of(response["body"])}
    else:
        said = response["body"]["error"]["message"]
        result = {"type": "errored", "error": error_of(response["status_code"], said)}
    return {"custom_id": line["custom_id"], "result": result}


def _message_of(completion: Mapping[str, Any]) -> dict[str, Any]:
    choice, usage = completion["choices"][0], completion["usage"]
    said, cached = choice["message"], usage["prompt_tokens_details"]["cached_tokens"]
    text = said["refusal"] or said["content"]
    return {
        "id": completion["id"].replace("chatcmpl", "msg"),
        "type": "message",
        "role": "assistant",
        "model": completion["model"],
        "content": [{"type": "text", "text": text}] if text else [],
        "stop_reason": "refusal" if said["refusal"] else _STOP_REASONS[choice["finish_reason"]],
        "stop_sequence": None,
        # Anthropic counts cached tokens beside the input, not in it.
        "usage": {
            "input_tokens": usage["prompt_tokens"] - cached,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": cached,
            "output_tokens": usage["completion_tokens"],
        },
    }


def refused(refusal: RequestRefusedError) -> dict[str, Any]:
    """A refusal's body as Anthropic writes it."""
    return error_of(refusal.status, refusal.message)
