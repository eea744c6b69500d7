"""Time zones as people write them: `Asia/Beijing` is `Asia/Shanghai`. Which name means which is data, in `zones.toml`."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo, available_timezones

from labelmill.installing import installing
from labelmill.job.file import nearest

UTC = "UTC"


def zone_meant_by(name: str) -> str | None:
    """The IANA name of the zone that a name stands for, which is itself as a rule; None where there is none."""
    return next((zone for zone in (name, _named("same").get(_plain(name))) if zone and _is_zone(zone)), None)


def zone_notice(name: str) -> str | None:
    """What is to be said where a zone goes by another name than the one that was given; None where it doesn't."""
    meant = zone_meant_by(name)
    return (
        None if meant in {None, name} else f"the time zone {name!r} is called {meant!r}, and is taken for it"
    )


def zone_mistake(name: str) -> str | None:
    """What is wrong with a zone's name, in a sentence; None where there is such a zone."""
    if zone_meant_by(name) is not None:
        return None
    return f"there is no time zone {name!r}; {_hint(name)}"


def _hint(name: str) -> str:
    zones = sorted(available_timezones())
    if not zones:
        return f"this machine has no time zone database; install one with: {installing('tzdata')}"
    others = {**_named("same"), **_named("meant")}
    close = others.get(_plain(name)) or nearest(name, [*zones, *others])
    meant = others.get(close, close) if close else None
    return f"did you mean {meant!r}?" if meant else "expected a name such as 'Asia/Shanghai' or 'UTC'"


def _plain(name: str) -> str:
    return " ".join(name.split()).casefold()


def _is_zone(name: str) -> bool:
    if name == UTC:  # not every machine has a time zone database, and for UTC none is needed
        return True
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError):  # a name like ../UTC is a ValueError, one like Asia a folder
        return False
    return True


@cache
def _named(kind: str) -> Mapping[str, str]:
    """The zone that each other name stands for."""
    data = tomllib.loads(files(__package__).joinpath("zones.toml").read_text(encoding="utf-8"))
    return {other: zone for zone, others in data[kind].items() for other in others}
