"""What a job puts into its requests beside what Labelmill does: its own fields of the body, and its own headers.

    job: {"X-Team" = "news", "X-Api-Key" = "env:GATEWAY_KEY"}  ->  sent_headers: what is sent, with the variable's value

What may stand there is checked before anything is spent: nothing that Labelmill sets itself, nothing that JSON or HTTP has
no word for. What it must not hold is data, in `request_fields.toml`.
"""

import math
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from labelmill.job.model import Model, Run
from labelmill.job.variables import secret_header
from labelmill.money.prices import STANDARD_TIERS, tier_named
from labelmill.providers.wire import is_text

Found = Iterator[tuple[str, str]]

CHEAPER_TIERS = frozenset({"flex", "batch", "standard_only"})
"""Service tiers that cost no more than the listed price.

Sources: <https://platform.openai.com/docs/guides/flex-processing>, <https://console.groq.com/docs/flex-processing>,
<https://platform.claude.com/docs/en/api/service-tiers>.
"""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A token: <https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2>."""
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?")
_SHOWN_CHARACTERS = 60
_MOST_INTEGER = 2**63
_MOST_DEPTH = 20


@dataclass(frozen=True)
class OwnField:
    """A field that a job must not set: why, and with which values it may all the same."""

    why: str
    off: tuple[Any, ...] = ()


# ---- the body


def merged_body(body: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """A request's body with a job's own fields; a table that both have holds what both say."""
    merged = dict(body)
    for name, value in extra.items():
        known = merged.get(name)
        both = isinstance(known, Mapping) and isinstance(value, Mapping)
        merged[name] = merged_body(known, value) if both else value  # type: ignore[arg-type]  # they are tables
    return merged


def extra_fields_of(model: Model) -> dict[str, Any]:
    """What a job adds to the body of a chat completion."""
    effort = {} if model.reasoning_effort is None else {"reasoning_effort": model.reasoning_effort}
    return {**effort, **model.extra_body}


def body_mistakes(model: Model, api: str, run: Run | None) -> Found:
    """What is wrong with a job's own fields of the body, as (place, sentence)."""
    own = own_fields(api)
    for path, value in _values_in(model.extra_body, ()):
        place = ".".join(("model.extra_body", *path))
        if (field := own.get(_plain(".".join(path)))) is not None and not _is_off(value, field.off):
            yield place, field.why
        elif (problem := _problem_in_json(path, value)) is not None:
            yield place, problem
    tier = model.extra_body.get("service_tier")
    if isinstance(tier, str) and run is not None and _is_dear(tier):
        limit = next((name for name in _LIMITS if getattr(run, name) is not None), None)
        if limit is not None:
            sentence = (
                f"found {_shown(tier)}, whose price is not the listed one: run.{limit} could not be kept by it; "
                "take one of the two out"
            )
            yield "model.extra_body.service_tier", sentence


_LIMITS = tuple(name for name in Run.model_fields if name.startswith("max_cost_usd"))


def _is_dear(tier: str) -> bool:
    return tier_named(tier) not in STANDARD_TIERS | CHEAPER_TIERS


def _values_in(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All that stands in a table, each table before what is in it."""
    for name, value in table.items():
        yield (*path, str(name)), value
        if len(path) >= _MOST_DEPTH:
            continue
        if isinstance(value, Mapping):
            yield from _values_in(value, (*path, str(name)))
        elif isinstance(value, list | tuple):
            yield from _values_in({str(place): each for place, each in enumerate(value)}, (*path, str(name)))


def _problem_in_json(path: tuple[str, ...], value: Any) -> str | None:
    """Why a value can't be sent as JSON; None where it can. What stands within it is seen to by itself."""
    if len(path) > _MOST_DEPTH:
        return f"it is nested more than {_MOST_DEPTH} tables deep; take it out"
    if isinstance(value, float) and not math.isfinite(value):
        return f"found {value}, and JSON has no such number"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= _MOST_INTEGER:
        return "found a whole number that is too large for most readers of JSON"
    if (isinstance(value, str) and not is_text(value)) or not is_text(path[-1]):
        return "it holds half a character, which no request can carry"
    if value is None or isinstance(value, bool | int | float | str | list | tuple | Mapping):
        return None
    return f"found {_shown(str(value))}, and JSON has no dates and times; write it as text, in quotes"


def _is_off(value: Any, off: tuple[Any, ...]) -> bool:
    """Whether a value switches its field off: `false` is not 0, nor `true` 1."""
    return any(value == one and type(value) is type(one) for one in off)


def _shown(value: str) -> str:
    return repr(value if len(value) <= _SHOWN_CHARACTERS else value[:_SHOWN_CHARACTERS] + "…")


# ---- the headers


def sent_headers(told: Mapping[str, str], environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """A job's own headers as they are sent. One whose variable is not set is left out: the check has said so."""
    sent = {name: _value_of(value, environment) for name, value in told.items()}
    return {name: value for name, value in sent.items() if value is not None}


def header_secrets(told: Mapping[str, str], environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The values that a job's headers take from the environment: to be hidden like a key."""
    named = (secret_header(value) for value in told.values())
    return tuple(value for one in named if one and (value := _in_environment(one.variable, environment)))


def _value_of(told: str, environment: Mapping[str, str]) -> str | None:
    secret = secret_header(told)
    if secret is None:
        return told
    value = _in_environment(secret.variable, environment)
    return secret.before + value if value else None


def _in_environment(variable: str, environment: Mapping[str, str]) -> str:
    """A variable's value, without the line break that a file or a shell may have left at its end."""
    return environment.get(variable, "").strip()


def header_mistakes(model: Model, own: Mapping[str, str]) -> Found:
    """What is wrong with a job's own headers, as (place, sentence). `own` are those that the provider's requests carry."""
    reserved = dict(own_headers()) | {
        name.casefold(): OwnField("Labelmill sets it itself, by the provider's own name for it; take it out")
        for name in own
        if name.casefold() not in own_headers()
    }
    seen: dict[str, str] = {}
    for name, value in model.headers.items():
        place, key = f"model.headers.{name}", name.casefold()
        if not _HEADER_NAME.fullmatch(name):
            yield (
                "model.headers",
                f"{_shown(name)} is not a valid header name; expected letters, digits and hyphens",
            )
        elif key in reserved:
            yield place, reserved[key].why
        elif key in seen:
            yield place, f"it is already there as {seen[key]!r}: case doesn't matter in headers; take one out"
        elif secret_header(value) is None and not _HEADER_VALUE.fullmatch(value):
            yield (
                place,
                "expected letters, digits and signs of ASCII without a space at either end: a header carries nothing else",
            )
        seen.setdefault(key, name)


def header_variable_mistakes(told: Mapping[str, str], environment: Mapping[str, str] = os.environ) -> Found:
    """Which headers name a variable that can't be sent, as (place, sentence)."""
    for name, value in told.items():
        secret = secret_header(value)
        if secret is None:
            continue
        held = _in_environment(secret.variable, environment)
        if not held:
            yield (
                f"model.headers.{name}",
                f"neither the environment nor .env has {secret.variable}; set it, or take the header out",
            )
        elif not _HEADER_VALUE.fullmatch(held):
            yield (
                f"model.headers.{name}",
                f"what {secret.variable} holds can't be sent in a header: it has other characters than those of ASCII",
            )


# ---- the data


@cache
def own_fields(api: str) -> Mapping[str, OwnField]:
    """The fields of an API that a job must not set, by their plain names."""
    return {
        _plain(name): OwnField(entry["why"], tuple(entry.get("off", ())))
        for entry in _data()["field"]
        if entry["api"] == api
        for name in entry["names"]
    }


@cache
def own_headers() -> Mapping[str, OwnField]:
    """The headers that a job must not set, by their names in small letters."""
    return {name: OwnField(entry["why"]) for entry in _data()["header"] for name in entry["names"]}


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath("request_fields.toml").read_text(encoding="utf-8"))


def _plain(name: str) -> str:
    return name.replace("_", "").casefold()
