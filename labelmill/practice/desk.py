"""What the practice provider remembers between requests."""

from collections import Counter

from labelmill.practice.limits import RateLimits
from labelmill.practice.prefixes import PrefixMemory
from labelmill.practice.settings import PracticeSettings
from labelmill.practice.totals import Totals


class Desk:
    """The settings in force, the totals, and the attempts made for every text."""

    def __init__(self, settings: PracticeSettings, now: float) -> None:
        self.totals = Totals()
        self.prefixes = PrefixMemory()
        self._attempts: Counter[str] = Counter()
        self.configure(settings, now)

    def configure(self, settings: PracticeSettings, now: float) -> None:
        """Replace the settings and fill the buckets; totals and attempts stay. `now` is in seconds."""
        self.settings = settings
        self.limits = RateLimits.from_settings(settings, now)

    def reset(self, now: float) -> None:
        """Forget all but the settings, and the requests that are in flight."""
        in_flight = self.totals.in_flight
        self.totals = Totals(in_flight=in_flight, peak_in_flight=in_flight)
        self.prefixes.clear()
        self._attempts.clear()
        self.limits = RateLimits.from_settings(self.settings, now)

    def count_attempt(self, text_key: str) -> int:
        """One more attempt for a text: 1 for the first."""
        self._attempts[text_key] += 1
        return self._attempts[text_key]

    def quota_is_spent(self) -> bool:
        """Whether as many requests were answered as the settings allow."""
        most = self.settings.insufficient_quota_after
        return most is not None and self.totals.answered >= most
