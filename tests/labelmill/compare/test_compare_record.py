"""The record of a comparison."""

import json

import pytest

from labelmill.compare.record import Comparison, agreement_of
from labelmill.compare.strategies import SEQUENTIAL, strategies_of
from practice import PracticeSettings

ROOM = {"max_tokens": 20}
"""Enough for an answer that is no label, which would be cut off otherwise."""


@pytest.mark.slow
def test_the_record_is_the_providers_count(compare, practice, job_of):
    """For each strategy requests, tokens and failures are what the provider counted while it went."""
    practice.configure(PracticeSettings(stubborn_faults={"content_filter": 0.1, "off_label": 0.1}))
    seen = []

    def note(_):
        seen.append(practice.totals())
        practice.reset()

    record = compare(job_of(run={"max_answers": 1}, model=ROOM), practice.base_url, [1, 4], before=note)
    note(None)
    assert [figures.name for figures in record.strategies] == [
        "sequential",
        "batch, 1 at once",
        "batch, 4 at once",
        "chunks, up to 32 at once",
    ]
    for figures, totals in zip(record.strategies, seen[1:], strict=True):
        assert figures.requests == totals["requests"] == 40
        assert (figures.input_tokens, figures.output_tokens) == (
            totals["input_tokens"],
            totals["output_tokens"],
        )
        assert figures.failures == totals["faults"]
        assert len(figures.failures) == 2
        assert figures.labeled + figures.failed == figures.rows == 40
        assert figures.pending == 0
    assert record.requests == 160
    assert record.cost_usd == pytest.approx(sum(figures.cost_usd for figures in record.strategies))


@pytest.mark.slow
def test_more_at_once_is_faster_and_its_labels_are_the_same(compare, practice, job_of):
    """With answers of 100 ms, five at once take about a fifth of the sequential time, with the same labels."""
    practice.configure(PracticeSettings(latency_seconds=0.1))
    sequential, batch, _ = compare(job_of(), practice.base_url, [5]).strategies
    assert sequential.seconds >= 40 * 0.1
    assert 2 < batch.speed_up < 5.5
    assert batch.speed_up == pytest.approx(sequential.seconds / batch.seconds, rel=0.01)
    assert batch.rows_per_second == pytest.approx(40 / batch.seconds, rel=0.01)
    assert (batch.rows_compared, batch.agreement_fraction) == (40, 1.0)
    assert (sequential.speed_up, sequential.rows_compared, sequential.agreement_fraction) == (
        None,
        None,
        None,
    )


def test_labels_that_differ_are_counted(compare, scripted, completion, job_of):
    """A model that changes its mind after the sequential strategy agrees with itself on nothing but those before."""
    job = job_of(model={"provider": "openai"})
    same, other = completion("sport"), completion("money")
    scripted.reply(*[(200, same)] * 13, (200, other))
    sequential, batch, chunks = compare(job, scripted.base_url, texts=list("abcdefghij")).strategies
    assert sequential.labeled == 10
    assert (batch.rows_compared, batch.agreement_fraction) == (10, 0.3)
    assert (chunks.rows_compared, chunks.agreement_fraction) == (10, 0.0)


def test_texts_without_a_label_are_not_compared(compare, practice, job_of):
    """Only texts that have a label from both are compared."""
    practice.configure(PracticeSettings(faults={"off_label": 0.3}))
    sequential, batch, _ = compare(job_of(model=ROOM), practice.base_url).strategies
    assert sequential.failures == {"off_label": sequential.failed}
    assert sequential.failed > 4
    assert batch.labeled == 40
    assert (batch.rows_compared, batch.agreement_fraction) == (sequential.labeled, 1.0)


def test_what_the_budget_left_unasked_is_pending_and_has_no_speed_up(compare, practice, job_of):
    """A comparison stopped at its budget keeps what it has, and compares no times of different work."""
    record = compare(job_of(run={"max_cost_usd": 0.0006}), practice.base_url)
    assert record.status == "budget_reached"
    assert "max_cost_usd = 0.0006" in record.message
    assert 0 < record.cost_usd <= 0.0006
    sequential, batch, chunks = record.strategies
    assert sequential.pending == 0
    assert 0 < batch.pending < 40
    assert (batch.speed_up, batch.agreement_fraction) == (None, 1.0)
    assert (chunks.pending, chunks.seconds, chunks.rows_per_second) == (40, None, None)
    assert record.requests == practice.totals()["requests"]


def test_agreement_is_over_what_both_know():
    """The fraction is of the texts that both have labeled; of none there is none."""
    assert agreement_of({"a": "x", "b": "y", "c": "z"}, {"a": "x", "b": "z", "d": "z"}) == (2, 0.5)
    assert agreement_of({"a": "x"}, {}) == (0, None)


def test_the_first_strategy_is_what_the_others_are_compared_with(job_of):
    """However the levels are given, sequential goes first, each level once, and chunks last."""
    strategies = strategies_of(job_of(), [5, 2, 5])
    assert strategies[0] is SEQUENTIAL
    assert [(strategy.kind, strategy.concurrency) for strategy in strategies[1:]] == [
        ("batch", 5),
        ("batch", 2),
        ("chunks", 32),
    ]


def test_a_comparison_of_an_earlier_version_is_read(compare, practice, job_of):
    """What had another name, and what was not told apart, is found in the whole bill and in each strategy's."""
    record = compare(job_of(), practice.base_url, texts=["a match", "a market"])
    old = json.loads(record.model_dump_json())
    for bill in (old, *old["strategies"]):
        bill["requests_unseen"] = bill.pop("requests_without_usage")
        del bill["cost_known_usd"]
    assert Comparison.model_validate_json(json.dumps(old)) == record
