"""A server that refuses fields of a request, whatever the text, and a small model that has to be bound to name a label."""

import json
from collections import Counter
from itertools import pairwise

from servers.base import CORRECT, Endpoint, Reply, completion

SAID = "This is a text about things that happen."
"""What the model says where nothing binds it."""


def means_of(body):
    """By which means a request binds its answer; None without one."""
    own = {"structured_outputs", "guided_choice", "regex", "grammar"} & body.keys()
    if own:
        return own.pop()
    kind = body.get("response_format", {}).get("type")
    if kind == "json_object":
        return "json_object_schema" if "schema" in body["response_format"] else kind
    return kind


def holds(body, field):
    """Whether a request holds a field, a kind of binding, a system message, or roles that don't alternate."""
    roles = [message["role"] for message in body["messages"]]
    if field == "system":
        return "system" in roles
    if field == "roles":
        spoken = [role for role in roles if role != "system"]
        return any(one == other for one, other in pairwise(spoken))
    return field in body or field == means_of(body)


class Refusing(Endpoint):
    """Refuses what `refused` names, each with its reply; answers right what is bound by a means that it `understands`.

    A small model says a sentence where it isn't bound; any other names the label. `means` counts by what the answers
    were bound, `refusals` what was refused, `bodies` are those that were answered.
    """

    def __init__(self, refused=(), understands=(), *, is_small=False, owned_by=None):
        super().__init__()
        self.refused, self.understands, self.is_small = dict(refused), set(understands), is_small
        self.means, self.refusals, self.bodies = Counter(), Counter(), []
        if owned_by:
            self.models = Reply(200, {"object": "list", "data": [{"id": "m", "owned_by": owned_by}]})

    def reply(self, call):
        """A refusal, or an answer."""
        field = next((field for field in self.refused if holds(call.body, field)), None)
        if field is not None:
            with self.lock:
                self.refusals[field] += 1
            status, body = self.refused[field]
            return Reply(status, body if isinstance(body, dict | list) else body.encode())
        means = means_of(call.body)
        with self.lock:
            self.means[means] += 1
            self.bodies.append(call.body)
        if means not in self.understands:
            return completion(call, SAID if self.is_small else CORRECT)
        is_json = means in {"json_schema", "json_object_schema"}
        return completion(call, json.dumps({"label": call.label}) if is_json else CORRECT)
