"""Which field of a request an error response refuses: the data, and texts that read like it."""

import json

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import HumanMessage

from labelmill.providers.failures import failure_of_response, failure_of_status
from labelmill.providers.langchain import LangChainChat
from labelmill.providers.refusals import Sent, advice_on, refusal_wordings, refusal_words
from labelmill.question.failures import Failure
from labelmill.question.form import response_format_of

SOURCES = ("https://",)
BODY = {
    "model": "m",
    "messages": [{"role": "system", "content": "Sort this."}, {"role": "user", "content": "a text"}],
    "max_tokens": 12,
    "temperature": 0.0,
    "logprobs": True,
    "response_format": response_format_of({"sport": ""}),
}
PHRASES = [
    phrase.strip("^$").replace("*", "").replace("{field}", name)
    for entry in refusal_wordings()
    for phrase in entry.phrases
    for name in ("temperature", "max_tokens")
]


def body_in(example):
    """An example's body as a client reads it."""
    try:
        return json.loads(example["body"])
    except ValueError:
        return example["body"]


@pytest.mark.parametrize("wording", refusal_wordings(), ids=lambda one: f"{one.provider}-{one.phrases[0]}")
def test_each_wording_is_read_as_the_refusal_that_it_is(wording):
    """As a response that was told what was sent, and as a batch's row, which tells less."""
    status, field = wording.example["status"], wording.example["field"]
    sent = Sent.of(BODY | {field: 1})
    failure = failure_of_response(status, body_in(wording.example), sent=sent)
    assert (failure.kind, failure.refused_field) == ("field_refused", field)
    assert failure_of_status(status, None, failure.message.partition(": ")[2], sent=Sent()).kind in {
        "field_refused",
        failure_of_status(status, None, failure.message.partition(": ")[2]).kind,
    }
    assert wording.source.startswith(SOURCES)
    assert advice_on(field)


@pytest.mark.parametrize(
    ("status", "message", "field"),
    [
        (400, "Unsupported parameter: 'seed' is not supported with this model.", None),
        (429, "Unsupported parameter: 'temperature' is not supported with this model.", None),
        (401, "temperature: Extra inputs are not permitted", None),
        (400, "This model's maximum context length is 4096 tokens; max_tokens is too large: 9000.", None),
        (400, "messages.0.user.name: Extra inputs are not permitted", None),
        (400, "Unsupported value: 'temperature' does not support 0 with this model.", "temperature"),
        (500, "body.response_format.type: Input should be 'text' or 'json_object'", "response_format"),
    ],
)
def test_a_field_is_refused_that_was_sent_and_by_a_status_that_says_nothing_else(status, message, field):
    """What wasn't sent can't have been refused; a full minute and a wrong key are something else, whatever the words."""
    assert (
        failure_of_response(status, {"error": {"message": message}}, sent=Sent.of(BODY)).refused_field
        == field
    )


WORDS = st.text(max_size=60)


@given(
    WORDS,
    st.sampled_from(PHRASES),
    WORDS,
    st.sampled_from(["{}", "can't read: {}", "invalid input: {}", "bad text '{}'", "{} is not allowed here"]),
)
@example("", "unsupported parameter: temperature", "", "{}")
@example(" ':", "got an unexpected keyword argument temperature", "", "bad text '{}'")
@example("", "temperature: extra inputs are not permitted", " ", "{}")
def test_a_text_that_a_server_repeats_is_never_taken_for_a_refusal(before, phrase, after, echo):
    """Whatever a text says, and however the server quotes it: it is no refusal of a field."""
    text = f"{before}{phrase}{after}"
    body = BODY | {"messages": [{"role": "user", "content": text}]}
    failure = failure_of_response(400, {"error": {"message": echo.format(text)}}, sent=Sent.of(body))
    assert failure.refused_field is None


def test_a_word_that_is_a_fields_name_is_no_refusal_of_it():
    """The text `temperature`, which a server says it doesn't support."""
    body = BODY | {"messages": [{"role": "user", "content": "temperature"}]}
    said = {"error": {"message": "'temperature' is not supported with this model"}}
    assert failure_of_response(400, said, sent=Sent.of(body)).refused_field is None
    assert failure_of_response(400, said, sent=Sent.of(BODY)).refused_field == "temperature"


class Refused(GenericFakeChatModel):
    """A LangChain model whose provider refuses a field."""

    def _generate(self, *_, **__):
        said = {"error": {"message": "`temperature` is deprecated for this model."}}
        request = httpx.Request("POST", "http://127.0.0.1:1/v1")
        response = httpx.Response(400, json=said, request=request)
        raise httpx.HTTPStatusError("400", request=request, response=response)


def test_a_model_of_langchain_is_refused_a_field_alike():
    """Whatever raises the error: its response is read, and a text that was sent is no refusal there either."""
    model = LangChainChat(Refused(messages=iter(())), "no-key")
    assert model.send([HumanMessage("a match")]).result.refused_field == "temperature"
    assert (
        model.send([HumanMessage("`temperature` is deprecated for this model.")]).result.refused_field is None
    )


def test_the_sentence_names_the_field_the_words_and_what_to_do():
    """It is all that stands between a user and a run."""
    failure = Failure("field_refused", "400: 'temperature' is not supported.", refused_field="temperature")
    assert refusal_words(failure, "http://127.0.0.1:1/v1") == (
        "the endpoint refuses the field 'temperature': 400: 'temperature' is not supported; "
        'set model.temperature = "unset" (requests go to http://127.0.0.1:1/v1)'
    )
    of_own = Failure("field_refused", "400: no.", refused_field="enable_thinking")
    assert refusal_words(of_own, "").endswith("take out model.extra_body.enable_thinking")
