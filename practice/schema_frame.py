"""The JSON around a label: an answer that follows a schema, with one place left open for the label."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# A character for private use: no schema's own strings hold it, and JSON writes it as it is.
_PLACE = "\ue000"

_DEEPEST = 30
"""Schemas may refer to themselves."""

_PLAIN_VALUES: Mapping[str, Any] = {"integer": 0, "number": 0, "boolean": False, "null": None}


@dataclass(frozen=True)
class Frame:
    """What stands before and after the label, and the names the schema allows for it, if it says."""

    before: str
    after: str
    names: tuple[str, ...] | None = None
    is_json: bool = True

    def written(self, value: str) -> str:
        """The value as it stands in the frame."""
        return json.dumps(value, ensure_ascii=False)[1:-1] if self.is_json else value


PLAIN = Frame("", "", is_json=False)
"""The frame of an answer that is the label and nothing else."""


def frame_of(schema: Mapping[str, Any]) -> Frame:
    """The answer a schema wants.

    The first enum of strings, at any depth, takes the label; without an enum, the first string does. Other
    enums get their first value, strings are empty, numbers 0, lists empty.
    """
    filler = _Filler(schema, takes_any_string=False)
    filled = filler.fill(schema, 0)
    if filler.is_open:
        filler = _Filler(schema, takes_any_string=True)
        filled = filler.fill(schema, 0)
    before, _, after = json.dumps(filled, ensure_ascii=False).partition(_PLACE)
    return Frame(before, after, filler.names)


class _Filler:
    """Fills a schema from the top, and remembers whether the label has its place already."""

    def __init__(self, root: Mapping[str, Any], *, takes_any_string: bool) -> None:
        self.root = root
        self.takes_any_string = takes_any_string
        self.is_open = True
        self.names: tuple[str, ...] | None = None

    def fill(self, node: Any, depth: int) -> Any:
        """A value that follows this part of the schema."""
        node = self._resolved(node)
        if not isinstance(node, Mapping) or depth > _DEEPEST:
            return None
        if "const" in node:
            return node["const"]
        if isinstance(node.get("enum"), list) and node["enum"]:
            return self._chosen(node["enum"])
        options = node.get("anyOf") or node.get("oneOf") or node.get("allOf")
        if isinstance(options, list) and options:
            return self.fill(options[0], depth + 1)
        return self._of_type(node, depth)

    def _of_type(self, node: Mapping[str, Any], depth: int) -> Any:
        kind = node.get("type")
        kind = kind[0] if isinstance(kind, list) and kind else kind
        properties = node.get("properties")
        if isinstance(properties, Mapping):
            return {name: self.fill(part, depth + 1) for name, part in properties.items()}
        if kind == "array":
            was_open = self.is_open
            item = self.fill(node.get("items"), depth + 1)
            return [item] if was_open and not self.is_open else []
        if kind == "string":
            return self._place() if self.takes_any_string and self.is_open else ""
        return {} if kind in (None, "object") else _PLAIN_VALUES.get(str(kind))

    def _chosen(self, allowed: list[Any]) -> Any:
        if not self.is_open or not all(isinstance(value, str) for value in allowed):
            return allowed[0]
        self.names = tuple(dict.fromkeys(allowed))
        return self._place()

    def _place(self) -> str:
        self.is_open = False
        return _PLACE

    def _resolved(self, node: Any) -> Any:
        for _ in range(_DEEPEST):
            reference = node.get("$ref") if isinstance(node, Mapping) else None
            if not isinstance(reference, str):
                return node
            node = self.root
            for step in self._steps(reference):
                node = node.get(step) if isinstance(node, Mapping) else None
        return None

    @staticmethod
    def _steps(reference: str) -> Iterator[str]:
        return iter(step for step in reference.removeprefix("#").split("/") if step)
