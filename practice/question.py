"""From an OpenAI chat request to what is asked: the labels to choose from and the text to label.

Labels stand in a system message, or else in the first user message, which then is the text without them; `listing`
knows how. The first user message holds the text; later messages are corrections of an earlier answer, and so is what
follows the text and lists the labels once more. A schema with an enum names the labels itself. The schema is that of
`response_format`, of the tool to be called, or of format instructions in the prompt.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from practice.bound_answers import bound_names
from practice.errors import RequestRefusedError, malformed
from practice.listing import Labels, labels_and_text
from practice.schema_frame import PLAIN, Frame, frame_of
from practice.scorer import score_labels
from practice.tokens import (
    TOKENS_PER_MESSAGE,
    TOKENS_PER_REQUEST,
    count_repeated_tokens,
    count_tokens,
)

_MOST_TOP_LOGPROBS = 20


_INSTRUCTING = ("system", "developer")


@dataclass(frozen=True)
class Stream:
    """An answer that is wanted as server-sent events; its last one tells the tokens only where that is asked for."""

    includes_usage: bool


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
    stream: Stream | None
    """How the answer streams; None where it comes whole."""
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
    if body.get("n") not in (None, 1):
        raise malformed("The practice provider gives one choice: leave 'n' out.", "n")
    if body.get("functions"):
        raise malformed("'functions' is what 'tools' once was: use that.", "functions")
    messages = _messages(body.get("messages"))
    contents = tuple("\n".join(parts) for _, parts in messages)
    asked_schema = _schema(body.get("response_format"))
    schema = asked_schema or schema_in(contents)
    instructions = [
        content for (role, _), content in zip(messages, contents, strict=True) if role in _INSTRUCTING
    ]
    asked = next((parts for role, parts in messages if role == "user"), ())
    named = None if schema is None else frame_of(schema).names
    bound = bound_names(body)
    labels, text = labels_and_text(instructions, asked, bound or named or ())
    tool = chosen_tool(body, text)
    shape: Mapping[str, Any] | None = schema if tool is None else tool.parameters
    frame = PLAIN if shape is None else frame_of(shape)
    if bound or frame.names is not None:
        labels = _described(bound or frame.names or (), contents)
    return Question(
        model=model,
        text=text,
        labels=labels,
        frame=frame,
        tool=None if tool is None else tool.name,
        stream=_stream(body),
        schema_wanted=asked_schema is not None,
        logprobs_wanted=body.get("logprobs") is True,
        top_logprobs=_whole(body, "top_logprobs", _MOST_TOP_LOGPROBS) or 0,
        most_output_tokens=_most_output_tokens(body),
        input_tokens=_input_tokens(messages, contents) + _tool_tokens(body.get("tools")),
        contents=contents,
    )


def _messages(given: Any) -> list[tuple[str, tuple[str, ...]]]:
    """Roles, and the parts of text that each message has."""
    if not isinstance(given, list) or not given:
        raise malformed("'messages' must be a list with at least one message.", "messages")
    return [_message(message, f"messages[{place}]") for place, message in enumerate(given)]


def _message(given: Any, place: str) -> tuple[str, tuple[str, ...]]:
    if not isinstance(given, dict) or not isinstance(given.get("role"), str):
        raise malformed(f"'{place}' must be an object with a 'role'.", place)
    content = given.get("content")
    if content is None or isinstance(content, str):
        return given["role"], (content or "",)
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        parts = (part.get("text") for part in content)
        return given["role"], tuple(part for part in parts if isinstance(part, str))
    raise malformed(f"'{place}.content' must be a string or a list of parts.", f"{place}.content")


def _stream(body: dict[str, Any]) -> Stream | None:
    options = body.get("stream_options")
    if not body.get("stream"):
        if options is not None:
            raise malformed("'stream_options' are for requests with 'stream' only.", "stream_options")
        return None
    if options is not None and not isinstance(options, dict):
        raise malformed("'stream_options' must be an object.", "stream_options")
    return Stream(bool((options or {}).get("include_usage")))


def _described(names: tuple[str, ...], contents: Iterable[str]) -> Labels:
    """The names of an enum with the descriptions that a message's lines give them."""
    for content in contents:
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
        if isinstance(given.get("schema"), dict):  # as llama.cpp takes one
            return dict(given["schema"])
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


def _input_tokens(messages: list[tuple[str, tuple[str, ...]]], contents: tuple[str, ...]) -> int:
    total = TOKENS_PER_REQUEST + TOKENS_PER_MESSAGE * len(messages)
    for (role, _), content in zip(messages, contents, strict=True):
        total += count_tokens(content) if role == "user" else count_repeated_tokens(content)
    return total


_SCHEMA = re.compile(r"output schema:\s*```(?:json)?\s*(\{.*?\})\s*```", re.DOTALL)


def schema_in(contents: Iterable[str]) -> dict[str, Any] | None:
    """The first schema of an object in these texts, introduced as the output's and fenced; None without one."""
    for content in contents:
        found = _SCHEMA.search(content)
        if found is None:
            continue
        try:
            schema = json.loads(found[1])
        except (ValueError, RecursionError):
            continue
        if isinstance(schema, dict) and isinstance(schema.get("properties"), dict):
            return schema
    return None


@dataclass(frozen=True)
class Tool:
    """A function that may be called."""

    name: str
    description: str
    parameters: Mapping[str, Any]


def chosen_tool(body: Mapping[str, Any], text: str) -> Tool | None:
    """The tool that was asked for, or else the one whose name and description suit the text best.

    None where there are no tools, none is wanted, or the last message already is a tool's result.

    Raises:
        RequestRefusedError: with status 400: these are no tools, or the one asked for is not among them.
    """
    given = body.get("tools")
    if not given:
        return None
    if not isinstance(given, list):
        raise _wrong("'tools' must be a list.")
    tools = {tool.name: tool for tool in map(_tool, given)}
    wanted = body.get("tool_choice")
    if wanted == "none" or _ends_with_a_result(body):
        return None
    if isinstance(wanted, dict):
        function = wanted.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        if name not in tools:
            raise malformed(f"'tool_choice' names no tool of 'tools': {name}", "tool_choice")
        return tools[name]
    best, _ = score_labels(text, tuple((tool.name, tool.description) for tool in tools.values()))
    return tools[best]


def _ends_with_a_result(body: Mapping[str, Any]) -> bool:
    messages = body.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else None
    return isinstance(last, dict) and last.get("role") == "tool"


def _tool(given: Any) -> Tool:
    function = given.get("function") if isinstance(given, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise _wrong("Each of 'tools' must have a 'function' with a 'name'.")
    description, parameters = function.get("description"), function.get("parameters")
    return Tool(
        function["name"],
        description if isinstance(description, str) else "",
        parameters if isinstance(parameters, dict) else {},
    )


def _wrong(message: str) -> RequestRefusedError:
    return malformed(message, "tools")
