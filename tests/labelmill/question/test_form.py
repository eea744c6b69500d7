"""The form of an answer."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelmill.question.answers import Answer, label_or_failure
from labelmill.question.form import correction_form_of, form_of, max_tokens_of_json, max_tokens_of_text
from labelmill.question.reading import LabelSet


def test_a_job_is_asked_in_its_own_form(job_of):
    """Text has no schema and little room; the schema's enum is the label set."""
    text, schema = form_of(job_of()), form_of(job_of(model={"output": "schema"}))
    assert text.response_format is None
    assert text.max_tokens < schema.max_tokens < 40
    enum = schema.response_format["json_schema"]["schema"]["properties"]["label"]["enum"]
    assert enum == ["sport", "money"]


def test_corrections_are_asked_under_the_schema(job_of):
    """A text job's corrections have the schema and room for its JSON, and may be answered in either form."""
    form = correction_form_of(job_of(model={"max_tokens": 3}))
    assert form.response_format is not None
    assert form.max_tokens == max_tokens_of_json(["sport", "money"])
    assert correction_form_of(job_of(model={"max_tokens": 500})).max_tokens == 500
    assert correction_form_of(job_of(model={"output": "schema"})) == form_of(
        job_of(model={"output": "schema"})
    )


@pytest.mark.parametrize(
    ("content", "label"),
    [("sport", "sport"), ('{"label": "sport"}', "sport"), ("soprt", None), ('{"label": "soprt"}', None)],
)
def test_either_form_is_read_whichever_was_asked_for(content, label):
    """Text or JSON; none is mapped to the nearest."""
    answer = Answer(content, None, "stop", "m", None, None)
    found = label_or_failure(answer, LabelSet(["sport", "money"]))
    assert (found if isinstance(found, str) else None) == label


LABEL_NAMES = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=30), min_size=2, max_size=5)


@given(LABEL_NAMES)
def test_the_longest_label_always_fits(names):
    """However a tokenizer cuts it and however JSON escapes it, a correct answer is not cut off."""
    for name in names:
        assert len(name.encode()) <= max_tokens_of_text(names)
        assert len(json.dumps({"label": name}, ensure_ascii=False).encode()) <= max_tokens_of_json(names)
        if name.isprintable():
            assert len(json.dumps({"label": name})) <= max_tokens_of_json(names)
