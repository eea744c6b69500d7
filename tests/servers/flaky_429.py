"""A provider that turns a request away now and then, though it has room, and says how long to wait."""

from servers.base import Endpoint, completion, error


class Flaky(Endpoint):
    """Answers each text that holds `word` with a 429 the first `times` it is asked, and with its label then."""

    def __init__(self, word, wait_seconds, times=1):
        super().__init__()
        self.word, self.times = word, times
        self.refusal = error(
            429,
            "Rate limit reached for requests",
            kind="requests",
            code="rate_limit_exceeded",
            headers={"retry-after": wait_seconds},
        )

    def reply(self, call):
        """Turn it away or answer it."""
        is_turned_away = self.word in call.text and call.number_of_text <= self.times
        return self.refusal if is_turned_away else completion(call)
