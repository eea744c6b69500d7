"""From an OpenAI chat request to what is asked: the labels to choose from and the text to label.

Labels stand as lines `- NAME: DESCRIPTION` or `- NAME`, in the first run of such lines of a system message,
or else of the first user message, which then is the text without these lines. The first user message holds the
text; later messages are corrections of an earlier answer. A schema with an enum names the labels itself. The
schema is that of `response_format`, of the tool to be called, or of format instructions in the prompt.
"""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from practice.errors import malformed
from practice.format_instructions import schema_in
from practice.schema_frame import PLAIN, Frame, frame_of
from practice.tokens import (
    TOKENS_PER_MESSAGE,
    TOKENS_PER_REQUEST,
    count_repeated_tokens,
    count_tokens,
)
from practice.tool_choice import chosen_tool

Labels = tuple[tuple[str, str], ...]
"""Pairs of a name and a description, which may be empty."""

_LABEL_LINES = re.compile(r"^[ \t]*- [^\n]*\S[^\n]*(?:\n[ \t]*- [^\n]*\S[^\n]*)*", re.MULTILINE)
_NAME_ENDS = re.compile(r":\s|:$|：")

_MOST_TOP_LOGPROBS = 20


@dataclass(frozen=True)
class Question:
    """A chat request, read."""

    model: str
    text: str
    labels: Labels
    frame: Frame
    """What stands around the label in an answer."""
    tool: str | None
    """The name of the tool that the answer calls."""
    schema_wanted: bool
    logprobs_wanted: bool
    top_logprobs: int
    most_output_tokens: int | None
    input_tokens: int
    contents: tuple[str, ...]
    """The messages' texts, in order."""


def read_question(body: Any) -> Question:
    """Read a parsed request body.

    Raises:
        RequestRefusedError: with status 400: this is no chat request, or it wants what practice cannot do.
    """
    if not isinstance(body, dict):
        raise malformed("The body must be a JSON object.")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise malformed("'model' must be a model's name.", "model")
    if body.get("stream"):
        raise malformed("The practice provider does not stream: leave 'stream' out.", "stream")
    if body.get("n") not in (None, 1):
        raise malformed("The practice provider gives one choice: leave 'n' out.", "n")
    if body.get("functions"):
        raise malformed("'functions' is what 'tools' once was: use that.", "functions")
    messages = _messages(body.get("messages"))
    labels, text = _labels_and_text(messages)
    tool = chosen_tool(body, text)
    asked_schema = _schema(body.get("response_format"))
    schema = asked_schema if tool is None else tool.parameters
    if schema is None:
        schema = schema_in(content for _, content in messages)
    frame = PLAIN if schema is None else frame_of(schema)
    if frame.names is not None:
        labels = _described(frame.names, messages)
    return Question(
        model=model,
        text=text,
        labels=labels,
        frame=frame,
        tool=None if tool is None else tool.name,
        schema_wanted=asked_schema is not None,
        logprobs_wanted=body.get("logprobs") is True,
        top_logprobs=_whole(body, "top_logprobs", _MOST_TOP_LOGPROBS) or 0,
        most_output_tokens=_most_output_tokens(body),
        input_tokens=_input_tokens(messages) + _tool_tokens(body.get("tools")),
        contents=tuple(content for _, content in messages),
    )


@lru_cache(maxsize=64)
def read_labels(content: str) -> Labels:
    """The label lines of a message."""
    found = _LABEL_LINES.search(content)
    lines = found[0].split("\n") if found else []
    return tuple(_name_and_description(line.strip()[2:].strip()) for line in lines)


def _name_and_description(line: str) -> tuple[str, str]:
    name, *description = _NAME_ENDS.split(line, maxsplit=1)
    return name.strip(), "".join(description).strip()


def _messages(given: Any) -> list[tuple[str, str]]:
    if not isinstance(given, list) or not given:
        raise malformed("'messages' must be a list with at least one message.", "messages")
    return [_message(message, f"messages[{place}]") for place, message in enumerate(given)]


def _message(given: Any, place: str) -> tuple[str, str]:
    if not isinstance(given, dict) or not isinstance(given.get("role"), str):
        raise malformed(f"'{place}' must be an object with a 'role'.", place)
    content = given.get("content")
    if content is None or isinstance(content, str):
        return given["role"], content or ""
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        parts = (part.get("text") for part in content)
        return given["role"], "\n".join(part for part in parts if isinstance(part, str))
    raise malformed(f"'{place}.content' must be a string or a list of parts.", f"{place}.content")


def _labels_and_text(messages: list[tuple[str, str]]) -> tuple[Labels, str]:
    text = next((content for role, content in messages if role == "user"), "")
    for role, content in messages:
        if role in ("system", "developer") and (labels := read_labels(content)):
            return labels, text
    # Not through the cache: every text is another one.
    labels = read_labels.__wrapped__(text)
    return labels, _LABEL_LINES.sub("", text, count=1).strip() if labels else text


def _described(names: tuple[str, ...], messages: list[tuple[str, str]]) -> Labels:
    """The names of an enum with the descriptions that a message's lines give them."""
    for _, content in messages:
        lines = [line.strip()[2:].strip() for line in content.split("\n") if line.strip().startswith("- ")]
        described = {
            name: line[len(name) :].lstrip(" :：") for line in lines for name in names if _is_of(line, name)
        }
        if described:
            return tuple((name, described.get(name, "")) for name in names)
    return tuple((name, "") for name in names)


def _is_of(line: str, name: str) -> bool:
    return line == name or line.startswith((f"{name}:", f"{name}：", f"{name} :"))


def _schema(given: Any) -> dict[str, Any] | None:
    """The JSON schema of a `response_format`, or None where plain text is wanted."""
    if given is None or (isinstance(given, dict) and given.get("type") == "text"):
        return None
    if isinstance(given, dict) and given.get("type") == "json_object":
        # JSON without a schema: the shape of an answer is ours to choose.
        return {"type": "object", "properties": {"label": {"type": "string"}}}
    if isinstance(given, dict) and given.get("type") == "json_schema":
        named = given.get("json_schema")
        schema = named.get("schema") if isinstance(named, dict) else None
        if isinstance(schema, dict):
            return schema
    raise malformed(
        "'response_format' must be text, json_object, or json_schema with a schema.", "response_format"
    )


def _most_output_tokens(body: dict[str, Any]) -> int | None:
    newer = _whole(body, "max_completion_tokens")
    return _whole(body, "max_tokens") if newer is None else newer


def _whole(body: dict[str, Any], name: str, most: int | None = None) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if type(value) is not int or value < 0 or (most is not None and value > most):
        at_most = "" if most is None else f", {most} at most"
        raise malformed(f"'{name}' must be a whole number{at_most}.", name)
    return value


def _tool_tokens(tools: Any) -> int:
    return count_repeated_tokens(json.dumps(tools, ensure_ascii=False)) if tools else 0


def _input_tokens(messages: list[tuple[str, str]]) -> int:
    total = TOKENS_PER_REQUEST + TOKENS_PER_MESSAGE * len(messages)
    for role, content in messages:
        total += count_tokens(content) if role == "user" else count_repeated_tokens(content)
    return total
