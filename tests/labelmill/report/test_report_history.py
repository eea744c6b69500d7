"""What past runs cost, in words."""

import pytest

from labelmill.report.history import ending_words, out_words


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


def test_what_is_at_the_provider_is_said_beside_the_costs():
    """How many texts, in how many batches, and what they may cost at most; an unknown price is unknown, and nothing is nothing."""
    (said,) = out_words({"batches": 2, "texts": 1200, "at_most_usd": 0.5})
    assert said.startswith("1,200 texts are in 2 batches at the provider, at a cost of at most $0.50")
    (said,) = out_words({"batches": 1, "texts": 3, "at_most_usd": None})
    assert "3 texts are in a batch" in said
    assert "at an unknown cost" in said
    assert out_words({"batches": 0, "texts": 0, "at_most_usd": 0.0}) == out_words(None) == []
