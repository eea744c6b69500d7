"""What of a request binds its answer to the labels, whatever they are called."""

import json
import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from labelmill.question.binding import Binding, grammar_of, holds_to, regex_of, value_of
from labelmill.question.form import correction_form_of, form_of, worst_case_of
from practice.bound_answers import bound_names

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
LABELS = st.lists(NAMES, min_size=1, max_size=6, unique=True)


@given(LABELS, st.text(max_size=20))
def test_a_regular_expression_fits_the_labels_and_nothing_else(labels, other):
    """Whatever marks a name has of those that expressions have for themselves."""
    pattern = re.compile(regex_of(labels))
    assert all(pattern.fullmatch(name) for name in labels)
    assume(other not in labels)
    assert pattern.fullmatch(other) is None


@given(LABELS)
@example(["\\x00"])
def test_a_grammar_and_an_expression_are_read_as_the_very_labels(labels):
    """By a reader of its own: quotes, backslashes, control characters and any script come back as they were."""
    assert bound_names({"grammar": grammar_of(labels)}) == tuple(labels)
    assert bound_names({"regex": regex_of(labels)}) == tuple(labels)
    assert bound_names({"structured_outputs": value_of(Binding.STRUCTURED_OUTPUTS, labels)}) == tuple(labels)
    assert bound_names({"guided_choice": value_of(Binding.GUIDED_CHOICE, labels)}) == tuple(labels)


def test_a_grammar_is_llama_cpps():
    """GBNF: alternatives in quotes; its own marks are escaped, and no other."""
    assert grammar_of(["sport", '技"术', "a\\b", "x\ny"]) == (
        'root ::= "sport" | "技\\"术" | "a\\\\b" | "x\\x0ay"'
    )


@given(LABELS, st.sampled_from(Binding))
def test_what_a_binding_allows_is_known_from_what_it_does_not(labels, binding):
    """Each label is allowed in the binding's own form; a sentence is in none."""
    labels = [name for name in labels if name.strip()]
    assume(labels and "no label" not in {name.strip() for name in labels})
    assume(not any("think" in name for name in labels))
    for name in labels:
        said = json.dumps({"label": name}) if binding.is_json else name
        assert holds_to(binding, said, labels)
    assert not holds_to(binding, "no label", labels)
    assert not holds_to(binding, '{"label": ["no label"]}', labels) or not binding.is_json


@pytest.mark.parametrize("binding", Binding)
def test_a_bound_answer_has_the_room_that_its_form_takes(job_of, binding):
    """JSON needs more than a bare label; what binds is counted among what is sent, also where it is no schema."""
    job = job_of(model={"output": "choice"})
    form, bare = form_of(job, binding), form_of(job_of())
    assert (form.max_tokens > bare.max_tokens) == binding.is_json
    assert correction_form_of(job_of(), binding) == form
    sent = len(json.dumps(value_of(binding, job.labels)))
    more = worst_case_of([], 1, form.bound_by).input_tokens - worst_case_of([], 1).input_tokens
    assert sent <= more <= sent + 40
