"""What a provider keeps of a batch: deleted once its answers are in the ledger, and never before."""

import logging

import pytest
from batch_server import BatchServer
from servers.base import serving

from labelmill.batch.groups import Unsent
from practice import PracticeSettings

TEXTS = ["match 1", "match 2", "bank 3"]
LATER = "20260302-120000-cd34"


@pytest.fixture
def provider():
    """Start a `BatchServer`."""
    with serving(BatchServer()) as server:
        yield server


@pytest.fixture(params=["openai", "langasync"])
def batch(request):
    """The `batch` section of a job, for each adapter."""
    if request.param == "langasync":
        pytest.importorskip("langasync")
    return {"adapter": request.param}


@pytest.fixture
def sent(provider, session_of, job_of, write_group, batch, monkeypatch):
    """Send three texts at the server: `sent()`; returns the session."""
    monkeypatch.setattr("labelmill.providers.openai._RETRIES", 0)

    def send(**section):
        session = session_of(job_of(batch=batch | section), base_url=provider.base_url)
        session.planned(Unsent((write_group(TEXTS),)))
        session.send()
        return session

    return send


def harvested(session):
    """Poll once, and harvest what is ready."""
    session.poll()
    for name in session.ready():
        session.harvest(name)


def deletions(provider):
    """What was asked to be deleted, and how often."""
    return [path for method, path in provider.asked if method == "DELETE"]


def test_all_files_are_deleted_once_the_answers_are_in_the_ledger(provider, sent):
    """The input, the output and the errors, each once; and that is noted."""
    provider.result_of = lambda text, _: (
        None if "bank" in text else {"response": {"status_code": 500, "body": {}}}
    )
    provider.show = lambda batch, _: batch | {"request_counts": {"total": 3, "completed": 0, "failed": 2}}
    session = sent()
    kept = set(provider.files)
    harvested(session)
    assert (len(kept), provider.files) == (2, {})
    assert sorted(deletions(provider)) == sorted(f"/files/{name}" for name in kept)
    assert [record.files_deleted for record in session.outstanding.folder.read_all()] == [True]
    assert [record.files_deleted for record in session.outstanding.settled] == [True]
    session.poll()
    assert len(deletions(provider)) == len(kept)


def test_nothing_is_deleted_while_answers_are_missing_or_the_ledger_can_not_be_written(
    provider, sent, monkeypatch
):
    """Whatever goes wrong before, everything stays at the provider."""
    session = sent()
    provider.download = lambda raw, times: raw if times > 1 else b""
    harvested(session)
    assert len(provider.files) == 2

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("labelmill.batch.session.write_part", full)
        session.poll()
        with pytest.raises(OSError, match="No space"):
            session.harvest(session.ready()[0])
    assert (len(provider.files), deletions(provider)) == (2, [])


def test_files_are_kept_where_the_job_says_so(provider, sent):
    """With `batch.keep_files`, by this run and by later ones."""
    session = sent(keep_files=True)
    harvested(session)
    harvested(session)
    assert (len(provider.files), deletions(provider)) == (2, [])
    assert session.outstanding.settled[0].files_deleted is None


@pytest.mark.slow
@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_deletion_that_fails_costs_nothing_and_is_done_by_the_next_run(
    provider, sent, session_of, status, caplog
):
    """It is tried once in a run; the answers are in the ledger all the same."""
    session = sent()
    for file_id in provider.files:
        provider.refuses["DELETE", f"/files/{file_id}"] = (status, "not now")
    with caplog.at_level(logging.WARNING):
        harvested(session)
        harvested(session)
    assert "can't be deleted now" in caplog.text
    assert (session.run.stop_signal.stopped, len(deletions(provider)), len(provider.files)) == (None, 1, 2)
    assert session.outstanding.settled[0].step == "harvested"
    provider.refuses.clear()
    later = session_of(session.run.job, run_id=LATER, base_url=provider.base_url)
    later.poll()
    assert provider.files == {}
    assert [record.files_deleted for record in later.outstanding.folder.read_all()] == [True]


def test_what_is_gone_already_is_no_error(provider, sent, caplog):
    """A person, or the provider, was faster."""
    session = sent()
    session.poll()
    (name,) = session.ready()
    provider.download = lambda raw, _: (provider.files.clear(), raw)[1]
    session.harvest(name)
    assert "can't be deleted" not in caplog.text
    assert [record.files_deleted for record in session.outstanding.settled] == [True]


def test_the_file_of_a_batch_that_was_refused_is_deleted(provider, sent):
    """It was uploaded, and no batch was made of it."""
    provider.refuses["POST", "/batches"] = (403, "no batches for you")
    session = sent()
    assert "no batches for you" in session.run.stop_signal.stopped.message
    assert provider.files == {}
    assert [record.files_deleted for record in session.outstanding.settled] == [True]


def test_the_file_of_a_batch_that_was_never_made_is_deleted_once_that_is_sure(provider, sent, monkeypatch):
    """Not while the batch may still be made: it is looked for by what it carries, and its file is its input."""
    provider.refuses["POST", "/batches"] = (500, "try later")
    session = sent()
    session.poll()
    assert (len(provider.files), deletions(provider)) == (1, [])
    monkeypatch.setattr("labelmill.batch.outstanding.UNDER_WAY_SECONDS", 0.0)
    session.poll()
    assert [record.step for record in session.outstanding.settled] == ["dropped"]
    assert provider.files == {}


def test_the_files_of_an_invalid_batch_are_deleted(provider, sent):
    """Providers keep them for a month, in a quota of its own."""
    provider.show = lambda batch, _: (
        batch
        | {
            "status": "failed",
            "request_counts": None,
            "errors": {"data": [{"message": "line 1 is no request"}]},
        }
    )
    session = sent()
    session.poll()
    assert "line 1 is no request" in session.run.stop_signal.stopped.message
    assert provider.files == {}


def test_the_files_of_a_run_that_died_after_its_harvest_are_deleted_by_the_next(
    provider, sent, session_of, monkeypatch
):
    """Between the ledger and the note; and what an earlier version left, of which nobody said so, stays."""
    session = sent()
    session.poll()

    def die(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(session.outstanding), "settle", die)
        with pytest.raises(KeyboardInterrupt):
            session.harvest(session.ready()[0])
    assert len(provider.files) == 2
    later = session_of(session.run.job, run_id=LATER, base_url=provider.base_url)
    assert later.outstanding.out == {}
    later.poll()
    assert provider.files == {}


def test_files_of_old_versions_and_of_long_ago_are_left(provider, session_of, job_of, record_of):
    """An older version's record says nothing of deletion, and after a month the provider has done it."""
    session = session_of(job_of(), base_url=provider.base_url)
    folder = session.outstanding.folder
    facts = {"step": "harvested", "job": job_of()}
    folder.write(record_of(name="old-000", files_deleted=None, **facts))
    folder.write(record_of(name="long-ago-000", files_deleted=False, **facts))
    session.poll()
    assert provider.asked == []


@pytest.mark.parametrize("any_provider", ["anthropic", "google"])
def test_other_providers_batches_are_deleted_with_all_they_hold(
    practice, any_client, write_requests, body_of
):
    """With its requests and its results; what is gone already is no error."""
    practice.configure(PracticeSettings())
    client = any_client
    batch_id = client.send(write_requests({"v1:0": body_of("a match")}), {"x": "y"})
    while not client.state(batch_id).status.is_final:
        pass
    assert len(list(client.answers(batch_id, ["v1:0"], {"x": "y"}))) == 1
    client.delete(batch_id, None)
    client.delete(batch_id, None)
    with pytest.raises(Exception, match="No batch found"):
        client.state(batch_id)
