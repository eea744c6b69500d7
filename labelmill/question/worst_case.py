"""The worst case of a request: what it may come to before anyone has seen its usage."""

import json
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from langchain_core.messages import BaseMessage

from labelmill.money.usage import Usage

_TOKENS_PER_MESSAGE = 8
"""More than any chat format known to wrap a message in (OpenAI's counting recipe says 3, and 3 for the reply)."""
_TOKENS_PER_REQUEST = 96
"""More than chat templates add of their own: gpt-oss's names the model, its channels and the date in about 70 tokens
(https://cookbook.openai.com/articles/openai-harmony), Llama 3.1's the date in 25, Qwen2.5's its maker in 20.
"""
_HANGUL_SYLLABLES = range(0xAC00, 0xD7A4)


def worst_case_of(
    messages: Sequence[BaseMessage], max_tokens: int, response_format: Mapping[str, Any] | None = None
) -> Usage:
    """The most tokens a request can come to.

    A byte-level tokenizer never makes more tokens than there are bytes, so this needs no tokenizer at hand. A schema
    is counted with the messages, since providers put it into the prompt. All of it may be written to a cache, which some
    providers do unasked and charge for.
    """
    text_bytes = sum(most_bytes_of(message.text) for message in messages)
    schema_bytes = len(json.dumps(response_format)) if response_format else 0
    sent = text_bytes + schema_bytes + _TOKENS_PER_MESSAGE * (len(messages) + 1) + _TOKENS_PER_REQUEST
    return Usage(sent, 0, max_tokens, cache_write_input_tokens=sent)


def most_bytes_of(text: str) -> int:
    """The bytes of a text in UTF-8, in whichever Unicode form is longest.

    Tokenizers bring texts into one: Qwen's into NFC, SentencePiece's into NFKC, and some characters grow by it (U+FDFA
    from 3 bytes to 33). Counted by character, since normalising takes the square of the time for some texts.
    """
    if text.isascii():
        return len(text)
    return sum(_most_bytes_of_character(character) * count for character, count in Counter(text).items())


@lru_cache(maxsize=65_536)
def _most_bytes_of_character(character: str) -> int:
    own = len(character.encode(errors="surrogatepass"))
    if ord(character) in _HANGUL_SYLLABLES:  # every form that is in use puts it together again
        return own
    return max(own, len(unicodedata.normalize("NFKD", character).encode(errors="surrogatepass")))
