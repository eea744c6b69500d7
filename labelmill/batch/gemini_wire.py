"""Gemini's batches as they stand on the wire, read into the batch lane's own."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.messages.ai import InputTokenDetails, UsageMetadata

from labelmill.batch.client import BatchError, BatchState, BatchStatus
from labelmill.batch.wire import Batch, mapping_in
from labelmill.model.failures import printable

_STATUSES = {
    "BATCH_STATE_UNSPECIFIED": BatchStatus.VALIDATING,
    "BATCH_STATE_PENDING": BatchStatus.VALIDATING,
    "BATCH_STATE_RUNNING": BatchStatus.IN_PROGRESS,
    "BATCH_STATE_SUCCEEDED": BatchStatus.COMPLETED,
    "BATCH_STATE_FAILED": BatchStatus.FAILED,
    "BATCH_STATE_CANCELLED": BatchStatus.CANCELLED,
    "BATCH_STATE_EXPIRED": BatchStatus.EXPIRED,
}
_FINISH_REASONS = {"STOP": "stop", "MAX_TOKENS": "length"}
_FILTERED = frozenset({"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE"})
_FILTER = "content_filter"
_NOT_EXECUTED = 1
"""gRPC's code for a call that was cancelled."""
_STATUS_OF_CODE = {3: 400, 4: 504, 5: 404, 7: 403, 8: 429, 9: 400, 11: 400, 12: 400, 14: 503, 16: 401}
"""HTTP's words for gRPC's codes, which a row's error carries. Any other is the server's error."""
_HTTP = 100


def facts_of(batch: Batch) -> Mapping[str, Any]:
    """What an operation tells of its batch."""
    return mapping_in(batch.get("metadata"))


def state_of(batch: Batch) -> BatchState:
    """Where a batch stands.

    Raises:
        ValueError: with a state that Gemini's batches don't have.
    """
    facts = facts_of(batch)
    said = facts.get("state")
    if said not in _STATUSES:
        raise ValueError(f"{said!r} is no state of a batch")
    counts = mapping_in(facts.get("batchStats"))
    total, completed, failed = (
        int(counts.get(f"{name}Count") or 0) for name in ("request", "successfulRequest", "failedRequest")
    )
    error = mapping_in(batch.get("error"))
    errors = [BatchError(error.get("status"), printable(str(error.get("message") or "")))] if error else []
    return BatchState(_STATUSES[said], total, completed, failed, tuple(errors))


def made_at(batch: Batch) -> datetime:
    """When a batch was made.

    Raises:
        ValueError: it does not say.
    """
    return datetime.fromisoformat(str(facts_of(batch).get("createTime"))).astimezone(UTC)


def as_openai(result: Mapping[str, Any]) -> dict[str, Any]:
    """An inlined response in the form of OpenAI's output, but for the body of an answer."""
    line: dict[str, Any] = {"custom_id": mapping_in(result.get("metadata")).get("key")}
    error = mapping_in(result.get("error"))
    if not error:
        return line | {"response": {"status_code": 200, "body": result.get("response")}}
    code = error.get("code")
    if code == _NOT_EXECUTED:
        return line | {"error": {"code": "batch_cancelled", "message": error.get("message")}}
    is_http = isinstance(code, int) and code >= _HTTP
    status = code if is_http else _STATUS_OF_CODE.get(code, 500) if isinstance(code, int) else 500
    told = {"code": error.get("status"), "message": error.get("message")}
    return line | {"response": {"status_code": status, "body": {"error": told}}}


def message_of(body: Mapping[str, Any]) -> AIMessage:
    """A response as a message, in OpenAI's words. langasync leaves out why it ended, and the tokens of thoughts.

    Raises:
        ValueError: it is no response.
    """
    candidates, feedback = body.get("candidates"), mapping_in(body.get("promptFeedback"))
    if not candidates and not feedback.get("blockReason"):
        raise ValueError("the answer has no candidates")
    candidate = mapping_in(candidates[0]) if isinstance(candidates, list) and candidates else {}
    parts = mapping_in(candidate.get("content")).get("parts") or []
    said = [str(part["text"]) for part in parts if "text" in part and not part.get("thought")]
    reason = str(candidate.get("finishReason"))
    is_filtered = not candidate or reason in _FILTERED
    return AIMessage(
        content="".join(said),
        usage_metadata=_usage_of(mapping_in(body.get("usageMetadata"))),
        response_metadata={
            "finish_reason": _FILTER if is_filtered else _FINISH_REASONS.get(reason, reason.casefold()),
            "model_name": body.get("modelVersion"),
        },
    )


def _usage_of(counts: Mapping[str, Any]) -> UsageMetadata | None:
    """Thoughts are paid as output; what was cached stands in the input."""
    if not counts:
        return None
    names = ("promptTokenCount", "toolUsePromptTokenCount", "candidatesTokenCount", "thoughtsTokenCount")
    prompt, tools, answer, thoughts = (int(counts.get(name) or 0) for name in names)
    return UsageMetadata(
        input_tokens=prompt + tools,
        output_tokens=answer + thoughts,
        total_tokens=prompt + tools + answer + thoughts,
        input_token_details=InputTokenDetails(cache_read=int(counts.get("cachedContentTokenCount") or 0)),
    )
