"""What the practice provider remembers between requests: settings, attempts, the other side of the client's bill."""

import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from practice.batches.rows import Tally
from practice.batches.state import shown_status
from practice.batches.store import BatchStore
from practice.batches.work import BatchWork
from practice.limits import RateLimits
from practice.prefixes import PrefixMemory
from practice.settings import BatchStep, FaultKind, PracticeSettings

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
    cache_write_input_tokens: int = 0
    """Of the answered ones, those that a client had written to a cache."""
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

    def bill(
        self,
        input_tokens: int,
        cached_input_tokens: int,
        output_tokens: int,
        cache_write_input_tokens: int = 0,
        *,
        seen: bool,
    ) -> None:
        """An answer is made; `seen` if its usage goes out to the client."""
        if not seen:
            self.unseen_input_tokens += input_tokens
            self.unseen_output_tokens += output_tokens
            return
        self.answered += 1
        self.input_tokens += input_tokens
        self.cached_input_tokens += cached_input_tokens
        self.cache_write_input_tokens += cache_write_input_tokens
        self.output_tokens += output_tokens

    def report(self) -> dict[str, Any]:
        """The counts as plain JSON."""
        counters = ("by_status", "faults", "odd_answers", "odd_answers_right")
        return asdict(self) | {name: dict(getattr(self, name)) for name in counters}


class PaidTexts:
    """Texts that got a sound answer, by lane; a faulty answer may well be paid for and asked again."""

    def __init__(self) -> None:
        self._live: Counter[str] = Counter()
        self._batch: Counter[str] = Counter()

    def add_live(self, text_key: str) -> None:
        """A text was answered by a chat request."""
        self._live[text_key] += 1

    def add_batch(self, text_key: str) -> None:
        """A text was answered in a batch."""
        self._batch[text_key] += 1

    def paid_twice(self) -> int:
        """How many texts were answered in a batch, and once more there or live."""
        return sum(count + self._live[text_key] > 1 for text_key, count in self._batch.items())

    def paid_twice_live(self) -> int:
        """How many texts were answered live, and live once more."""
        return sum(count > 1 for count in self._live.values())


class ServerState:
    """The settings in force, the totals, the attempts made for every text, files and batches."""

    def __init__(self, settings: PracticeSettings, now: float, folder: Path | None = None) -> None:
        self.totals = Totals()
        self.prefixes = PrefixMemory()
        self.paid = PaidTexts()
        self.store = BatchStore(folder)
        self.work = BatchWork(self.store, self)
        self._attempts: Counter[str] = Counter()
        self._attempting = threading.Lock()
        self._calls: Counter[BatchStep] = Counter()
        self._batch_rows = 0
        self._recall()
        self.configure(settings, now)

    def configure(self, settings: PracticeSettings, now: float) -> None:
        """Replace the settings and fill the buckets; totals and attempts stay. `now` is in seconds."""
        self.settings = settings
        self.limits = RateLimits.from_settings(settings, now)
        self._calls_since: Counter[BatchStep] = Counter()

    def reset(self, now: float) -> None:
        """Forget all but the settings, and the requests that are in flight; files and batches are deleted."""
        in_flight = self.totals.in_flight
        self.totals = Totals(in_flight=in_flight, peak_in_flight=in_flight)
        self.prefixes.clear()
        self.paid = PaidTexts()
        self.work.forget()
        self.store.clear()
        self._batch_rows = 0
        self._attempts.clear()
        self._calls.clear()
        self.configure(self.settings, now)

    def count_attempt(self, text_key: str) -> int:
        """One more attempt for a text: 1 for the first. From any thread."""
        with self._attempting:
            self._attempts[text_key] += 1
            return self._attempts[text_key]

    def count_call(self, step: BatchStep) -> int:
        """One more call of the Batch API: 1 for the first of its step since the settings came."""
        self._calls[step] += 1
        self._calls_since[step] += 1
        return self._calls_since[step]

    def quota_is_spent(self) -> bool:
        """Whether as many requests were answered as the settings allow."""
        return self.quota_left() == 0

    def quota_left(self) -> int | None:
        """How many more answers, live or in batches, the settings pay for; None for any number."""
        most = self.settings.insufficient_quota_after
        return None if most is None else max(most - self.totals.answered - self._batch_rows, 0)

    def report(self) -> dict[str, Any]:
        """The totals of both lanes as plain JSON."""
        calls = {step.value: self._calls[step] for step in BatchStep}
        batches = batch_totals(self.store, self.settings)
        return (
            self.totals.report()
            | batches
            | {"batch_calls": calls, "batch_texts_paid_twice": self.paid.paid_twice()}
            | {
                "texts_paid_twice": self.paid.paid_twice_live(),
                "most_attempts_of_a_text": max(self._attempts.values(), default=0),
            }
        )

    def settle_batch(self, tally: Tally) -> None:
        """Take over what a batch came to."""
        self._remember(tally.texts)
        self._batch_rows += tally.rows
        for fault, count in tally.faults.items():
            self.totals.faults[fault.value] += count
        self.totals.odd_answers += tally.odd_answers
        self.totals.odd_answers_right += tally.odd_answers_right

    def _remember(self, texts: list[tuple[str, bool]]) -> None:
        for text_key, is_sound in texts:
            if is_sound:
                self.paid.add_batch(text_key)

    def _recall(self) -> None:
        """Know again the texts of batches that an earlier server worked on."""
        for record in self.store.batches():
            texts = self.store.texts(record.id)
            self._remember(texts)
            self._batch_rows += 0 if record.ended is None else record.ended.bill.rows
            self._attempts.update(text_key for text_key, _ in texts)


def batch_totals(store: BatchStore, settings: PracticeSettings) -> dict[str, Any]:
    """The batch lane's part of the totals; nothing in it is counted in the live lane's."""
    records, now = store.batches(), time.time()
    bills = [record.ended.bill for record in records if record.ended is not None]
    return {
        "files": len(store.files()),
        "batches": len(records),
        "batches_by_status": dict(Counter(shown_status(record, settings, now) for record in records)),
        "batch_rows_answered": sum(bill.rows - bill.rows_missing for bill in bills),
        "batch_rows_billed": sum(bill.rows for bill in bills),
        "batch_input_tokens": sum(bill.input_tokens for bill in bills),
        "batch_cached_input_tokens": sum(bill.cached_input_tokens for bill in bills),
        "batch_output_tokens": sum(bill.output_tokens for bill in bills),
        "batch_unseen_input_tokens": sum(bill.unseen_input_tokens for bill in bills),
        "batch_unseen_output_tokens": sum(bill.unseen_output_tokens for bill in bills),
    }
