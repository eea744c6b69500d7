"""Cached input tokens, by a simple form of OpenAI's rule.

A prompt that begins as an earlier one of the same model did has those first tokens cached: 1024 at least,
and in steps of 128. Which of two requests is the earlier depends on their arrival, so this count does too.
"""

from hashlib import blake2b

from practice.question import Question
from practice.tokens import count_tokens, split_tokens

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

    def marked_tokens(self, model: str, marked: str | None) -> tuple[int, int]:
        """How many tokens of a beginning that a client has marked are read from the cache, and how many written to it.

        This is Anthropic's rule: nothing is cached unasked, and nothing that is short.
        """
        tokens = 0 if marked is None else count_tokens(marked)
        if marked is None or tokens < SHORTEST:
            return 0, 0
        name = f"{model}\0{marked}".encode("utf-8", "surrogatepass")
        key = blake2b(name, digest_size=16, person=b"marked").digest()
        was_seen = key in self._seen
        self._seen[key] = None
        return (tokens, 0) if was_seen else (0, tokens)

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
