"""Anthropic's Message Batches as they stand on the wire, read into the batch lane's own.

Sources: <https://platform.claude.com/docs/en/api/creating-message-batches>, <https://platform.claude.com/docs/en/api/errors>,
<https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons>.
"""

from collections.abc import Mapping
from typing import Any

from labelmill.batch.client import BatchState, BatchStatus
from labelmill.batch.wire import Batch, count_in, json_of, list_in, mapping_in
from labelmill.money.usage import service_tier_of, tokens_told_in_total, usage_of
from labelmill.question.answers import Answer
from labelmill.question.failures import Failure

_STATUS_OF_ERROR = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_NOT_EXECUTED = {"expired": "batch_expired", "canceled": "batch_cancelled"}
_FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
}
_COUNTS = ("processing", "succeeded", "errored", "canceled", "expired")


def state_of(batch: Batch) -> BatchState:
    """Where a batch stands. It has ended or not; how, its rows tell.

    Raises:
        ValueError: with a status that Message Batches don't have.
    """
    told = mapping_in(batch.get("request_counts"))
    counts = {name: count_in(told.get(name)) for name in _COUNTS}
    left = sum(counts[name] for name in ("errored", "canceled", "expired"))
    status = _status_of(batch.get("processing_status"), counts)
    return BatchState(status, sum(counts.values()), counts["succeeded"], left)


def _status_of(said: Any, counts: Mapping[str, int]) -> BatchStatus:
    match said:
        case "in_progress":
            return BatchStatus.IN_PROGRESS
        case "canceling":
            return BatchStatus.CANCELLING
        case "ended" if counts["canceled"]:
            return BatchStatus.CANCELLED
        case "ended" if counts["expired"]:
            return BatchStatus.EXPIRED
        case "ended":
            return BatchStatus.COMPLETED
        case _:
            raise ValueError(f"{said!r} is no status of a batch")


def as_openai(result: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the results in the form of OpenAI's output, but for the body of an answer."""
    said = mapping_in(result.get("result"))
    kind = said.get("type")
    line: dict[str, Any] = {"custom_id": result.get("custom_id")}
    if isinstance(kind, str) and kind in _NOT_EXECUTED:
        return line | {"error": {"code": _NOT_EXECUTED[kind], "message": f"the request has {kind}"}}
    if kind == "errored" or (kind != "succeeded" and "error" in said):
        error = mapping_in(mapping_in(said.get("error")).get("error") or said.get("error"))
        status = _STATUS_OF_ERROR.get(str(error.get("type")), 500)
        return line | {"response": {"status_code": status, "body": {"error": dict(error)}}}
    # Of any other kind too: it may have been paid, and what it holds is read.
    return line | {"response": {"status_code": 200, "body": said.get("message")}}


def answer_of_message(body: object) -> Answer:
    """Take from a message, whatever it holds, what Labelmill keeps of an answer. It never raises."""
    message = mapping_in(body)
    blocks = [mapping_in(block) for block in list_in(message.get("content"))]
    reason = _text(message.get("stop_reason"))
    content = "".join(_text(block.get("text")) or "" for block in blocks if block.get("type") == "text")
    error = mapping_in(message.get("error"))
    refused = (content or "the model stopped with a refusal") if reason == "refusal" else None
    return Answer(
        content=content,
        refusal=refused,
        finish_reason=None if reason is None else _FINISH_REASONS.get(reason, reason),
        model=_text(message.get("model")),
        confidence=None,
        usage=usage_of(body),
        service_tier=service_tier_of(body),
        total_tokens=tokens_told_in_total(body),
        reasoning="".join(
            _text(block.get("thinking")) or "" for block in blocks if block.get("type") == "thinking"
        ),
        arguments=tuple(json_of(block.get("input")) for block in blocks if block.get("type") == "tool_use"),
        error=None
        if isinstance(message.get("content"), list)
        else Failure("bad_response", _text(error.get("message")) or "the answer is no message"),
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
