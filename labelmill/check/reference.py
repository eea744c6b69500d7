"""The reference of the job file, written from the model: `python -m labelmill.check.reference > docs/job.md`."""

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import labelmill.providers.table  # noqa: F401  (it offers the providers)
from labelmill.job.model import LabelJob

Schema = Mapping[str, Any]

_HEAD = """\
# The job file

<!-- Written by `make docs` from labelmill/job/model.py. Edit that instead. -->

A job file is TOML. `name`, `[source]`, `[labels]`, `[model]` and `[output]` are required; the other tables may be left
out. An unknown field is a mistake. So is a key: keys come from the environment or from `.env`. TOML has no word for
"none": to have none of something, leave its field out.
"""
_HEADINGS = ("field", "type", "default", "limits", "what it means")
_TYPE_WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "`true` or `false`",
}
_LIMIT_WORDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "pattern": "matches `{}`",
}


def job_reference() -> str:
    """Every field of a job file in Markdown, one section per TOML table."""
    schema = LabelJob.model_json_schema()
    required = schema["required"]
    parts = {name: _resolved(part, schema) for name, part in schema["properties"].items()}
    plain = {name: part for name, part in parts.items() if part.get("type") != "object"}
    sections = [_HEAD, f"## Before the first table\n\n{_fields(plain, required)}"]
    for name, part in parts.items():
        if name not in plain:
            sections.append(_section(name, part, schema, is_required=name in required))
    sections += _tables_within({name: part for name, part in parts.items() if name not in plain}, schema)
    return "\n".join(sections)


def _section(name: str, part: Schema, schema: Schema, *, is_required: bool) -> str:
    words = f"## `[{name}]`\n\n{_sentence(part)} {'Required.' if is_required else 'May be left out.'}\n"
    if "properties" not in part:
        return words
    fields = {name: _spelled_out(field, schema) for name, field in part["properties"].items()}
    words += "\n" + _fields(fields, part.get("required", ()))
    return words + _known_names(fields, schema)


def _tables_within(tables: Schema, schema: Schema) -> list[str]:
    """A section on each table that stands in other tables."""
    places: dict[str, list[str]] = {}
    sections = {}
    for table, part in tables.items():
        for name, field in part.get("properties", {}).items():
            within = _resolved(field, schema)
            if "properties" in within:
                places.setdefault(name, []).append(f"[{table}.{name}]")
                sections[name] = f"{_sentence(within)}\n\n{_fields(within['properties'], ())}"
    return [f"## {_listed(places[name], ' and ')}\n\n{words}" for name, words in sections.items()]


def _spelled_out(field: Schema, schema: Schema) -> Schema:
    """The field without references, also in what stands in it where it is a table."""
    field = _resolved(field, schema)
    each = field.get("additionalProperties")
    return {**field, "additionalProperties": _resolved(each, schema)} if isinstance(each, Mapping) else field


def _fields(fields: Schema, required: list[str] | tuple[()]) -> str:
    rows = [_HEADINGS, ("---",) * len(_HEADINGS)]
    for name, field in fields.items():
        default = "required" if name in required else _default(field.get("default"))
        rows.append((f"`{name}`", _type(field), default, _limits(field), _sentence(field)))
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)


def _known_names(fields: Schema, schema: Schema) -> str:
    """The names that may stand in the fields which are tables themselves."""
    fields_of: dict[tuple[str, ...], list[str]] = {}
    for name, field in fields.items():
        if "propertyNames" in field:
            known = _resolved(field["propertyNames"], schema)["enum"]
            fields_of.setdefault(tuple(known), []).append(name)
    return "".join(
        f"\nNames in {_listed(names, ' and ')}: {_listed(known)}.\n" for known, names in fields_of.items()
    )


def _resolved(part: Schema, schema: Schema) -> Schema:
    """The part with what it refers to, in its own words where it has any; of a table that may be left out, the table."""
    for choice in part.get("anyOf", ()):
        if "$ref" in choice:
            return _resolved({**part, **choice, "anyOf": ()}, schema)
    if "$ref" not in part:
        return part
    referred: Schema = schema["$defs"][part["$ref"].rsplit("/", 1)[1]]
    return {**referred, **{name: part[name] for name in ("description", "default") if name in part}}


def _choices(field: Schema) -> list[Schema]:
    """What a field may be, without the null that stands for leaving it out."""
    return [choice for choice in field.get("anyOf") or [field] if choice.get("type") != "null"]


def _type(field: Schema) -> str:
    return " or ".join(_type_of_choice(choice) for choice in _choices(field))


def _type_of_choice(choice: Schema) -> str:
    values = choice.get("enum") or ([choice["const"]] if "const" in choice else [])
    if values:
        return _listed((json.dumps(value) for value in values), " or ")
    if choice["type"] == "array":
        return f"list of {_type(choice['items'])}"
    if choice.get("additionalProperties") is True or "properties" in choice:
        return "table"
    if choice["type"] == "object":
        each = choice["additionalProperties"]
        return f"table: a name and a {_type(each) if isinstance(each, Mapping) else 'value'} each"
    return _TYPE_WORDS[choice["type"]]


def _limits(field: Schema) -> str:
    return ", ".join(words for choice in _choices(field) for words in _limits_of_choice(choice))


def _limits_of_choice(choice: Schema) -> list[str]:
    each = choice.get("additionalProperties")
    if isinstance(each, Mapping):
        return [f"each {limits}"] if (limits := _limits(each)) else []
    found = [words.format(choice[name]) for name, words in _LIMIT_WORDS.items() if name in choice]
    return [words.replace("at least 1 characters", "not empty") for words in found]


def _listed(names: Iterable[object], between: str = ", ") -> str:
    return between.join(f"`{name}`" for name in names)


def _default(value: object) -> str:
    return "" if value is None else f"`{json.dumps(value, ensure_ascii=False)}`"


def _sentence(part: Schema) -> str:
    return " ".join(part.get("description", "").split())


if __name__ == "__main__":
    sys.stdout.write(job_reference())
