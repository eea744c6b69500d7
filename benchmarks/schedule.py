"""Headlines that say how long their answers take, and what a scheduler needs that wastes nothing."""

import heapq
import json
import math
import random
import urllib.request
from collections.abc import Sequence

from rows import CURATOR, PLAIN, at_most

SLOTS = "first request to last answer, beside an ideal schedule"
SLOT_GOALS = (at_most(1.02), at_most(1, PLAIN), at_most(1, CURATOR))
SIGMA = 0.8
"""Of the logarithm of the seconds: a long tail, as that of a real model's answers."""


def delays_of(texts: int, mean: float, seed: int = 20) -> list[float]:
    """How long each text's answer takes, in seconds; the same in every run."""
    dice = random.Random(seed)
    return [round(dice.lognormvariate(math.log(mean) - SIGMA**2 / 2, SIGMA), 3) for _ in range(texts)]


def texts_of(delays: Sequence[float]) -> list[str]:
    """Headlines that say how long their answers take, which the provider in C follows."""
    return [
        f"headline {number}: the match was won in the last minute (takes_ms={1000 * delay:.0f})"
        for number, delay in enumerate(delays)
    ]


def ideal_seconds(delays: Sequence[float], in_flight: int) -> float:
    """The time that a scheduler needs which starts the next text the moment a place is free."""
    places = [0.0] * in_flight
    for delay in delays:
        heapq.heapreplace(places, places[0] + delay)
    return max(places)


def seconds_of_requests(base_url: str) -> float:
    """From the first request for a text to the last answer, as the provider in C has seen it."""
    past_any_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with past_any_proxy.open(f"{base_url.removesuffix('/v1')}/totals") as answer:
        return float(json.load(answer)["seconds"])
