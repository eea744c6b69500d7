"""Jobs on Azure, end to end: both addresses, both lanes, and a file of requests that has to be looked through first."""

import os
import signal

import pytest
from servers.azure import API_VERSIONS, Azure
from servers.base import Reply
from servers.stand_in import KEY

from labelmill.errors import JobRefused
from labelmill.pipeline.label import label
from labelmill.providers import openai

TEXTS = [
    f"the {word} of day {number}"
    for number in range(50)
    for word in ("match", "market", "team match", "bank")
]
PRICE = {"model": "gpt-4o-mini"}


@pytest.fixture(autouse=True)
def _azure_key(monkeypatch):
    """The key in its usual variable, and no waits to speak of."""
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    monkeypatch.setattr(openai, "FIRST_FILE_PAUSE_SECONDS", 0.001)


@pytest.fixture
def job(job_of, write_texts):
    """Build a job of the resource: `job(lane="batch", price=..., model={...})`."""

    def build(texts=TEXTS, lane="live", price=PRICE, model=None, **run):
        write_texts(texts)
        return job_of(
            model={"provider": "azure", "name": Azure.live_deployment, **(model or {})},
            batch={"model": Azure.batch_deployment},
            run={"lane": lane, "poll_seconds": 0.05, **run},
            **({"price": price} if price else {}),
        )

    return build


def assert_bill_is(record, server, texts=200):
    """The run's bill and the stand-in's own count are one."""
    assert (record.status, record.rows_labeled) == ("completed", texts)
    assert record.requests == server.requests == texts
    assert (record.input_tokens, record.output_tokens) == (server.input_tokens, server.output_tokens)
    assert record.cost_usd == pytest.approx(server.usd, rel=1e-9)
    assert record.requests_without_usage == 0


@pytest.mark.parametrize("api_version", [None, *API_VERSIONS])
@pytest.mark.parametrize("lane", ["live", "batch"])
def test_a_job_is_labeled_and_billed_at_both_addresses_on_both_lanes(job, lane, api_version):
    """200 texts: the stand-in's own count of requests, tokens and dollars is the run's, and it hears the key in its own header."""
    with Azure(api_version=api_version) as server:
        server.pending_looks = 2
        record = label(job(lane=lane, model={"api_version": api_version}), server.root)
        assert_bill_is(record, server)
        assert (server.live, server.by_batch) == ((0, 200) if lane == "batch" else (200, 0))
        assert server.refused == 0
    assert record.price["model"] == "gpt-4o-mini"
    if lane == "batch":
        assert record.live_cost_usd == pytest.approx(2 * record.cost_usd, rel=1e-9)


@pytest.mark.parametrize(
    ("api_version", "path"),
    [
        (None, ""),
        (None, "/openai/v1/"),
        (None, "/openai/v1?api-version=preview"),
        ("2024-10-21", "/openai/deployments/labels/chat/completions?api-version=2024-10-21"),
        ("2024-10-21", "/openai?api-version=2024-10-21"),
    ],
)
def test_an_address_is_taken_as_people_copy_it(job, monkeypatch, api_version, path):
    """From the portal, with a deployment and a version, or the resource's own alone, and from the environment too."""
    with Azure(api_version=api_version) as server:
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", server.root + path)
        assert_bill_is(label(job(TEXTS[:4])), server, 4)


def test_a_file_is_waited_for_and_a_passing_404_is_asked_again(job):
    """Nothing is sent twice meanwhile: there is one upload and one batch."""
    with Azure() as server:
        server.unknown_looks, server.pending_looks, server.unknown_makings = 1, 3, 2
        record = label(job(TEXTS[:8], lane="batch"), server.base_url)
        assert_bill_is(record, server, 8)
        uploads = [path for method, path in server.asked if method == "POST" and path.endswith("/files")]
        assert (len(uploads), server.makings, len(server.batches)) == (1, 3, 1)


def test_a_file_that_is_refused_ends_the_run_in_its_words(job):
    """Nothing was made of it, and nothing is paid."""
    with Azure() as server:
        server.pending_looks, server.file_error = 1, "line 3 is no JSON"
        record = label(job(TEXTS[:8], lane="batch"), server.base_url)
    assert (record.status, record.cost_usd, record.rows_pending) == ("failed", 0, 8)
    assert "line 3 is no JSON" in record.message


def test_a_file_that_never_gets_ready_is_no_batch(job, monkeypatch):
    """The run says so and ends; its texts are in no batch, and cost nothing."""
    monkeypatch.setattr(openai, "FILE_SECONDS", 0.05)
    monkeypatch.setattr("labelmill.batch.outstanding.UNDER_WAY_SECONDS", 0.05)
    with Azure() as server:
        server.pending_looks = 10**9
        record = label(job(TEXTS[:8], lane="batch", max_attempts=2), server.base_url)
    assert (record.status, record.cost_usd, record.rows_pending) == ("failed", 0, 8)
    assert "is still pending" in record.message


def test_a_signal_ends_the_wait_for_a_file(job):
    """No batch is made of it; the file is deleted, and the next run goes on."""
    with Azure() as server:
        server.pending_looks = 10**9
        looked = server.look_at

        def look_and_stop(file_id):
            os.kill(os.getpid(), signal.SIGTERM)
            return looked(file_id)

        server.look_at = look_and_stop
        stopped = label(job(TEXTS[:8], lane="batch"), server.base_url)
        assert (stopped.status, stopped.cost_usd, server.makings, server.files) == ("cancelled", 0, 0, {})
        server.pending_looks, server.look_at = 0, looked
        assert_bill_is(label(job(TEXTS[:8], lane="batch"), server.base_url), server, 8)


@pytest.mark.parametrize("api_version", [None, "2024-10-21"])
def test_the_key_follows_no_redirect(job, api_version):
    """Azure's header, which no client takes away on the way to another host, stays with the resource."""
    with Azure(api_version=api_version) as server, Azure(api_version=api_version) as other:
        headers = {"location": f"{other.root}/openai/v1/chat/completions"}
        server.chat = lambda body: Reply(307, b"", headers=headers)  # noqa: ARG005
        record = label(job(TEXTS[:4], model={"api_version": api_version}, max_attempts=2), server.root)
        assert (record.rows_labeled, other.asked) == (0, [])


@pytest.mark.parametrize("lane", ["live", "batch"])
def test_a_text_that_the_filter_stops_is_that_texts_failure(job, lane):
    """In Azure's words, on either lane; the others are labeled."""
    with Azure() as server:
        server.filtered = frozenset({TEXTS[3]})
        record = label(job(TEXTS[:8], lane=lane, max_failed_fraction=1), server.base_url)
    assert (record.rows_labeled, record.failures) == (7, {"content_filter": 1})
    assert record.cost_usd == pytest.approx(server.usd, rel=1e-9)


def test_a_deployment_of_a_dearer_model_is_billed_as_what_answers(job):
    """Its name says nothing: the price that the job names is checked against the model that the answers name."""
    with Azure(model="gpt-4o-2024-08-06", rates=(2.5, 10.0)) as server:
        record = label(job(TEXTS[:8]), server.base_url)
        assert_bill_is(record, server, 8)
        budgeted = label(job(["one match more", *TEXTS[:8]], max_cost_usd=1.0), server.base_url)
    assert any("gpt-4o-2024-08-06" in notice for notice in record.notices)
    assert budgeted.status == "budget_reached"


def test_a_deployment_without_a_price_costs_what_nobody_knows(job):
    """Null and loud, and no budget can be kept by it."""
    with Azure() as server:
        record = label(job(TEXTS[:8], price=None), server.base_url)
        assert (record.rows_labeled, record.cost_usd, record.price) == (8, None, None)
        with pytest.raises(JobRefused, match="the name of the model behind that deployment"):
            label(job(TEXTS[:8], price=None, max_cost_usd=1.0), server.base_url)
