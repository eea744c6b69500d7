"""The worst case: no request comes to more, whichever tokenizer and template its model has."""

import time
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage, SystemMessage

from labelmill.job.model import Model
from labelmill.money.prices import cost_of
from labelmill.money.usage import Usage
from labelmill.providers.table import price_of
from labelmill.question.form import most_bytes_of, worst_case_of

FORMS = ("NFC", "NFKC")
"""What tokenizers of language models bring texts into, if they do."""
marks = st.text(st.characters(categories=["Mn", "Lo", "Ll", "Sk", "So"]), max_size=30)


@settings(max_examples=300, deadline=None)
@given(text=st.text(st.characters(), max_size=60) | marks)
@example(text="ﷺ" * 9)
@example(text="\U0001d160 क़")
@example(text="é\u0323ﾞ")
@example(text="한국어 ᄒ\u1161\u11ab")
@example(text="\ud800")
def test_no_form_of_a_text_has_more_bytes(text):
    """A tokenizer that normalises first makes one token of a byte at most, of a text that may have grown."""
    most = most_bytes_of(text)
    assert most >= len(text.encode(errors="surrogatepass"))
    for form in FORMS:
        assert most >= len(unicodedata.normalize(form, text).encode(errors="surrogatepass"))


@pytest.mark.parametrize(
    ("text", "size"), [("plain English", 13), ("技术", 6), ("한국", 6), ("⚽", 3), ("", 0)]
)
def test_common_scripts_are_counted_as_they_are(text, size):
    """A budget is not eaten up by what can't be."""
    assert most_bytes_of(text) == size


def test_a_hostile_text_is_counted_in_no_time():
    """Normalising four million combining marks would take longer than anybody waits."""
    begun = time.thread_time()
    assert most_bytes_of("a" + "\u0323\u0301" * 1_000_000) == 4_000_001
    assert time.thread_time() - begun < 5


@pytest.mark.parametrize(
    ("added", "source"),
    [
        (21, "https://github.com/paiml/aprender/issues/3990"),  # Qwen2.5's default system message
        (34, "https://github.com/mlc-ai/web-llm/issues/396"),  # Llama 2's
    ],
)
def test_a_request_leaves_room_for_what_its_template_adds(added, source):
    """Tokens that stand in no message of ours are billed too."""
    assert source
    assert worst_case_of([HumanMessage("")], 0).input_tokens >= added


@settings(deadline=None, max_examples=50)
@given(
    text=st.text(max_size=200),
    shares=st.tuples(*[st.floats(0, 1)] * 4),
    name=st.sampled_from(["gpt-4o-mini", "gpt-5.6-luna"]),
)
def test_no_answer_within_its_tokens_costs_more(text, shares, name):
    """Whatever part of the input was cached, or written to a cache, which costs more with some models."""
    price = price_of(Model(name=name))
    worst = worst_case_of([SystemMessage("Classify."), HumanMessage(text)], 20, {"type": "json_object"})
    sent, said = round(worst.input_tokens * shares[0]), round(worst.output_tokens * shares[1])
    cached = round(sent * shares[2])
    usage = Usage(sent, cached, said, round((sent - cached) * shares[3]))
    assert cost_of(usage, price) <= cost_of(worst, price)
