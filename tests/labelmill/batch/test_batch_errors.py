"""What may go wrong with a provider that practice does not do: both adapters, at a staged server."""

import sys
import tracemalloc
from datetime import UTC, datetime

import pytest

from labelmill.errors import JobRefused
from labelmill.providers import langasync
from labelmill.providers.endpoint import Endpoint
from labelmill.providers.openai import MAKINGS
from labelmill.providers.protocol import BatchRefused, BatchStatus, BatchUnreachable
from labelmill.providers.table import client_of


def test_a_state_without_counts_or_errors_is_a_state(staged_client, staged):
    """Compatible endpoints leave much out."""
    staged.stage_batch(
        status="failed", request_counts=None, errors={"data": [{"message": "m"}, {"code": "c"}]}
    )
    state = staged_client.state("b")
    assert (state.total, state.completed, state.failed) == (0, 0, 0)
    assert [(error.code, error.message) for error in state.errors] == [(None, "m"), ("c", "")]


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"[]", b"", {}, {"status": "brewing"}])
def test_what_is_no_batch_object_counts_as_no_answer(staged_client, staged, body):
    """A gateway's page with the status 200, say."""
    staged.stage("/batches/b", body)
    with pytest.raises(BatchUnreachable):
        staged_client.state("b")
    staged.stage("/files", {"id": "f"})
    staged.stage("/batches", body)
    with pytest.raises(BatchUnreachable):
        staged_client.cancel("b")


def test_a_making_whose_answer_names_no_batch_may_have_made_one(staged_client, staged, requests):
    """So it is not refused, and not tried again."""
    staged.stage("/files", {"id": "f"})
    staged.stage("/batches", b"<html>")
    with pytest.raises(BatchUnreachable):
        staged_client.send(requests, {})
    assert staged.asked == [("POST", "/files"), ("POST", "/batches")]


def _listed(number, **fields):
    return {"id": f"b{number}", "created_at": number, "metadata": None, **fields}


HOUR = 3600


def test_the_search_goes_on_over_the_pages_until_long_before(staged_client, staged):
    """A hundred a page, newest first; it ends at the first page that reaches back further than clocks differ."""
    newest = [_listed(100 * HOUR - number) for number in range(100)]
    middle = [_listed(90 * HOUR, metadata={"run": "r"}), _listed(80 * HOUR)]
    staged.stage("/batches?limit=100", {"data": newest, "has_more": True})
    after = f"/batches?after=b{100 * HOUR - 99}&limit=100"
    staged.stage(after, {"data": middle, "has_more": True})
    for hours in (85, 90, 99, 104):
        found = staged_client.find({"run": "r"}, datetime.fromtimestamp(hours * HOUR, UTC))
        assert (found.id, found.created_at_utc) == (f"b{90 * HOUR}", datetime.fromtimestamp(90 * HOUR, UTC))
    assert {path for _, path in staged.asked} == {"/batches?limit=100", after}
    assert staged_client.find({"run": "other"}, datetime.fromtimestamp(99 * HOUR, UTC)) is None
    staged.asked.clear()
    assert staged_client.find({"run": "r"}, datetime.fromtimestamp(120 * HOUR, UTC)) is None
    assert [path for _, path in staged.asked] == ["/batches?limit=100"]


@pytest.mark.parametrize(
    "created_at",
    [
        1,
        1.5,
        "1",
        "2026-11-25T12:00:00Z",
        "2026-11-25",
        "soon",
        "",
        None,
        True,
        -1,
        1e300,
        [],
        {},
        float("nan"),
    ],
)
def test_a_batch_is_found_by_its_metadata_whatever_its_date(staged_client, staged, created_at):
    """A date as text, as a float, of another clock, or none at all: run, name and content tell whose it is."""
    batches = [_listed(1, created_at=created_at), _listed(2, created_at=created_at, metadata={"run": "r"})]
    staged.stage("/batches?limit=100", {"data": batches, "has_more": False})
    assert staged_client.find({"run": "r"}, datetime(2026, 11, 25, 14, tzinfo=UTC)).id == "b2"
    assert staged_client.find({"run": "x"}, datetime(2026, 11, 25, 14, tzinfo=UTC)) is None


def test_a_list_that_starts_with_the_oldest_is_searched_to_its_end(staged_client, staged):
    """Some compatible endpoints list so; others say there is more, and give the same page for ever."""
    staged.stage("/batches?limit=100", {"data": [_listed(1), _listed(2)], "has_more": True})
    last = {"data": [_listed(3), _listed(900, metadata={"run": "r", "x": "y"})], "has_more": True}
    staged.stage("/batches?limit=100&after=b2", last)
    staged.stage("/batches?limit=100&after=b900", last)
    since = datetime.fromtimestamp(800, UTC)
    assert staged_client.find({"run": "r"}, since).id == "b900"
    assert staged_client.find({"run": "other"}, since) is None


@pytest.mark.parametrize("status", [400, 402, 403, 404, 405, 413, 408, 409, 429, 500, 503])
def test_what_waiting_can_heal_is_told_from_what_it_can_not(
    staged_client, staged, requests, status, monkeypatch
):
    """By the status of the making, in the provider's words. It is tried once, but for a file that nobody knows yet."""
    monkeypatch.setattr("labelmill.providers.openai.FIRST_FILE_PAUSE_SECONDS", 0.001)
    kind = BatchUnreachable if status in {408, 409, 429} or status >= 500 else BatchRefused
    staged.stage("/files", {"id": "f"})
    staged.stage("/batches", {"error": {"message": "these words"}}, status)
    with pytest.raises(kind, match="these words"):
        staged_client.send(requests, {})
    paths = [path for _, path in staged.asked]
    has_a_file = not getattr(staged_client, "through_langasync", True)
    assert paths.count("/batches") == (MAKINGS if status == 404 and has_a_file else 1)


def test_a_used_up_quota_is_refused_though_it_is_a_429(staged_client, staged, requests):
    """No waiting brings money."""
    staged.stage("/files", {"id": "f"})
    staged.stage("/batches", {"error": {"message": "pay", "code": "insufficient_quota"}}, 429)
    with pytest.raises(BatchRefused, match="429: pay"):
        staged_client.send(requests, {})


@pytest.mark.parametrize("key", ["sk-secret", "sk-secret\nmore", "sk-secret\u2028é"])
def test_the_key_is_in_no_message_and_no_log(
    staged_client, staged, requests, monkeypatch, key_name, key, caplog, capfd
):
    """Though a provider repeats it, or it is one that can't be sent."""
    monkeypatch.setenv(key_name, key)
    staged.stage("/files", {"error": {"message": f"bad key {key}"}}, 401)
    with pytest.raises(BatchRefused) as refused:
        staged_client.send(requests, {})
    assert "secret" not in str(refused.value)
    shown = capfd.readouterr()
    assert "secret" not in caplog.text + shown.out + shown.err


@pytest.mark.parametrize("place", [0, 100, 485, 495, 499])
def test_no_part_of_the_key_stays_where_words_are_cut(
    staged_client, staged, requests, monkeypatch, key_name, place
):
    """In the errors of an invalid batch, and in what is said of a refusal: it is hidden first, and then cut."""
    monkeypatch.setenv(key_name, "sk-0123456789")
    words = "x" * place + "sk-0123456789" + "x" * 600
    staged.stage_batch(status="failed", errors={"data": [{"code": "sk", "message": words}]})
    (error,) = staged_client.state("b").errors
    assert "sk-" not in error.message
    assert len(error.message) <= 500
    staged.stage("/files", {"error": {"message": words}}, 403)
    with pytest.raises(BatchRefused) as refused:
        staged_client.send(requests, {})
    assert "sk-" not in str(refused.value)
    staged.stage("/batches/b", {"status": words})
    with pytest.raises(BatchUnreachable) as unreachable:
        staged_client.state("b")
    assert "sk-" not in str(unreachable.value)


@pytest.mark.parametrize(
    "errors", [None, [], "x", {"data": None}, {"data": 5}, {"data": "x"}, {"data": [None, 5, [], {}]}]
)
@pytest.mark.parametrize(
    "counts", [None, [], "x", {}, {"total": "3", "completed": None}, {"completed": [], "failed": -1}]
)
def test_odd_counts_and_errors_are_a_state_all_the_same(staged_client, staged, errors, counts):
    """What can't be read says nothing."""
    staged.stage_batch(status="failed", errors=errors, request_counts=counts)
    state = staged_client.state("b")
    assert (state.status, state.completed, state.failed) == (BatchStatus.FAILED, 0, 0)
    assert all(error.message == "" for error in state.errors)


@pytest.mark.parametrize("provider", ["anthropic", "google"])
@pytest.mark.parametrize("key", ["sk-secret", "sk-secret\nmore", "sk-secret\u2028é"])
def test_no_providers_key_is_in_a_message_or_a_log(
    client_by, staged, requests, monkeypatch, key_name, key, provider, caplog, capfd
):
    """The same for the providers that langasync alone speaks to, and whose errors it logs."""
    monkeypatch.setenv(key_name, key)
    for path in ("/messages/batches", "/models/gpt-4o-mini:batchGenerateContent"):
        staged.stage(path, {"error": {"type": "x", "message": f"bad key {key}"}}, 401)
    with pytest.raises(BatchRefused) as refused:
        client_by(provider, staged.base_url).send(requests, {})
    assert "secret" not in str(refused.value)
    shown = capfd.readouterr()
    assert "secret" not in caplog.text + shown.out + shown.err


@pytest.mark.parametrize("provider", ["anthropic", "google"])
def test_nothing_but_the_job_says_where_a_providers_requests_go(
    client_by, staged, requests, monkeypatch, tmp_path, provider
):
    """Neither the environment nor a `.env` in the folder, which langasync reads by itself."""
    monkeypatch.chdir(tmp_path)
    for name in ("ANTHROPIC_BASE_URL", "GOOGLE_BASE_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    (tmp_path / ".env").write_text("ANTHROPIC_API_KEY=other\nGOOGLE_API_KEY=other\n")
    with pytest.raises(BatchRefused, match="nothing is staged here"):
        client_by(provider, staged.base_url).send(requests, {})
    assert len(staged.asked) == 1


def test_nothing_but_the_job_says_where_requests_go(staged_client, staged, monkeypatch, tmp_path):
    """Neither the environment nor a `.env` in the folder, which langasync reads by itself."""
    monkeypatch.chdir(tmp_path)
    elsewhere = "http://127.0.0.1:9/v1"
    (tmp_path / ".env").write_text(
        f"OPENAI_BASE_URL={elsewhere}\nOPENAI_API_KEY=sk-dotenv\n", encoding="utf-8"
    )
    monkeypatch.setenv("OPENAI_BASE_URL", elsewhere)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
    staged.stage_batch()
    assert staged_client.state("b").status is BatchStatus.COMPLETED


def test_a_file_of_requests_is_never_whole_in_memory(client_by, staged, tmp_path):
    """Through OpenAI's client: it goes up from the disk."""
    requests = tmp_path / "large.jsonl"
    requests.write_bytes(b"x" * 40_000_000)
    staged.stage("/files", {"id": "f"})
    staged.stage("/batches", {"id": "b"})
    client = client_by("openai", staged.base_url)
    tracemalloc.start()
    try:
        assert client.send(requests, {}) == "b"
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_langasync_is_asked_for_before_anything_is_spent(job_of, monkeypatch):
    """Where the extra is missing the job is refused, and told how to get it."""
    for name in [name for name in sys.modules if name.split(".")[0] == "langasync"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "langasync", None)
    job = job_of(batch={"adapter": "langasync"})
    with pytest.raises(JobRefused, match=r"batch.adapter: .*-m pip install langasync==0\.2\.3"):
        client_of(job, Endpoint("http://127.0.0.1:9/v1", "X", practice=True))
    assert len(list(langasync.mistakes())) == 1
    client_of(job_of(), Endpoint("http://127.0.0.1:9/v1", "X", practice=True))
