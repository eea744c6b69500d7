"""Gemini's batches behind `BatchClient`: what is Gemini's own, against the practice provider and a staged server."""

import json
import time
import urllib.request
from datetime import UTC, datetime

import pytest

from labelmill.providers.endpoint import Endpoint
from labelmill.providers.gemini import GeminiBatchClient
from labelmill.providers.protocol import BatchRefused, BatchStatus, BatchUnreachable, RowError
from practice import PracticeSettings

OURS = {"labelmill_run": "r1", "labelmill_part": "1"}


@pytest.fixture
def dialect():
    """Gemini's."""
    return "google"


@pytest.fixture
def client(client_by, practice):
    """The client, at the practice provider."""
    return client_by("google", practice.base_url.removesuffix("/v1") + "/v1beta")


@pytest.fixture
def at_staged(staged, key_name, monkeypatch):
    """The client at the staged server, with a key; the environment names another server."""
    monkeypatch.setenv("GOOGLE_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv(key_name, "AIza-secret")
    return GeminiBatchClient(Endpoint(staged.base_url, key_name, False), 5.0, model="gemini-x")


@pytest.fixture
def stage(staged):
    """Stage the batch `batches/b` with what came of it."""

    def build(*responses, state="SUCCEEDED", **fields):
        facts = {"state": f"BATCH_STATE_{state}", "createTime": "2026-03-01T12:00:00.123456789Z"}
        facts |= fields.pop("facts", {})
        staged.stage(
            "/batches/b",
            {
                "name": "batches/b",
                "metadata": facts,
                "response": {"inlinedResponses": {"inlinedResponses": list(responses)}},
                **fields,
            },
        )

    return build


def response(key, text="sport", reason="STOP", **usage):
    """An inlined response that is an answer."""
    return {
        "metadata": {"key": key},
        "response": {
            "candidates": [{"content": {"parts": [{"text": text}], "role": "model"}, "finishReason": reason}],
            "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 2, **usage},
            "modelVersion": "gemini-scripted",
        },
    }


def test_requests_go_out_in_geminis_names(at_staged, staged, write_requests, body_of):
    """The system message apart, each request its own settings, and a name that tells whose the batch is."""
    staged.stage("/models/gemini-x:batchGenerateContent", {"name": "batches/b"})
    bodies = {
        "v1:0": body_of("银行\u2028", model="gemini-x"),
        "v1:1": body_of("b", model="gemini-x", max_completion_tokens=7, temperature=0.5),
    }
    assert at_staged.send(write_requests(bodies), OURS) == "batches/b"
    (sent,) = staged.bodies
    batch = sent["batch"]
    assert batch.keys() == {"display_name", "input_config"}
    requests = batch["input_config"]["requests"]["requests"]
    assert [each["metadata"] for each in requests] == [{"key": "0"}, {"key": "1"}]
    assert [each["request"]["contents"] for each in requests] == [
        [{"role": "user", "parts": [{"text": text}]}] for text in ("银行\u2028", "b")
    ]
    assert requests[0]["request"]["system_instruction"]["parts"][0]["text"].startswith("Choose")
    assert [each["request"]["generation_config"] for each in requests] == [
        {"temperature": 0.0, "max_output_tokens": 16},
        {"temperature": 0.5, "max_output_tokens": 7},
    ]


def test_a_batch_is_no_larger_than_its_file(at_staged, staged, write_requests, body_of):
    """The limit of bytes was kept by the file, with 20 MB for all that Gemini takes inline."""
    staged.stage("/models/gemini-x:batchGenerateContent", {"name": "batches/b"})
    bodies = {f"v1:{number:032}": body_of(f"银行 {number}", model="gemini-x") for number in range(50)}
    path = write_requests(bodies)
    at_staged.send(path, OURS)
    assert len(json.dumps(staged.bodies[0], ensure_ascii=False).encode()) <= path.stat().st_size


def test_an_answer_tells_its_text_its_end_and_all_its_tokens(at_staged, stage, row_keys):
    """Thoughts are no text but output that is paid; what was cached stands in the input."""
    thinking = response("1", thoughtsTokenCount=30, cachedContentTokenCount=4)
    thinking["response"]["candidates"][0]["content"]["parts"].insert(0, {"text": "hm", "thought": True})
    stage(response("2", "mon", "MAX_TOKENS"), thinking, response("0", "money"))
    answers = {answer.row_key: answer.answer for answer in at_staged.answers("batches/b", row_keys, OURS)}
    assert [answers[row_key].content for row_key in row_keys] == ["money", "sport", "mon"]
    assert [answers[row_key].finish_reason for row_key in row_keys] == ["stop", "stop", "length"]
    usage = answers["v1:b"].usage
    assert (usage.input_tokens, usage.cached_input_tokens, usage.output_tokens) == (10, 4, 32)
    assert {answer.model for answer in answers.values()} == {"gemini-scripted"}


def test_a_withheld_answer_is_one_that_a_filter_withheld(at_staged, stage, row_keys):
    """Whether the prompt was blocked, or the answer; a response that is neither can't be read."""
    blocked = {"metadata": {"key": "0"}, "response": {"promptFeedback": {"blockReason": "SAFETY"}}}
    stage(blocked, response("1", "", "SAFETY"), {"metadata": {"key": "2"}, "response": {}})
    answers = {answer.row_key: answer for answer in at_staged.answers("batches/b", row_keys, OURS)}
    assert {answers[row_key].answer.finish_reason for row_key in row_keys[:2]} == {"content_filter"}
    assert answers["v1:a"].answer.usage is None
    assert answers["v1:c"].answer.error.kind == "bad_response"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"code": 8, "message": "later AIza-secret", "status": "X"}, RowError(429, "X", "later [key]")),
        ({"code": 3, "message": "bad"}, RowError(400, None, "bad")),
        ({"code": 13, "message": "oops"}, RowError(500, None, "oops")),
        ({"code": 503, "message": "busy"}, RowError(503, None, "busy")),
        ({"code": 1, "message": "stopped"}, RowError(None, "batch_cancelled", "stopped")),
    ],
)
def test_a_row_that_failed_says_why(at_staged, stage, row_keys, error, expected):
    """In gRPC's codes or in HTTP's; one that was cancelled was not executed."""
    stage({"metadata": {"key": "0"}, "error": error})
    (answer,) = at_staged.answers("batches/b", row_keys, OURS)
    assert answer.error == expected


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("PENDING", BatchStatus.VALIDATING),
        ("RUNNING", BatchStatus.IN_PROGRESS),
        ("SUCCEEDED", BatchStatus.COMPLETED),
        ("CANCELLED", BatchStatus.CANCELLED),
        ("EXPIRED", BatchStatus.EXPIRED),
    ],
)
def test_where_a_batch_stands(at_staged, stage, state, status):
    """Its counts are text on the wire."""
    stage(state=state, facts={"batchStats": {"requestCount": "9", "successfulRequestCount": "7"}})
    seen = at_staged.state("batches/b")
    assert (seen.status, seen.total, seen.completed, seen.failed) == (status, 9, 7, 0)


def test_a_failed_batch_says_why(at_staged, stage):
    """In the operation's error."""
    stage(state="FAILED", error={"code": 3, "message": "no such model", "status": "INVALID_ARGUMENT"})
    state = at_staged.state("batches/b")
    assert (state.status, [error.message for error in state.errors]) == (
        BatchStatus.FAILED,
        ["no such model"],
    )


def test_an_unknown_state_is_no_end(at_staged, stage):
    """Nothing is concluded from a word that nobody knows."""
    stage(state="RESTING")
    with pytest.raises(BatchUnreachable, match="RESTING"):
        at_staged.state("batches/b")


def test_an_invalid_key_is_a_refusal_that_does_not_show_it(at_staged, staged, requests):
    """Google answers 400."""
    error = {"code": 400, "message": "API key AIza-secret not valid", "status": "INVALID_ARGUMENT"}
    staged.stage("/models/gemini-x:batchGenerateContent", {"error": error}, 400)
    with pytest.raises(BatchRefused, match=r"API key \[key\] not valid"):
        at_staged.send(requests, OURS)


def test_a_batch_that_is_stopped_keeps_what_it_has(client, practice, texts, requests):
    """It is asked once and returns at once; rows that were not executed are not among the answers."""
    practice.configure(
        PracticeSettings(batch_seconds=600, batch_cancelling_seconds=600, batch_finished_fraction=0.25)
    )
    batch_id = client.send(requests, OURS)
    started = time.monotonic()
    client.cancel(batch_id)
    assert time.monotonic() - started < 2
    assert client.state(batch_id).status is BatchStatus.IN_PROGRESS
    with pytest.raises(BatchUnreachable, match="not complete yet"):
        list(client.answers(batch_id, list(texts), OURS))
    practice.configure(
        PracticeSettings(batch_seconds=600, batch_cancelling_seconds=0, batch_finished_fraction=0.25)
    )
    while not client.state(batch_id).status.is_final:
        time.sleep(0.05)
    assert client.state(batch_id).status is BatchStatus.CANCELLED
    assert len(list(client.answers(batch_id, list(texts), OURS))) == 5
    client.cancel(batch_id)


def test_a_batch_that_was_made_without_an_answer_is_found_and_not_made_twice(client, practice, requests):
    """By its name, at once, on whichever page of the list it stands."""
    practice.configure(PracticeSettings(batch_errors={"create": "connection_reset"}, batch_seconds=60))
    since = datetime.now(UTC)
    with pytest.raises(BatchUnreachable):
        client.send(requests, OURS)
    practice.configure(PracticeSettings(batch_seconds=60))
    for number in range(101):
        client.send(requests, OURS | {"labelmill_part": f"x{number}"})
    with urllib.request.urlopen(client.endpoint.base_url + "/batches?pageSize=200") as answer:
        oldest = json.load(answer)["operations"][-1]["name"]
    assert client.find(OURS, since).id == oldest
    assert client.find(OURS | {"other": "x"}, since) is None


def test_an_unknown_batch_is_refused(client):
    """With the provider's words."""
    with pytest.raises(BatchRefused, match="No batch found"):
        client.state("batches/nobody")
