"""Anthropic's Message Batches as they stand on the wire, read into the batch lane's own."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import anthropic
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage
from pydantic import SecretStr

from labelmill.batch.client import BatchState, BatchStatus
from labelmill.batch.wire import Batch, mapping_in
from labelmill.model.endpoint import NO_KEY

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
}


def state_of(batch: Batch) -> BatchState:
    """Where a batch stands. It has ended or not; how, its rows tell.

    Raises:
        ValueError: with a status that Message Batches don't have.
    """
    counts = {name: int(count) for name, count in mapping_in(batch.get("request_counts")).items()}
    succeeded = counts.get("succeeded", 0)
    left = sum(counts.get(name, 0) for name in ("errored", "canceled", "expired"))
    return BatchState(
        _status_of(batch.get("processing_status"), counts), sum(counts.values()), succeeded, left
    )


def _status_of(said: Any, counts: Mapping[str, int]) -> BatchStatus:
    match said:
        case "in_progress":
            return BatchStatus.IN_PROGRESS
        case "canceling":
            return BatchStatus.CANCELLING
        case "ended" if counts.get("canceled"):
            return BatchStatus.CANCELLED
        case "ended" if counts.get("expired"):
            return BatchStatus.EXPIRED
        case "ended":
            return BatchStatus.COMPLETED
        case _:
            raise ValueError(f"{said!r} is no status of a batch")


def made_at(batch: Batch) -> datetime:
    """When a batch was made.

    Raises:
        ValueError: it does not say.
    """
    return datetime.fromisoformat(str(batch.get("created_at"))).astimezone(UTC)


def as_openai(result: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the results in the form of OpenAI's output, but for the body of an answer."""
    said = mapping_in(result.get("result"))
    kind = str(said.get("type"))
    line: dict[str, Any] = {"custom_id": result.get("custom_id")}
    if kind in _NOT_EXECUTED:
        return line | {"error": {"code": _NOT_EXECUTED[kind], "message": f"the request has {kind}"}}
    if kind == "succeeded":
        return line | {"response": {"status_code": 200, "body": said.get("message")}}
    error = mapping_in(mapping_in(said.get("error")).get("error") or said.get("error"))
    status = _STATUS_OF_ERROR.get(str(error.get("type")), 500)
    return line | {"response": {"status_code": status, "body": {"error": dict(error)}}}


class MessageReader(ChatAnthropic):
    """Makes of a message's body what LangChain's model for Anthropic makes of it, in OpenAI's words. It sends nothing."""

    @classmethod
    def of(cls, model_name: str) -> "MessageReader":
        """The reader of a model's messages."""
        return cls(model=model_name, api_key=SecretStr(NO_KEY), base_url="http://127.0.0.1")

    def message_of(self, body: Mapping[str, Any]) -> AIMessage:
        """The message.

        Raises:
            Exception: of any kind, where the body is no message.
        """
        result = self._format_output(anthropic.types.Message.construct(**body))
        message = result.generations[0].message
        if not isinstance(message, AIMessage):
            raise TypeError(f"the answer is a message of the role {message.type!r}")
        reason = body.get("stop_reason")
        message.response_metadata = {
            **(result.llm_output or {}),
            **message.response_metadata,
            "finish_reason": _FINISH_REASONS.get(str(reason), reason),
        }
        if reason == "refusal":
            message.additional_kwargs["refusal"] = message.text or "the model stopped with a refusal"
        return message
