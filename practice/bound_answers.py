"""The names that an answer is bound to by an inference server's own means: vLLM's choices, SGLang's regex, llama.cpp's grammar."""

import re
from collections.abc import Mapping
from typing import Any

from practice.errors import malformed

_ALTERNATIVE = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r'\\(?:x([0-9a-fA-F]{2})|(["\\]))')
_BRANCH = re.compile(r"(?:\\.|[^|\\])+")


def bound_names(body: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The names that the answer has to be one of; None where it is bound by none of these.

    Raises:
        RequestRefusedError: with status 400: a list of choices is none.
    """
    outputs = body.get("structured_outputs")
    choices = outputs.get("choice") if isinstance(outputs, Mapping) else body.get("guided_choice")
    if choices is not None:
        if not isinstance(choices, list) or not all(isinstance(name, str) for name in choices):
            raise malformed("The choices must be a list of strings.", "structured_outputs")
        return tuple(choices)
    if isinstance(pattern := body.get("regex"), str):
        branches = _BRANCH.findall(pattern.removeprefix("(").removesuffix(")"))
        return tuple(re.sub(r"\\(.)", _plain, branch) for branch in branches)
    if isinstance(grammar := body.get("grammar"), str):
        return tuple(_unescaped(found) for found in _ALTERNATIVE.findall(grammar.partition("::=")[2]))
    return None


def _plain(found: re.Match[str]) -> str:
    return {"n": "\n", "r": "\r", "t": "\t"}.get(found[1], found[1])


def _unescaped(literal: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else found[2], literal)
