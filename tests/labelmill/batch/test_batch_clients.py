"""The contract of `BatchClient`: both adapters, and other providers', against the practice provider's Batch API."""

import json
import socket
import time
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest

from labelmill.providers.completions import answer_of_completion
from labelmill.providers.protocol import BatchRefused, BatchStatus, BatchUnreachable
from practice import FaultKind, PracticeSettings

OURS = {"labelmill_run": "r1", "labelmill_part": "1"}


def moment():
    """Now."""
    return datetime.now(UTC)


def final_state(client, batch_id):
    """Where a batch stands once it has ended."""
    for _ in range(200):
        state = client.state(batch_id)
        if state.status.is_final:
            return state
        time.sleep(0.02)
    raise AssertionError(f"the batch is still {state.status}")


def answers_of(client, batch_id, texts):
    """The answers of a batch that has ended, by row key; each row at most once."""
    final_state(client, batch_id)
    answers = list(client.answers(batch_id, list(texts), OURS))
    assert len({answer.row_key for answer in answers}) == len(answers)
    return {answer.row_key: answer for answer in answers}


def got(practice, path):
    """What the practice provider answers to a plain GET."""
    with urllib.request.urlopen(practice.base_url + path) as response:
        return response.read()


def batches_made(practice):
    """The batches that the practice provider knows, newest first."""
    return json.loads(got(practice, "/batches"))["data"]


def test_every_text_gets_its_own_answer_whatever_order_they_come_in(any_client, write_requests, body_of):
    """Rows come back shuffled, and by their keys."""
    texts = {f"v1:{number}": f"{('match', 'bank')[number % 2]} {number}" for number in range(40)}
    requests = write_requests({row_key: body_of(text) for row_key, text in texts.items()})
    batch_id = any_client.send(requests, OURS)
    state = final_state(any_client, batch_id)
    assert (state.status, state.total, state.completed, state.failed) == (BatchStatus.COMPLETED, 40, 40, 0)
    answers = answers_of(any_client, batch_id, texts)
    assert {row_key: answer.answer.content for row_key, answer in answers.items()} == {
        row_key: "sport" if "match" in text else "money" for row_key, text in texts.items()
    }
    assert list(answers) != list(texts)


def test_a_batch_is_made_of_the_requests_as_they_are(
    client_by, practice, write_requests, body_of, schema_format
):
    """Through either adapter the same bodies go out: also where requests differ, and in Chinese."""
    bodies = [
        body_of("银行的“消息”\u2028{x}", logprobs=True),
        body_of("b", response_format=schema_format, max_completion_tokens=40),
        body_of("c", messages=[{"role": role, "content": role} for role in ("system", "user", "user")]),
        body_of("d", logprobs=True),
    ]
    without = {name: value for name, value in body_of("e", model="o1").items() if name != "temperature"}
    for chosen in (bodies, bodies[:1], [bodies[1]] * 2, [without]):
        requests = write_requests({f"v1:{place}": body for place, body in enumerate(chosen)})
        for adapter in ("openai", "langasync"):
            # LangChain has a temperature of its own for this model, which langasync would add.
            client_by(adapter, practice.base_url, "o1").send(requests, OURS)
            made = batches_made(practice)[0]
            content = got(practice, f"/files/{made['input_file_id']}/content")
            # The limit of bytes was kept by the file that was sent.
            assert len(content) <= requests.stat().st_size
            sent = [json.loads(line) for line in content.decode().strip("\n").split("\n")]
            assert [request["body"] for request in sent] == chosen
            assert {(request["method"], request["url"]) for request in sent} == {
                ("POST", "/v1/chat/completions")
            }
            assert (made["metadata"], made["completion_window"]) == (OURS, "24h")


@pytest.mark.parametrize("under_schema", [False, True])
@pytest.mark.parametrize("fault", [None, FaultKind.REFUSAL, FaultKind.TRUNCATED, FaultKind.EMPTY])
def test_an_answer_is_read_as_a_live_one(
    client, practice, write_requests, body_of, schema_format, under_schema, fault
):
    """Content, refusal, finish reason, model, token probabilities and usage: by the one reader of completions."""
    practice.configure(PracticeSettings(stubborn_faults={fault: 1.0} if fault else {}))
    parts = {"response_format": schema_format} if under_schema else {}
    body = body_of("the match", max_completion_tokens=40, logprobs=True, **parts)
    asked = urllib.request.Request(
        f"{practice.base_url}/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(asked) as response:
        live = answer_of_completion(json.load(response))
    answers = answers_of(client, client.send(write_requests({"v1:0": body}), OURS), ["v1:0"])
    answer = answers["v1:0"].answer
    assert answer == live
    assert answer.usage.input_tokens > 0
    assert bool(answer.refusal) == (fault is FaultKind.REFUSAL)


def test_rows_that_the_provider_lost_are_not_among_the_answers(any_client, practice, texts, requests):
    """A row without a line is missing: it takes no other row's answer."""
    practice.configure(PracticeSettings(batch_missing_fraction=0.5))
    answers = answers_of(any_client, any_client.send(requests, OURS), texts)
    assert 0 < len(answers) < len(texts)
    assert all(answer.answer.content == "sport" for answer in answers.values())


@pytest.mark.parametrize(
    ("fault", "status", "code", "words"),
    [
        (FaultKind.RATE_LIMITED_BARE, 429, "rate_limit_exceeded", "Rate limit reached"),
        (FaultKind.SERVER_ERROR, 500, "server_error", "had an error"),
        (FaultKind.CONTENT_FILTER, 400, "content_filter", "filtered"),
        (FaultKind.TOO_LONG, 400, "context_length_exceeded", "maximum context length"),
    ],
)
def test_a_row_that_failed_says_why(client, practice, texts, requests, fault, status, code, words):
    """The HTTP status it would have had live, the provider's code, and its words; the other rows keep their answers."""
    practice.configure(PracticeSettings(stubborn_faults={fault: 0.5}))
    answers = answers_of(client, client.send(requests, OURS), texts)
    errors = [answer.error for answer in answers.values() if answer.error]
    assert len(answers) == len(texts)
    assert 0 < len(errors) < len(texts)
    assert {(error.status, error.code, error.was_executed) for error in errors} == {(status, code, True)}
    assert all(words in error.message for error in errors)


def test_what_an_expired_batch_has_finished_is_kept(telling_client, practice, texts, requests):
    """Its answers were paid; the other rows were not executed, and say so."""
    practice.configure(PracticeSettings(batch_outcome="expired", batch_finished_fraction=0.6))
    batch_id = telling_client.send(requests, OURS)
    assert final_state(telling_client, batch_id).status is BatchStatus.EXPIRED
    answers = answers_of(telling_client, batch_id, texts)
    left = [answer.error for answer in answers.values() if answer.error]
    assert (len(answers), len(left)) == (20, 8)
    assert {(error.status, error.code, error.was_executed) for error in left} == {
        (None, "batch_expired", False)
    }


def test_what_a_cancelled_batch_has_finished_is_kept(telling_client, practice, texts, requests):
    """`cancelling` is not the end: answers are still being written, and none are handed out before."""
    practice.configure(
        PracticeSettings(batch_seconds=600, batch_cancelling_seconds=600, batch_finished_fraction=0.25)
    )
    batch_id = telling_client.send(requests, OURS)
    assert not telling_client.state(batch_id).status.is_final
    telling_client.cancel(batch_id)
    assert telling_client.state(batch_id).status is BatchStatus.CANCELLING
    with pytest.raises(BatchUnreachable, match="cancelling"):
        list(telling_client.answers(batch_id, list(texts), OURS))
    practice.configure(
        PracticeSettings(batch_seconds=600, batch_cancelling_seconds=0, batch_finished_fraction=0.25)
    )
    assert final_state(telling_client, batch_id).status is BatchStatus.CANCELLED
    answers = answers_of(telling_client, batch_id, texts)
    left = [answer.error for answer in answers.values() if answer.error]
    assert (len(answers), len(left)) == (20, 15)
    assert {(error.status, error.code) for error in left} == {(None, "batch_cancelled")}


def test_cancelling_returns_at_once(telling_client, practice, requests):
    """However long the provider takes to stop."""
    practice.configure(PracticeSettings(batch_seconds=60, batch_cancelling_seconds=60))
    batch_id = telling_client.send(requests, OURS)
    started = time.monotonic()
    telling_client.cancel(batch_id)
    assert time.monotonic() - started < 2
    telling_client.cancel(batch_id)
    assert telling_client.state(batch_id).status is BatchStatus.CANCELLING


def test_a_batch_that_is_final_is_left_as_it_is(any_client, texts, requests):
    """Cancelling it is no error, and takes nothing from it."""
    batch_id = any_client.send(requests, OURS)
    assert final_state(any_client, batch_id).status is BatchStatus.COMPLETED
    any_client.cancel(batch_id)
    assert any_client.state(batch_id).status is BatchStatus.COMPLETED
    assert len(answers_of(any_client, batch_id, texts)) == len(texts)


def test_an_invalid_batch_says_why_and_has_no_answers(client, practice, texts, requests):
    """The provider's codes and words, such as that its queue is full."""
    practice.configure(PracticeSettings(batch_queue_tokens=1))
    batch_id = client.send(requests, OURS)
    state = final_state(client, batch_id)
    assert state.status is BatchStatus.FAILED
    (error,) = state.errors
    assert error.code == "token_limit_exceeded"
    assert "Enqueued token limit" in error.message
    assert answers_of(client, batch_id, texts) == {}


def test_a_batch_is_found_by_all_of_its_metadata(client, requests):
    """Among several, and never one that differs in any of it."""
    since = moment()
    ids = {part: client.send(requests, OURS | {"labelmill_part": part, "more": "x"}) for part in "123"}
    for part, batch_id in ids.items():
        found = client.find(OURS | {"labelmill_part": part}, since)
        assert found.id == batch_id
        assert timedelta(seconds=-1) <= found.created_at_utc - since < timedelta(minutes=1)
    assert client.find(OURS | {"labelmill_part": "4"}, since) is None
    assert client.find(OURS | {"other": "x"}, since) is None


@pytest.mark.parametrize("hours", [-12, 12])
def test_a_batch_is_found_whatever_the_providers_clock_says(any_client, requests, hours):
    """A clock that is hours behind or ahead: what the batch carries tells whose it is, and not its date."""
    batch_id = any_client.send(requests, OURS)
    final_state(any_client, batch_id)
    assert any_client.find(OURS, moment() + timedelta(hours=hours)).id == batch_id
    assert any_client.find(OURS | {"labelmill_part": "2"}, moment() + timedelta(hours=hours)) is None


@pytest.mark.parametrize("fault", ["server_error", "connection_reset"])
def test_a_batch_that_was_made_without_an_answer_is_found_and_not_made_twice(
    client, practice, requests, fault
):
    """After such an end only `find` can tell; a second try would be paid twice."""
    practice.configure(PracticeSettings(batch_errors={"create": fault}))
    since = moment()
    with pytest.raises(BatchUnreachable):
        client.send(requests, OURS)
    (made,) = batches_made(practice)
    assert client.find(OURS, since).id == made["id"]


def test_a_batch_that_was_refused_was_not_made(client, practice, requests):
    """More metadata than the provider takes: its words, and no batch."""
    with pytest.raises(BatchRefused, match="may have 16"):
        client.send(requests, {str(number): "x" for number in range(17)})
    assert batches_made(practice) == []


def test_an_unknown_batch_is_refused(client):
    """With the provider's words, from everything that asks for it."""
    for ask in (client.state, client.cancel, lambda batch_id: list(client.answers(batch_id, [], OURS))):
        with pytest.raises(BatchRefused, match="No batch found with id 'nobody'"):
            ask("nobody")


def test_a_wrong_key_is_refused_and_never_shown(client, practice, requests, monkeypatch, key_name):
    """Waiting would not heal it."""
    practice.configure(PracticeSettings(required_key="right"))
    monkeypatch.setenv(key_name, "sk-very-secret")
    for ask in (
        lambda: client.send(requests, OURS),
        lambda: client.find(OURS, moment()),
        lambda: client.state("b"),
    ):
        with pytest.raises(BatchRefused, match="401: Incorrect API key") as refused:
            ask()
        assert "very-secret" not in str(refused.value)
    monkeypatch.setenv(key_name, "right")
    assert client.find(OURS, moment()) is None


@pytest.mark.slow
def test_a_provider_that_is_away_is_unreachable(client_at, requests):
    """Whatever was asked of it."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        base_url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
    client = client_at(base_url)
    with pytest.raises(BatchUnreachable, match="connection refused"):
        client.send(requests, OURS)
    with pytest.raises(BatchUnreachable):
        client.state("b")
