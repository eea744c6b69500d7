"""The worst case of a request: what it may come to before anyone has seen its usage."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage

from labelmill.money.usage import Usage

_TOKENS_PER_MESSAGE = 8
"""More than any chat format known to wrap a message in (OpenAI's counting recipe says 3, and 3 for the reply)."""


def worst_case_of(
    messages: Sequence[BaseMessage], max_tokens: int, response_format: Mapping[str, Any] | None = None
) -> Usage:
    """The most tokens a request can come to.

    A byte-level tokenizer never makes more tokens than there are bytes, so this needs no tokenizer at hand. A schema
    is counted with the messages, since providers put it into the prompt.
    """
    text_bytes = sum(len(message.text.encode(errors="surrogatepass")) for message in messages)
    schema_bytes = len(json.dumps(response_format)) if response_format else 0
    return Usage(text_bytes + schema_bytes + _TOKENS_PER_MESSAGE * (len(messages) + 1), 0, max_tokens)
