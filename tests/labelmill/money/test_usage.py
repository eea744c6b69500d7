"""Tokens: added up as they are, and unknown where nobody counted."""

import pytest

from labelmill.money.usage import Usage


def test_usages_add_up_by_kind():
    """Each kind of token is summed by itself; nothing plus something is something."""
    assert Usage() + Usage(3, 2, 1) + Usage(10, 0, 5) == Usage(13, 2, 6)


@pytest.mark.parametrize(
    ("metadata", "usage"),
    [
        (None, None),
        ({"input_tokens": 9, "output_tokens": 2}, Usage(9, 0, 2)),
        ({"input_tokens": 9, "output_tokens": 2, "input_token_details": None}, Usage(9, 0, 2)),
        ({"input_tokens": 9, "output_tokens": 2, "input_token_details": {"cache_read": 4}}, Usage(9, 4, 2)),
        (
            {"input_tokens": 9, "output_tokens": 2, "input_token_details": {"cache_read": None}},
            Usage(9, 0, 2),
        ),
        ({"input_tokens": 9, "output_tokens": 2, "input_token_details": {"cache_read": 99}}, Usage(9, 9, 2)),
        ({"input_tokens": 0, "output_tokens": 0}, Usage()),
    ],
)
def test_usage_is_read_as_langchain_counts_it(metadata, usage):
    """Cached tokens are part of the input and never more; no metadata is unknown, which is not zero."""
    assert Usage.from_message(metadata) == usage
