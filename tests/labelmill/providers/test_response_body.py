"""A response's body: JSON, however packed, or what it was instead."""

import codecs
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelmill.providers.completions import answer_of_completion, answer_of_stream, body_in
from labelmill.question.answers import Answer, label_or_failure
from labelmill.question.failures import Failure, Policy
from labelmill.question.reading import LabelSet

LABELS = LabelSet(["Sport", "Sport News", "技术"])
EVENT_STREAM = "text/event-stream; charset=utf-8"
USAGE = {"prompt_tokens": 9, "completion_tokens": 2}
COMPLETION = {
    "model": "m-1",
    "choices": [{"message": {"content": "技术"}, "finish_reason": "stop"}],
    "usage": USAGE,
}


def chunk(delta=None, finish_reason=None, **more):
    """A chunk of a streamed completion."""
    return {
        "object": "chat.completion.chunk",
        "model": "m-1",
        "choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish_reason}],
        **more,
    }


def stream(*chunks, done=True, end="\n\n", space=" "):
    """Chunks as server-sent events."""
    events = [json.dumps(item, ensure_ascii=False) for item in chunks] + ["[DONE]"] * done
    return "".join(f"data:{space}{event}{end}" for event in events).encode()


def answer_in(content, content_type=EVENT_STREAM):
    """The answer that a body holds."""
    return answer_of_completion(body_in(content, content_type))


def result_of(answer):
    """What an answer amounts to."""
    return label_or_failure(answer, LABELS)


# JSON.


@pytest.mark.parametrize(
    "content_type", ["application/json", None, "", "text/plain", "text/html", EVENT_STREAM]
)
@pytest.mark.parametrize(
    "content",
    [
        json.dumps(COMPLETION).encode(),
        json.dumps(COMPLETION, ensure_ascii=False, indent=1).encode(),
        b"\n\n   \r\n" + json.dumps(COMPLETION).encode() + b"\n\n\0",
        codecs.BOM_UTF8 + json.dumps(COMPLETION, ensure_ascii=False).encode(),
        json.dumps(COMPLETION, ensure_ascii=False).encode("utf-16"),
        b'{"choices": 1, ' + json.dumps(COMPLETION).encode()[1:],
    ],
)
def test_json_is_read_whatever_stands_around_it(content, content_type):
    """White space, a byte order mark, another encoding, a key given twice and a wrong content type cost no answer."""
    answer = answer_in(content, content_type)
    assert (result_of(answer), answer.usage.input_tokens, answer.error) == ("技术", 9, None)


def test_numbers_that_python_does_not_read_cost_the_number_only():
    """An integer of thousands of digits and NaN leave the rest of the answer."""
    content = (
        json.dumps(COMPLETION)
        .encode()
        .replace(b'{"model"', b'{"created": ' + b"9" * 5000 + b', "x": NaN, "model"')
    )
    body = body_in(content)
    assert (body["created"], math.isnan(body["x"])) == (math.inf, True)
    assert result_of(answer_of_completion(body)) == "技术"


def test_half_a_character_costs_the_character_only():
    """Bytes that are no UTF-8 leave the usage, and make no label."""
    content = json.dumps(COMPLETION, ensure_ascii=False).encode().replace("术".encode(), "术".encode()[:2])
    answer = answer_in(content, "application/json")
    assert (answer.content, answer.usage.input_tokens) == ("技\ufffd", 9)
    assert result_of(answer).kind == "off_label"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" \n",
        b"Sport",
        b"{",
        json.dumps(COMPLETION).encode()[:-5],
        b"[" * 100_000,
        b"<xml/>",
        b"\xff\xfe\x00",
        b"data",
        b"\x00\x00\xfe\xff",
    ],
    ids=lambda content: f"{content[:9]!r}-{len(content)}",
)
def test_what_is_no_json_is_a_bad_response(content):
    """Nothing, text and broken JSON are told short and printable, and are asked again."""
    failure = body_in(content, "application/json")
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.policy, failure.may_have_been_paid) == ("bad_response", Policy.RETRY, True)
    assert len(failure.message) < 500
    assert failure.message.isprintable()
    assert answer_of_completion(failure) == Answer("", None, None, None, None, None, error=failure)


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"<!DOCTYPE html><html><body>Welcome</body></html>", "text/html; charset=utf-8"),
        (b"\n\n<!doctype HTML>\n<title>x</title>", "application/json"),
        (b"\xef\xbb\xbf<html lang='en'>", None),
        (b"<!-- a comment --><html>", None),
        (b"<HEAD><title>x</title>", None),
        (b"<p>Welcome", "text/html"),
        (b"<p>Welcome", "Text/HTML"),
    ],
)
def test_a_web_page_is_told_as_one(content, content_type):
    """An address that leads to a website is the account's mistake, and the sentence says what to do."""
    assert body_in(content, content_type) == Failure(
        "denied",
        "answered with a web page, not with JSON; base_url should end in /v1 as a rule",
        is_account=True,
    )


# Streams.


@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n", "\r\r", "\n"], ids=repr)
@pytest.mark.parametrize("space", ["", " "])
@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("content_type", [EVENT_STREAM, "application/json", None])
def test_a_stream_is_the_completion_it_amounts_to(end, space, done, content_type):
    """Deltas are joined and the last chunk's usage counts, however lines end and with or without [DONE]."""
    content = stream(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Spo"}, usage=None),
        chunk({"content": "rt News"}),
        chunk({}, "stop"),
        {"choices": [], "usage": USAGE},
        end=end,
        space=space,
        done=done,
    )
    answer = answer_in(content, content_type)
    assert (answer.content, answer.finish_reason, answer.model) == ("Sport News", "stop", "m-1")
    assert (result_of(answer), answer.usage.output_tokens) == ("Sport News", 2)


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("last", [None, "", "null"])
def test_a_stream_that_broke_off_is_no_label(done, last):
    """Without a finish reason an answer is the provider's failure, though a gateway adds [DONE]; its usage is kept."""
    answer = answer_in(stream(chunk({"content": "Sport"}, last), {"choices": [], "usage": USAGE}, done=done))
    failure = result_of(answer)
    assert (failure.kind, failure.policy, answer.usage.output_tokens) == ("bad_response", Policy.RETRY, 2)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_stream_cut_anywhere_before_its_finish_reason_is_no_label(data):
    """Wherever the bytes end, even within a character, the answer is no label until its finish reason is there."""
    content = stream(chunk({"content": "技"}), chunk({"content": "术"}), chunk({}, "stop"))
    whole = content.index(b'"stop"') + len('"stop"}]}')
    cut = data.draw(st.integers(0, whole - 1))
    assert isinstance(result_of(answer_in(content[:cut])), Failure)
    assert result_of(answer_in(content[:whole])) == "技术"


def test_an_error_in_a_stream_is_the_providers_failure():
    """An error event, in any of its forms and after any content, is kept in the provider's words."""
    for error in (
        b'data: {"error": {"message": "went away", "code": 502}}\n\n',
        b'data: {"error": "went away"}\n\n',
        b'event: error\ndata: {"message": "went away"}\n\n',
    ):
        for before in (b"", stream(chunk({"content": "Sport"}), chunk({}, "stop"), done=False)):
            failure = result_of(answer_in(before + error + b"data: [DONE]\n\n"))
            assert (failure.kind, "went away" in failure.message) == ("provider_error", True)
    choice = chunk({"content": ""}, "error")
    choice["choices"][0]["error"] = {"code": 429, "message": "Rate limit exceeded"}
    assert result_of(answer_in(stream(choice))).kind == "rate_limited"


def test_thoughts_refusals_and_calls_are_joined_too():
    """Thoughts stay apart from the content, and a call's arguments come in pieces."""
    thinking = answer_in(
        stream(
            chunk({"reasoning_content": "mo"}),
            chunk({"reasoning_content": "ney?"}),
            chunk({"content": "技术"}, "stop"),
        )
    )
    assert (thinking.reasoning, result_of(thinking)) == ("money?", "技术")
    pieces = [{"index": 0, "function": {"arguments": part}} for part in ('{"lab', 'el": "技术"}')]
    called = answer_in(stream(*(chunk({"tool_calls": [piece]}) for piece in pieces), chunk({}, "tool_calls")))
    assert (called.arguments, result_of(called)) == (('{"label": "技术"}',), "技术")
    refused = answer_in(stream(chunk({"refusal": "I "}), chunk({"refusal": "can't"}), chunk({}, "stop")))
    assert result_of(refused).kind == "refused"
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]
    mistral = answer_in(stream(chunk({"content": parts}), chunk({"content": "技术"}), chunk({}, "stop")))
    assert (mistral.reasoning, result_of(mistral)) == ("hm", "技术")


def test_probabilities_of_a_stream_are_those_of_its_tokens():
    """Each chunk has its tokens' own."""
    chunks = [chunk({"content": part}) for part in "技术"] + [chunk({}, "stop")]
    for item in chunks[:2]:
        item["choices"][0]["logprobs"] = {"content": [{"logprob": math.log(0.5)}]}
    assert answer_in(stream(*chunks)).confidence == pytest.approx(0.25)


def test_one_event_with_the_whole_answer_is_that_answer():
    """A completion in one event, or after its own deltas, counts once; other choices and comments don't count."""
    deltas = [chunk({"content": "技"}), chunk({"content": "术"})]
    assert result_of(answer_in(b": PROCESSING\n\nid: 1\nretry: 5\n" + stream(COMPLETION))) == "技术"
    assert result_of(answer_in(stream(*deltas, COMPLETION))) == "技术"
    other = chunk({"content": "no"})
    other["choices"][0]["index"] = 1
    assert result_of(answer_in(stream(other, *deltas, chunk({}, "stop")))) == "技术"
    legacy = [
        {"choices": [{"text": part, "finish_reason": end}]} for part, end in (("技", None), ("术", "stop"))
    ]
    assert result_of(answer_in(stream(*legacy))) == "技术"


def test_an_event_of_several_lines_is_one():
    """Lines of data within an event belong together; a line separator within JSON is no line's end."""
    lines = json.dumps(COMPLETION, indent=1).splitlines()
    assert result_of(answer_in("".join(f"data: {line}\n" for line in lines).encode() + b"\n")) == "技术"
    assert answer_in(stream(chunk({"content": "a\u2028b\x85c"}, "stop"))).content == "a\u2028b\x85c"


def test_usage_of_a_stream_is_read_wherever_it_stands():
    """In a last chunk of its own, in every chunk, in the choice, or under a name of the provider's."""
    moonshot = chunk({"content": "技术"}, "stop")
    moonshot["choices"][0]["usage"] = USAGE
    assert answer_of_stream(stream(moonshot))["usage"] == USAGE
    groq = chunk({"content": "技术"}, "stop", x_groq={"usage": USAGE})
    assert answer_of_stream(stream(groq))["x_groq"] == {"usage": USAGE}
    growing = [
        chunk({"content": part}, end, usage={**USAGE, "completion_tokens": n})
        for part, end, n in (("技", None, 1), ("术", "stop", 2))
    ]
    assert answer_of_stream(stream(*growing, {"choices": [], "usage": {}}))["usage"] == USAGE


@pytest.mark.parametrize(
    "content",
    [b"data: [DONE]\n\n", b"data: x\n\n", b": comment\n\n", b"event: ping\n\n", b"data: 5\n\n", b"data:\n\n"],
)
def test_a_stream_without_an_event_of_json_is_a_bad_response(content):
    """Comments, pings and text are no answer."""
    assert answer_of_stream(content) is None
    assert body_in(content, EVENT_STREAM).kind == "bad_response"


CHUNK_FIELDS = [
    *(
        "choices",
        "delta",
        "content",
        "index",
        "tool_calls",
        "function",
        "arguments",
        "finish_reason",
        "usage",
    ),
    *("message", "error", "logprobs", "text"),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("stop"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(CHUNK_FIELDS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(JSON, max_size=4), st.booleans())
def test_any_stream_is_an_answer_or_a_failure(events, done):
    """Whatever the events hold, nothing raises, and without an ending there is no label."""
    answer = answer_in(stream(*events, done=done))
    assert isinstance(result_of(answer), Failure)


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=40) | st.text(max_size=40).map(lambda text: text.encode(errors="replace")),
    st.sampled_from([None, EVENT_STREAM, "text/html", "x"]),
)
def test_any_bytes_are_a_body_or_a_failure(content, content_type):
    """No bytes raise."""
    result_of(answer_in(content, content_type))


@pytest.mark.parametrize(
    "unit", [b"data: {}\n\n", b"data: {\n", b"\n", b"\r\n", b"data:", b": x\n\n", b"<", b"event: error\n"]
)
def test_a_long_stream_is_gone_through_once(unit):
    """A megabyte of events takes no more than a moment."""
    assert isinstance(result_of(answer_in(unit * (1_000_000 // len(unit)))), Failure)
