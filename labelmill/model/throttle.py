"""The throttle: everything between a request and the provider that is about speed.

A place in the gate (whose size adapts), then the pace of requests and tokens per minute. It sees every attempt and
every answer, since nothing below it retries.
"""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from labelmill.job.model import Run
from labelmill.model.adaptive import AdaptiveLimit
from labelmill.model.bucket import Bucket
from labelmill.model.failures import POLICY_OF_KIND, Failure, Policy
from labelmill.model.gate import Gate
from labelmill.model.rate_headers import rate_headers_of
from labelmill.money.usage import Usage

log = logging.getLogger(__name__)

FIRST_TOKENS_PER_BYTE = 0.4
"""Between English (about 0.25) and Chinese (about 0.35 to 0.6), until answers tell."""
_LEARNING_RATE = 0.05
_LONGEST_PAUSE_SECONDS = 120.0


@dataclass(frozen=True)
class Passage:
    """One request's way through the throttle: its length in bytes, and the tokens estimated for it."""

    estimate: float
    text_bytes: int


class Throttle:
    """One for all chunks of a run."""

    def __init__(self, run: Run) -> None:
        now = time.monotonic()
        self._adaptive = AdaptiveLimit.below(run.max_concurrency)
        self.gate = Gate(self._adaptive.limit)
        self._requests = Bucket.capped(run.max_requests_per_minute, now)
        self._tokens = Bucket.capped(run.max_tokens_per_minute, now)
        self._tokens_per_byte = FIRST_TOKENS_PER_BYTE
        self._paused_until = 0.0
        self._in_flight = 0
        self._estimates_in_flight = 0.0
        self._lock = threading.Lock()

    @contextmanager
    def admit(self, order: int, text_bytes: int, max_tokens: int) -> Iterator[Passage]:
        """Hold back a request until it may go, then hold its place until the block ends.

        Args:
            order: the lower goes first; a chunk's number.
            text_bytes: the length of its messages in UTF-8.
            max_tokens: the longest answer, in tokens.

        Raises:
            RunStopped: the run has stopped; nothing is sent.
        """
        with self.gate.admit(order):
            estimate = self._estimate(text_bytes, max_tokens)
            self._keep_pace(estimate)
            with self._lock:
                self._in_flight += 1
                self._estimates_in_flight += estimate
            try:
                yield Passage(estimate, text_bytes)
            finally:
                with self._lock:
                    self._in_flight -= 1
                    self._estimates_in_flight -= estimate

    def _estimate(self, text_bytes: int, max_tokens: int) -> float:
        return text_bytes * self._tokens_per_byte + max_tokens

    def _keep_pace(self, estimate: float) -> None:
        with self._lock:
            now = time.monotonic()
            wait = max(self._requests.wait_for(1, now), self._tokens.wait_for(estimate, now))
            until = max(now + wait, self._paused_until)
        while (wait := until - time.monotonic()) > 0:
            self.gate.wait_unless_stopped(wait)
            self.gate.raise_if_stopped()
            until = max(until, self._paused_until)

    def answered(self, passage: Passage, usage: Usage | None, headers: Mapping[str, str]) -> None:
        """Take account of an answer: true up the estimate, learn the limits, let concurrency grow."""
        with self._lock:
            now = time.monotonic()
            if usage is not None:
                self._tokens.correct(usage.input_tokens + usage.output_tokens - passage.estimate, now)
                seen = usage.input_tokens / max(1, passage.text_bytes)
                self._tokens_per_byte += _LEARNING_RATE * (seen - self._tokens_per_byte)
            self._learn(headers, now)
            self._adaptive.answered(self._in_flight)
            self._resize("all places were in use and all went well")

    def rate_limited(self, headers: Mapping[str, str], retry_after_seconds: float | None) -> None:
        """Take account of a 429: everyone waits as long as the provider asks, and concurrency is cut once."""
        with self._lock:
            now = time.monotonic()
            self._learn(headers, now)
            self._requests.empty(now)
            if retry_after_seconds:
                pause = min(_LONGEST_PAUSE_SECONDS, retry_after_seconds)
                self._paused_until = max(self._paused_until, now + pause)
            if self._adaptive.rate_limited(now, retry_after_seconds):
                self._resize("the provider answered 429")

    is_out = False

    def failed(self, passage: Passage, failure: "Failure", headers: Mapping[str, str]) -> None:  # noqa: ARG002
        """Take account of a failure."""
        if failure.kind == "rate_limited":
            self.rate_limited(headers, failure.retry_after_seconds)
        elif failure.kind in POLICY_OF_KIND and failure.policy is Policy.RETRY:
            self.troubled()

    def troubled(self) -> None:
        """Take account of another failure of the provider: concurrency stops growing for a round."""
        with self._lock:
            self._adaptive.troubled()

    def use(self, limit: AdaptiveLimit) -> None:
        """Go on with another limit of concurrency. What was learned of the provider's pace stays."""
        with self._lock:
            self._adaptive = limit
            self.gate.resize(limit.limit)

    def _learn(self, headers: Mapping[str, str], now: float) -> None:
        announced = rate_headers_of(headers)
        if announced.requests:
            self._requests.learn(announced.requests, self._in_flight, now)
        if announced.tokens:
            self._tokens.learn(announced.tokens, self._estimates_in_flight, now)

    def _resize(self, reason: str) -> None:
        if self._adaptive.limit != self.gate.limit:
            log.info("%d requests in flight instead of %d: %s", self._adaptive.limit, self.gate.limit, reason)
            self.gate.resize(self._adaptive.limit)
