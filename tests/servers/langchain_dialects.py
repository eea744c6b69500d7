"""Small servers in the dialects of Azure OpenAI, Ollama, Mistral and Bedrock's Converse, which count as the others do."""

import json
import threading
from dataclasses import replace
from urllib.parse import unquote

from servers.base import CORRECT, DROPPED, Endpoint, Reply, _Handler, completion

LATE = Reply(-1, b"", told=False)
"""An answer that comes when nobody waits for it any more."""


class _DialectHandler(_Handler):
    """Tells the server where a request went, and with which headers."""

    def do_POST(self):  # noqa: N802  (the library's name)
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.paths.append(unquote(self.path))
        self.server.headers_seen.append(self.headers)
        reply = self.server.answer(self.server.chat_of(body))
        if reply is LATE:
            self.server.is_over.wait(self.server.late_seconds)
            reply = DROPPED
        self._send(reply)


class Dialect(Endpoint):
    """An endpoint of another dialect. `faults` are replies that a text gets before it is answered, every `each` of them."""

    def __init__(self, faults=(), each=1):
        super().__init__()
        self.RequestHandlerClass = _DialectHandler
        self.faults, self.each = tuple(faults), each
        self.paths, self.headers_seen, self.bodies = [], [], []
        self.address = self.base_url.removesuffix("/v1")
        self.late_seconds = 30.0
        self.is_over = threading.Event()

    def chat_of(self, body):
        """A request as OpenAI has it."""
        self.bodies.append(body)
        return body

    def reply(self, call):
        """The text's next fault, if there is one left; else its label."""
        is_faulty = int(call.text.split()[-1]) % self.each == 0
        if is_faulty and call.number_of_text <= len(self.faults):
            fault = self.faults[call.number_of_text - 1]
            return fault if isinstance(fault, Reply) else self.refused(*fault)
        return self.said(completion(call, CORRECT))

    def said(self, reply):
        """An answer in this dialect."""
        return reply

    def refused(self, status, words, headers=None):
        """A refusal in this dialect."""
        body = {"error": {"message": words, "type": "server_error", "code": None}}
        return Reply(status, body, headers=headers or {})

    def __exit__(self, *_):
        self.is_over.set()
        super().__exit__()


class Azure(Dialect):
    """As <https://learn.microsoft.com/en-us/azure/ai-foundry/openai/reference> has it."""


class Mistral(Dialect):
    """As <https://docs.mistral.ai/api/> has it."""

    def refused(self, status, words, headers=None):
        """As Mistral writes it."""
        body = {
            "object": "error",
            "message": words,
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }
        return Reply(status, body, headers=headers or {})


class Ollama(Dialect):
    """As <https://github.com/ollama/ollama/blob/main/docs/api.md> has it."""

    def said(self, reply):
        """Lines of JSON, the last of which tells the tokens."""
        choice, usage = reply.body["choices"][0], reply.body["usage"]
        frame = {"model": reply.body["model"], "created_at": "2026-11-30T12:00:00Z"}
        lines = [
            frame
            | {"message": {"role": "assistant", "content": choice["message"]["content"]}, "done": False},
            frame
            | {
                "message": {"role": "assistant", "content": ""},
                "done": True,
                "done_reason": choice["finish_reason"],
                "prompt_eval_count": usage["prompt_tokens"],
                "eval_count": usage["completion_tokens"],
            },
        ]
        body = "".join(json.dumps(line) + "\n" for line in lines).encode()
        return replace(reply, body=body, headers={"content-type": "application/x-ndjson"})

    def refused(self, status, words, headers=None):
        """As Ollama writes it."""
        return Reply(status, {"error": words}, headers=headers or {})


KINDS = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}


class Bedrock(Dialect):
    """As <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html> has it."""

    def chat_of(self, body):
        """The system message apart, and the model in the address."""
        self.bodies.append(body)

        def words(parts):
            return "".join(part.get("text", "") for part in parts)

        said = [{"role": each["role"], "content": words(each["content"])} for each in body["messages"]]
        model = self.paths[-1].split("/")[2]
        return {"model": model, "messages": [{"role": "system", "content": words(body["system"])}, *said]}

    def said(self, reply):
        """A message, why it ended, and its tokens."""
        choice, usage = reply.body["choices"][0], reply.body["usage"]
        content = [{"text": choice["message"]["content"]}]
        body = {
            "output": {"message": {"role": "assistant", "content": content}},
            "stopReason": "end_turn",
            "usage": {
                "inputTokens": usage["prompt_tokens"],
                "outputTokens": usage["completion_tokens"],
                "totalTokens": usage["total_tokens"],
            },
            "metrics": {"latencyMs": 1},
        }
        return replace(reply, body=body)

    def refused(self, status, words, headers=None):
        """As AWS writes it."""
        kind = KINDS.get(status, "InternalServerException")
        return Reply(status, {"message": words}, headers={"x-amzn-ErrorType": kind, **(headers or {})})
