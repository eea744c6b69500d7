"""A provider whose answers break off: it says so in the finish reason or in the choice, and the words so far may be a label."""

from servers.base import Endpoint, completion, error

REASONS = {
    # DeepSeek, https://api-docs.deepseek.com/api/create-chat-completion
    "insufficient_system_resource": {},
    # OpenRouter, https://openrouter.ai/docs/api-reference/errors
    "error": {"error": {"code": 502, "message": "Upstream idle timeout exceeded"}},
    # vLLM, for a request that it gave up
    "abort": {},
    "no_such_reason_yet": {},
}


class BreakingOff(Endpoint):
    """Breaks off every third text's answer, the first `times` it is asked, after `words`."""

    def __init__(self, reason, words="sport", times=1):
        super().__init__()
        self.reason, self.words, self.times = reason, words, times

    def reply(self, call):
        """The label that stands in the text, after its last comma; or the words it broke off at."""
        number, label = call.text.split(", ")
        if int(number.split()[-1]) % 3 == 0 and call.number_of_text <= self.times:
            return completion(call, self.words, finish_reason=self.reason, choice=REASONS[self.reason])
        return completion(call, label)


class Falling(Endpoint):
    """Answers every third text's first requests with a server error, which costs nothing."""

    def reply(self, call):
        """A 500, or the answer."""
        if int(call.text.split()[-1]) % 3 == 0 and call.number_of_text <= 2:
            return error(500, "The server had an error while processing your request", kind="server_error")
        return completion(call)
