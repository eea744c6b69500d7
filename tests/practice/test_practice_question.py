"""A chat request is read into labels and a text."""

import pytest

from practice.errors import RequestRefusedError
from practice.question import read_question

SYSTEM = "Choose one:\n- 技术: software: and chips\n- 体育\n\nAnswer with the name."


def request(*messages, **options):
    """A request body with these (role, content) messages."""
    return {"model": "m", "messages": [{"role": role, "content": text} for role, text in messages]} | options


def schema_format(schema):
    """A response format that wants this schema."""
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def test_labels_come_from_the_system_message():
    """Lines with a dash are labels, with or without a description."""
    question = read_question(request(("system", SYSTEM), ("user", "- 足球\n- 篮球")))
    assert question.labels == (("技术", "software: and chips"), ("体育", ""))
    assert question.text == "- 足球\n- 篮球"


def test_the_first_user_message_is_the_text():
    """Corrections that follow an answer do not change what is labeled."""
    question = read_question(
        request(("system", SYSTEM), ("user", "足球"), ("assistant", "?"), ("user", "That is no label."))
    )
    assert question.text == "足球"


def test_label_lines_in_the_user_message_are_not_text():
    """Where the user message lists the labels, the text is what remains of it."""
    question = read_question(request(("user", "- 技术: chips\n- 体育: games\n\n足球赛")))
    assert [name for name, _ in question.labels] == ["技术", "体育"]
    assert question.text == "足球赛"


def test_content_may_come_in_parts():
    """The text parts of a message are its text."""
    parts = [{"type": "text", "text": "足球"}, {"type": "image_url", "image_url": {"url": "x"}}]
    assert read_question(request(("system", SYSTEM), ("user", parts))).text == "足球"


def test_an_enum_names_the_labels_and_lines_describe_them():
    """A schema's enum counts, even behind a reference; other dashed lines are no labels."""
    schema = {
        "type": "object",
        "properties": {
            "why": {"type": "string"},
            "label": {"$ref": "#/$defs/Label"},
            "sure": {"type": "number"},
        },
        "$defs": {"Label": {"type": "string", "enum": ["a: b", "体育"]}},
    }
    system = "- Answer in JSON.\n\n- 体育：games\n- a: b: letters"
    question = read_question(
        request(("system", system), ("user", "x"), response_format=schema_format(schema))
    )
    assert question.labels == (("a: b", "letters"), ("体育", "games"))
    assert question.frame.before == '{"why": "", "label": "'
    assert question.frame.after == '", "sure": 0}'


def test_a_schema_without_enum_takes_the_label_in_its_first_string():
    """The first string of a schema holds the label where no enum does."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}, "label": {"type": "string"}}}
    question = read_question(
        request(("system", SYSTEM), ("user", "x"), response_format=schema_format(schema))
    )
    assert question.frame.before == '{"n": 0, "label": "'
    assert len(question.labels) == 2


def test_no_labels_are_no_error():
    """A request without labels is read as such."""
    assert read_question(request(("user", "hello"))).labels == ()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ([], None),
        ({"messages": [{"role": "user", "content": "x"}]}, "model"),
        ({"model": "m"}, "messages"),
        ({"model": "m", "messages": []}, "messages"),
        (request(("user", 7)), "messages[0].content"),
        ({"model": "m", "messages": ["x"]}, "messages[0]"),
        (request(("user", "x"), stream_options={}), "stream_options"),
        (request(("user", "x"), stream=True, stream_options=3), "stream_options"),
        (request(("user", "x"), n=2), "n"),
        (request(("user", "x"), tools=[{}]), "tools"),
        (request(("user", "x"), max_tokens="3"), "max_tokens"),
        (request(("user", "x"), top_logprobs=21), "top_logprobs"),
        (request(("user", "x"), response_format="json"), "response_format"),
    ],
)
def test_what_cannot_be_read_is_refused(body, param):
    """A malformed request gets a 400 that names the field."""
    with pytest.raises(RequestRefusedError) as refused:
        read_question(body)
    assert (refused.value.status, refused.value.param) == (400, param)
