"""The services that alerts can go to: data in `services.toml`."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal
from urllib.parse import urlsplit

WEBHOOK = "webhook"
"""Any program that takes JSON: what an address is taken for whose host is no service's."""


@dataclass(frozen=True)
class Signature:
    """What a service has signed: `signed` by `key`, both with `{timestamp}` and `{secret}` in them."""

    key: str
    signed: str
    unit: Literal["seconds", "milliseconds"]
    goes_into: Literal["body", "query"]


@dataclass(frozen=True)
class Service:
    """What a service takes, and how it says that it did. `services.toml` says what each field is."""

    name: str
    title: str
    hosts: tuple[str, ...] = ()
    body: Mapping[str, Any] | None = None
    replaced: tuple[tuple[str, str], ...] = ()
    max_bytes: int | None = None
    signature: Signature | None = None
    has_keyword: bool = False
    code: tuple[str, ...] = ()
    says: tuple[str, ...] = ()
    busy: frozenset[int] = frozenset()
    hints: tuple[tuple[str, str], ...] = ()

    def hint_for(self, said: str) -> str | None:
        """What to do about what the service has said; None where that isn't known."""
        words = said.casefold()
        return next((hint for says, hint in self.hints if says in words), None)


@cache
def services() -> Mapping[str, Service]:
    """All of them, by the name that a job calls them."""
    data = tomllib.loads(files(__package__).joinpath("services.toml").read_text(encoding="utf-8"))
    return {name: _service(name, facts) for name, facts in data.items()}


def _service(name: str, facts: Mapping[str, Any]) -> Service:
    signature = facts.get("signature")
    return Service(
        name=name,
        title=facts["title"],
        hosts=tuple(facts.get("hosts", ())),
        body=facts.get("body"),
        replaced=tuple((mark, instead) for mark, instead in facts.get("replaced", ())),
        max_bytes=facts.get("max_bytes"),
        signature=Signature(**signature) if signature else None,
        has_keyword=facts.get("has_keyword", False),
        code=tuple(facts.get("code", ())),
        says=tuple(facts.get("says", ())),
        busy=frozenset(facts.get("busy", ())),
        hints=tuple((hint["says"], hint["hint"]) for hint in facts.get("hints", ())),
    )


def service_at(url: str) -> Service:
    """The service that an address belongs to, told by its host."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    known = services()
    return next((service for service in known.values() if host in service.hosts), known[WEBHOOK])
