"""Tokens, as the provider counts them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Usage:
    """Tokens of one answer or of many.

    `input_tokens` includes `cached_input_tokens`; `output_tokens` includes reasoning tokens.
    """

    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    cache_write_input_tokens: int = 0

    def __add__(self, other: Self) -> "Usage":
        return Usage(
            self.input_tokens + other.input_tokens,
            self.cached_input_tokens + other.cached_input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_write_input_tokens + other.cache_write_input_tokens,
        )

    @classmethod
    def from_message(cls, metadata: Mapping[str, Any] | None) -> Self | None:
        """Read LangChain's `usage_metadata`; None where the provider sent none, which is unknown and not zero.

        Some endpoints count cached tokens beside the input and not in it: no more of them count than there is input.
        """
        if metadata is None:
            return None
        cached = (metadata.get("input_token_details") or {}).get("cache_read") or 0
        return cls(metadata["input_tokens"], min(cached, metadata["input_tokens"]), metadata["output_tokens"])


def usage_of(body: object) -> Usage | None:
    """The tokens that a provider's answer tells of; None where it tells of none that can be so."""
    told = body.get("usage") if isinstance(body, Mapping) else None
    if not isinstance(told, Mapping):
        return None
    asked, answered = told.get("prompt_tokens"), told.get("completion_tokens")
    if not isinstance(asked, int) or not isinstance(answered, int) or asked <= 0 or answered < 0:
        return None
    return Usage(asked, 0, answered)
