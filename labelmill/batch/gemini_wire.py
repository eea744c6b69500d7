"""Gemini's batches as they stand on the wire, read into the batch lane's own.

Sources: <https://ai.google.dev/api/batch-api>, <https://ai.google.dev/api/generate-content#FinishReason>.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from labelmill.batch.client import BatchError, BatchState, BatchStatus
from labelmill.batch.wire import (
    Batch,
    HideKey,
    count_in,
    json_of,
    list_in,
    mapping_in,
    moment_in,
    name_in,
    words_in,
)
from labelmill.money.usage import service_tier_of, tokens_told_in_total, usage_of
from labelmill.question.answers import Answer
from labelmill.question.failures import Failure

_STATUSES = {
    "UNSPECIFIED": BatchStatus.VALIDATING,
    "PENDING": BatchStatus.VALIDATING,
    "RUNNING": BatchStatus.IN_PROGRESS,
    "SUCCEEDED": BatchStatus.COMPLETED,
    "FAILED": BatchStatus.FAILED,
    "CANCELLED": BatchStatus.CANCELLED,
    "EXPIRED": BatchStatus.EXPIRED,
}
_STATE_PREFIX = "BATCH_STATE_"
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


def state_of(batch: Batch, hide_key: HideKey) -> BatchState:
    """Where a batch stands.

    Raises:
        ValueError: with a state that Gemini's batches don't have.
    """
    facts = facts_of(batch)
    said = facts.get("state")
    status = _STATUSES.get(said.removeprefix(_STATE_PREFIX)) if isinstance(said, str) else None
    if status is None:
        raise ValueError(f"{said!r} is no state of a batch")
    counts = mapping_in(facts.get("batchStats"))
    total, completed, failed = (
        count_in(counts.get(f"{name}Count")) for name in ("request", "successfulRequest", "failedRequest")
    )
    error = mapping_in(batch.get("error"))
    words = words_in(error.get("message"), hide_key)
    errors = (BatchError(name_in(error.get("status")), words),) if error else ()
    return BatchState(status, total, completed, failed, errors)


def made_at(batch: Batch) -> datetime | None:
    """When a batch was made; None where it does not say."""
    return moment_in(facts_of(batch).get("createTime"))


def as_openai(result: Mapping[str, Any]) -> dict[str, Any]:
    """An inlined response in the form of OpenAI's output, but for the body of an answer."""
    line: dict[str, Any] = {"custom_id": mapping_in(result.get("metadata")).get("key")}
    error = mapping_in(result.get("error"))
    if not error:
        return line | {"response": {"status_code": 200, "body": result.get("response")}}
    code = count_in(error.get("code"))
    if code == _NOT_EXECUTED:
        return line | {"error": {"code": "batch_cancelled", "message": error.get("message")}}
    status = code if code >= _HTTP else _STATUS_OF_CODE.get(code, 500)
    told = {"code": error.get("status"), "message": error.get("message")}
    return line | {"response": {"status_code": status, "body": {"error": told}}}


def answer_of_response(body: object) -> Answer:
    """Take from a response, whatever it holds, what Labelmill keeps of an answer. It never raises."""
    response = mapping_in(body)
    candidates = list_in(response.get("candidates"))
    candidate = mapping_in(candidates[0]) if candidates else {}
    is_blocked = not candidates and bool(mapping_in(response.get("promptFeedback")).get("blockReason"))
    parts = [mapping_in(part) for part in list_in(mapping_in(candidate.get("content")).get("parts"))]
    said = [(part.get("text"), bool(part.get("thought"))) for part in parts]
    calls = [mapping_in(part.get("functionCall")) for part in parts if "functionCall" in part]
    model = response.get("modelVersion")
    return Answer(
        content="".join(text for text, is_thought in said if isinstance(text, str) and not is_thought),
        refusal=None,
        finish_reason=_FILTER if is_blocked else _finish_reason_of(candidate.get("finishReason")),
        model=model if isinstance(model, str) else None,
        confidence=None,
        usage=usage_of(body),
        service_tier=service_tier_of(body),
        total_tokens=tokens_told_in_total(body),
        reasoning="".join(text for text, is_thought in said if isinstance(text, str) and is_thought),
        arguments=tuple(json_of(call.get("args")) for call in calls),
        error=None if candidate or is_blocked else _unreadable(response),
    )


def _finish_reason_of(said: Any) -> str | None:
    if not isinstance(said, str):
        return None
    return _FILTER if said in _FILTERED else _FINISH_REASONS.get(said, said.casefold())


def _unreadable(response: Mapping[str, Any]) -> Failure:
    words = mapping_in(response.get("error")).get("message")
    return Failure("bad_response", words if isinstance(words, str) else "the answer has no candidates")
