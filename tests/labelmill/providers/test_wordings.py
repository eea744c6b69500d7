"""What providers' error responses mean: the data, and the two readers of it."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelmill.providers.wordings import ErrorSaid, Meaning, error_in, meaning_of, wordings

NAMED = {
    "openai", "azure", "openrouter", "deepseek", "zhipu", "moonshot", "dashscope", "groq", "mistral", "anthropic",
    "gemini", "vllm", "sglang", "llama.cpp", "ollama",
}  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "error",
                    "errors",
                    "message",
                    "detail",
                    "details",
                    "code",
                    "type",
                    "param",
                    "metadata",
                    "raw",
                    "reasons",
                    "loc",
                    "msg",
                    "status",
                    "innererror",
                    "base_resp",
                ]
            )
            | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


def _entry(wording):
    return f"{wording.provider} {wording.meaning} {(wording.codes + wording.phrases + wording.statuses)[0]}"


def _meaning_of_body(status, body):
    return meaning_of(status, *error_in(body))


@pytest.mark.parametrize("wording", wordings(), ids=_entry)
def test_the_example_of_each_entry_is_read_as_what_it_means(wording):
    """A response in the provider's form, read from its bytes and from its JSON, has the entry's meaning."""
    status, body = wording.example["status"], wording.example["body"]
    assert _meaning_of_body(status, body.encode()) is wording.meaning
    if body.startswith(("{", "[")):
        assert _meaning_of_body(status, json.loads(body)) is wording.meaning


@pytest.mark.parametrize("wording", wordings(), ids=_entry)
def test_each_code_and_each_phrase_of_an_entry_decides(wording):
    """Not the example's code and words alone, but every one that is listed, is found."""
    status = (wording.statuses or (wording.example["status"],))[0]
    messages = [
        phrase.removeprefix("^").removesuffix("$").replace("*", " x ") for phrase in wording.phrases
    ] or [""]
    for code in wording.codes or (None,):
        for message in messages:
            found = meaning_of(status, code and code.replace("*", "x"), None, message)
            assert found is wording.meaning, (code, message)


def test_each_provider_that_is_promised_has_entries():
    """The fifteen providers are there, each with what its account, its limits or its filters say."""
    assert {wording.provider for wording in wordings()} >= NAMED


@pytest.mark.parametrize("wording", wordings(), ids=_entry)
def test_each_entry_says_where_it_comes_from(wording):
    """Facts have sources, and phrases are written as they are compared: in lower case, no blank at the end."""
    assert wording.source.startswith("https://")
    assert all(phrase == phrase.casefold().strip() for phrase in wording.phrases)
    assert wording.codes or wording.phrases or wording.statuses


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        # The same code: an empty wallet at OpenAI, a full minute at DashScope.
        (429, {"error": {"code": "insufficient_quota", "message": "You exceeded your current quota."}}, "account"),
        (429, {"error": {"code": "insufficient_quota", "message": "Allocated quota exceeded, please increase your quota limit."}}, "rate_limit"),
        # The same number: a policy at Zhipu, a rate limit at Mistral.
        (400, {"error": {"code": "1300", "message": "API 调用被策略阻止"}}, "content_filter"),
        (429, {"object": "error", "message": "slower", "type": "rate_limited", "code": "1300"}, "rate_limit"),
        # A number with a type beside it is another provider's.
        (400, {"message": "nothing known", "type": "something", "code": "1113"}, None),
        # The same status: more than a minute allows in one text; a day; a minute.
        (429, {"error": {"message": "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 48000.", "code": "rate_limit_exceeded"}}, "too_long"),
        (429, {"error": {"message": "Rate limit reached for gpt-4o on requests per day (RPD): Limit 200", "code": "rate_limit_exceeded"}}, "account"),
        (429, {"error": {"message": "Rate limit reached for gpt-4o on requests per min (RPM): Limit 3", "code": "rate_limit_exceeded"}}, "rate_limit"),
        # A gateway's words about an upstream's quota, under a code that says little.
        (429, {"error": {"message": "Budget has been exceeded! Current cost: 2.1, Max budget: 2.0", "type": "rate_limit_error", "code": "429"}}, "account"),
        # An error within an answer: its code is a status.
        (200, {"error": {"code": 429, "message": "slower, please"}}, "rate_limit"),
        (None, {"error": {"code": 402, "message": "no"}}, "account"),
        (200, {"error": {"code": 502, "message": "Upstream error"}}, None),
        # What isn't known means nothing, whatever the status.
        (400, {"error": {"message": "We could not process your request"}}, None),
        (401, {"error": {"message": "the firewall says no"}}, None),
        (403, b"<html><title>403 Forbidden</title><body>Access denied by policy 17</body></html>", None),
        (404, {"error": {"message": "nope"}}, None),
        (500, {"error": {"message": "Internal server error"}}, None),
        (500, b"", None),
    ],
)  # fmt: skip
def test_the_most_specific_that_is_known_decides(status, body, meaning):
    """A code with words goes before a code, a code before words, words before a code that says little, and a status last."""
    found = _meaning_of_body(status, body)
    assert (found and found.value) == meaning


ECHOED = [
    "my account balance is too low",
    "Your credit balance is too low to access the Anthropic API",
    "You exceeded your current quota, please check your plan and billing details",
    "Rate limit reached for us on requests per day (RPD)",
    "Key limit exceeded",
    "This model's maximum context length is 5 tokens",
    "data may contain inappropriate content",
    "Service tier capacity exceeded for this model",
    "此账户已欠费，余额不足",
]


@pytest.mark.parametrize("text", ECHOED)
@pytest.mark.parametrize(
    "message",
    [
        "Invalid prompt: '{}...'",
        "Invalid prompt: {}",
        'Could not parse "{}"',
        'Could not parse "{}',
        "Could not parse '{}, I don't know why' as a chat message",
        "The text “{}” was not understood",
        "Unexpected content: {}",
        'Invalid prompt: {{"error": {{"message": "{}", "code": "insufficient_quota"}}}}',
        """Can't read '{{"error": {{"message": "{}", "code": "insufficient_quota"}}}}'""",
        "Invalid value: '{}'. Supported are others.",
        "无法解析「{}」",
    ],
)
def test_a_customers_text_that_is_quoted_means_nothing(message, text):
    """Providers quote what they were sent; a text about quotas must not stop the run, nor one about filters be given up."""
    assert meaning_of(400, None, None, message.format(text)) is None
    assert (
        _meaning_of_body(400, {"error": {"message": message.format(text), "type": "invalid_request_error"}})
        is None
    )


@pytest.mark.parametrize("text", ECHOED)
def test_a_customers_text_far_behind_in_a_message_means_nothing(text):
    """Providers say first what is the matter."""
    assert meaning_of(400, None, None, "This request can't be read. " * 40 + text) is None


@pytest.mark.parametrize("text", ECHOED)
def test_the_fields_that_hold_a_customers_text_are_not_read(text):
    """Validators repeat the input, and OpenRouter the flagged text: neither is in the words."""
    validator = {
        "detail": [
            {"loc": ["body", "messages", 0], "msg": "Field required", "type": "missing", "input": text}
        ]
    }
    flagged = {"error": {"message": "no", "code": 403, "metadata": {"reasons": ["x"], "flagged_input": text}}}
    assert [text in error_in(body).words for body in (validator, flagged)] == [False, False]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"message": "m", "type": "t", "code": "c", "param": None}}, ("c", "t", "m")),
        ({"error": {"message": "m", "type": "t", "code": None, "param": "logprobs"}}, (None, "t", "m (logprobs)")),
        ({"error": {"message": "m", "code": 429}}, ("429", None, "m")),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "m"}}, (None, "overloaded_error", "m")),
        ({"detail": "m"}, (None, None, "m")),
        ({"detail": [{"loc": ["body", "n"], "msg": "m", "type": "t"}]}, (None, "t", "body.n: m")),
        ({"object": "error", "message": {"detail": [{"loc": ["body", "n"], "msg": "m", "type": "t"}]}}, (None, "t", "body.n: m")),
        ({"message": "m", "request_id": "r"}, (None, None, "m")),
        ({"code": "Arrearage", "message": "m", "request_id": "r"}, ("Arrearage", None, "m")),
        ({"code": 20012, "message": "m", "data": None}, ("20012", None, "m")),
        ({"code": "c", "error": "m"}, ("c", None, "m")),
        ({"error": "e", "message": "m", "status": 404}, (None, None, "e: m")),
        ({"error": "m", "error_type": "validation"}, (None, "validation", "m")),
        ({"error": "m"}, (None, None, "m")),
        ({"success": False, "errors": [{"code": 3036, "message": "m"}]}, ("3036", None, "m")),
        ([{"error": {"code": 400, "message": "m", "status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}}], ("API_KEY_INVALID", "INVALID_ARGUMENT", "m")),
        ({"error": {"code": "content_filter", "message": "m", "innererror": {"code": "ResponsibleAIPolicyViolation"}}}, ("content_filter", "ResponsibleAIPolicyViolation", "m")),
        ({"error": {"message": "Provider returned error", "code": 429, "metadata": {"raw": '{"error":{"message":"m","code":"1113"}}', "provider_name": "Z"}}}, ("1113", None, "Provider returned error: m")),
        ({"base_resp": {"status_code": 1002, "status_msg": "m"}}, ("1002", "base_resp", "m")),
        ({"error": {"message": "litellm: Error code: 429 - {'error': {'code': 'c', 'message': 'm', 'type': 't'}}"}}, ("c", "t", "litellm: Error code: 429: m")),
        (b'{"error":{"message":"m","code":"c"}}', ("c", None, "m")),
        (b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title><style>b{}</style></head><body><h1>502 Bad Gateway</h1></body></html>", (None, None, "502 Bad Gateway")),
        (b"<html><body><p>please log in</p></body></html>", (None, None, "please log in")),
        (b"upstream connect error", (None, None, "upstream connect error")),
        (b"\xff\xfe", (None, None, "��")),
        (b"{not json", (None, None, "{not json")),
        ({"foo": {"bar": 1}}, (None, None, '{"foo": {"bar": 1}}')),
        ({}, (None, None, "")),
        (None, (None, None, "")),
        (b"", (None, None, "")),
    ],
)  # fmt: skip
def test_an_error_is_found_in_each_shape_that_providers_send(body, said):
    """Code, type and sentence, wherever they stand; and what a page or a plain text says."""
    assert error_in(body) == ErrorSaid(*said)


@given(JSON, st.none() | st.integers())
def test_any_body_is_read(body, status):
    """Whatever JSON comes as an error, reading it raises nothing and gives texts of a size that can be stored."""
    said = error_in(body)
    assert isinstance(said.words, str)
    assert len(said.words) <= 2000
    assert all(name is None or len(name) <= 120 for name in (said.code, said.kind))
    assert meaning_of(status, *said) in {*Meaning, None}
    assert error_in(json.dumps(body).encode()).words is not None


@given(st.binary(max_size=400), st.none() | st.text(), st.none() | st.text(), st.text())
def test_any_bytes_and_any_words_are_read(raw, code, kind, words):
    """Broken bytes and any code, type and words mean something or nothing, and raise nothing."""
    error_in(raw)
    assert meaning_of(400, code, kind, words) in {*Meaning, None}


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"error":' * 50_000,
        b'{"code":' + b"9" * 6_000 + b"}",
        b"<title>" * 50_000,
        b"<" * 200_000,
        b"'message': '" * 20_000,
        {"error": {"code": 10**6_000, "message": "m"}},
        {"error": {"message": {"error": {"message": {"error": {"message": {"error": {"message": {}}}}}}}}},
        {"error": {1, 2}},
    ],
    ids=lambda body: str(body)[:20] if isinstance(body, bytes) else "object",
)
def test_a_monstrous_body_is_read_in_a_moment(body):
    """Depth, size and numbers beyond measure neither raise nor hold a worker up."""
    started = time.thread_time()
    meaning_of(400, *error_in(body))
    assert time.thread_time() - started < 1


def test_telling_a_meaning_is_quick_beside_a_request():
    """A storm of refusals costs the client little; a hundredth of what its HTTP client takes for a request."""
    texts = [
        f"Rate limit reached for model-{index} on tokens per min: Limit 9, try again in 90ms."
        for index in range(300)
    ]
    meaning_of(429, "rate_limit_exceeded", "tokens", texts[0])
    seconds = min(_seconds_for(texts) for _ in range(5))
    assert seconds / len(texts) < 0.0005


def _seconds_for(texts):
    started = time.thread_time()
    for text in texts:
        meaning_of(429, "rate_limit_exceeded", "tokens", text + str(started))
    return time.thread_time() - started


@pytest.mark.parametrize("odd", [None, 5, b"x", [], {}])
def test_odd_arguments_mean_nothing(odd):
    """A caller that has no words, or a code that is none, gets no meaning and no error."""
    assert meaning_of(400, odd, odd, odd) is None
