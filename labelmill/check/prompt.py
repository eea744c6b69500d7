"""What can be wrong with a job's labels and its own wording, as (place, sentence)."""

import re
import string
from collections.abc import Iterator, Mapping
from typing import Any

from labelmill.job.model import Prompt
from labelmill.question.prompt import fields_in
from labelmill.question.reading import normalise

_FEWEST_LABELS = 2
_LIST_MARK = "- "
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]"
)
"""Soft hyphens, marks without width, switches of direction, variation selectors: nobody sees them in an answer."""


def label_mistakes(labels: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with a set of labels, as (place, sentence)."""
    found = []
    if len(labels) < _FEWEST_LABELS:
        has = f"only {next(iter(labels))!r}" if labels else "none"
        found.append(("labels", f"there must be two labels or more, and there is {has}"))
    seen: dict[str, str] = {}
    for name in labels:
        key = normalise(_INVISIBLE.sub("", name))
        if not key:
            found.append(("labels", f"the label {name!r} is blank"))
        elif name.splitlines() != [name]:
            found.append(("labels", f"the label {name!r} holds a line break, which a short answer can't"))
        elif key in seen:
            differ = (
                "case, width or space"
                if key == normalise(name) == normalise(seen[key])
                else "what can't be seen"
            )
            found.append(("labels", f"{seen[key]!r} and {name!r} differ only by {differ}; rename one"))
        seen.setdefault(key, name)
    for key, name in seen.items():
        found += [("labels", sentence) for sentence in _taken_for_another(key, name, seen)]
    return found


def _taken_for_another(key: str, name: str, others: Mapping[str, str]) -> Iterator[str]:
    """Which other labels an answer could mean that repeats a line of the prompt, where they stand as `- name: meaning`."""
    for colon in (place for place, letter in enumerate(key) if letter == ":"):
        if (other := others.get(key[:colon].rstrip())) is not None:
            yield (
                f"{name!r} begins like {other!r} with its meaning: the model answers with what stands before the colon, "
                "and both would be the same; rename one"
            )
    if key.startswith(_LIST_MARK) and (other := others.get(key.removeprefix(_LIST_MARK))) is not None:
        yield f"{name!r} reads like {other!r} as it stands in the list of labels; rename one"


def prompt_mistakes(prompt: Prompt, labels: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
    """What is wrong with a job's own wording, as (place, sentence); `labels` are None where they are not known."""
    found = []
    fields: dict[str, set[str]] = {}
    for part in ("system", "user"):
        words = getattr(prompt, part)
        if words is None:
            continue
        try:
            list(string.Formatter().parse(words))
        except ValueError as error:
            found.append((f"prompt.{part}", f"its braces don't match ({error}); write a literal brace twice"))
            continue
        fields[part] = fields_in(words)
        unknown = fields[part] - {"labels", "text"}
        if unknown:
            named = ", ".join("{" + name + "}" for name in sorted(unknown))
            only = "there is only {labels} and {text}; write a literal brace twice"
            found.append((f"prompt.{part}", f"it names {named}, but {only}"))
    if "user" in fields and "text" not in fields["user"]:
        found.append(("prompt.user", "it has no {text}, so the model would not see the row"))
    has_labels = "labels" in fields.get("system", set()) | fields.get("user", set())
    if "system" in fields and not has_labels and not _names_all(prompt, labels):
        it = "it has no {labels}" if prompt.system else "it is empty, so that there is no system message"
        user = "neither has prompt.user" if prompt.system else "prompt.user has no {labels}"
        found.append(("prompt.system", f"{it}, and {user}: the model would not see them"))
    return [*found, *_separator_mistakes(prompt, labels or {})]


def _names_all(prompt: Prompt, labels: Mapping[str, str] | None) -> bool:
    """Whether a prompt has every label in its own words."""
    words = f"{prompt.system}\n{prompt.user or ''}"
    return bool(labels) and all(_stands_in(words, name) for name in labels or ())


def _stands_in(words: str, name: str) -> bool:
    """Whether a name stands in some words, of an ASCII one not as a part of another: Chinese has nothing between words."""
    if not name.isascii():
        return name in words
    return re.search(rf"(?<![A-Za-z0-9_]){re.escape(name)}(?![A-Za-z0-9_])", words) is not None


def _separator_mistakes(prompt: Prompt, labels: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Labels that the separator would part."""
    separator = prompt.label_separator
    if separator is None:
        return
    name = next((name for name in labels if separator in name), None)
    if name is not None:
        yield (
            "prompt.label_separator",
            f"the label {name!r} holds {separator!r} itself, so that the model would see two; choose another separator",
        )
