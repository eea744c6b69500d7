"""What answers 200 and is no completion: a web page where the address lacks `/v1`, a stream that nobody asked for."""

import json
from dataclasses import replace

from servers.base import Endpoint, Reply, completion

PAGE = b"<!doctype html><html><head><title>Open WebUI</title></head><body><div id=app></div></body></html>"


class WebPage(Endpoint):
    """Answers every request with its web page, and bills nothing."""

    def reply(self, call):  # noqa: ARG002
        """The page: no model has answered."""
        return Reply(200, PAGE, headers={"content-type": "text/html; charset=utf-8"})


class Streaming(Endpoint):
    """Streams the answer as events, though it wasn't asked to; the tokens stand in the last but one."""

    def reply(self, call):
        """The label in two pieces, the usage, and the end."""
        whole = completion(call)
        shared = {name: whole.body[name] for name in ("id", "created", "model")}
        half = len(call.label) // 2
        deltas = [
            {"role": "assistant", "content": call.label[:half]},
            {"content": call.label[half:]},
        ]
        choices = [[{"index": 0, "delta": delta, "finish_reason": None}] for delta in deltas]
        choices.append([{"index": 0, "delta": {}, "finish_reason": "stop"}])
        events = [{**shared, "object": "chat.completion.chunk", "choices": choice} for choice in choices]
        events.append({**events[0], "choices": [], "usage": whole.body["usage"]})
        lines = [f"data: {json.dumps(event)}\n\n" for event in events] + ["data: [DONE]\n\n"]
        return replace(whole, body="".join(lines).encode(), headers={"content-type": "text/event-stream"})
