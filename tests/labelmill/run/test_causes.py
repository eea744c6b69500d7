"""Why texts have no label: what was said to them, the most frequent first."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from labelmill.question.failures import ASK_AGAIN_KINDS, POLICY_OF_KIND
from labelmill.run.causes import MOST_SAID, Causes, Said, causes_of, causes_sentence
from labelmill.store.ledger import SCHEMA

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def rows_of(*rows):
    """Ledger rows, each as (row key, kind, message), or with a label as (row key, label)."""
    full = [
        {
            "row_key": row[0],
            "label": row[1] if len(row) == 2 else None,
            "error": row[1] if len(row) == 3 else None,
            "message": row[2] if len(row) == 3 else None,
            "answered_at_utc": NOW + timedelta(seconds=number),
        }
        for number, row in enumerate(rows)
    ]
    return pl.LazyFrame(full, schema=SCHEMA)


def test_messages_that_differ_by_an_id_are_one():
    """A request's id, a moment and a wait change from answer to answer; an HTTP status tells messages apart."""
    rows = [(str(n), "provider_error", f"500: oops, request req_0{n}AbC at 12:00:0{n}.5") for n in range(5)]
    rows += [
        ("x", "provider_error", "502: oops, request req_0zAbC at 12:00:09.5"),
        ("y", "timeout", "no answer"),
    ]
    found = causes_of(rows_of(*rows)).provider_messages
    assert [said.count for said in found] == [5, 1, 1]
    assert found[0].text == "500: oops, request req_00AbC at 12:00:00.5"


def test_wrong_answers_are_told_as_they_stand():
    """Two answers that differ by a digit are two; those of the provider stand apart."""
    answers = [("a", "it is 1"), ("b", "it is 1"), ("c", "it is 2")]
    rows = [(key, "off_label", f"not one of the labels: {answer!r}") for key, answer in answers]
    found = causes_of(rows_of(*rows, ("d", "empty_answer", "the model answered with nothing")))
    assert found.provider_messages == ()
    assert [(said.count, said.text) for said in found.wrong_answers] == [
        (2, "not one of the labels: 'it is 1'"),
        (1, "not one of the labels: 'it is 2'"),
        (1, "the model answered with nothing"),
    ]


def test_only_the_last_word_on_a_text_without_a_label_counts():
    """A text that was labeled in the end says nothing, and one that failed twice says its last."""
    rows = [
        ("a", "timeout", "no answer"),
        ("a", "sport"),
        ("b", "timeout", "no answer"),
        ("b", "provider_error", "500: oops"),
    ]
    assert causes_of(rows_of(*rows)) == Causes((Said(count=1, text="500: oops"),))


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from([*POLICY_OF_KIND, "of another version"]),
            st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
        ),
        max_size=30,
    )
)
@example(rows=[("rate_limited", "\x1f"), ("off_label", "\0")])
def test_there_are_a_few_of_each_and_each_is_short(rows):
    """Whatever was said: at most three, none of them blank or long, the most frequent first, and in a sentence of one line."""
    keyed = [(str(number), kind, message) for number, (kind, message) in enumerate(rows)]
    causes = causes_of(rows_of(*keyed))
    wrong = sum(kind in ASK_AGAIN_KINDS for kind, _ in rows)
    for found, texts in ((causes.provider_messages, len(rows) - wrong), (causes.wrong_answers, wrong)):
        assert len(found) <= min(MOST_SAID, texts)
        assert sum(said.count for said in found) <= texts
        assert all(said.text.strip() and len(said.text) <= 200 and "\n" not in said.text for said in found)
        assert [said.count for said in found] == sorted((said.count for said in found), reverse=True)
    assert "\n" not in causes_sentence(causes)


@pytest.mark.parametrize(("count", "words"), [(1, "once"), (2, "twice"), (1204, "1,204 times")])
def test_how_often_is_said_in_words(count, words):
    """As one would say it."""
    assert causes_sentence(Causes((Said(count=count, text="no"),))) == f'Why: "no" ({words})'


def test_no_causes_are_no_sentence():
    """Nothing is said of nothing."""
    assert causes_sentence(Causes()) == ""
