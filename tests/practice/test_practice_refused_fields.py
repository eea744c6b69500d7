"""Fields that the settings have refused, and answers bound by an inference server's own means."""

import openai
import pytest

from practice import PracticeSettings

HELD = {"max_tokens": 9, "extra_body": {"grammar": 'root ::= "体育"'}}
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "label",
        "schema": {"type": "object", "properties": {"label": {"type": "string", "enum": ["体育"]}}},
    },
}


@pytest.mark.parametrize(
    ("refused", "words", "param"),
    [
        ("max_tokens", "Unsupported parameter: 'max_tokens' is not supported with this model.", "max_tokens"),
        ("grammar", "Unsupported parameter: 'grammar' is not supported with this model.", "grammar"),
        ("system", "System role not supported", None),
        (
            "response_format.json_schema",
            "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",
            "response_format",
        ),
    ],
)
def test_a_field_is_refused_as_the_settings_tell(ask, practice, refused, words, param):
    """In OpenAI's words, with the status of the settings; nothing is billed, and no attempt counted."""
    practice.configure(PracticeSettings(refused_fields=[refused], refusal_status=422))
    with pytest.raises(openai.APIStatusError) as caught:
        ask(response_format=SCHEMA, **HELD)
    assert (caught.value.status_code, caught.value.body["message"]) == (422, words)
    assert caught.value.body["param"] == param
    totals = practice.totals()
    assert (totals["requests"], totals["answered"], totals["most_attempts_of_a_text"]) == (1, 0, 0)


def test_roles_have_to_alternate_where_the_settings_say_so(ask, client, practice):
    """Two messages of the user in a row are refused, whatever the system says before them; an answer between them is fine."""
    practice.configure(PracticeSettings(refused_fields=["roles"]))
    user = {"role": "user", "content": "足球比赛"}
    assert ask().choices[0].message.content == "体育"
    with pytest.raises(openai.BadRequestError, match="must alternate"):
        client.chat.completions.create(model="m", messages=[user, user])
    said = {"role": "assistant", "content": "?"}
    client.chat.completions.create(model="m", messages=[user, said, user])


@pytest.mark.parametrize(
    "bound",
    [
        {"structured_outputs": {"choice": ["技术", "体育"]}},
        {"guided_choice": ["技术", "体育"]},
        {"regex": "(技术|体育)"},
        {"grammar": 'root ::= "技术" | "体育"'},
    ],
)
def test_an_answer_is_one_of_the_names_that_it_is_bound_to(ask, bound):
    """Also where the prompt lists none: the name that suits the text best."""
    system = "Sort this.\n- 技术: 软件、芯片\n- 体育: 足球、比赛"
    assert ask("足球比赛", system=system, extra_body=bound).choices[0].message.content == "体育"
    assert ask("体育", system="Sort this.", extra_body=bound).choices[0].message.content == "体育"
