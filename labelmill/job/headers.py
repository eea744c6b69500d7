"""A header's value as a job tells it: as it is, or by the environment variable that holds its secret."""

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
