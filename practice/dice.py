"""Chance without luck: faults and delays drawn from hashes, so that a text always meets the same fate."""

import math
from collections.abc import Mapping
from hashlib import blake2b
from statistics import NormalDist

from practice.settings import FaultKind, PracticeSettings

_STANDARD_NORMAL = NormalDist()


def text_key_of(text: str) -> str:
    """The stable name of a text."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def roll(*parts: object) -> float:
    """A number in [0, 1) that depends on the parts only."""
    written = "\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")
    drawn = int.from_bytes(blake2b(written, digest_size=8).digest(), "big")
    # A float holds 53 bits; all 64 could round up to 1.
    return (drawn >> 11) / 2**53


def fault_of(settings: PracticeSettings, text_key: str, attempt: int) -> FaultKind | None:
    """The fault this attempt (the first is 1) of a text meets, or None."""
    stubborn = _picked(settings.stubborn_faults, roll(settings.seed, "stubborn fault", text_key))
    if stubborn is not None or attempt > 1:
        return stubborn
    return _picked(settings.faults, roll(settings.seed, "fault", text_key))


def latency_of(settings: PracticeSettings, text_key: str, attempt: int) -> float:
    """Seconds until this attempt of a text is answered."""
    mean, sigma = settings.latency_seconds, settings.latency_sigma
    if not mean or not sigma:
        return mean
    # inv_cdf is not defined at 0.
    chance = max(roll(settings.seed, "latency", text_key, attempt), 2**-53)
    # A lognormal's mean is exp(mu + sigma^2/2): taking sigma^2/2 off keeps the mean what was asked for.
    return mean * math.exp(sigma * _STANDARD_NORMAL.inv_cdf(chance) - sigma**2 / 2)


def _picked(fractions: Mapping[FaultKind, float], rolled: float) -> FaultKind | None:
    # In the order of the kinds, not of the mapping: how the settings were written must not matter.
    for kind in FaultKind if fractions else ():
        rolled -= fractions.get(kind, 0.0)
        if rolled < 0:
            return kind
    return None
