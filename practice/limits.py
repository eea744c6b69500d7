"""Requests and tokens per minute, as token buckets, with the headers that tell clients where they stand."""

import math
from dataclasses import dataclass, field

from practice.errors import rate_limited, retry_after
from practice.settings import PracticeSettings


@dataclass
class Bucket:
    """An allowance that fills up steadily; it may go below zero when a cost is known only afterwards."""

    per_minute: int
    capacity: float
    level: float
    seconds: float
    """The clock when the level was right."""

    def refill(self, now: float) -> None:
        """Bring the level up to date; `now` is in seconds on any steady clock."""
        gained = max(now - self.seconds, 0.0) * self.per_minute / 60
        self.level = min(self.level + gained, self.capacity)
        self.seconds = now

    def seconds_until(self, amount: float) -> float:
        """How long until the level reaches the amount."""
        return max(amount - self.level, 0.0) * 60 / self.per_minute


def _bucket(per_minute: int | None, burst_seconds: float, now: float) -> Bucket | None:
    if per_minute is None:
        return None
    # Less than one whole request would never let anything pass.
    capacity = max(per_minute * burst_seconds / 60, 1.0)
    return Bucket(per_minute, capacity, capacity, now)


@dataclass
class RateLimits:
    """The buckets of one server; both start full."""

    requests: Bucket | None = None
    tokens: Bucket | None = None
    _kinds: tuple[tuple[str, Bucket], ...] = field(init=False)

    def __post_init__(self) -> None:
        kinds = (("requests", self.requests), ("tokens", self.tokens))
        self._kinds = tuple((kind, bucket) for kind, bucket in kinds if bucket is not None)

    @classmethod
    def from_settings(cls, settings: PracticeSettings, now: float) -> "RateLimits":
        """Full buckets for the limits that are set; `now` is in seconds on the clock that `admit` gets."""
        burst = settings.burst_seconds
        return cls(
            _bucket(settings.requests_per_minute, burst, now),
            _bucket(settings.tokens_per_minute, burst, now),
        )

    def admit(self, input_tokens: int, now: float) -> None:
        """Take one request and its input tokens, or nothing.

        Raises:
            RequestRefusedError: the allowance is used up, or the request is larger than it can ever be.
        """
        for kind, bucket in self._kinds:
            bucket.refill(now)
            wanted = 1 if kind == "requests" else input_tokens
            if wanted > bucket.capacity:
                message = (
                    f"Request too large: {wanted} {kind}, and at most {bucket.capacity:.0f} come at once."
                )
                raise rate_limited(message, self.headers())
            wait = bucket.seconds_until(wanted)
            if wait > 0:
                message = (
                    f"Rate limit reached on {kind} per min: Limit {bucket.per_minute}, Requested {wanted}. "
                    f"Please try again in {wait:.3f}s."
                )
                raise rate_limited(message, self.headers() | retry_after(wait))
        for kind, bucket in self._kinds:
            bucket.level -= 1 if kind == "requests" else input_tokens

    def settle(self, output_tokens: int) -> None:
        """Take the output tokens once they are known."""
        if self.tokens is not None:
            self.tokens.level -= output_tokens

    def headers(self) -> dict[str, str]:
        """OpenAI's `x-ratelimit-*` headers, as of the last admission."""
        told: dict[str, str] = {}
        for kind, bucket in self._kinds:
            told[f"x-ratelimit-limit-{kind}"] = str(bucket.per_minute)
            told[f"x-ratelimit-remaining-{kind}"] = str(max(math.floor(bucket.level), 0))
            told[f"x-ratelimit-reset-{kind}"] = duration(bucket.seconds_until(bucket.capacity))
        return told


def duration(seconds: float) -> str:
    """Seconds as OpenAI writes them: "120ms", "1s", "6m0s"."""
    milliseconds = math.ceil(seconds * 1000)
    if milliseconds < 1000:  # noqa: PLR2004 - a second
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds / 1000, 60)
    return (f"{minutes:.0f}m" if minutes else "") + f"{rest:.3f}".rstrip("0").rstrip(".") + "s"
