"""What a request is expected to come to, and what it comes to at most where a text is asked again; told before any is sent."""

import math
from collections.abc import Sequence
from statistics import fmean

from labelmill.job.model import LabelJob
from labelmill.money.usage import Usage
from labelmill.question.failures import POLICY_OF_KIND, Policy
from labelmill.question.form import AnswerForm, correction_form_of, worst_case_of
from labelmill.question.prompt import PROBLEM_WORDS, Message, correction_of, language_of
from labelmill.question.thinking import thinks

TOKENS_PER_ASCII_BYTE = 0.25
TOKENS_PER_OTHER_BYTE = 0.4
"""Between newer tokenizers (a Chinese character of three bytes is about one token) and older ones."""
TOKENS_PER_MESSAGE = 4
EXPECTED_THOUGHTS = 300
"""Of a model that is known to think, about a short text at its usual effort."""


def expected_usage_of(job: LabelJob, messages: Sequence[Message], form: AnswerForm) -> Usage:
    """The tokens that a request will come to, more or less."""
    sent = sum(expected_tokens_of(message.text) + TOKENS_PER_MESSAGE for message in messages)
    answers = [f'{{"label": "{name}"}}' if form.response_format else name for name in job.labels]
    said = fmean(expected_tokens_of(answer) for answer in answers)
    said += EXPECTED_THOUGHTS if thinks(job.model) else 0
    return Usage(math.ceil(sent), 0, min(form.max_tokens, math.ceil(said)))


def expected_tokens_of(text: str) -> float:
    """The tokens of a text, more or less."""
    ascii_bytes = sum(map(str.isascii, text))
    other_bytes = len(text.encode(errors="surrogatepass")) - ascii_bytes
    return ascii_bytes * TOKENS_PER_ASCII_BYTE + other_bytes * TOKENS_PER_OTHER_BYTE


def worst_case_again_of(job: LabelJob, messages: Sequence[Message]) -> Usage:
    """The worst case of a request that asks again, with the longest correction, under the schema."""
    form = correction_form_of(job)
    corrections = [
        Message("user", correction_of(job, kind))
        for kind in PROBLEM_WORDS[language_of(job)]
        if POLICY_OF_KIND[kind] is Policy.ASK_AGAIN
    ]
    longest = max(corrections, key=lambda message: len(message.text.encode()))
    return worst_case_of([*messages, longest], form.max_tokens, form.bound_by, job.model.extra_body)
