"""The tool a request wants called: practice calls one at most, with arguments that follow its schema."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from practice.errors import RequestRefusedError, malformed
from practice.scorer import score_labels


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
