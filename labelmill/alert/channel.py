"""Where a job's alerts go: what its `[alert]` and the environment say of it, and what is wrong with that."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast, get_args
from urllib.parse import parse_qsl, urlsplit

from labelmill.alert.services import Service, service_at, services
from labelmill.errors import Mistake
from labelmill.job.model import Alert, When, web_address
from labelmill.job.variables import variable_named

URL_ENV = "LABELMILL_ALERT_URL"
WHEN_ENV = "LABELMILL_ALERT_WHEN"
SERVICE_ENV = "LABELMILL_ALERT_SERVICE"
SECRET_ENV = "LABELMILL_ALERT_SECRET"  # noqa: S105  (a variable's name)
KEYWORD_ENV = "LABELMILL_ALERT_KEYWORD"

_SHORTEST_SECRET = 6
"""A shorter part of an address is a word such as `v2` or `send`, which answers hold."""


@dataclass(frozen=True)
class Channel:
    """Where alerts go. Its address and its secret are shown nowhere."""

    url: str = field(repr=False)
    service: Service
    when: When
    secret: str | None = field(default=None, repr=False)
    keyword: str | None = None

    def hidden(self, said: str) -> str:
        """What was said, without the address, the parts of it that only its owner knows, and the secret."""
        parts = urlsplit(self.url)
        pieces = [piece for piece in parts.path.split("/") if any(map(str.isdigit, piece)) or len(piece) > 16]  # noqa: PLR2004  (longer than words of a path are)
        values = [value for _, value in parse_qsl(parts.query)]
        whole = [self.url, f"{parts.path}?{parts.query}" if parts.query else parts.path, parts.query]
        for secret in sorted(
            [*whole, *pieces, *values, parts.password or "", self.secret or ""], key=len, reverse=True
        ):
            if len(secret) >= _SHORTEST_SECRET:
                said = said.replace(secret, "[hidden]")
        return said


@dataclass(frozen=True)
class _Told:
    """A value, and the place where it was said."""

    place: str
    value: str = field(repr=False)
    in_job: bool


def channel_of(alert: Alert, environment: Mapping[str, str] | None = None) -> Channel | None:
    """Where the alerts of a job go; None where nobody is to be told, or what is said of it can't be used."""
    channel, mistakes = _read(alert, os.environ if environment is None else environment)
    return None if mistakes else channel


def alert_mistakes(alert: Alert, where: str, environment: Mapping[str, str] | None = None) -> list[Mistake]:
    """What keeps a job's alerts from going anywhere. Neither an address nor a secret is shown."""
    _, mistakes = _read(alert, os.environ if environment is None else environment)
    return [
        Mistake(f"{where}, {told.place}" if told.in_job else told.place, words) for told, words in mistakes
    ]


def _read(alert: Alert, environment: Mapping[str, str]) -> tuple[Channel | None, list[tuple[_Told, str]]]:
    when = alert.when or environment.get(WHEN_ENV) or "trouble"
    if when not in get_args(When):
        words = f"found {_shown(when)}, expected {_listed(get_args(When))}"
        return None, [(_Told(WHEN_ENV, when, in_job=False), words)]
    if when == "never":
        return None, []
    told = _address(alert, environment)
    if isinstance(told, str):
        return None, [(_Told("alert.url", "", in_job=True), told)] if told else []
    if not _is_address(told.value):
        words = (
            "what it holds is no web address, expected one such as 'https://hooks.slack.com/services/...'; "
            "copy it anew from the service"
        )
        return None, [(told, words)]
    service, mistakes = _service(alert, environment, told)
    secret, more = _secret(alert, environment, service, in_job=told.in_job)
    keyword = alert.keyword if told.in_job else alert.keyword or environment.get(KEYWORD_ENV)
    mistakes += more
    if service is None or mistakes:
        return None, mistakes
    return Channel(told.value, service, cast("When", when), secret, keyword), []


def _address(alert: Alert, environment: Mapping[str, str]) -> _Told | str:
    """The address and the variable that holds it; else what is missing, and nothing where nobody asked for alerts."""
    variable = variable_named(alert.url) if alert.url else None
    if variable:
        value = (environment.get(variable) or "").strip()
        if value:
            return _Told(variable, value, in_job=True)
        return f"neither the environment nor .env has {variable}; put the address there, or take [alert] out of the job"
    value = (environment.get(URL_ENV) or "").strip()
    if value:
        return _Told(URL_ENV, value, in_job=False)
    if alert.url or alert == Alert():
        # An address that stands in the job itself is refused by whoever reads the job.
        return ""
    return (
        f'[alert] says how but not where; put the address into .env and name its variable here as "env:NAME", '
        f"or call it {URL_ENV} there"
    )


def _is_address(value: str) -> bool:
    try:
        web_address(value)
    except ValueError:
        return False
    return True


def _service(
    alert: Alert, environment: Mapping[str, str], told: _Told
) -> tuple[Service | None, list[tuple[_Told, str]]]:
    known = services()
    name = alert.service if told.in_job else alert.service or environment.get(SERVICE_ENV)
    if not name:
        return service_at(told.value), []
    if name in known:
        return known[name], []
    place = (
        _Told("alert.service", name, in_job=True) if alert.service else _Told(SERVICE_ENV, name, in_job=False)
    )
    return None, [(place, f"found {_shown(name)}, expected {_listed(list(known))}")]


def _secret(
    alert: Alert, environment: Mapping[str, str], service: Service | None, *, in_job: bool
) -> tuple[str | None, list[tuple[_Told, str]]]:
    variable = variable_named(alert.secret) if alert.secret else None
    if not variable and in_job:
        return None, []
    place = _Told("alert.secret", "", in_job=True) if variable else _Told(SECRET_ENV, "", in_job=False)
    value = (environment.get(variable or SECRET_ENV) or "").strip()
    if not value:
        missing = f"neither the environment nor .env has {variable}; put the robot's secret there"
        return None, [(place, missing)] if variable else []
    if service is not None and service.signature is None:
        return None, [(place, f"{service.title} has no secret that messages are signed with; take it out")]
    return value, []


def _shown(value: str) -> str:
    """A word as it was found; an address that was put in its place is not shown."""
    return "an address" if "://" in value else repr(value)


def _listed(names: tuple[str, ...] | list[str]) -> str:
    quoted = [repr(name) for name in names]
    return f"{', '.join(quoted[:-1])} or {quoted[-1]}"
