"""The same batches in Gemini's words, over plain HTTP."""

import json
import time
import urllib.error
import urllib.request

import pytest

from practice import PracticeSettings
from practice.odd_answers import IN_WORDS

SYSTEM = "Answer with exactly one of these labels:\n- 技术: 软件、芯片\n- 体育: 足球、比赛"
TEXTS = [f"足球比赛 {number}" for number in range(20)]


class Caller:
    """Calls of Gemini's batches."""

    def __init__(self, base_url):
        self.root = base_url.removesuffix("/v1") + "/v1beta"

    def call(self, path, body=None):
        """The answer to a GET, or to a POST with a body."""
        raw = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.root}{path}", raw, {"x-goog-api-key": "key"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def send(self, texts, name="mine", system=SYSTEM, more=None, **settings):
        """A new batch with a request for each text, or for the contents that stand in its place."""
        requests = [
            {
                "request": {
                    "contents": text
                    if isinstance(text, list)
                    else [{"role": "user", "parts": [{"text": text}]}],
                    "system_instruction": {"parts": [{"text": system}]},
                    "generation_config": {"max_output_tokens": 64, **settings},
                    **(more or {}),
                },
                "metadata": {"key": str(number)},
            }
            for number, text in enumerate(texts)
        ]
        batch = {"display_name": name, "input_config": {"requests": {"requests": requests}}}
        return self.call("/models/m:batchGenerateContent", {"batch": batch})

    def finish(self, texts, **settings):
        """A batch that has ended."""
        name = self.send(texts, **settings)["name"]
        deadline = time.monotonic() + 30
        while not (batch := self.call(f"/{name}")).get("done"):
            assert time.monotonic() < deadline, batch
            time.sleep(0.02)
        return batch

    @staticmethod
    def responses(batch):
        """What came of each request, by its key."""
        inlined = batch["response"]["inlinedResponses"]["inlinedResponses"]
        return {each["metadata"]["key"]: each for each in inlined}


@pytest.fixture
def caller(practice):
    """A `Caller` at a practice provider that starts anew."""
    return Caller(practice.base_url)


def refusal_of(call):
    """The error that a call is answered with."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        call()
    with refused.value:
        return refused.value.code, json.load(refused.value)["error"]


def test_a_batch_answers_as_the_chat_does(caller, ask):
    """Each request gets the label and the tokens that the same chat request gets."""
    batch = caller.finish(["足球比赛", "新软件和芯片", *TEXTS])
    assert batch["metadata"]["state"] == "BATCH_STATE_SUCCEEDED"
    assert batch["metadata"]["batchStats"] == {"requestCount": "22", "successfulRequestCount": "22"}
    responses = caller.responses(batch)
    assert list(responses) != sorted(responses, key=int)
    for number, text in enumerate(["足球比赛", "新软件和芯片"]):
        said, live = responses[str(number)]["response"], ask(text)
        assert said["candidates"][0]["content"]["parts"] == [{"text": live.choices[0].message.content}]
        assert said["candidates"][0]["finishReason"] == "STOP"
        counted = said["usageMetadata"]
        assert (counted["promptTokenCount"], counted["candidatesTokenCount"]) == (
            live.usage.prompt_tokens,
            live.usage.completion_tokens,
        )


def test_the_longest_answer_is_kept_to(caller, long_labels):
    """An answer that is cut off says so."""
    (response,) = caller.responses(caller.finish(TEXTS[:1], system=long_labels, max_output_tokens=1)).values()
    assert response["response"]["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert response["response"]["usageMetadata"]["candidatesTokenCount"] == 1


@pytest.mark.parametrize(
    ("fault", "code", "status"),
    [
        ("rate_limited_bare", 8, "RESOURCE_EXHAUSTED"),
        ("server_error", 13, "INTERNAL"),
        ("too_long", 3, "INVALID_ARGUMENT"),
    ],
)
def test_a_request_that_failed_has_googles_error(caller, practice, fault, code, status):
    """In gRPC's codes."""
    practice.configure(PracticeSettings(stubborn_faults={fault: 1.0}))
    (response,) = caller.responses(caller.finish(TEXTS[:1])).values()
    assert (response["error"]["code"], response["error"]["status"]) == (code, status)


def test_a_refusal_is_withheld_by_a_filter(caller, practice):
    """Gemini has no refusals; an empty answer has no parts."""
    practice.configure(PracticeSettings(stubborn_faults={"refusal": 1.0}))
    (response,) = caller.responses(caller.finish(TEXTS[:1])).values()
    assert response["response"]["candidates"] == [{"finishReason": "SAFETY", "index": 0}]
    practice.configure(PracticeSettings(stubborn_faults={"empty": 1.0}))
    (response,) = caller.responses(caller.finish(TEXTS[:1])).values()
    assert "parts" not in response["response"]["candidates"][0]["content"]


def test_a_batch_runs_until_it_is_cancelled(caller, practice):
    """Once: a batch that has ended can't be."""
    practice.configure(PracticeSettings(batch_seconds=60, batch_finished_fraction=0.25))
    name = caller.send(TEXTS)["name"]
    assert "response" not in caller.call(f"/{name}")
    assert caller.call(f"/{name}:cancel", {}) == {}
    batch = caller.call(f"/{name}")
    assert batch["metadata"]["state"] == "BATCH_STATE_CANCELLED"
    assert len(caller.responses(batch)) == 5
    assert refusal_of(lambda: caller.call(f"/{name}:cancel", {}))[0] == 400


def test_a_batch_that_fails_says_so(caller, practice):
    """In the operation's error, without responses."""
    practice.configure(PracticeSettings(batch_outcome="failed"))
    batch = caller.finish(TEXTS)
    assert batch["metadata"]["state"] == "BATCH_STATE_FAILED"
    assert "practice fault" in batch["error"]["message"]
    assert "response" not in batch


def test_batches_are_listed_page_by_page_under_their_names(caller, client):
    """Newest first, and apart from OpenAI's."""
    for name in "abc":
        caller.send(TEXTS[:1], name)
    first = caller.call("/batches?pageSize=2")
    second = caller.call(f"/batches?pageSize=2&pageToken={first['nextPageToken']}")
    shown = [batch["metadata"]["displayName"] for batch in first["operations"] + second["operations"]]
    assert shown == ["c", "b", "a"]
    assert "nextPageToken" not in second
    assert list(client.batches.list()) == []


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"batch": {"display_name": "x", "input_config": {"requests": {"requests": []}}}},
        {"batch": {"display_name": "x", "input_config": {"requests": {"requests": [{"request": {}}]}}}},
        {"batch": {"input_config": {"requests": {"requests": [{"request": {"contents": []}}]}}}},
    ],
)
def test_what_is_no_batch_is_refused(caller, body):
    """With Google's kind of error, and nothing is made."""
    code, error = refusal_of(lambda: caller.call("/models/m:batchGenerateContent", body))
    assert (code, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert caller.call("/batches")["operations"] == []


def test_more_than_gemini_takes_inline_is_refused(caller):
    """20 MB."""
    code, error = refusal_of(lambda: caller.send(["x" * 20_000_000]))
    assert (code, "exceeds the limit" in error["message"]) == (400, True)


def test_a_wrong_key_is_turned_away(caller, practice):
    """Google's clients put theirs into a header of its own."""
    practice.configure(PracticeSettings(required_key="right"))
    assert refusal_of(lambda: caller.send(TEXTS[:1]))[0] == 401
    practice.configure(PracticeSettings(required_key="key"))
    assert caller.send(TEXTS[:1])["name"]


def test_odd_answers_are_those_that_are_a_matter_of_words(caller, practice):
    """Gemini's form holds what a model says oddly, not what an OpenAI-like gateway does; tokens are always told."""
    practice.configure(PracticeSettings(odd_answers=1.0))
    responses = caller.responses(caller.finish(TEXTS))
    totals = practice.totals()
    assert set(totals["odd_answers"]) <= IN_WORDS
    assert sum(totals["odd_answers"].values()) == len(TEXTS)
    assert totals["batch_unseen_input_tokens"] == 0
    told = [each["response"]["usageMetadata"] for each in responses.values()]
    assert sum(usage["candidatesTokenCount"] for usage in told) == totals["batch_output_tokens"]


TOPIC = {"type": "STRING", "enum": ["体育", "技术"]}


def test_a_correction_is_no_other_text(caller, practice):
    """Asked again in the same content or in the next one, a text meets its second attempt."""
    practice.configure(PracticeSettings(faults={"off_label": 1.0}))
    correction = {"text": f"An earlier answer was not usable. {SYSTEM}"}
    for contents in (
        [{"role": "user", "parts": [{"text": "足球"}, correction]}],
        [{"role": "user", "parts": [{"text": "比赛"}]}, {"role": "user", "parts": [correction]}],
    ):
        caller.finish([contents[0]["parts"][0]["text"]])
        (response,) = caller.responses(caller.finish([contents])).values()
        assert response["response"]["candidates"][0]["content"]["parts"] == [{"text": "体育"}]
    assert practice.totals()["most_attempts_of_a_text"] == 2


def test_what_the_model_said_is_not_the_text(caller):
    """The first content that is the user's holds the text, and a function's result is answered in words."""
    said = [
        {"role": "model", "parts": [{"text": "软件和芯片"}]},
        {"role": "user", "parts": [{"text": "足球比赛"}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "label", "response": {}}}]},
    ]
    tools = {"tools": [{"function_declarations": [{"name": "label", "parameters": {"type": "OBJECT"}}]}]}
    (response,) = caller.responses(caller.finish([said], more=tools)).values()
    assert response["response"]["candidates"][0]["content"]["parts"] == [{"text": "体育"}]


@pytest.mark.parametrize(
    "names", [("response_schema", "response_mime_type"), ("responseSchema", "responseMimeType")]
)
def test_a_schema_is_followed(caller, names):
    """Google's schema, with its types in capitals and under either of its names."""
    schema = {"type": "OBJECT", "properties": {"label": TOPIC, "sure": {"type": "NUMBER"}}}
    settings = dict(zip(names, (schema, "application/json"), strict=True))
    (response,) = caller.responses(caller.finish(["足球比赛"], **settings)).values()
    (part,) = response["response"]["candidates"][0]["content"]["parts"]
    assert json.loads(part["text"]) == {"label": "体育", "sure": 0}


def test_tools_are_called(caller):
    """A function that is declared is called with arguments that follow its parameters, unless none is wanted."""
    function = {
        "name": "label",
        "description": "",
        "parameters": {"type": "OBJECT", "properties": {"label": TOPIC}},
    }
    tools = {"tools": [{"functionDeclarations": [function]}]}
    (response,) = caller.responses(caller.finish(["足球比赛"], more=tools)).values()
    candidate = response["response"]["candidates"][0]
    assert candidate["content"]["parts"] == [{"functionCall": {"name": "label", "args": {"label": "体育"}}}]
    assert candidate["finishReason"] == "STOP"
    none = tools | {"toolConfig": {"functionCallingConfig": {"mode": "NONE"}}}
    (response,) = caller.responses(caller.finish(["足球比赛"], more=none)).values()
    assert response["response"]["candidates"][0]["content"]["parts"] == [{"text": "体育"}]


def test_an_answer_of_another_type_is_refused(caller):
    """What practice can't give is not passed over."""
    code, error = refusal_of(lambda: caller.send(["足球"], response_mime_type="text/x.enum"))
    assert (code, error["status"]) == (400, "INVALID_ARGUMENT")
    assert "text/x.enum" in error["message"]
