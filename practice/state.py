"""What the practice provider remembers between requests."""

import threading
from collections import Counter
from pathlib import Path
from typing import Any

from practice.batches.paid import PaidTexts
from practice.batches.rows import Tally
from practice.batches.store import BatchStore
from practice.batches.totals import batch_totals
from practice.batches.work import BatchWork
from practice.limits import RateLimits
from practice.prefixes import PrefixMemory
from practice.settings import BatchStep, PracticeSettings
from practice.totals import Totals


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
