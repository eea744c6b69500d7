"""What can be wrong with a job's labels and its own wording, as (place, sentence)."""

import string
from collections.abc import Iterator, Mapping
from typing import Any

from labelmill.job.model import Prompt
from labelmill.model.envelopes import normalise

_FEWEST_LABELS = 2


def label_mistakes(labels: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with a set of labels, as (place, sentence)."""
    found = []
    if len(labels) < _FEWEST_LABELS:
        has = f"only {next(iter(labels))!r}" if labels else "none"
        found.append(("labels", f"there must be two labels or more, and there is {has}"))
    seen: dict[str, str] = {}
    for name in labels:
        key = normalise(name)
        if not key:
            found.append(("labels", f"the label {name!r} is blank"))
        elif name.splitlines() != [name]:
            found.append(("labels", f"the label {name!r} holds a line break, which a short answer can't"))
        elif key in seen:
            found.append(
                ("labels", f"{seen[key]!r} and {name!r} differ only by case, width or space; rename one")
            )
        seen.setdefault(key, name)
    return found


def _fields_in(words: str) -> Iterator[str]:
    """What stands between braces, whole: `{text:>10}` and `{text!r}` are not `{text}`."""
    for _, name, spec, conversion in string.Formatter().parse(words):
        if name is not None:
            yield name + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")


def prompt_mistakes(prompt: Prompt) -> list[tuple[str, str]]:
    """What is wrong with a job's own wording, as (place, sentence)."""
    found = []
    fields: dict[str, set[str]] = {}
    for part in ("system", "user"):
        words = getattr(prompt, part)
        if words is None:
            continue
        try:
            fields[part] = set(_fields_in(words))
        except ValueError as error:
            found.append((f"prompt.{part}", f"its braces don't match ({error}); write a literal brace twice"))
            continue
        unknown = fields[part] - {"labels", "text"}
        if unknown:
            named = ", ".join("{" + name + "}" for name in sorted(unknown))
            only = "there is only {labels} and {text}; write a literal brace twice"
            found.append((f"prompt.{part}", f"it names {named}, but {only}"))
    if "user" in fields and "text" not in fields["user"]:
        found.append(("prompt.user", "it has no {text}, so the model would not see the row"))
    if "system" in fields and "labels" not in fields["system"] | fields.get("user", set()):
        found.append(
            ("prompt.system", "it has no {labels}, and neither has prompt.user: the model would not see them")
        )
    return found
