"""Small servers in the dialects of Claude's Messages API and of Gemini's generateContent, which count as the others do.

What each says of a text is a function of the call, whose `body["sent"]` is the request as it came.
"""

from servers.base import Reply
from servers.langchain_dialects import Dialect


def _words(content):
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or ())


class _Scripted(Dialect):
    """Says what it is told to."""

    def __init__(self, said):
        super().__init__()
        self.answer_to = said

    def reply(self, call):
        """What it is to say."""
        return self.answer_to(call)


class Claude(_Scripted):
    """As <https://platform.claude.com/docs/en/api/messages> has it."""

    def chat_of(self, body):
        """The system message apart."""
        self.bodies.append(body)
        said = [{"role": one["role"], "content": _words(one["content"])} for one in body["messages"]]
        system = {"role": "system", "content": _words(body.get("system"))}
        return {"model": body["model"], "messages": [system, *said], "sent": body}


class Gemini(_Scripted):
    """As <https://ai.google.dev/api/generate-content> has it."""

    def __init__(self, said):
        super().__init__(said)
        self.address += "/v1beta"

    def chat_of(self, body):
        """The system message apart, and the model in the address."""
        self.bodies.append(body)
        said = [{"role": "user", "content": _words(one["parts"])} for one in body["contents"]]
        system = {"role": "system", "content": _words(body.get("systemInstruction", {}).get("parts"))}
        return {"model": self.paths[-1], "messages": [system, *said], "sent": body}


def claude_says(call, content=None, stop_reason="end_turn", billed=(40, 2)):
    """A message of Claude's: by default the right label."""
    body = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": call.body["model"],
        "content": [{"type": "text", "text": call.label}] if content is None else content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {"input_tokens": billed[0], "output_tokens": billed[1]},
    }
    return Reply(200, body, billed)


def claude_fails(status, kind, words):
    """An error of Claude's."""
    error = {"details": None, "type": kind, "message": words}
    return Reply(status, {"type": "error", "error": error, "request_id": "req_1"})


def gemini_says(call, candidates=None, billed=(40, 2), usage=None, **more):
    """A response of Gemini's: by default the right label."""
    spoken = [
        {"content": {"role": "model", "parts": [{"text": call.label}]}, "finishReason": "STOP", "index": 0}
    ]
    told = {"promptTokenCount": billed[0], "totalTokenCount": sum(billed)}
    told |= {"candidatesTokenCount": billed[1]} if usage is None else usage
    body = {
        "candidates": spoken if candidates is None else candidates,
        "usageMetadata": told,
        "modelVersion": "gemini-2.5-flash-lite",
        **more,
    }
    return Reply(200, {name: value for name, value in body.items() if value != []}, billed)


def gemini_fails(status, kind, words):
    """An error of Gemini's."""
    return Reply(status, {"error": {"code": status, "message": words, "status": kind}})
