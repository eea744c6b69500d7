"""A provider that answers with anything: any JSON, any status, broken at any byte, any usage, drawn from a seed.

It keeps count of what it answered: an answer whose tokens it told in a shape that can be so is billed by them, and whatever
else may have been worked on is billed, and untold.
"""

import json
import random
import threading
from dataclasses import replace

from servers.base import DROPPED, Endpoint, Reply, completion, error

JSON = [
    None,
    True,
    0,
    -1,
    1e308,
    10**30,
    "",
    "sport",
    "\ud800\x00",
    [],
    [[]],
    {},
    {"choices": None},
    {"choices": 5},
]
CHOICES = [
    [],
    [None],
    ["sport"],
    [{}],
    [{"message": None}],
    [{"message": "sport"}],
    [{"message": {"role": "robot", "content": "sport"}, "finish_reason": "stop"}],
    [{"message": {"role": "assistant", "content": ["sport"]}, "finish_reason": ["stop"]}],
    [{"message": {"role": "assistant", "content": {"deep": [1, {"x": None}]}}, "finish_reason": "stop"}],
    [{"message": {"role": "assistant", "content": None, "refusal": {"no": 1}}, "finish_reason": 5}],
    [
        {
            "message": {"role": "assistant", "content": "sport"},
            "finish_reason": "stop",
            "logprobs": {"content": [None]},
        }
    ],
    [{"message": {"role": "assistant", "content": "cricket"}, "finish_reason": "stop"}],
    [{"message": {"role": "assistant", "content": ""}, "finish_reason": "length"}],
    [
        {
            "message": {"role": "assistant", "content": "sport"},
            "finish_reason": "error",
            "error": {"code": 502},
        }
    ],
]
USAGES = [
    None,
    {},
    [],
    5,
    {"prompt_tokens": 0, "completion_tokens": 2},
    {"prompt_tokens": -20, "completion_tokens": 2},
    {"prompt_tokens": "40", "completion_tokens": 2},
    {"prompt_tokens": 10**20, "completion_tokens": 2},
    {"prompt_tokens": True, "completion_tokens": 2},
    {"prompt_tokens": 20.5, "completion_tokens": 2},
    {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None},
]
STATUSES = [
    400,
    401,
    403,
    404,
    408,
    409,
    413,
    418,
    422,
    425,
    429,
    451,
    499,
    500,
    501,
    502,
    503,
    504,
    520,
    524,
    529,
    599,
]
AFTER_THE_WORK = {408, 499, 502, 504, 520, 521, 522, 523, 524, 598}
"""What a gateway answers that waited for the work in vain: it may have been done, and charged."""
TYPES = [
    "application/json",
    "text/html",
    "text/event-stream",
    "nonsense",
    "application/json; charset=no-such",
]


class Odd(Endpoint):
    """Draws each reply from `seed`; `odd` of them are odd, and the others right."""

    def __init__(self, seed, odd=0.9):
        super().__init__()
        self.odd = odd
        self._dice, self._dice_lock = random.Random(seed), threading.Lock()
        self.kinds = {
            "any JSON": self._any_json,
            "odd choices": self._odd_choices,
            "odd usage": self._odd_usage,
            "odd field": self._odd_field,
            "broken": self._broken,
            "cut off": self._cut_off,
            "bytes": self._bytes,
            "status": self._status,
            "dropped": lambda _call, _dice: DROPPED,
        }

    def reply(self, call):
        """Something, as the dice have it."""
        with self._dice_lock:
            dice = random.Random(self._dice.random())
        if dice.random() >= self.odd:
            return completion(call)
        reply = self.kinds[dice.choice(list(self.kinds))](call, dice)
        if dice.random() < 0.2 and reply is not DROPPED:
            reply = replace(reply, headers={"content-type": dice.choice(TYPES)})
        return reply

    def _any_json(self, call, dice):  # noqa: ARG002
        return Reply(200, json.dumps(dice.choice(JSON)).encode(), told=False)

    def _odd_choices(self, call, dice):
        """Whatever the choices hold, the tokens are told, and so they are billed."""
        return _with(completion(call), choices=dice.choice(CHOICES))

    def _odd_usage(self, call, dice):
        return replace(_with(completion(call), usage=dice.choice(USAGES)), told=False)

    def _odd_field(self, call, dice):
        name = dice.choice(["id", "object", "created", "model", "system_fingerprint"])
        return _with(completion(call), **{name: dice.choice(JSON)})

    def _broken(self, call, dice):
        """A body that ends somewhere, which its length agrees with."""
        raw = json.dumps(completion(call).body).encode()
        return Reply(200, raw[: dice.randrange(len(raw))], told=False)

    def _cut_off(self, call, dice):  # noqa: ARG002
        """A connection that ends a byte before the body does."""
        return replace(completion(call), told=False, is_cut_off=True)

    def _bytes(self, call, dice):  # noqa: ARG002
        return Reply(200, dice.randbytes(dice.randrange(60)), told=False)

    def _status(self, call, dice):  # noqa: ARG002
        status = dice.choice(STATUSES)
        body = dice.choice([b"", b"<html>", dice.randbytes(20), json.dumps(dice.choice(JSON)).encode()])
        plain = error(
            status, f"odd {status}", headers={"retry-after": dice.choice(["0", "0.01", "soon", "-3"])}
        )
        reply = plain if dice.random() < 0.5 else Reply(status, body)
        return replace(reply, told=status not in AFTER_THE_WORK)


def _with(reply, **fields):
    return replace(reply, body={**reply.body, **fields})
