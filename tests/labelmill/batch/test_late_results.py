"""Results that come late, broken or mixed up: nobody pays twice, and no row is lost."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from batch_server import BatchServer, answered, refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers.base import serving

from labelmill.batch.groups import Unsent
from labelmill.providers.protocol import BatchStatus

TEXTS = [f"match {number}" for number in range(5)]
LIMIT = Decimal(1)


@pytest.fixture
def provider():
    """Start a `BatchServer`."""
    with serving(BatchServer()) as server:
        yield server


@pytest.fixture(params=["openai", "langasync"])
def session(request, provider, session_of, job_of, monkeypatch):
    """The batch lane of a run at the server, by each adapter, that has sent five texts."""
    if request.param == "langasync":
        pytest.importorskip("langasync")
    monkeypatch.setattr("labelmill.providers.openai._RETRIES", 0)
    job = job_of(batch={"adapter": request.param})
    return session_of(job, base_url=provider.base_url, limit_usd=str(LIMIT))


@pytest.fixture
def sent(session, write_group):
    """The batch lane after its five texts went out as a batch."""
    session.planned(Unsent((write_group(TEXTS),)))
    session.send()
    return session


def harvested(session, polls=12):
    """Poll and harvest until nothing is out; the results that are not empty."""
    results = []
    for _ in range(polls):
        session.poll()
        results += [session.harvest(name) for name in session.ready()]
        if not session.outstanding.out:
            break
    return [result for result in results if result.outcomes]


def rows_of(session):
    """What is in the ledger."""
    return session.outstanding.ledger_of(session.run.task_key).scan().collect()


def assert_all_labeled_once(session, provider):
    """Each text has one row with its label, was billed once, and what is committed is what is recorded."""
    rows = rows_of(session)
    assert rows["label"].to_list() == ["sport"] * len(TEXTS)
    assert rows["row_key"].n_unique() == len(TEXTS)
    assert set(provider.billed.values()) == {1}
    assert session.run.budget.left_usd == LIMIT - rows["cost_usd"].sum()
    assert session.run.stop_signal.stopped is None


def without(batch, *fields):
    """A batch as it is told of while some of its fields are not there yet."""
    return batch | dict.fromkeys(fields)


LATE = {
    "no file": lambda batch: without(batch, "output_file_id"),
    "no file and no counts": lambda batch: without(batch, "output_file_id", "request_counts"),
    "no file and zeros": lambda batch: (
        without(batch, "output_file_id") | {"request_counts": {"total": 0, "completed": 0, "failed": 0}}
    ),
    "a name without a file": lambda batch: batch | {"output_file_id": "file-soon"},
    "an empty name": lambda batch: batch | {"output_file_id": ""},
    "another status": lambda batch: batch | {"status": "brewing"},
    "no status": lambda batch: without(batch, "status"),
    "not final": lambda batch: batch | {"status": "finalizing", "output_file_id": None},
}


@pytest.mark.slow
@pytest.mark.parametrize("shown", LATE)
def test_a_file_that_comes_late_is_waited_for(provider, sent, shown):
    """The batch is completed, and its answers are not there on the first polls: no second batch is made."""
    provider.show = lambda batch, polls: LATE[shown](batch) if polls <= 5 else batch
    harvested(sent)
    assert_all_labeled_once(sent, provider)
    assert len(provider.batches) == 1


DOWNLOADS = {
    "empty": lambda _: b"",
    "without the last line": lambda raw: b"".join(raw.splitlines(keepends=True)[:-1]),
    "half a line": lambda raw: raw[: len(raw) - 20],
    "one line": lambda raw: raw.splitlines()[0],
    "a page": lambda _: b"<html>busy</html>",
    "an object": lambda _: b"{}",
    "not UTF-8": lambda raw: b"\xff\xfe" + raw.replace(b"\n", b"\xff"),
    "another batch's": lambda raw: raw.replace(b'"v1:', b'"v1:0'),
}


@pytest.mark.slow
@pytest.mark.parametrize("read", DOWNLOADS)
def test_a_download_that_is_not_whole_is_done_again(provider, sent, read):
    """Whatever of the provider's own count is not in it: it is looked at again, and nothing is asked anew."""
    provider.download = lambda raw, times: DOWNLOADS[read](raw) if times <= 3 else raw
    harvested(sent)
    assert_all_labeled_once(sent, provider)
    assert len(provider.batches) == 1


def test_a_download_that_breaks_off_at_any_byte_is_done_again(provider, session, write_group):
    """Less than was announced has come: at the first byte, within a line, at its end, before the last byte."""
    session.planned(Unsent((write_group(TEXTS),)))
    session.send()
    (raw,) = (provider.files[batch["output_file_id"]] for batch in provider.batches.values())
    line = len(raw.splitlines()[0])
    provider.cut_at = [0, 1, line // 2, line, line + 1, len(raw) // 2, len(raw) - 1]
    harvested(session, polls=len(provider.cut_at) + 1)
    assert_all_labeled_once(session, provider)
    assert len(provider.batches) == 1


def test_lines_that_stand_there_twice_or_belong_to_others_change_nothing(provider, sent):
    """Each row is told once; another batch's rows are none of ours."""

    def mixed(raw, _):
        lines = raw.splitlines()
        others = [line.replace(b'"v1:', b'"v1:0') for line in lines]
        places = [
            json.dumps({**json.loads(line), "custom_id": str(n + 7)}).encode() for n, line in enumerate(lines)
        ]
        return b"\n".join([*others, *lines, *lines, *places, *others])

    provider.download = mixed
    harvested(sent)
    assert_all_labeled_once(sent, provider)


def test_an_error_file_that_comes_late_is_waited_for(provider, session, write_group):
    """Its rows cost nothing, and are not taken for lost ones that may have been paid."""
    provider.result_of = lambda text, _: refused(500, "oops") if text in TEXTS[:2] else answered()
    provider.show = lambda batch, polls: without(batch, "error_file_id") if polls <= 5 else batch
    session.planned(Unsent((write_group(TEXTS),)))
    session.send()
    (result,) = harvested(session)
    rows = rows_of(session)
    assert sorted(rows["error"].drop_nulls()) == ["provider_error"] * 2
    assert (rows["unseen"].sum(), len(result.outcomes), len(provider.batches)) == (0, 5, 1)


def test_a_batch_in_which_all_rows_failed_has_no_answers_and_is_not_waited_for(
    provider, session, write_group
):
    """Its output file is null for good: its error file is whole, and says all."""
    provider.result_of = lambda *_: refused(500, "oops")
    session.planned(Unsent((write_group(TEXTS),)))
    session.send()
    (result,) = harvested(session, polls=1)
    assert {one.last.failure for one in result.outcomes} == {"provider_error"}


def test_failed_rows_that_are_counted_as_completed_are_not_waited_for(provider, session, write_group):
    """Some providers' `failed` is always 0: there is a word on every row all the same."""
    provider.result_of = lambda text, _: refused(500, "oops") if text in TEXTS[:2] else answered()
    provider.show = lambda batch, _: batch | {"request_counts": {"total": 5, "completed": 5, "failed": 0}}
    session.planned(Unsent((write_group(TEXTS),)))
    session.send()
    (result,) = harvested(session, polls=1)
    assert sum(one.unseen for one in result.outcomes) == 0


@pytest.mark.parametrize("answers", [0, 3])
def test_what_never_comes_is_taken_for_lost_once_patience_is_over(provider, sent, answers):
    """Counted as unseen at its worst case, so that nothing is recorded that was not set aside; until then nothing is."""
    provider.download = lambda raw, _: b"".join(raw.splitlines(keepends=True)[:answers])
    assert harvested(sent, polls=3) == []
    (record,) = sent.outstanding.out.values()
    assert (record.step, record.answers_seen) == ("sent", answers)
    assert timedelta(0) <= datetime.now(UTC) - record.unready_since_utc < timedelta(minutes=1)
    # As if the patience of ten minutes had passed; a part of it is enough for a file that doesn't grow.
    ago = timedelta(minutes=1 if answers else 11)
    sent.outstanding.update(record, unready_since_utc=datetime.now(UTC) - ago)
    (result,) = harvested(sent, polls=1)
    rows = rows_of(sent)
    assert (rows["label"].drop_nulls().len(), rows["unseen"].sum()) == (answers, 5 - answers)
    assert set(rows.filter(rows["label"].is_null())["error"]) == {"bad_response"}
    spent = rows["cost_usd"].sum() + rows["unseen_usd"].sum()
    assert sent.outstanding.run.budget.left_usd == pytest.approx(LIMIT - spent)
    assert len(result.outcomes) == 5


def test_a_file_that_grows_is_waited_for_anew(provider, sent):
    """Each answer that comes is a sign that more may come, however long the first has been there."""
    provider.download = lambda raw, times: b"".join(raw.splitlines(keepends=True)[:times])
    for seen in range(1, 5):
        assert harvested(sent, polls=1) == []
        (record,) = sent.outstanding.out.values()
        assert record.answers_seen == seen
        sent.outstanding.update(record, unready_since_utc=datetime.now(UTC) - timedelta(hours=1))
    harvested(sent, polls=1)
    assert_all_labeled_once(sent, provider)


def test_two_batches_that_lose_everything_are_enough(provider, session, write_group, job_of):
    """The run stops before a third one is paid for."""
    provider.result_of = lambda *_: None
    session.run.__dict__["job"] = job_of(
        run={"patience_minutes": 0}, batch={"adapter": session.run.job.batch.adapter}
    )
    for number in range(2):
        session.planned(Unsent((write_group(TEXTS, name=f"group{number}.parquet"),)))
        session.send()
        assert session.run.stop_signal.stopped is None
        harvested(session)
    assert "two batches in a row" in session.run.stop_signal.stopped.message
    assert rows_of(session)["unseen"].sum() == 10


def test_a_failed_batch_that_has_answers_is_harvested(provider, sent):
    """Some providers call a batch failed that stopped in the middle: what it had finished was paid."""
    provider.show = lambda batch, _: (
        batch
        | {
            "status": "failed",
            "request_counts": {"total": 5, "completed": 2, "failed": 0},
        }
    )
    provider.download = lambda raw, _: b"".join(raw.splitlines(keepends=True)[:2])
    (result,) = harvested(sent)
    assert [one.last.label for one in result.outcomes] == ["sport"] * 2


@pytest.mark.parametrize("tokens", [1, 50, 1_000_000])
def test_what_is_committed_is_never_less_than_what_is_recorded(
    provider, session, write_group, monkeypatch, tokens
):
    """Also where answers come to more than their worst case: the budget knows of it before the ledger does."""
    usage = {"prompt_tokens": tokens, "completion_tokens": 2, "total_tokens": tokens + 2}
    provider.result_of = lambda text, _: None if text == TEXTS[0] else answered(usage=usage)
    settle, seen = type(session.outstanding).settle, []

    def watched(outstanding, *arguments):
        rows = rows_of(session)
        recorded = rows["cost_usd"].sum() + rows["unseen_usd"].sum()
        assert LIMIT - outstanding.run.budget.left_usd >= recorded > 0
        settle(outstanding, *arguments)
        assert LIMIT - outstanding.run.budget.left_usd >= recorded
        seen.append(recorded)

    monkeypatch.setattr(type(session.outstanding), "settle", watched)
    provider.show = lambda batch, _: batch | {"request_counts": {"total": 5, "completed": 4}}
    session.planned(Unsent((write_group(TEXTS),)))
    session.send()
    harvested(session, polls=1)
    assert LIMIT - session.run.budget.left_usd == pytest.approx(seen[0])


odd = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
batches = st.fixed_dictionaries(
    {},
    optional={
        "id": odd,
        "status": st.sampled_from(["completed", "expired", "cancelled", "in_progress", "failed"]) | odd,
        "created_at": odd,
        "metadata": odd,
        "errors": odd | st.fixed_dictionaries({"data": odd | st.lists(odd, max_size=3)}),
        "output_file_id": odd,
        "error_file_id": odd,
        "request_counts": odd
        | st.dictionaries(st.sampled_from(["total", "completed", "failed"]), odd, max_size=3),
    },
)


@pytest.mark.slow
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shown=odd | batches)
def test_any_json_in_place_of_a_batch_is_no_traceback_and_pays_nothing_twice(
    provider, session_of, job_of, write_group, tmp_path_factory, shown
):
    """It can't be looked at now, or says nothing that could be harvested; once it is itself again, all is labeled."""
    provider.show, provider.billed = (lambda batch, _: batch), Counter()
    folder = tmp_path_factory.mktemp("out")
    session = session_of(
        job_of(output={"path": str(folder)}),
        base_url=provider.base_url,
        limit_usd=str(LIMIT),
        is_practice=False,
    )
    session.planned(Unsent((write_group(TEXTS),)))
    session.send()
    provider.show = lambda batch, _: {**batch, **shown} if isinstance(shown, dict) else shown
    held = session.run.budget.left_usd
    harvested(session, polls=2)
    if session.outstanding.out:
        assert session.run.budget.left_usd == held
        assert rows_of(session).is_empty()
        provider.show = lambda batch, _: batch
        harvested(session)
    rows = rows_of(session)
    assert rows["row_key"].n_unique() == rows.height
    spent = (rows["cost_usd"].sum() or 0) + (rows["unseen_usd"].sum() or 0)
    assert session.run.budget.left_usd == pytest.approx(LIMIT - spent)
    (record,) = session.outstanding.settled
    # Only what the provider itself calls unfinished, or invalid, is not labeled.
    if record.status is BatchStatus.COMPLETED:
        assert rows["label"].to_list() == ["sport"] * len(TEXTS)
