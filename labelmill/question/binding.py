"""Bindings: by which means of its own an endpoint is held to a job's labels, and what of a request says so."""

import json
import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from labelmill.question.reading import spoken_in


class Binding(StrEnum):
    """A way to allow an answer nothing but a label, or JSON that holds one."""

    JSON_SCHEMA = "json_schema"
    """OpenAI's structured output; Ollama, vLLM, SGLang and llama.cpp's server take it too.

    <https://platform.openai.com/docs/guides/structured-outputs>, <https://docs.ollama.com/openai>
    """
    JSON_OBJECT_SCHEMA = "json_object_schema"
    """llama-cpp-python and Together: a schema beside the type `json_object`.

    <https://llama-cpp-python.readthedocs.io/en/latest/#json-schema-mode>
    """
    STRUCTURED_OUTPUTS = "structured_outputs"
    """vLLM, since 0.12 by this name alone. <https://docs.vllm.ai/en/latest/features/structured_outputs.html>"""
    GUIDED_CHOICE = "guided_choice"
    """vLLM before 0.12. <https://docs.vllm.ai/en/v0.8.5/features/structured_outputs.html>"""
    REGEX = "regex"
    """SGLang. <https://docs.sglang.ai/advanced_features/structured_outputs.html>"""
    GRAMMAR = "grammar"
    """llama.cpp's server: GBNF. <https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md>"""

    @property
    def is_json(self) -> bool:
        """Whether the answer is an object with the label in it, and not the bare label."""
        return self in {Binding.JSON_SCHEMA, Binding.JSON_OBJECT_SCHEMA}

    @property
    def field(self) -> str:
        """The field of a request's body that it stands in."""
        return "response_format" if self.is_json else self.value


def schema_of(labels: Iterable[str]) -> dict[str, Any]:
    """The JSON schema of an answer."""
    return {
        "type": "object",
        "properties": {"label": {"type": "string", "enum": list(labels)}},
        "required": ["label"],
        "additionalProperties": False,
    }


def value_of(binding: Binding, labels: Iterable[str]) -> Any:
    """What a binding's field holds for these labels."""
    match binding:
        case Binding.JSON_SCHEMA:
            named = {"name": "label", "strict": True, "schema": schema_of(labels)}
            return {"type": "json_schema", "json_schema": named}
        case Binding.JSON_OBJECT_SCHEMA:
            return {"type": "json_object", "schema": schema_of(labels)}
        case Binding.STRUCTURED_OUTPUTS:
            return {"choice": list(labels)}
        case Binding.GUIDED_CHOICE:
            return list(labels)
        case Binding.REGEX:
            return regex_of(labels)
        case Binding.GRAMMAR:
            return grammar_of(labels)


_OF_REGEX = re.compile(r"[\\.^$|?*+()\[\]{}/-]")


def regex_of(labels: Iterable[str]) -> str:
    """A regular expression that fits the labels and nothing else, in what all dialects of regular expressions share."""
    named = (
        _OF_REGEX.sub(r"\\\g<0>", name).replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
        for name in labels
    )
    return f"({'|'.join(named)})"


_OF_GRAMMAR = re.compile(r'["\\\x00-\x1f\x7f]')


def grammar_of(labels: Iterable[str]) -> str:
    """The same as a grammar in GBNF. Marks that it has for itself are escaped; all others stand as they are, in UTF-8."""

    def escaped(found: re.Match[str]) -> str:
        return f"\\{found[0]}" if found[0] in '"\\' else f"\\x{ord(found[0]):02x}"

    return "root ::= " + " | ".join(f'"{_OF_GRAMMAR.sub(escaped, name)}"' for name in labels)


def holds_to(binding: Binding, content: str, labels: Iterable[str]) -> bool:
    """Whether an answer is one that the binding allows: where it isn't, the endpoint passes the binding over in silence."""
    said = spoken_in(content).text.strip()
    if not binding.is_json:
        return said in {name.strip() for name in labels}
    try:
        answer = json.loads(said)
    except (ValueError, RecursionError):
        return False
    return isinstance(answer, dict) and answer.get("label") in list(labels)
