"""What past runs cost, in words."""

import pytest

from labelmill.report.history_words import ending_words


@pytest.mark.parametrize(
    ("kind", "status", "words"),
    [
        ("run", "completed", "completed"),
        ("run", "running", "running, or killed"),
        ("comparison", "budget_reached", "comparison, stopped at the budget"),
        (None, None, "no record"),
        ("run", "of another version", "of another version"),
    ],
)
def test_a_comparison_is_told_from_a_run(kind, status, words):
    """How something ended is said in words, and that it was a comparison where it was one."""
    assert ending_words(kind, status) == words
