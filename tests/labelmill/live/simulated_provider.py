"""A provider, a run's requests and their clock, all simulated: hours of a run in milliseconds.

The requests go through the real `Pace`, in the limiter's order; a failed one waits and is sent again as the chain does it.
"""

import heapq
import itertools
import math
import random
from collections import Counter
from dataclasses import dataclass, field

from labelmill.job.model import Run
from labelmill.live.limiter import NotYet
from labelmill.live.pace import Pace
from labelmill.money.usage import Usage
from labelmill.question.failures import OVERLOAD_KINDS, Failure, Policy

TEXT_BYTES, MAX_TOKENS = 100, 10
REFUSED_SECONDS = 0.005
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 60.0


@dataclass
class Provider:
    """What the simulated provider does.

    It answers `slots` requests at a time after `seconds` each (lognormal with `sigma`), lets `queue` more wait and turns
    the rest away. While it is `down` (from, to, kind) every request ends in that kind; a `timeout` there hangs.
    """

    seconds: float = 0.3
    sigma: float = 0.0
    slots: float = math.inf
    queue: float = math.inf
    turns_away_with: str = "rate_limited"
    retry_after_seconds: float | None = None
    down: tuple[tuple[float, float, str], ...] = ()
    down_retry_after_seconds: float | None = None
    isolated: dict[str, float] = field(default_factory=dict)
    isolated_retry_after_seconds: float | None = None
    stubborn: dict[str, float] = field(default_factory=dict)
    per_minute: float = math.inf
    burst: float = 1.0
    announces: bool = False
    works_on_what_was_abandoned: bool = False

    def down_kind(self, now):
        """What every request ends in at this time; None while it is up."""
        return next((kind for begins, ends, kind in self.down if begins <= now < ends), None)


@dataclass
class _Sent:
    text: int
    permit: object
    state: str = "waiting"
    over: bool = False


class Queue:
    """The texts that wait, as turns of chunk, arrival and text: the first is known by chunk as well as by arrival."""

    def __init__(self, turns):
        self.waiting = set()
        self.by_chunk, self.by_arrival = [], []
        for turn in turns:
            self.add(turn)

    def __len__(self):
        return len(self.waiting)

    def add(self, turn):
        """Let a turn wait."""
        self.waiting.add(turn)
        heapq.heappush(self.by_chunk, turn)
        heapq.heappush(self.by_arrival, (turn[1], turn))

    def remove(self, turn):
        """Take a turn out; the heaps learn of it when it comes to their top."""
        self.waiting.remove(turn)

    def first(self, *, by_arrival):
        """The turn whose text is asked next."""
        if by_arrival:
            while self.by_arrival[0][1] not in self.waiting:
                heapq.heappop(self.by_arrival)
            return self.by_arrival[0][1]
        while self.by_chunk[0] not in self.waiting:
            heapq.heappop(self.by_chunk)
        return self.by_chunk[0]


class Simulation:
    """One run: `Simulation(provider, texts=100).go()`, then look at what it has counted."""

    def __init__(self, provider, *, texts=100, timeout_seconds=60.0, max_attempts=5, seed=0, **run):
        self.provider, self.texts, self.timeout = provider, texts, timeout_seconds
        self.max_attempts, self.dice = max_attempts, random.Random(seed)
        self.run = Run(**run)
        self.pace = Pace(self.run, 0.0, timeout_seconds)
        self.now = 0.0
        self.events = []
        self.numbers = itertools.count()
        self.queue = Queue((text // 50, text, text) for text in range(texts))
        self.arrivals = itertools.count(texts)
        self.attempts = Counter()
        self.labeled, self.failed = set(), set()
        self.sent_at, self.ends, self.lines = [], Counter(), []
        self.out = []
        self.in_flight = self.peak = 0
        self.stopped = None
        self.in_service, self.line = 0, []
        self.level, self.level_at = provider.burst, 0.0
        self.looks_at = math.inf
        self.served = {}

    def go(self, until=math.inf):
        """Run until every text is done, the run is stopped, or it is that late."""
        for begins, _, kind in self.provider.down:
            if kind == "connection":
                self._at(begins, self._reset_all)
        self._send()
        while self.events and self.stopped is None and self.undone:
            when, _, event, arguments = heapq.heappop(self.events)
            if when > until:
                self.now = until
                break
            assert when >= self.now
            self.now = when
            event(*arguments)
            self._send()
        assert self.stopped or self.now >= until or not self.undone, (
            f"deadlock at {self.now}: {self.undone} left"
        )
        return self

    @property
    def undone(self):
        """Texts that are neither labeled nor failed."""
        return self.texts - len(self.labeled) - len(self.failed)

    def _at(self, when, event, *arguments):
        heapq.heappush(self.events, (when, next(self.numbers), event, arguments))

    def _send(self):
        while self.queue and self.stopped is None:
            first = self.queue.first(by_arrival=self.pace.takes_turns)
            text = first[2]
            has_failed = self.attempts[text] > 0
            permit = self.pace.next_permit(TEXT_BYTES, MAX_TOKENS, self.now, has_failed=has_failed)
            if isinstance(permit, NotYet):
                looks_at = self.now + max(permit.seconds, 1e-6)
                if looks_at < self.looks_at or self.looks_at <= self.now:
                    self.looks_at = looks_at
                    if math.isfinite(looks_at):
                        self._at(looks_at, lambda: None)
                return
            self.queue.remove(first)
            self.sent_at.append(self.now)
            if self.pace.is_out:
                self.out.append(self.now)
            self.in_flight += 1
            self.peak = max(self.peak, self.in_flight)
            self._arrive(_Sent(text, permit))

    def _arrive(self, sent):
        provider = self.provider
        kind = provider.down_kind(self.now)
        if kind == "timeout":
            self._at(self.now + self.timeout, self._end, sent, "timeout", None)
            return
        if kind:
            self._at(self.now + REFUSED_SECONDS, self._end, sent, kind, provider.down_retry_after_seconds)
            return
        drawn = random.Random(f"{sent.text} breaks it").random()
        for kind, fraction in provider.stubborn.items():
            drawn -= fraction
            if drawn < 0:
                after = self.timeout if kind == "timeout" else REFUSED_SECONDS
                self._at(self.now + after, self._end, sent, kind, None)
                return
        drawn = self.dice.random()
        for kind, fraction in provider.isolated.items():
            drawn -= fraction
            if drawn < 0:
                after = self.timeout if kind == "timeout" else REFUSED_SECONDS
                self._at(self.now + after, self._end, sent, kind, provider.isolated_retry_after_seconds)
                return
        self.level = min(provider.burst, self.level + (self.now - self.level_at) * provider.per_minute / 60)
        self.level_at = self.now
        if math.isinf(provider.per_minute):
            self.level = math.inf
        full = self.in_service >= provider.slots and len(self.line) >= provider.queue
        if self.level < 1 or full:
            kind = "rate_limited" if self.level < 1 else provider.turns_away_with
            self._at(self.now + REFUSED_SECONDS, self._end, sent, kind, provider.retry_after_seconds)
            return
        self.level -= 1
        self._at(self.now + self.timeout, self._end, sent, "timeout", None)
        self.line.append(sent)
        self._serve()

    def _serve(self):
        while self.line and self.in_service < self.provider.slots:
            sent = self.line.pop(0)
            sent.state = "in service"
            self.in_service += 1
            sigma, mean = self.provider.sigma, self.provider.seconds
            seconds = mean * math.exp(self.dice.gauss(-sigma * sigma / 2, sigma)) if sigma else mean
            self._at(self.now + seconds, self._finish, sent)
            self.served[id(sent)] = sent

    def _finish(self, sent):
        if sent.state == "in service":
            sent.state = "served"
            self.in_service -= 1
            self.served.pop(id(sent), None)
            self._end(sent, None, None)
            self._serve()

    def _reset_all(self):
        for sent in [*self.line, *self.served.values()]:
            self._end(sent, "connection", None, gone=True)
        self.line.clear()

    def _end(self, sent, kind, retry_after_seconds, *, gone=False):
        """A request is over for its client; the provider may still be at it."""
        if sent.over:
            return
        sent.over = True
        if kind and (gone or not self.provider.works_on_what_was_abandoned):
            if sent.state == "in service":
                sent.state = "abandoned"
                self.in_service -= 1
                self.served.pop(id(sent), None)
            elif sent in self.line:
                self.line.remove(sent)
        self.in_flight -= 1
        self.ends[kind] += 1
        headers = {}
        if self.provider.announces:
            headers = {
                "x-ratelimit-limit-requests": str(self.provider.per_minute),
                "x-ratelimit-remaining-requests": str(math.floor(max(0.0, self.level))),
            }
        if kind is None:
            self.pace.answered(sent.permit, Usage(input_tokens=40, output_tokens=2), headers, self.now)
            self.labeled.add(sent.text)
        else:
            asks = None if kind in {"connection", "timeout"} else retry_after_seconds
            failure = Failure(kind, f"the words of {kind}", asks)
            counts = self.pace.failed(sent.permit, failure, headers, self.now)
            self._ask_again(sent.text, failure, counts=counts)
        self.pace.ended(sent.permit)
        self.lines += [line for _, line in self.pace.lines]
        self.pace.lines.clear()
        self.stopped = self.pace.outage.ends_with
        self._serve()

    def _ask_again(self, text, failure, *, counts):
        self.attempts[text] += counts
        if failure.policy is not Policy.RETRY or self.attempts[text] >= self.max_attempts:
            self.failed.add(text)
            return
        grown = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** max(0, self.attempts[text] - 1))
        wait = max(grown * self.dice.uniform(0.5, 1.0), failure.retry_after_seconds or 0.0)
        self._at(self.now + wait, self._queue_again, text)

    def _queue_again(self, text):
        self.queue.add((text // 50, next(self.arrivals), text))

    @property
    def wasted(self):
        """Requests that said "too much"."""
        return sum(count for kind, count in self.ends.items() if kind in OVERLOAD_KINDS)
