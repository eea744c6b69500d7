"""The chain's cheap steps: one text after the other, told of as ever."""

import pytest
from langchain_core.callbacks import BaseCallbackHandler

from labelmill.live.chain import OutcomeParser, TextPrompt
from labelmill.question.prompt import prompt_of


class Heard(BaseCallbackHandler):
    """Notes which runs began and which failed."""

    def __init__(self):
        self.begun, self.failed = [], []

    def on_chain_start(self, serialized, inputs, *, metadata=None, **_):  # noqa: ARG002
        """Of a step."""
        self.begun.append(metadata["row_key"])

    def on_chain_error(self, error, **_):
        """Of a step."""
        self.failed.append(type(error).__name__)


def test_a_text_that_can_not_be_filled_in_is_its_own_error(job_of):
    """The others get their messages, as LangChain's own prompt makes them."""
    prompt = prompt_of(job_of())
    filled, broken, other = TextPrompt.of(prompt).batch(
        [{"text": "a"}, {"nothing": 1}, {"text": "b"}], return_exceptions=True
    )
    assert filled == prompt.invoke({"text": "a"})
    assert other == prompt.invoke({"text": "b"})
    assert isinstance(broken, KeyError)
    with pytest.raises(KeyError):
        TextPrompt.of(prompt).batch([{"nothing": 1}])


def test_who_listens_hears_of_each_text(job_of):
    """A callback is told of every text with its own metadata, and of the one that failed."""
    heard = Heard()
    configs = [{"callbacks": [heard], "metadata": {"row_key": key}} for key in "ab"]
    TextPrompt.of(prompt_of(job_of())).batch([{"text": "x"}, {}], configs, return_exceptions=True)
    assert heard.begun == ["a", "b"]
    assert heard.failed == ["KeyError"]


def test_what_is_no_answer_is_an_error_of_its_own():
    """The parser takes messages with an outcome, and nothing else."""
    (error,) = OutcomeParser().batch(["words"], return_exceptions=True)
    assert isinstance(error, AttributeError)
