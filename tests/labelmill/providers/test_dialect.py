"""The other form: from what an endpoint has refused to how it is asked next."""

import threading
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from servers.refusing import Refusing

from labelmill.job.model import LabelJob
from labelmill.providers.dialect import BINDING_FIELDS, Dialect, SpokenDialect, next_dialect
from labelmill.providers.endpoint import Endpoint
from labelmill.providers.refusals import known_fields
from labelmill.providers.servers import bindings_in
from labelmill.providers.table import PROVIDERS, first_dialect_of
from labelmill.question.answers import Answer
from labelmill.question.attempts import Attempt
from labelmill.question.binding import Binding

FIELDS = st.sampled_from(sorted(known_fields() | {"system", "roles", "seed"}))
ASKED = [SystemMessage("Sort this."), HumanMessage("a match")]


def job_with(output):
    """A job with that output."""
    return LabelJob.model_validate(
        {
            "name": "test",
            "source": {"path": "x.parquet", "text": "text"},
            "labels": {"sport": "", "money": ""},
            "model": {"name": "m", "output": output},
            "output": {"path": "out"},
        }
    )


@given(st.lists(st.tuples(FIELDS, st.booleans()), max_size=60), st.sampled_from(["text", "schema", "choice"]))
def test_the_forms_come_to_an_end(refusals, output):
    """However an endpoint refuses, each step is another form than all before, and there are few of them."""
    job, dialect, steps = job_with(output), Dialect(), 0
    seen = {dialect}
    for field, is_correction in refusals:
        following = next_dialect(dialect, field, job, is_correction=is_correction)
        if following is not None:
            assert following not in seen
            seen.add(following)
            dialect, steps = following, steps + 1
    assert steps <= 2 + 1 + 1 + len(Binding)


@pytest.mark.parametrize(("output", "is_correction"), [("text", True), ("schema", False), ("choice", False)])
def test_all_means_are_tried_and_none_twice(output, is_correction):
    """A correction ends in words alone; a job that wants its answers bound has no other form then."""
    job, dialect, tried = job_with(output), Dialect(), []
    while (binding := dialect.binding_of(job, is_correction=is_correction)) is not None:
        tried.append(binding)
        following = next_dialect(dialect, binding.field, job, is_correction=is_correction)
        if following is None:
            break
        dialect = following
    expected = [binding for binding in Binding if output != "schema" or binding.is_json]
    assert tried == expected
    assert (binding is None) == is_correction


def test_a_job_in_words_is_bound_by_nothing_at_first(job_of):
    """Its first question is the very one that it has always been, whatever the endpoint has."""
    form = Dialect(bindings=(Binding.GRAMMAR,)).form_of(job_of(), is_correction=False)
    assert (form.bound_by, form.max_tokens_name) == (None, None)
    corrected = Dialect(bindings=(Binding.GRAMMAR,)).form_of(job_of(), is_correction=True)
    assert corrected.own_fields.keys() == {"grammar"}


def test_messages_stand_under_the_roles_that_the_endpoint_knows():
    """The words are the same and in the same order; the model's own answer is sent where roles have to alternate."""
    corrected = [*ASKED, AIMessage("cricket"), HumanMessage("Not a label.")]

    def said(messages, **dialect):
        return [(message.type, message.text) for message in Dialect(**dialect).arranged(messages)]

    assert said(corrected) == [("system", "Sort this."), ("human", "a match"), ("human", "Not a label.")]
    assert said(corrected, alternate=True)[2:] == [("ai", "cricket"), ("human", "Not a label.")]
    assert said(ASKED, has_system_role=False) == [("human", "Sort this.\n\na match")]
    unknown = [*ASKED, HumanMessage("It was empty.")]
    assert said(unknown, alternate=True)[1:] == [("human", "a match\n\nIt was empty.")]
    assert said(unknown, alternate=True, has_system_role=False) == [
        ("human", "Sort this.\n\na match\n\nIt was empty.")
    ]


def test_many_requests_in_flight_learn_from_the_first_refusal(job_of):
    """All were asked in the same form and are refused at once: the form moves on by one, for all of them."""
    spoken = SpokenDialect(job_of(model={"output": "choice"}), Dialect())
    asked, found = spoken.now, []
    gate = threading.Barrier(12)

    def refuse():
        gate.wait()
        found.append(spoken.after(asked, "response_format", is_correction=False))

    threads = [threading.Thread(target=refuse) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {spoken.now}
    assert spoken.now.bindings == tuple(Binding)[1:]


def test_every_binding_stands_in_a_field_that_is_known():
    """What the data advises on is all that a request of ours may be refused for."""
    assert known_fields() >= BINDING_FIELDS


@pytest.mark.parametrize(
    ("content", "failure", "moves_on"),
    [
        ("This is about sport and money.", "off_label", True),
        (" \n" * 20, "truncated", True),
        ('{"label": "sport"}', None, False),
        ("sport", None, False),
        ("", "empty_answer", False),
        ('{"label": "spo', "truncated", False),
    ],
)
def test_a_binding_that_does_not_hold_is_noticed_by_an_answer_that_it_forbids(
    job_of, content, failure, moves_on
):
    """What names a label, though in another form, was no worse off; what was cut off says nothing of the binding."""
    spoken = SpokenDialect(job_of(model={"output": "choice"}), Dialect())
    answer = Answer(content, None, "stop", "m", None, None)
    attempt = Attempt("v1:a", datetime.now(UTC), label=None if failure else "sport", failure=failure)
    assert spoken.learn(spoken.now, answer, attempt, is_correction=False) == moves_on
    assert (spoken.now.bindings[0] is Binding.JSON_SCHEMA) != moves_on


def test_the_list_of_models_tells_the_server_only_where_all_are_of_one():
    """`owned_by` is the server's where it serves its own; a gateway's models have many owners, and it tells nothing."""
    assert bindings_in({"data": [{"id": "a", "owned_by": "vllm"}, {"id": "b", "owned_by": "vllm"}]})[0] == (
        Binding.STRUCTURED_OUTPUTS
    )
    for odd in ({"data": [{"owned_by": "vllm"}, {"owned_by": "openai"}]}, {"data": []}, {}, None, [1], "x"):
        assert bindings_in(odd) == ()


@pytest.mark.parametrize(
    ("dialect", "output", "first"),
    [
        (Dialect(), "choice", Binding.GRAMMAR),
        (Dialect(), "schema", Binding.JSON_SCHEMA),
        (Dialect(bindings=(Binding.REGEX, Binding.JSON_SCHEMA)), "choice", Binding.REGEX),
    ],
)
def test_an_endpoint_is_asked_first_as_its_provider_says_or_as_its_models_tell(
    monkeypatch, job_of, dialect, output, first
):
    """Where the provider says what it binds by, nothing is asked for; its other names are in the first form too."""
    provider = replace(
        PROVIDERS["practice"], dialect=replace(dialect, max_tokens_name="max_completion_tokens")
    )
    monkeypatch.setitem(PROVIDERS, "practice", provider)
    job = job_of(model={"output": output})
    with Refusing(owned_by="llamacpp") as server:
        found = first_dialect_of(job, Endpoint(server.base_url, "NO_SUCH_KEY", practice=False))
    assert found.binding_of(job, is_correction=False) is first
    assert found.form_of(job, is_correction=False).max_tokens_name == "max_completion_tokens"


def test_a_provider_without_schemas_is_asked_in_words(monkeypatch, job_of):
    """Corrections too, as they always were."""
    monkeypatch.setitem(PROVIDERS, "practice", replace(PROVIDERS["practice"], has_schemas=False))
    job = job_of()
    found = first_dialect_of(job, Endpoint("http://127.0.0.1:1/v1", "NO_SUCH_KEY", practice=False))
    assert found.form_of(job, is_correction=True).bound_by is None


@given(
    st.lists(FIELDS, max_size=6), st.lists(FIELDS, max_size=6), st.sampled_from(["text", "schema", "choice"])
)
def test_processes_that_tell_each_other_ask_alike_in_the_end(one, other, output):
    """Whatever each was refused: both leave all of it out, and a job that wants its answers bound has a means left."""
    job = job_with(output)
    spoken = [SpokenDialect(job, Dialect()), SpokenDialect(job, Dialect())]
    for mine, refusals in zip(spoken, (one, other), strict=True):
        for field in refusals:
            mine.after(mine.now, field, is_correction=False)
    first, second = (each.now for each in spoken)
    spoken[0].hear(second)
    spoken[1].hear(first)
    a, b = (each.now for each in spoken)
    assert (a.refused, a.has_system_role, a.alternate) == (b.refused, b.has_system_role, b.alternate)
    assert a.refused == first.refused | second.refused
    assert a.has_system_role == (first.has_system_role and second.has_system_role)
    for mine in (a, b):
        assert set(mine.bindings) <= set(first.bindings)
        assert (mine.binding_of(job, is_correction=False) is None) == (output == "text")
