"""A prompt that many requests begin with, in a provider's cache: which of them ask for it to be written or read there.

Writing costs more than other input and reading far less, so that it pays from the second request on. What was written can be
read once the answer to the request that wrote it has begun: of those that go out at once, one writes, and the others ask for
nothing until then.
"""

import threading
import time
import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

_MOST_TOKENS_PER_BYTE = 0.5
"""More than tokenizers make of any language, so that no prompt that could be cached is left out."""


class Turn(NamedTuple):
    """Whether a request asks for the cache, and whether it is the one that writes."""

    asks: bool
    writes: bool


class SharedPrompt:
    """The prompt that a model's requests have in common. Threads share it."""

    def __init__(self, lifetime_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._lifetime = lifetime_seconds
        self._clock = clock
        self._was_sent = False
        self._is_being_written = False
        self._written_until = float("-inf")
        self._lock = threading.Lock()

    def begin(self) -> Turn:
        """What a request that goes out now does."""
        with self._lock:
            if self._clock() < self._written_until:
                return Turn(asks=True, writes=False)
            # Whether any other will follow, the first one can't know.
            writes = self._was_sent and not self._is_being_written
            self._was_sent = True
            self._is_being_written = self._is_being_written or writes
            return Turn(asks=writes, writes=writes)

    def end(self, turn: Turn, *, answered: bool) -> None:
        """What came of it: an answer means that the prompt is in the cache from now on."""
        with self._lock:
            if turn.writes:
                self._is_being_written = False
            if turn.asks and answered:
                self._written_until = self._clock() + self._lifetime


@cache
def cache_rules() -> Mapping[str, Any]:
    """What Anthropic says of its cache."""
    return tomllib.loads(files(__package__).joinpath("prompt_cache.toml").read_text(encoding="utf-8"))


def fewest_tokens_of(model: str) -> int:
    """The shortest prompt, in tokens, that a model's cache takes; the shortest of all for a model that isn't known."""
    known: Mapping[str, int] = cache_rules()["fewest_tokens"]
    names = sorted((name for name in known if model.startswith(name)), key=len)
    return known[names[-1]] if names else min(known.values())


def may_be_cached(prompt: str, model: str) -> bool:
    """Whether a prompt may be long enough. To ask for the cache with one that is not costs nothing, and does nothing."""
    return len(prompt.encode(errors="replace")) * _MOST_TOKENS_PER_BYTE >= fewest_tokens_of(model)
