"""The job file: TOML in, a `LabelJob` out, or every mistake in it."""

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from labelmill.errors import JobRefused, Mistake
from labelmill.job.model import LabelJob

_SECRET_NAME = re.compile(r"(^|_)(api_?key|key|token|secret|password)$", re.IGNORECASE)
_SECRET_VALUE = re.compile(
    r"\b(sk|pk|rk|gsk|xai|hf|ghp)[-_][A-Za-z0-9_-]{12,}|\bAIza[A-Za-z0-9_-]{20,}|\bBearer\s+\S{12,}"
)
_UNION_TAG = re.compile(r"^(constrained-|literal\[|function-|lax-or-strict|int$|float$|str$)")
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class JobDraft:
    """A job file as far as it can be read: `job` where all is well, the sections that are, and the mistakes."""

    where: str
    values: Mapping[str, Any]
    job: LabelJob | None
    mistakes: tuple[Mistake, ...]

    def section(self, name: str) -> Any:
        """A section by itself, also where another one is wrong; None where it is missing or wrong itself."""
        if self.job is not None:
            return getattr(self.job, name)
        model = LabelJob.model_fields[name].annotation
        value = self.values.get(name)
        if isinstance(model, type) and issubclass(model, BaseModel):
            try:
                return model.model_validate({} if value is None else value)
            except ValidationError:
                return None
        return value


def draft_of_file(path: Path) -> JobDraft:
    """Read a job file.

    Raises:
        JobRefused: there is no such file, or it is not TOML.
    """
    where = str(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise JobRefused(
            [Mistake(where, f"there is no such job file; looked in {path.absolute().parent}")]
        ) from None
    except OSError as error:
        raise JobRefused([Mistake(where, f"the job file can't be read: {error.strerror}")]) from None
    except UnicodeDecodeError:
        raise JobRefused([Mistake(where, "the job file is not UTF-8 text")]) from None
    except tomllib.TOMLDecodeError as error:
        hint = _toml_hint(str(error))
        raise JobRefused([Mistake(where, f"the job file is not valid TOML: {error}{hint}")]) from None
    return draft_of(values, where)


def draft_of(values: Mapping[str, Any], where: str) -> JobDraft:
    """Check a job's values against the model: every mistake, each with its place and what was expected."""
    secrets = [Mistake(f"{where}, {place}", sentence) for place, sentence in _secrets_in(values)]
    try:
        job = LabelJob.model_validate(values)
    except ValidationError as error:
        secret_places = {mistake.where for mistake in secrets}
        found = [
            _mistake_of(details, where) for details in error.errors(include_url=False, include_context=True)
        ]
        unique = dict.fromkeys(mistake for mistake in found if mistake.where not in secret_places)
        return JobDraft(where, values, None, (*secrets, *unique))
    return JobDraft(where, values, job, tuple(secrets))


def _mistake_of(details: ErrorDetails, where: str) -> Mistake:
    place = ".".join(str(part) for part in details["loc"] if not _UNION_TAG.match(str(part)))
    return Mistake(f"{where}, {place}", _sentence_of(details))


def _sentence_of(details: ErrorDetails) -> str:
    match details["type"]:
        case "extra_forbidden":
            return f"unknown field{near(str(details['loc'][-1]), _fields_at(details['loc'][:-1]))}"
        case "missing":
            return "this field is missing"
        case _:
            message = details["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
            return f"found {_shown(details['input'])}, expected {message[:1].lower()}{message[1:]}"


def _fields_at(place: tuple[int | str, ...]) -> list[str]:
    model: Any = LabelJob
    for name in place:
        model = model.model_fields[str(name)].annotation
    return list(model.model_fields)


def near(name: str, known: list[str], kind: str = "fields") -> str:
    """A hint to append: the known name that comes close, or all there are."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else f"; the {kind} here are {', '.join(known)}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def _secrets_in(values: Any, place: str = "") -> list[tuple[str, str]]:
    """Places that hold a key, with a sentence each. The key itself is never shown."""
    if isinstance(values, Mapping):
        found = []
        for name, value in values.items():
            inner = f"{place}.{name}" if place else str(name)
            if place != "labels" and isinstance(value, str) and value and _SECRET_NAME.search(str(name)):
                found.append((inner, _HELD_KEY))
            else:
                found += _secrets_in(value, inner)
        return found
    if isinstance(values, list):
        return [
            secret for index, value in enumerate(values) for secret in _secrets_in(value, f"{place}.{index}")
        ]
    return [(place, _HELD_KEY)] if isinstance(values, str) and _SECRET_VALUE.search(values) else []


_HELD_KEY = (
    "a job must not hold a key; take it out, put it into the environment or into .env as OPENAI_API_KEY, "
    "and name another variable with model.api_key_env"
)


def _toml_hint(message: str) -> str:
    if "Invalid statement" in message or "after a key" in message:
        return '; a name with other than A-Z, a-z, 0-9, _ and - needs quotes: "技术" = "..."'
    return ""
