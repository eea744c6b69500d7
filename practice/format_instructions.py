"""Schemas that stand in the prompt itself, as LangChain's output parsers put them there."""

import json
import re
from collections.abc import Iterable
from typing import Any

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
