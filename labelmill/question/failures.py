"""Every way a row can fail: its kind, and what is done about it.

Five policies:
- `RETRY`: the provider failed. Asked again with backoff, and again next run.
- `DOUBT`: the request was refused, and whether this is the text's doing or everyone's, what the others get will tell.
- `OTHER_FORM`: a field of the request was refused by its name, whatever the text. The text is asked in the endpoint's other
  form; where there is none, the run ends.
- `ASK_AGAIN`: the answer failed. It was paid; asked again at most `max_answers - 1` times with what was wrong said.
- `GIVE_UP`: asking again would fail again. Remembered in the ledger and not paid for a second time.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Policy(Enum):
    """What is done about a failure."""

    RETRY = "retry"
    DOUBT = "doubt"
    OTHER_FORM = "other_form"
    ASK_AGAIN = "ask_again"
    GIVE_UP = "give_up"


POLICY_OF_KIND: Mapping[str, Policy] = {
    "rate_limited": Policy.RETRY,
    "overloaded": Policy.RETRY,
    "timeout": Policy.RETRY,
    "connection": Policy.RETRY,
    "provider_error": Policy.RETRY,
    "bad_response": Policy.RETRY,
    "interrupted": Policy.RETRY,
    "over_budget": Policy.RETRY,
    "denied": Policy.DOUBT,
    "field_refused": Policy.OTHER_FORM,
    "empty_answer": Policy.ASK_AGAIN,
    "off_label": Policy.ASK_AGAIN,
    "truncated": Policy.ASK_AGAIN,
    "refused": Policy.ASK_AGAIN,
    "content_filter": Policy.GIVE_UP,
    "too_long": Policy.GIVE_UP,
    "bad_request": Policy.GIVE_UP,
    "empty_text": Policy.GIVE_UP,
}
"""Each failure kind's policy.

`over_budget` and `empty_text` are never sent at all; `interrupted` was sent by a process that died before an answer came.
"""

ASK_AGAIN_KINDS = [kind for kind, policy in POLICY_OF_KIND.items() if policy is Policy.ASK_AGAIN]
UNSENT_KINDS = frozenset({"over_budget", "empty_text"})
"""What keeps a text from being sent at all."""
FORM_KIND = "field_refused"
"""What is no failure of a text at all: its request was in a form that the endpoint doesn't take."""
OVERLOAD_KINDS = frozenset({"rate_limited", "overloaded", "timeout", "connection"})
"""What says "too much": fewer requests in flight may mend it."""


@dataclass(frozen=True)
class Failure:
    """Why a row has no label: a kind, a sentence, and for rate limits the wait the provider asked for.

    `is_account` tells of a refusal that it is known to be about the account, the key or the model, and not about the text.
    `may_have_been_paid` tells that tokens may have been paid that nobody saw. `refused_field` is the field that a
    `field_refused` is about, or the setting that it asks for; `said` is what the model had answered, where it had.
    `lacked_room` tells that the answer ran out of room for thoughts, and that the next one to its text has more. The sentence
    is made fit to be shown, whatever a provider has put into it.
    """

    kind: str
    message: str
    retry_after_seconds: float | None = None
    is_account: bool = False
    may_have_been_paid: bool = False
    refused_field: str | None = None
    said: str | None = None
    lacked_room: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", printable(self.message))

    @property
    def policy(self) -> Policy:
        """What is done about it."""
        return POLICY_OF_KIND[self.kind]


_MESSAGE_CHARACTERS = 500
_ORDERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters and switches of direction."""


def storable(words: str) -> str:
    """A provider's words such that they can be written to a file, and give a terminal no orders: gateways cut characters in two."""
    return _ORDERS.sub(" ", words).encode(errors="replace").decode()


def printable(words: str) -> str:
    """The same, and not too many of them. A key in them is to be hidden before: a part of it would not be found."""
    return storable(words)[:_MESSAGE_CHARACTERS]
