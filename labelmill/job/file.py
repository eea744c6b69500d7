"""The job file: TOML in, a `LabelJob` out, or every mistake in it."""

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from labelmill.errors import JobRefused, Mistake
from labelmill.job.full_width import line_mistakes
from labelmill.job.model import Alert, Batch, LabelJob, Model, Output, Practice, Price, Prompt, Run, Source
from labelmill.job.variables import secret_header, variable_named

_SECRET_NAME = re.compile(r"(^|[-_])(api[-_]?key|key|token|secret|password|authorization)$", re.IGNORECASE)
_SECRET_FIELD = re.compile(
    r"(^|[-_])(api[-_]?key|secret|password|authorization|(access|auth|bearer|id|refresh)[-_]?token)$",
    re.IGNORECASE,
)
"""The same in a request's own fields, among which are such as `prompt_cache_key` and `eos_token`."""
_SECRET_HEADER = re.compile(
    r"(^|[-_])(api[-_]?key|key|token|secret|password|authorization|auth|cookie|credentials?|signature)$",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(
    # A long piece with a digit in it, so that a folder such as sk-headlines-2026 is no key.
    r"\b(sk|pk|rk|gsk|xai|hf|ghp)[-_]([A-Za-z0-9]*[-_])*(?=[A-Za-z]*[0-9])[A-Za-z0-9]{12,}"
    r"|\bAIza[A-Za-z0-9_-]{20,}|\bBearer\s+\S{12,}|://[^/\s:@]*:[^/\s@]+@"
)
_RANDOM_WORD = re.compile(r"(?=[A-Za-z]*[0-9])[A-Za-z0-9]{20,}")
_UNION_TAG = re.compile(r"^(constrained-|literal\[|function-|lax-or-strict|int$|float$|str$|\[key\]$)")
_SHOWN_CHARACTERS = 60
_DEPTH_OF_A_LABEL = 2


@dataclass(frozen=True)
class JobDraft:
    """A job file as far as it can be read: `job` where all is well, the sections that are, and the mistakes."""

    where: str
    values: Mapping[str, Any]
    job: LabelJob | None
    mistakes: tuple[Mistake, ...]

    @classmethod
    def of(cls, job: LabelJob) -> "JobDraft":
        """The draft of what is a job already, by its name. It may still hold a key."""
        values = dict(job)
        return cls(job.name, values, job, _held_keys(values, job.name))

    def sections(self) -> "Sections":
        """The sections that can be read, each by itself: also where another one is wrong."""
        return Sections(**{name: self._section(name) for name in Sections.__dataclass_fields__})

    def _section(self, name: str) -> Any:
        value = self.values.get(name)
        if _secrets_in(value, name):
            return None
        if self.job is not None:
            return getattr(self.job, name)
        field = LabelJob.model_fields[name]
        if value is None:
            return None if field.is_required() else field.get_default()
        try:
            return TypeAdapter[Any](field.annotation or Any).validate_python(value)
        except ValidationError:
            return None


@dataclass(frozen=True)
class Sections:
    """A draft's sections; None where one is missing, wrong or holds a key."""

    source: Source | None
    labels: Mapping[str, str] | None
    model: Model | None
    prompt: Prompt | None
    price: Price | None
    run: Run | None
    batch: Batch | None
    output: Output | None
    alert: Alert | None
    practice: Practice | None


def draft_of_file(path: Path) -> JobDraft:
    """Read a job file.

    Raises:
        JobRefused: there is no such file, or it is not TOML.
    """
    where = str(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise JobRefused(
            [Mistake(where, f"there is no such job file; looked in {path.absolute().parent}")]
        ) from None
    except OSError as error:
        raise JobRefused([Mistake(where, f"the job file can't be read: {error.strerror}")]) from None
    except UnicodeDecodeError:
        raise JobRefused([Mistake(where, "the job file is not UTF-8 text")]) from None
    return draft_of_text(text, where)


def draft_of_text(text: str, where: str) -> JobDraft:
    """Read what stands in a job file.

    Raises:
        JobRefused: it is not TOML; full-width signs in the place of TOML's are named, each with its place.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = [
            Mistake(f"{where}, line {mistake.line}, column {mistake.column}", mistake.sentence)
            for mistake in line_mistakes(text)
        ]
        sentence = f"the job file is not valid TOML: {error}{_toml_hint(str(error), text)}"
        raise JobRefused(found or [Mistake(where, sentence)]) from None
    return draft_of(values, where)


def draft_of(values: Mapping[str, Any], where: str) -> JobDraft:
    """Check a job's values against the model: every mistake, each with its place and what was expected."""
    held = _held_keys(values, where)
    try:
        return JobDraft(where, values, LabelJob.model_validate(values), held)
    except ValidationError as error:
        errors: dict[str, list[ErrorDetails]] = {}
        for details in error.errors(include_url=False):
            errors.setdefault(_place_of(details), []).append(details)
    places = {place for place, _ in _secrets_in(values)}
    found = (
        Mistake(f"{where}, {place}", _sentence_of(place, all_details))
        for place, all_details in errors.items()
        if place not in places and not _SECRET_VALUE.search(place)
    )
    return JobDraft(where, values, None, (*held, *found))


def _place_of(details: ErrorDetails) -> str:
    place = [str(part) for part in details["loc"]]
    # Only a value that is none of several types has the type it isn't at the end; a label may be named "int".
    if len(place) > _DEPTH_OF_A_LABEL or place[0] != "labels":
        place = [part for part in place if not _UNION_TAG.match(part)]
    return ".".join(place)


def _sentence_of(place: str, errors: Sequence[ErrorDetails]) -> str:
    first = errors[0]
    match first["type"]:
        case "extra_forbidden":
            return f"unknown field{_fields_hint(first['loc'])}"
        case "missing":
            return "this field is missing"
        case _:
            expected = " or ".join(dict.fromkeys(_expected(place, details) for details in errors))
            return f"found {_shown(place, first['input'])}, expected {expected}"


def _expected(place: str, details: ErrorDetails) -> str:
    match details["type"]:
        case "model_type" | "dict_type":
            return f"a section, [{place}]"
        case "string_pattern_mismatch":
            return _PATTERN_WORDS[place]
        case _:
            words = re.sub(r"^(Input should be|\w+ should have|Value error,) ", "", details["msg"])
            return words[:1].lower() + words[1:]


_PATTERN_WORDS = {
    "name": "a name without /, %, &, <, > and control characters",
    "slug": 'small letters a-z, digits and single hyphens between them, such as "news-topics"',
    "run.deadline": 'a time of day such as "08:00"',
    "output.column_prefix": 'a prefix such as "lm_": letters, digits and _, and no digit first',
    "price.currency": 'a currency of three capital letters, such as "CNY"',
    "model.api_key_env": "the name of an environment variable: letters, digits and _",
    "model.class": 'a module and a class in it, such as "langchain_ollama:ChatOllama"',
}


def _fields_hint(place: tuple[int | str, ...]) -> str:
    model: Any = LabelJob
    for name in place[:-1]:
        annotation = model.model_fields[str(name)].annotation
        model = next(part for part in (annotation, *get_args(annotation)) if hasattr(part, "model_fields"))
    fields = [field.alias or name for name, field in model.model_fields.items()]
    close = nearest(str(place[-1]), fields)
    return f"; did you mean {close!r}?" if close else f"; the fields here are {', '.join(fields)}"


def nearest(name: str, known: Sequence[str]) -> str | None:
    """The known name that comes close to one that isn't known; None where none does."""
    folded = {other.casefold(): other for other in known}
    close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def _shown(place: str, value: object) -> str:
    if place.startswith(_NEVER_SHOWN) or place == "alert" or _secrets_in(value, place):
        return "what may be a key"
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def _held_keys(values: Mapping[str, Any], where: str) -> tuple[Mistake, ...]:
    secrets = _secrets_in(values)
    return tuple(Mistake(f"{where}, {place}" if place else where, sentence) for place, sentence in secrets)


def _secrets_in(values: Any, place: str = "") -> list[tuple[str, str]]:
    """Places that hold a key, with a sentence each. The key itself is never shown."""
    if isinstance(values, BaseModel):
        values = dict(values)
    if isinstance(values, Mapping):
        return [secret for name, value in values.items() for secret in _secrets_under(name, value, place)]
    if isinstance(values, list):
        return [
            secret for index, value in enumerate(values) for secret in _secrets_in(value, f"{place}.{index}")
        ]
    if not isinstance(values, str):
        return []
    is_key = _SECRET_VALUE.search(values) or (place == "model.api_key_env" and _RANDOM_WORD.fullmatch(values))
    return [(place, _HELD_KEY)] if is_key else []


def _secrets_under(name: str, value: Any, place: str) -> list[tuple[str, str]]:  # noqa: PLR0911  (each place has its rule)
    if _SECRET_VALUE.search(name):
        return [(place, _HELD_KEY)]
    inner = f"{place}.{name}" if place else name
    if place.startswith(_SETTINGS) and isinstance(value, str):
        is_told = variable_named(value) is None and value and _SECRET_NAME.search(name)
        return [(inner, _HELD_IN_SETTINGS)] if is_told or _SECRET_VALUE.search(value) else []
    if place == "model.headers" and isinstance(value, str):
        is_key = secret_header(value) is None and (_SECRET_VALUE.search(value) or _SECRET_HEADER.search(name))
        return [(inner, _HELD_HEADER)] if value and is_key else []
    if place.startswith("model.extra_body"):
        if isinstance(value, str) and value and _SECRET_FIELD.search(name):
            return [(inner, _HELD_KEY)]
        return _secrets_in(value, inner)
    if isinstance(value, str) and (inner == "alert" or place == "alert"):
        is_secret = inner in _ALERT_SECRETS and value != "" and variable_named(value) is None
        return [(inner, _HELD_ALERT)] if is_secret or "://" in value else _secrets_in(value, inner)
    if place != "labels" and isinstance(value, str) and value and _SECRET_NAME.search(name):
        return [(inner, _HELD_KEY)]
    return _secrets_in(value, inner)


_HELD_KEY = (
    "a job must not hold a key; take it out, put it into the environment or .env as OPENAI_API_KEY, "
    "and name another variable with model.api_key_env"
)


_SETTINGS = "model.settings"
_ALERT_SECRETS = ("alert.url", "alert.secret")
_NEVER_SHOWN = ("model.api_key_env", "model.headers", *_ALERT_SECRETS)
_HELD_IN_SETTINGS = (
    "a job must not hold a key; take it out, put it into the environment or into .env, and name its variable here as "
    '"env:NAME"'
)
_HELD_HEADER = (
    "a job must not hold a key; put it into the environment or into .env, and name its variable in its place: "
    '"env:GATEWAY_KEY", or "Bearer env:GATEWAY_KEY"'
)


_HELD_ALERT = (
    "a job must not hold the address of its alerts or their secret; take it out, put it into the environment or into .env, and "
    'name its variable as url = "env:NAME" or secret = "env:NAME"'
)


_PLACE = re.compile(r"\(at line (\d+), column (\d+)\)")


def _toml_hint(message: str, text: str) -> str:
    place = _PLACE.search(message)
    if place is not None and "after a key" in message:
        line = text.splitlines()[int(place[1]) - 1 : int(place[1])]
        if line and line[0][int(place[2]) - 1 : int(place[2])] == ":":
            return "; TOML has = between a name and its value, and no colon"
    if "Invalid statement" in message or "after a key" in message:
        return '; a name with other than A-Z, a-z, 0-9, _ and - needs quotes: "技术" = "..."'
    return ""
