"""Gemini's batches and the rows of practice's own batches: each read as the other."""

from collections.abc import Mapping
from typing import Any

from practice.errors import RequestRefusedError, malformed

ENDPOINT = "/v1beta/batches"
"""What tells these batches from those of other dialects."""

_FINISH_REASONS = {"stop": "STOP", "length": "MAX_TOKENS"}
_CODES = {400: (3, "INVALID_ARGUMENT"), 404: (5, "NOT_FOUND"), 429: (8, "RESOURCE_EXHAUSTED")}
_INTERNAL = (13, "INTERNAL")
_ROLES = {"user": "user", "model": "assistant"}


def refused(refusal: RequestRefusedError) -> dict[str, Any]:
    """A refusal's body as Google writes it."""
    _, status = _CODES.get(refusal.status, _INTERNAL)
    return {"error": {"code": refusal.status, "message": refusal.message, "status": status}}


def row_of(asked: Any, model: str, place: int) -> dict[str, Any]:
    """An inlined request as a row of a batch.

    Raises:
        RequestRefusedError: it is none.
    """
    request = asked.get("request") if isinstance(asked, Mapping) else None
    contents = request.get("contents") if isinstance(request, Mapping) else None
    if not isinstance(asked, Mapping) or not isinstance(request, Mapping) or not isinstance(contents, list):
        raise malformed(f"requests[{place}]: contents is not specified")
    metadata = asked.get("metadata")
    key = str(metadata["key"]) if isinstance(metadata, Mapping) and "key" in metadata else str(place)
    system = request.get("system_instruction")
    messages = [{"role": "system", "content": _text_of(system)}] if isinstance(system, Mapping) else []
    messages += [
        {"role": _ROLES.get(str(content.get("role")), "user"), "content": _text_of(content)}
        for content in contents
        if isinstance(content, Mapping)
    ]
    settings = request.get("generation_config")
    most = settings.get("max_output_tokens") if isinstance(settings, Mapping) else None
    body = {"model": model, "messages": messages, "max_tokens": most}
    return {"custom_id": key, "method": "POST", "url": ENDPOINT, "body": body}


def response_of(line: Mapping[str, Any]) -> dict[str, Any] | None:
    """A line of a batch's output or errors as an inlined response; None for a row that was not executed."""
    response = line.get("response")
    if not isinstance(response, Mapping):
        return None
    metadata = {"metadata": {"key": line["custom_id"]}}
    if response["status_code"] == 200:  # noqa: PLR2004  (an HTTP status)
        return metadata | {"response": _answer_of(response["body"])}
    code, status = _CODES.get(response["status_code"], _INTERNAL)
    message = response["body"]["error"]["message"]
    return metadata | {"error": {"code": code, "message": message, "status": status}}


def _answer_of(completion: Mapping[str, Any]) -> dict[str, Any]:
    choice, usage = completion["choices"][0], completion["usage"]
    said = choice["message"]
    if said["refusal"]:
        candidate: dict[str, Any] = {"finishReason": "SAFETY", "index": 0}
    else:
        content = (
            {"parts": [{"text": said["content"]}], "role": "model"} if said["content"] else {"role": "model"}
        )
        reason = _FINISH_REASONS[choice["finish_reason"]]
        candidate = {"content": content, "finishReason": reason, "index": 0}
    return {
        "candidates": [candidate],
        "usageMetadata": {
            "promptTokenCount": usage["prompt_tokens"],
            "cachedContentTokenCount": usage["prompt_tokens_details"]["cached_tokens"],
            "candidatesTokenCount": usage["completion_tokens"],
            "totalTokenCount": usage["total_tokens"],
        },
        "modelVersion": completion["model"],
        "responseId": completion["id"],
    }


def _text_of(content: Mapping[str, Any]) -> str:
    parts = content.get("parts")
    texts = (
        (part.get("text") for part in parts if isinstance(part, Mapping)) if isinstance(parts, list) else ()
    )
    return "\n".join(text for text in texts if isinstance(text, str))
