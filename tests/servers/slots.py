"""A server of one's own with few places: it queues what comes beyond them, or turns it away."""

import threading
import time

from servers.base import Endpoint, completion, error


class Slots(Endpoint):
    """Works on `slots` requests at once, each for `seconds`.

    `refusal` is what it answers beyond them; without one, requests wait in a queue, those as well whose clients have
    gone, as a llama.cpp server does.
    """

    def __init__(self, slots=1, seconds=0.05, refusal=None):
        super().__init__()
        self.refusal, self.seconds = refusal, seconds
        self._places = threading.Semaphore(slots)

    def reply(self, call):
        """Wait for a place and work, or turn it away."""
        if not self._places.acquire(blocking=self.refusal is None):
            return self.refusal
        try:
            time.sleep(self.seconds)
        finally:
            self._places.release()
        return completion(call)


def too_many():
    """What servers answer beyond their places, by name."""
    return {
        "429": error(429, "Too many concurrent requests", kind="rate_limit_error"),
        # Ollama, https://github.com/ollama/ollama/blob/main/docs/faq.md
        "503": error(
            503, "server busy, please try again.  maximum pending requests exceeded", kind="api_error"
        ),
        # Anthropic's status, which gateways pass on
        "529": error(529, "Overloaded", kind="overloaded_error"),
    }
