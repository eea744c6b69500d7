"""The worst case of a request: what it may come to before anyone has seen its usage."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage

from labelmill.job.model import LabelJob
from labelmill.money.usage import Usage

_TOKENS_PER_MESSAGE = 8
"""More than any chat format known to wrap a message in (OpenAI's counting recipe says 3, and 3 for the reply)."""
_JSON_BYTES = len('{"label": ""}') + 8
_MAX_BYTES_PER_ESCAPED_CHARACTER = 12


def worst_case_of(
    messages: Sequence[BaseMessage], max_tokens: int, response_format: Mapping[str, Any] | None = None
) -> Usage:
    """The most tokens a request can come to.

    A byte-level tokenizer never makes more tokens than there are bytes, so this needs no tokenizer at hand. A schema
    is counted with the messages, since providers put it into the prompt.
    """
    text_bytes = sum(len(message.text.encode(errors="surrogatepass")) for message in messages)
    schema_bytes = len(json.dumps(response_format)) if response_format else 0
    return Usage(text_bytes + schema_bytes + _TOKENS_PER_MESSAGE * (len(messages) + 1), 0, max_tokens)


def max_tokens_of(job: LabelJob) -> int:
    """The longest answer asked for, in tokens: the job's own, or room for its longest label however it is cut."""
    if job.model.max_tokens != "auto":
        return job.model.max_tokens
    longest = max(len(name.encode()) for name in job.labels)
    if job.model.output == "text":
        return longest + 2
    escaped = max(
        len(name) * _MAX_BYTES_PER_ESCAPED_CHARACTER if not name.isascii() else len(name)
        for name in job.labels
    )
    return max(longest, escaped) + _JSON_BYTES


def response_format_of(labels: Mapping[str, str]) -> dict[str, Any]:
    """The JSON schema of an answer, as the provider's `response_format`."""
    return {
        "type": "json_schema",
        "json_schema": {
            "name": "label",
            "strict": True,
            "schema": {
                "type": "object",
                "properties": {"label": {"type": "string", "enum": list(labels)}},
                "required": ["label"],
                "additionalProperties": False,
            },
        },
    }
