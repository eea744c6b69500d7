"""The form of an answer: what is asked for, and how what comes back is read."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from labelmill.job.model import LabelJob

_JSON_BYTES = len('{"label": ""}') + 8


@dataclass(frozen=True)
class AnswerForm:
    """How an answer is asked for and read: as text, as a schema's JSON, or as either of them."""

    reading: Literal["text", "schema", "either"]
    max_tokens: int
    response_format: dict[str, Any] | None


def form_of(job: LabelJob) -> AnswerForm:
    """The form a job asks for.

    Either form is read whichever was asked for: a label is a label, and an endpoint may ignore a schema, or have made JSON a habit.
    """
    asked = job.model.max_tokens
    if job.model.output == "text":
        return AnswerForm("either", max_tokens_of_text(job.labels) if asked == "auto" else asked, None)
    max_tokens = max_tokens_of_json(job.labels) if asked == "auto" else asked
    return AnswerForm("either", max_tokens, response_format_of(job.labels))


def correction_form_of(job: LabelJob) -> AnswerForm:
    """The form in which a text is asked again after an answer that was no label: under the schema.

    An endpoint that has no schemas either refuses it, and is then asked without, or answers as before.
    """
    asked = job.model.max_tokens
    room = max_tokens_of_json(job.labels)
    max_tokens = room if asked == "auto" else max(asked, room)
    return AnswerForm("either", max_tokens, response_format_of(job.labels))


def max_tokens_of_text(labels: Iterable[str]) -> int:
    """Room for the longest label, in tokens, however a tokenizer cuts it."""
    return max(len(name.encode()) for name in labels) + 2


def max_tokens_of_json(labels: Iterable[str]) -> int:
    """The same within a schema's JSON, where a model may write a character as an escape."""
    written = (form for name in labels for form in (json.dumps(name), json.dumps(name, ensure_ascii=False)))
    return max(len(form.encode()) for form in written) + _JSON_BYTES


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
