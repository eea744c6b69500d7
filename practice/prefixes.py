"""Cached input tokens, by a simple form of OpenAI's rule.

A prompt that begins as an earlier one of the same model did has those first tokens cached: 1024 at least,
and in steps of 128. Which of two requests is the earlier depends on their arrival, so this count does too.
"""

from hashlib import blake2b

from practice.question import Question
from practice.tokens import split_tokens

SHORTEST = 1024
STEP = 128

_MOST_REMEMBERED = 100_000


class PrefixMemory:
    """The beginnings of the long prompts seen so far."""

    def __init__(self) -> None:
        self._seen: dict[bytes, None] = {}

    def clear(self) -> None:
        """Forget them all."""
        self._seen.clear()

    def cached_tokens_of(self, question: Question) -> int:
        """How many of a question's first tokens were seen before; remembers the question."""
        if question.input_tokens < SHORTEST:
            return 0
        prompt = [token for content in question.contents for token in split_tokens(content)]
        return self.cached_tokens(question.model, prompt)

    def cached_tokens(self, model: str, tokens: list[str]) -> int:
        """How many of the prompt's first tokens were seen before; remembers the prompt."""
        digest = blake2b(model.encode("utf-8", "surrogatepass"), digest_size=16)
        cached = 0
        start = 0
        for end in range(SHORTEST, len(tokens) + 1, STEP):
            digest.update("".join(tokens[start:end]).encode("utf-8", "surrogatepass"))
            start = end
            prefix = digest.digest()
            if prefix in self._seen:
                cached = end
            self._seen[prefix] = None
        while len(self._seen) > _MOST_REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return cached
