"""Real clients get real-looking answers over real HTTP."""

import contextlib
import http.client
import json
import math
from enum import StrEnum

import openai
import pytest
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from practice import PracticeSettings

LONG_SYSTEM = "- 技术: 软件\n- 体育: 足球\n\n" + "Think of the reader. " * 400


class Topic(StrEnum):
    """Two labels."""

    TECHNOLOGY = "技术"
    SPORTS = "体育"


class Labeled(BaseModel):
    """An answer with a label."""

    reason: str
    label: Topic


def chat_model(practice, **options):
    """LangChain's client for the practice provider."""
    return ChatOpenAI(model="m", base_url=practice.base_url, api_key="practice", max_retries=0, **options)


def test_the_answer_is_a_label_and_says_who_gave_it(ask):
    """A plain answer is the label's name, from something that calls itself practice."""
    answer = ask("足球比赛")
    assert answer.choices[0].message.content == "体育"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "practice:m"
    assert answer.system_fingerprint == "practice-not-a-language-model"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_every_answer_has_the_practice_header(client):
    """The header that tells practice from a provider is on each answer."""
    raw = client.chat.completions.with_raw_response.create(
        model="m", messages=[{"role": "user", "content": "x"}]
    )
    assert raw.headers["x-labelmill-practice"] == "not a language model"
    assert raw.parse().choices[0].message.content == "practice"


def test_a_schema_is_followed(client):
    """An answer to a schema parses into the class it came from."""
    messages = [{"role": "user", "content": "- 技术: 软件\n- 体育: 足球\n\n足球"}]
    answer = client.chat.completions.parse(model="m", messages=messages, response_format=Labeled)
    assert answer.choices[0].message.parsed == Labeled(reason="", label=Topic.SPORTS)


def test_langchain_reads_text_usage_and_structure(practice):
    """ChatOpenAI sees the label, the usage and the structured answer."""
    prompt = [("system", "- 技术: 软件\n- 体育: 足球"), ("user", "新软件")]
    message = chat_model(practice).invoke(prompt)
    assert message.content == "技术"
    assert message.usage_metadata["output_tokens"] == 1
    assert chat_model(practice).with_structured_output(Labeled).invoke(prompt).label is Topic.TECHNOLOGY


def test_logprobs_multiply_to_the_label_s_share(ask, long_labels):
    """The tokens' probabilities give the answer's confidence, and the rivals are listed."""
    sure, unsure = (
        ask(text, long_labels, logprobs=True, top_logprobs=5).choices[0].logprobs.content
        for text in ("足球比赛", "zzz")
    )
    assert math.exp(sum(token.logprob for token in sure)) > 0.9
    assert math.exp(sum(token.logprob for token in unsure)) == pytest.approx(0.5)
    assert {top.token for top in unsure[0].top_logprobs} == {"技术", "体育"}
    assert "".join(token.token for token in sure) == "体育新闻"
    assert bytes(sure[0].bytes).decode() == "体育"


def test_output_is_cut_at_the_tokens_asked_for(ask, long_labels):
    """A limit on output tokens cuts the answer and says so."""
    for name in ("max_tokens", "max_completion_tokens"):
        answer = ask("足球比赛", long_labels, **{name: 1})
        assert answer.choices[0].message.content == "体育"
        assert answer.choices[0].finish_reason == "length"
        assert answer.usage.completion_tokens == 1


def test_a_long_shared_prefix_is_cached(client, practice):
    """The second prompt with the same long instructions has cached tokens, and the totals count them."""
    usages = [
        client.chat.completions.create(
            model="m",
            messages=[{"role": "system", "content": LONG_SYSTEM}, {"role": "user", "content": text}],
        ).usage
        for text in ("足球", "软件")
    ]
    cached = [usage.prompt_tokens_details.cached_tokens for usage in usages]
    assert cached[0] == 0
    assert cached[1] >= 1024
    assert cached[1] % 128 == 0
    assert practice.totals()["cached_input_tokens"] == cached[1]


def test_a_body_of_megabytes_is_answered(ask):
    """A very long text is labeled like any other."""
    assert ask("足球" * 500_000).choices[0].message.content == "体育"


def test_models_are_listed_and_unknown_ones_refused(practice, client, ask):
    """Only the models told are known."""
    practice.configure(PracticeSettings(known_models=("a", "b")))
    assert [model.id for model in client.models.list()] == ["a", "b"]
    with pytest.raises(openai.NotFoundError) as refused:
        ask()
    assert refused.value.code == "model_not_found"
    assert ask(model="a").model == "practice:a"


def test_a_wrong_key_is_refused(practice, client, ask):
    """Where a key is required, no other passes."""
    practice.configure(PracticeSettings(required_key="right"))
    with pytest.raises(openai.AuthenticationError) as refused:
        ask()
    assert refused.value.code == "invalid_api_key"
    with pytest.raises(openai.AuthenticationError):
        client.models.list()
    assert client.with_options(api_key="right").models.list().data


def spoken(practice, method, path, body=None):
    """Status and body of a request that no client would make."""
    connection = http.client.HTTPConnection("127.0.0.1", practice.port, timeout=5)
    with contextlib.closing(connection):
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, json.load(answer)


def test_a_body_that_is_not_json_is_refused(practice):
    """Nonsense gets OpenAI's error body."""
    status, said = spoken(practice, "POST", "/v1/chat/completions", b"{nonsense")
    assert (status, said["error"]["type"]) == (400, "invalid_request_error")


def test_the_front_page_says_what_it_is(practice):
    """Whoever looks at the server reads that it is no language model."""
    _, page = spoken(practice, "GET", "/practice")
    assert page["practice"] is True
    assert "not a language model" in page["notice"]
    assert page["totals"]["requests"] == 0


def test_wrong_settings_leave_the_old_ones(practice, ask):
    """Settings that are refused change nothing, and the reason names the field."""
    status, said = spoken(practice, "POST", "/practice/settings", b'{"speed": 1}')
    assert status == 400
    assert "speed" in said["error"]["message"]
    assert ask().choices[0].message.content == "体育"


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        (
            "GET",
            "/v1/foo",
            404,
            {
                "error": {
                    "message": "Invalid URL (GET /v1/foo)",
                    "type": "invalid_request_error",
                    "param": None,
                    "code": None,
                }
            },
        ),
        (
            "GET",
            "/v1/chat/completions",
            405,
            {
                "error": {
                    "message": "Not allowed to GET on /v1/chat/completions.",
                    "type": "invalid_request_error",
                    "param": None,
                    "code": None,
                }
            },
        ),
        (
            "POST",
            "/v1/messages/nothing",
            404,
            {
                "type": "error",
                "error": {"type": "not_found_error", "message": "Invalid URL (POST /v1/messages/nothing)"},
                "request_id": None,
            },
        ),
        (
            "POST",
            "/v1beta/models/m:nothing",
            404,
            {
                "error": {
                    "code": 404,
                    "message": "Invalid URL (POST /v1beta/models/m:nothing)",
                    "status": "NOT_FOUND",
                }
            },
        ),
    ],
)
def test_what_is_not_there_is_told_as_its_provider_would(practice, method, path, status, body):
    """An unknown address gets the error body of the provider whose addresses begin so."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", practice.port, timeout=10)) as connection:
        connection.request(method, path, b"{}")
        answer = connection.getresponse()
        assert (answer.status, json.load(answer)) == (status, body)


def test_a_model_is_described_by_its_name(practice, client):
    """OpenAI's clients ask for a single model too; names may hold a slash."""
    practice.configure(PracticeSettings(known_models=("org/a",)))
    assert client.models.retrieve("org/a").id == "org/a"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("b")
