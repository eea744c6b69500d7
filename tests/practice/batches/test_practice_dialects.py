"""Whatever a request of another dialect holds, it is a row or a refusal in words."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from practice.batches.anthropic import _row_of as row_of_message
from practice.batches.gemini import _row_of as row_of_content
from practice.errors import RequestRefusedError
from practice.question import read_question

ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["text", "name", "type"]), inner)
    ),
    max_leaves=4,
)
PART = st.fixed_dictionaries({}, optional={"text": ODD, "functionResponse": ODD, "type": ODD})
CONTENT = st.fixed_dictionaries({}, optional={"role": ODD, "parts": st.lists(PART | ODD) | ODD})
TOOL = st.fixed_dictionaries({}, optional={"functionDeclarations": st.lists(ODD, max_size=2) | ODD})
FIELDS = {
    "contents": st.lists(CONTENT | ODD, max_size=2),
    "systemInstruction": CONTENT | ODD,
    "generationConfig": st.fixed_dictionaries({}, optional={"responseSchema": ODD, "responseMimeType": ODD}),
    "tools": st.lists(TOOL | ODD, max_size=2) | ODD,
    "toolConfig": ODD,
}
MESSAGE = st.fixed_dictionaries({}, optional={"role": ODD, "content": st.lists(PART | ODD) | ODD})
PARAMS = {
    "messages": st.lists(MESSAGE | ODD, max_size=2),
    "system": st.lists(PART | ODD) | ODD,
    "tools": st.lists(ODD, max_size=2) | ODD,
    "tool_choice": ODD,
    "output_config": ODD,
}


def read(row_of, *asked):
    """Read a request as far as it can be read."""
    with contextlib.suppress(RequestRefusedError):
        read_question(row_of(*asked)["body"])


@given(
    st.fixed_dictionaries({"request": st.fixed_dictionaries({}, optional=FIELDS)}, optional={"metadata": ODD})
    | ODD
)
def test_any_content_of_geminis_is_read_or_refused(asked):
    """None of it is an error of the server's."""
    read(row_of_content, asked, "m", 0)


@given(
    st.fixed_dictionaries(
        {"params": st.fixed_dictionaries({"model": st.just("m"), "max_tokens": st.just(5)}, optional=PARAMS)}
    )
    | ODD
)
def test_any_message_of_anthropics_is_read_or_refused(asked):
    """None of it is an error of the server's."""
    read(row_of_message, asked, "requests.0")
