"""Tokens that are told before or beside the provider's own count: estimates, and said to be so.

The rates are those of GPT-4o's tokenizer (`o200k_base`), measured on English instructions and on Chinese news headlines.
"""

from labelmill.job.model import LabelJob
from labelmill.question.prompt import messages_of, times_listed_in, told_labels, wording_of

TOKENS_PER_ASCII_CHARACTER = 0.22
TOKENS_PER_OTHER_CHARACTER = 0.8
TOKENS_PER_MESSAGE = 4
TOKENS_PER_REQUEST = 3


def about_tokens(text: str) -> float:
    """The tokens of a text, more or less."""
    ascii_characters = sum(map(str.isascii, text))
    others = len(text) - ascii_characters
    return ascii_characters * TOKENS_PER_ASCII_CHARACTER + others * TOKENS_PER_OTHER_CHARACTER


def instructions_tokens(job: LabelJob) -> float:
    """The tokens of a request beside its text, more or less."""
    (messages,) = messages_of(job, [""])
    frame = TOKENS_PER_REQUEST + TOKENS_PER_MESSAGE * len(messages)
    return frame + sum(about_tokens(message.text) for message in messages)


def description_tokens(job: LabelJob) -> float:
    """The part of them that is what the labels mean, more or less; 0 where the model is told of no meaning."""
    meanings = sum(about_tokens(f": {meaning}") for meaning in told_labels(job).values() if meaning)
    words = wording_of(job)
    return meanings * (times_listed_in(words.system) + times_listed_in(words.user))


def description_tokens_of(
    job: LabelJob, input_tokens: int, requests: int, text_tokens: float | None
) -> int | None:
    """The part of some requests' input tokens that is what the labels mean, more or less; None where there is none.

    It is its share of what is expected of a request, of the tokens that the provider counted: so that it holds for tokenizers
    that make more or fewer of them.

    Args:
        job: what was asked.
        input_tokens: what the provider counted over all requests.
        requests: how many there were.
        text_tokens: what is expected of a text on average; None where it isn't known.
    """
    meanings = description_tokens(job)
    if not meanings or not input_tokens:
        return None
    if text_tokens is None:
        return min(input_tokens, round(meanings * requests))
    return round(input_tokens * meanings / (instructions_tokens(job) + text_tokens))
