"""Anthropic's Message Batches behind `BatchClient`, over HTTP against a small server of their dialect."""

import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from message_batches import MessageBatchesServer, errored, succeeded
from servers.base import serving

from labelmill.providers.anthropic import AnthropicBatchClient
from labelmill.providers.endpoint import Endpoint
from labelmill.providers.protocol import BatchRefused, BatchStatus, BatchUnreachable, RowError

OURS = {"labelmill_run": "r1", "labelmill_part": "1"}


@pytest.fixture
def provider():
    """Start a `MessageBatchesServer`."""
    with serving(MessageBatchesServer()) as server:
        yield server


@pytest.fixture
def dialect():
    """Anthropic's."""
    return "anthropic"


@pytest.fixture
def client(provider, key_name, monkeypatch):
    """The client, at the server; the environment names another."""
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv(key_name, "sk-ant-secret")
    return AnthropicBatchClient(Endpoint(provider.base_url, key_name, False), 5.0)


@pytest.fixture
def claude_requests(texts, body_of, write_requests):
    """A file of requests as Anthropic can answer them."""

    def build(**parts):
        return write_requests({row_key: body_of(text, **parts) for row_key, text in texts.items()})

    return build


def test_requests_go_out_in_anthropics_names(client, provider, claude_requests, texts):
    """The system message apart, `max_tokens`, and ids that Anthropic takes; nothing beyond."""
    client.send(claude_requests(model="claude-x"), OURS)
    sent = provider.made[0]["requests"]
    assert [request["params"]["messages"] for request in sent] == [
        [{"role": "user", "content": text}] for text in texts.values()
    ]
    assert {(request["params"]["system"][:6], request["params"]["max_tokens"]) for request in sent} == {
        ("Choose", 16)
    }
    assert all(
        request["params"].keys() == {"model", "messages", "system", "max_tokens", "temperature"}
        for request in sent
    )
    assert all(len(request["custom_id"]) <= 64 for request in sent)
    assert all(request["custom_id"].replace("-", "").isalnum() for request in sent)


def test_a_batch_is_no_larger_than_its_file(client, provider, write_requests, body_of):
    """The limit of bytes was kept by the file."""
    bodies = {f"v1:{number:032}": body_of(f"银行 {number}") for number in range(50)}
    path = write_requests(bodies)
    client.send(path, OURS)
    sent = json.dumps({"requests": provider.made[0]["requests"]}, ensure_ascii=False)
    assert len(sent.encode()) <= path.stat().st_size


def test_every_text_gets_its_own_answer(client, provider, claude_requests, texts):
    """By their ids: results come in another order; usage counts the cached input in."""
    provider.result_of = lambda text: succeeded(f"about {text}\u2028")
    provider.extra_lines = [b"{", b"null", b""]
    batch_id = client.send(claude_requests(), OURS)
    assert client.state(batch_id).status is BatchStatus.COMPLETED
    answers = list(client.answers(batch_id, list(texts), OURS))
    assert {answer.row_key: answer.answer.content for answer in answers} == {
        row_key: f"about {text}\u2028" for row_key, text in texts.items()
    }
    read = answers[0].answer
    assert (read.finish_reason, read.model, read.refusal) == ("stop", "claude-scripted", None)
    assert (read.usage.input_tokens, read.usage.cached_input_tokens, read.usage.output_tokens) == (15, 5, 2)
    assert provider.keys == {"sk-ant-secret"}


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason", "is_refusal"),
    [("max_tokens", "length", False), ("refusal", "refusal", True), ("end_turn", "stop", False)],
)
def test_why_an_answer_ended_is_told_in_openais_words(
    client, provider, claude_requests, texts, stop_reason, finish_reason, is_refusal
):
    """So that Labelmill knows a cut answer and a refusal when it sees one."""
    provider.result_of = lambda _: succeeded("", stop_reason)
    answers = list(client.answers(client.send(claude_requests(), OURS), list(texts), OURS))
    read = [answer.answer for answer in answers]
    assert {(answer.finish_reason, bool(answer.refusal)) for answer in read} == {(finish_reason, is_refusal)}


def test_rows_that_failed_say_why_also_when_all_of_them_did(client, provider, claude_requests, texts):
    """Such a batch has ended like any other."""
    provider.result_of = lambda _: errored("overloaded_error", "busy sk-ant-secret")
    batch_id = client.send(claude_requests(), OURS)
    state = client.state(batch_id)
    assert (state.status, state.total, state.failed) == (BatchStatus.COMPLETED, 20, 20)
    errors = {answer.error for answer in client.answers(batch_id, list(texts), OURS)}
    assert errors == {RowError(529, "overloaded_error", "busy [key]")}


@pytest.mark.parametrize(
    ("left", "status", "code"),
    [
        ("expired", BatchStatus.EXPIRED, "batch_expired"),
        ("canceled", BatchStatus.CANCELLED, "batch_cancelled"),
    ],
)
def test_what_a_batch_has_finished_is_kept(client, provider, claude_requests, texts, left, status, code):
    """Of one that ran out of time or was stopped; the other rows were not executed, and say so."""
    provider.result_of = lambda text: succeeded("sport") if text.endswith("1") else {"type": left}
    batch_id = client.send(claude_requests(), OURS)
    assert client.state(batch_id).status is status
    answers = list(client.answers(batch_id, list(texts), OURS))
    assert len([answer for answer in answers if answer.answer]) == 2
    assert {(answer.error.code, answer.error.was_executed) for answer in answers if answer.error} == {
        (code, False)
    }


def test_canceling_is_not_the_end(client, provider, claude_requests, texts):
    """Nothing is read before; it returns at once, and leaves what has ended as it is."""
    provider.ends = False
    batch_id = client.send(claude_requests(), OURS)
    started = time.monotonic()
    client.cancel(batch_id)
    assert time.monotonic() - started < 2
    assert client.state(batch_id).status is BatchStatus.CANCELLING
    with pytest.raises(BatchUnreachable, match="cancelling"):
        list(client.answers(batch_id, list(texts), OURS))
    provider.ends, provider.made[0]["cancelled"] = True, False
    client.cancel(batch_id)
    assert not provider.made[0]["cancelled"]


def test_a_batch_made_without_an_answer_is_found_once_it_has_ended(client, provider, claude_requests):
    """Until then nobody can tell whose it is: it is not said that there is none, so that none is paid twice."""
    provider.forgets_to_answer = True
    provider.page_limit = 2
    provider.ends = False
    since = datetime.now(UTC)
    with pytest.raises(BatchUnreachable, match="oops"):
        client.send(claude_requests(), OURS)
    assert len(provider.made) == 1
    provider.forgets_to_answer = False
    for number in range(3):
        client.send(claude_requests(), OURS | {"other": str(number)})
    with pytest.raises(BatchUnreachable, match="once they have ended"):
        client.find(OURS, since)
    provider.ends = True
    assert client.find(OURS, since).id == "msgbatch_0"
    assert client.find(OURS | {"other": "9"}, since) is None
    assert client.find(OURS, datetime.now(UTC) + timedelta(hours=20)) is None


def test_nobody_waits_for_batches_that_are_known_to_be_others(client, provider, claude_requests):
    """Nor for those that were made long after; another's that may be ours is waited for."""
    provider.ends = False
    since = datetime.now(UTC)
    known = [client.send(claude_requests(), OURS | {"other": str(number)}) for number in range(2)]
    assert client.find(OURS, since, known) is None
    with pytest.raises(BatchUnreachable, match=known[1]):
        client.find(OURS, since, known[:1])
    for batch in provider.made:
        batch["made"] += timedelta(hours=20)
    assert client.find(OURS, since) is None


@pytest.mark.parametrize("created_at", [None, "soon", "2026-11-25T02:00:00", 1e300, []])
def test_a_batch_is_found_by_its_tag_whatever_its_date(client, provider, claude_requests, created_at):
    """A date that can't be read, or of another clock: the requests' own ids tell whose it is."""
    batch_id = client.send(claude_requests(), OURS)
    told = provider.object
    provider.object = lambda batch: told(batch) | {"created_at": created_at}
    assert client.find(OURS, datetime(2026, 11, 25, 12, tzinfo=UTC)).id == batch_id
    assert client.find(OURS | {"other": "x"}, datetime(2026, 11, 25, 12, tzinfo=UTC)) is None


def test_a_batch_whose_results_can_not_be_read_yet_is_waited_for(client, provider, claude_requests):
    """It may be ours: it is not said that there is none."""
    since = datetime.now(UTC)
    client.send(claude_requests(), OURS)
    results, provider.results = provider.results, lambda _: []
    with pytest.raises(BatchUnreachable, match="msgbatch_0"):
        client.find(OURS, since)
    provider.results = results
    assert client.find(OURS, since).id == "msgbatch_0"


def test_ids_are_those_of_earlier_versions(client, provider, claude_requests):
    """So that a batch which one of them has sent is found and harvested by this one."""
    client.send(claude_requests(), OURS)
    ids = [request["custom_id"] for request in provider.made[0]["requests"]]
    assert ids == [f"3723a7e304ca574d69b3e0a3-{place}" for place in range(20)]


def test_lines_of_another_batch_are_none_of_ours(client, provider, claude_requests, texts):
    """Though they come first: a row's id names its batch."""
    batch_id = client.send(claude_requests(), OURS)
    others = [{"custom_id": f"other-{place}", "result": succeeded("no")} for place in range(20)]
    mine = provider.results
    provider.results = lambda batch: [*others, *mine(batch)]
    answers = list(client.answers(batch_id, list(texts), OURS))
    assert [answer.answer.content for answer in answers] == ["sport"] * 20


def test_the_key_does_not_follow_a_redirect(staged, provider, key_name):
    """Wherever it leads."""
    moved = AnthropicBatchClient(Endpoint(staged.base_url, key_name, False), 5.0)
    staged.redirects["/messages/batches/b"] = f"{provider.base_url}/v1/messages/batches/b"
    with pytest.raises(BatchRefused, match="301"):
        moved.state("b")
    assert provider.keys == set()


def test_an_unknown_batch_is_refused(client):
    """With the provider's words."""
    with pytest.raises(BatchRefused, match="no such batch"):
        client.state("nobody")
