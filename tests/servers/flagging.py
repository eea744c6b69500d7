"""A provider, or a firewall before it, that refuses texts that hold a word, and answers all others."""

import threading

from servers.base import Endpoint, Reply, completion, error

WORD = "forbidden"

FIREWALL = b"<html><head><title>403 Forbidden</title></head><body><h1>403 Forbidden</h1>nginx</body></html>"
"""What a bare firewall answers, whatever the client speaks."""

OPENROUTER = {
    "error": {
        "code": 403,
        "message": "Your chosen model requires moderation and your input was flagged",
        "metadata": {"reasons": ["violence"], "flagged_input": "the forbidden…", "provider_name": "OpenAI"},
    }
}
"""https://openrouter.ai/docs/api-reference/errors."""


def refusals():
    """The forms in which people have met it, by name."""
    return {
        "OpenRouter's 403": Reply(403, OPENROUTER),
        "a firewall's 403": Reply(403, FIREWALL, headers={"content-type": "text/html"}),
        "a 400": error(400, "Input data may contain inappropriate content."),
        "a 401": error(401, "This request is not authorized"),
        "a 404": error(404, "No endpoint takes this input"),
        "a 422": Reply(
            422, {"detail": [{"loc": ["body", "messages"], "msg": "Value error", "type": "value_error"}]}
        ),
        "a 418 without a body": Reply(418, b"", headers={"content-type": "text/plain"}),
    }


class Flagging(Endpoint):
    """Refuses each text with the word, with the same reply.

    `first` holds back all answers until that many refusals were sent, as where the refused texts come first.
    """

    def __init__(self, refusal, first=0):
        super().__init__()
        self.refusal = refusal
        self._first, self._refused, self._told = first, 0, threading.Condition()

    def reply(self, call):
        """Refuse it or answer it."""
        with self._told:
            if WORD in call.text:
                self._refused += 1
                self._told.notify_all()
                return self.refusal
            self._told.wait_for(lambda: self._refused >= self._first, timeout=20)
        return completion(call)
