"""Which texts were paid for, so that paying twice shows."""

from collections import Counter


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
