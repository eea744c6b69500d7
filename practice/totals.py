"""What the practice provider has seen and answered: the other side of the client's bill."""

import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from practice.settings import FaultKind

NO_ANSWER = "no_answer"
"""The status of requests whose connection ended before an answer."""


@dataclass
class Totals:
    """Counts since the start or the last reset."""

    requests: int = 0
    """All that arrived at the chat endpoint, whatever became of them."""
    answered: int = 0
    """Those that got 200 with usage that the client can see."""
    input_tokens: int = 0
    """Of the answered ones, cached ones included."""
    cached_input_tokens: int = 0
    output_tokens: int = 0
    unseen_input_tokens: int = 0
    """Of answers a real provider bills though their usage never reaches the client, or tells it nothing."""
    unseen_output_tokens: int = 0
    by_status: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    odd_answers: Counter[str] = field(default_factory=Counter)
    """Answers that were given in an odd form, by kind: live, and in batches since this server's start."""
    odd_answers_right: Counter[str] = field(default_factory=Counter)
    """Of these, the ones that name the right label and no other."""
    in_flight: int = 0
    peak_in_flight: int = 0
    first_arrival_seconds: float | None = None
    """When the first request came, by this machine's monotonic clock."""
    last_departure_seconds: float | None = None
    """When the last answer left, by the same clock."""

    def arrive(self) -> None:
        """A request is here."""
        self.requests += 1
        self.in_flight += 1
        if self.first_arrival_seconds is None:
            self.first_arrival_seconds = time.monotonic()
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)

    def leave(self, status: int | None) -> None:
        """A request is done with this HTTP status, or with None for no answer at all."""
        self.in_flight -= 1
        self.last_departure_seconds = time.monotonic()
        self.by_status[NO_ANSWER if status is None else str(status)] += 1

    def play(self, fault: FaultKind) -> None:
        """A request meets a fault."""
        self.faults[fault.value] += 1

    def give(self, odd: str | None, *, is_right: bool) -> None:
        """An answer is given, in an odd form or, with None, in the usual one."""
        if odd is not None:
            self.odd_answers[odd] += 1
            self.odd_answers_right.update([odd] if is_right else [])

    def bill(self, input_tokens: int, cached_input_tokens: int, output_tokens: int, *, seen: bool) -> None:
        """An answer is made; `seen` if its usage goes out to the client."""
        if not seen:
            self.unseen_input_tokens += input_tokens
            self.unseen_output_tokens += output_tokens
            return
        self.answered += 1
        self.input_tokens += input_tokens
        self.cached_input_tokens += cached_input_tokens
        self.output_tokens += output_tokens

    def report(self) -> dict[str, Any]:
        """The counts as plain JSON."""
        counters = ("by_status", "faults", "odd_answers", "odd_answers_right")
        return asdict(self) | {name: dict(getattr(self, name)) for name in counters}
