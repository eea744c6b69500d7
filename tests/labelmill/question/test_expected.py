"""What a request is expected to come to."""

from labelmill.question.expected import expected_tokens_of


def test_tokens_are_fewer_for_latin_letters():
    """Four English letters are about one token, a Chinese character a little more than one."""
    assert expected_tokens_of("abcd" * 10) == 10
    assert 10 <= expected_tokens_of("比" * 10) <= 15
    assert expected_tokens_of("\ud800") > 0
