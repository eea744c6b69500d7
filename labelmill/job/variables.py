"""Secrets that a job names by the environment variable that holds them: `env:NAME`, in a header also `Bearer env:NAME`."""

import re
from typing import NamedTuple

_REFERENCE = re.compile(r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9-]*) )?env:(?P<variable>[A-Za-z_][A-Za-z0-9_]*)")


class SecretHeader(NamedTuple):
    """A value that stands in an environment variable. `before` goes in front of it, such as `Bearer `."""

    variable: str
    before: str = ""


def secret_header(value: str) -> SecretHeader | None:
    """What `env:NAME` or `Bearer env:NAME` names; None for a value that is sent as it is."""
    found = _REFERENCE.fullmatch(value)
    if found is None:
        return None
    scheme = found["scheme"]
    return SecretHeader(found["variable"], f"{scheme} " if scheme else "")


def variable_named(value: str) -> str | None:
    """The variable that `env:NAME` names; None for any other value."""
    named = secret_header(value)
    return named.variable if named and not named.before else None
