"""The session: a run's batches from the plan to the ledger, with the real client over HTTP."""

import time
from decimal import Decimal

import pytest

from labelmill.batch.groups import Unsent
from labelmill.providers.protocol import BatchStatus
from practice import FaultKind, PracticeSettings

TEXTS = ["match 1", "match 2", "bank 3", "bank 4"]
OTHER_TASK = "practice-ffffffffffffffff"


@pytest.fixture
def plan(write_group):
    """Build a plan of texts."""
    return lambda texts=TEXTS, **kind: Unsent((write_group(list(texts), **kind),))


def looked(session, until):
    """Poll until something is so."""
    for _ in range(200):
        session.poll()
        if until():
            return
        time.sleep(0.02)
    raise AssertionError(session)


def sent(session, unsent):
    """Send a plan as far as there is room."""
    session.planned(unsent)
    while session.unsent_texts() and session.has_room and session.run.stop_signal.stopped is None:
        session.send()


def harvested(session):
    """Poll until something can be harvested, and harvest all that can."""
    looked(session, session.ready)
    return [session.harvest(name) for name in session.ready()]


def rows_of(session, task_key=None):
    """What is in a task's ledger."""
    return session.outstanding.ledger_of(task_key or session.run.task_key).scan().collect()


def test_a_plan_becomes_labels_in_the_ledger(session_of, job_of, plan, practice):
    """At the batch lane's price, under the harvesting run, one part for a batch; the money that was not spent is free."""
    session = session_of(job_of(), limit_usd="0.1")
    assert session.unsent_texts() is None
    sent(session, plan())
    assert (session.unsent_texts(), session.ready()) == (0, ())
    (result,) = harvested(session)
    rows = rows_of(session)
    assert sorted(rows["label"]) == ["money", "money", "sport", "sport"]
    assert rows["lane"].unique().to_list() == ["batch"]
    assert rows["run_id"].unique().to_list() == [session.run.run_id]
    assert (rows["live_cost_usd"] == 2 * rows["cost_usd"]).all()
    paid = practice.totals()
    cost = paid["batch_input_tokens"] * Decimal("0.075") + paid["batch_output_tokens"] * Decimal("0.3")
    assert rows["cost_usd"].sum() == cost / 1_000_000 > 0
    assert session.run.budget.left_usd == Decimal("0.1") - rows["cost_usd"].sum()
    assert len(result.outcomes) == 4
    (record,) = session.outstanding.settled
    assert (record.step, record.harvest_run_id) == ("harvested", session.run.run_id)
    part = session.outstanding.ledger_of(record.task_key).folder / record.harvest_part
    assert part.exists()
    assert session.outstanding.out == {}
    # Some batches have ended since the plan: what they left undone is planned anew.
    assert session.unsent_texts() is None


def test_the_next_run_harvests_what_this_one_has_left(session_of, job_of, plan):
    """A run may end, or die, while its batch is at work: nothing is sent or paid twice."""
    job = job_of()
    sent(session_of(job), plan())
    later = session_of(job, run_id="20260302-120000-cd34")
    assert len(later.outstanding.mine) == 1
    harvested(later)
    assert rows_of(later)["run_id"].unique().to_list() == ["20260302-120000-cd34"]
    assert rows_of(later).height == 4
    assert not session_of(job).outstanding.out


def test_a_harvest_that_died_before_its_part_was_written_is_done_again(session_of, job_of, plan, monkeypatch):
    """And one that died right after is not."""
    job = job_of()
    session = session_of(job)
    sent(session, plan())
    looked(session, session.ready)
    (name,) = session.ready()
    with monkeypatch.context() as patch:
        patch.setattr("labelmill.batch.session.frame_of", _die)
        with pytest.raises(KeyboardInterrupt):
            session.harvest(name)
    again = session_of(job)
    assert again.ready() == (name,)
    with monkeypatch.context() as patch:
        patch.setattr(type(again.outstanding), "settle", _die)
        with pytest.raises(KeyboardInterrupt):
            again.harvest(name)
    last = session_of(job)
    assert not last.outstanding.out
    assert rows_of(last).height == 4


def _die(*_, **__):
    raise KeyboardInterrupt


def test_a_full_disk_keeps_the_answers_at_the_provider(session_of, job_of, plan, monkeypatch):
    """The harvest can be done by the next run."""
    job = job_of()
    session = session_of(job)
    sent(session, plan())
    looked(session, session.ready)
    (name,) = session.ready()

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("labelmill.batch.session.write_part", full)
        with pytest.raises(OSError, match="No space"):
            session.harvest(name)
    assert rows_of(session).is_empty()
    assert len(harvested(session_of(job))[0].outcomes) == 4


def test_answers_that_can_not_be_fetched_yet_are_left_until_the_next_poll(
    session_of, job_of, plan, practice, monkeypatch
):
    """The batch is out and not ready for a while, rather than asked for over and over."""
    monkeypatch.setattr("labelmill.providers.openai._RETRIES", 0)
    session = session_of(job_of())
    sent(session, plan())
    looked(session, session.ready)
    (name,) = session.ready()
    practice.configure(PracticeSettings(batch_errors={"content": "server_error"}, batch_error_calls=1))
    assert session.harvest(name).outcomes == ()
    assert session.ready() == ()
    assert list(session.outstanding.out) == [name]
    assert rows_of(session).is_empty()
    session.poll()
    assert session.ready() == (name,)
    assert len(session.harvest(name).outcomes) == 4
    assert rows_of(session).height == 4


def test_an_expired_batch_keeps_what_was_finished(session_of, job_of, plan, practice):
    """The rest was not asked, and is not in the ledger; no attempt is counted."""
    practice.configure(PracticeSettings(batch_outcome="expired", batch_finished_fraction=0.5))
    session = session_of(job_of(), limit_usd="0.1")
    sent(session, plan())
    (result,) = harvested(session)
    assert len(result.outcomes) == rows_of(session).height == 2
    assert rows_of(session)["label"].null_count() == 0
    assert session.outstanding.settled[0].status is BatchStatus.EXPIRED
    assert session.run.budget.left_usd == Decimal("0.1") - rows_of(session)["cost_usd"].sum()


def test_what_may_have_been_paid_is_kept_from_the_budget(session_of, job_of, plan, practice):
    """Rows that a completed batch says nothing of count at their worst case."""
    practice.configure(PracticeSettings(batch_missing_fraction=1.0))
    session = session_of(job_of(run={"patience_minutes": 0}), limit_usd="0.1")
    sent(session, plan())
    (record,) = session.outstanding.out.values()
    harvested(session)
    assert rows_of(session)["error"].to_list() == ["bad_response"] * 4
    unseen = rows_of(session)["unseen_usd"].sum()
    assert unseen == pytest.approx(record.worst_case_usd)
    assert session.run.budget.left_usd == pytest.approx(Decimal("0.1") - unseen)


def test_a_used_up_quota_stops_the_run_and_keeps_the_answers(session_of, job_of, plan, practice):
    """In the provider's words; what was answered before is kept, the rest is pending, and cost nothing."""
    practice.configure(PracticeSettings(insufficient_quota_after=1))
    session = session_of(job_of())
    sent(session, plan())
    harvested(session)
    rows = rows_of(session)
    assert sorted(rows["error"].fill_null("-")) == ["-", "denied", "denied", "denied"]
    refused = rows.filter(error="denied")
    assert (refused["final"].any(), refused["ended"].any(), refused["cost_usd"].sum()) == (False, False, 0)
    assert session.run.stop_signal.stopped.reason == "failed"
    assert "exceeded your current quota" in session.run.stop_signal.stopped.message


def test_batches_of_another_task_are_stopped_and_harvested_into_its_own_ledger(
    session_of, job_of, plan, practice
):
    """Nobody waits for an earlier prompt's labels; what is finished of them was paid, and is kept."""
    practice.configure(PracticeSettings(batch_seconds=600, batch_finished_fraction=0.5))
    job = job_of()
    sent(session_of(job, task_key=OTHER_TASK), plan())
    session = session_of(job, limit_usd="0.1")
    assert (session.outstanding.mine, len(session.outstanding.out)) == ([], 1)
    session.poll()
    assert all(record.cancel_asked for record in session.outstanding.out.values())
    harvested(session)
    assert rows_of(session, OTHER_TASK).height == 2
    assert rows_of(session).is_empty()
    assert session.run.stop_signal.stopped is None


def test_cancelling_stops_the_batches_that_are_out_and_those_found_later(session_of, job_of, plan, practice):
    """One that nobody had noted is stopped once it is found."""
    settings = {"batch_seconds": 600, "batch_finished_fraction": 0.25}
    practice.configure(PracticeSettings(**settings))
    session = session_of(job_of())
    sent(session, plan(TEXTS[:2]))
    session.poll()
    practice.configure(PracticeSettings(**settings, batch_errors={"create": "connection_reset"}))
    sent(session, plan(TEXTS[2:]))
    session.cancel_mine()
    assert [record.cancel_asked for record in session.outstanding.out.values()] == [True, False]
    looked(session, lambda: len(session.ready()) == 2)
    assert all(record.status is BatchStatus.CANCELLED for record in session.outstanding.out.values())


def test_batches_fit_the_limits_of_the_job(session_of, job_of, plan, made):
    """So many requests in one, and as many batches as it takes."""
    session = session_of(job_of(batch={"max_requests": 3}))
    sent(session, plan([f"match {number}" for number in range(8)]))
    assert sorted(record.texts for record in session.outstanding.out.values()) == [2, 3, 3]
    assert len(made()) == 3


def test_more_than_the_providers_queue_takes_waits_its_turn(session_of, job_of, plan, made):
    """With `max_queue_tokens` no batch goes out that would not fit beside those that are out; then the next one does."""
    session = session_of(job_of())
    sent(session, plan())
    tokens = session.outstanding.mine[0].estimated_tokens
    session = session_of(
        job_of(
            batch={"max_queue_tokens": tokens}, output={"path": str(session.outstanding.folder.path / "o")}
        )
    )
    sent(session, plan([*TEXTS, "match 5", "match 6"]))
    assert [record.texts for record in session.outstanding.mine] == [4]
    assert (session.unsent_texts(), session.has_room) == (2, False)
    assert session.run.stop_signal.stopped is None
    harvested(session)
    assert session.has_room
    session.send()
    assert [record.texts for record in session.outstanding.mine] == [2]
    assert len(made()) == 3


def test_a_full_queue_at_the_provider_makes_smaller_batches_later(session_of, job_of, plan, practice):
    """Where the job says nothing of it: after `token_limit_exceeded` half as many tokens, and not before a pause."""
    practice.configure(PracticeSettings(batch_queue_tokens=1))
    session = session_of(job_of(run={"poll_seconds": 50}))
    sent(session, plan())
    (first,) = session.outstanding.mine
    looked(session, lambda: session.outstanding.settled)
    assert session.outstanding.settled[0].step == "dropped"
    assert "token limit" in session.outstanding.settled[0].message
    assert session.run.stop_signal.stopped is None
    assert session.queue_tokens == first.estimated_tokens // 2
    assert 40 < session.paused_until - time.monotonic() <= 50
    assert session.unsent_texts() is None
    practice.configure(PracticeSettings())
    session.planned(plan())
    session.send()
    assert [record.texts for record in session.outstanding.mine] == [2]


@pytest.mark.parametrize("asked", [None, 10_000])
def test_a_queue_that_others_fill_does_not_end_the_run(session_of, job_of, plan, practice, asked):
    """However often it is full: once not even one text fits the guess, the job's own limit holds again after a pause."""
    practice.configure(PracticeSettings(batch_queue_tokens=1))
    session = session_of(job_of(batch={"max_queue_tokens": asked}, run={"poll_seconds": 50}))
    for _ in range(5):
        session.planned(plan())
        session.send()
        if not session.outstanding.out:
            break
        looked(session, lambda: not session.outstanding.out)
    assert not session.outstanding.out
    assert session.run.stop_signal.stopped is None
    assert (session.queue_tokens, session.has_room, session.unsent_texts()) == (asked, True, 4)
    assert session.paused_until > time.monotonic()


def test_a_text_that_no_queue_can_hold_ends_the_run_with_a_sentence(session_of, job_of, plan, made):
    """It names the setting."""
    session = session_of(job_of(batch={"max_queue_tokens": 10}))
    sent(session, plan())
    stopped = session.run.stop_signal.stopped
    assert (stopped.reason, stopped.message) == (
        "failed",
        "a single text is larger than batch.max_queue_tokens allows",
    )
    assert made() == []


def test_a_text_that_no_batch_can_hold_is_given_up_and_the_next_one_tried(session_of, job_of, plan, made):
    """It is in the ledger as too long, for good and at no cost; nothing is sent of it."""
    session = session_of(job_of(batch={"max_bytes": 10}))
    session.planned(plan())
    planned = session.unsent_texts()
    assert [session.send() for _ in range(planned)] == [1] * planned
    assert (session.unsent_texts(), session.run.stop_signal.stopped) == (0, None)
    rows = session.outstanding.ledger_of(session.run.task_key).scan().collect()
    assert rows["error"].to_list() == ["too_long"] * planned
    assert (rows["final"].all(), rows["requests"].sum(), rows["cost_usd"].sum()) == (True, 0, 0)
    assert made() == []


def test_a_batch_the_provider_takes_for_invalid_ends_the_run(session_of, job_of, plan, practice):
    """In its words: the next one would be no better."""
    practice.configure(PracticeSettings(known_models=["another"]))
    session = session_of(job_of())
    sent(session, plan())
    looked(session, lambda: session.outstanding.settled)
    stopped = session.run.stop_signal.stopped
    assert stopped.reason == "failed"
    assert "is not supported by the Batch API" in stopped.message


def test_a_budget_is_never_passed_by_what_is_out(session_of, job_of, plan):
    """A batch holds as many texts as there is money for at the worst; then it is waited for, and the rest goes out."""
    texts = [f"match {number}" for number in range(20)]
    session = session_of(job_of(), limit_usd="0.0004")
    sent(session, plan(texts))
    out = sum(record.worst_case_usd for record in session.outstanding.mine)
    assert 0 < out <= Decimal("0.0004")
    assert session.run.budget.left_usd == Decimal("0.0004") - out
    first = sum(record.texts for record in session.outstanding.mine)
    assert 0 < first < 20
    assert (session.has_room, session.run.stop_signal.stopped) == (False, None)
    harvested(session)
    assert session.has_room
    while session.unsent_texts() and session.run.stop_signal.stopped is None:
        session.send()
        if session.outstanding.mine:
            harvested(session)
    spent = rows_of(session)["cost_usd"].sum()
    assert spent <= Decimal("0.0004")
    assert rows_of(session).height > first


def test_a_budget_without_room_for_one_text_ends_the_run_as_reached(session_of, job_of, plan, made):
    """The sentence names the limit, and nothing goes out."""
    session = session_of(job_of(), limit_usd="0.1")
    session.run.budget.hold(Decimal("0.099999"))
    sent(session, plan())
    stopped = session.run.stop_signal.stopped
    assert stopped.reason == "budget_reached"
    assert stopped.message.startswith("max_cost_usd = 0.1 would be passed by one more text")
    assert "$0.099999 spent" in stopped.message
    assert made() == []


def test_a_text_that_is_dearer_than_the_budget_fails_alone(session_of, job_of, plan, made):
    """The others are labeled; with another budget it is asked again, so it has not failed for good."""
    session = session_of(job_of(), limit_usd="0.001")
    session.planned(plan(["match " * 20_000, *TEXTS]))
    assert session.send() == 1
    assert session.send() == 0
    harvested(session)
    rows = rows_of(session)
    assert rows["label"].null_count() == 1
    (dear,) = rows.filter(rows["label"].is_null()).to_dicts()
    assert (dear["error"], dear["final"], dear["ended"], dear["requests"]) == ("over_budget", False, True, 0)
    assert "more than all of max_cost_usd = 0.001" in dear["message"]
    assert session.run.stop_signal.stopped is None
    assert len(made()) == 1


def test_a_budget_that_no_text_fits_into_is_reached(session_of, job_of, plan, made):
    """Each is left out by itself; where nothing else was asked, that is what the run has to say."""
    session = session_of(job_of(), limit_usd="0.000001")
    sent(session, plan())
    assert session.run.stop_signal.stopped.reason == "budget_reached"
    assert "this text alone may cost" in session.run.stop_signal.stopped.message
    assert (made(), rows_of(session)["final"].any()) == ([], False)


def test_a_provider_that_makes_no_batch_is_given_up_after_max_attempts(
    session_of, job_of, plan, practice, monkeypatch
):
    """Each time it is looked for first; and a pause comes before the next one."""
    monkeypatch.setattr("labelmill.batch.outstanding.UNDER_WAY_SECONDS", 0.0)
    monkeypatch.setattr("labelmill.providers.openai._RETRIES", 0)
    session = session_of(job_of(run={"max_attempts": 2}))
    for number in range(2):
        practice.configure(PracticeSettings(batch_errors={"upload": "server_error"}, batch_error_calls=99))
        session.planned(plan())
        session.send()
        assert session.paused_until > time.monotonic()
        assert session.run.stop_signal.stopped is None
        looked(session, lambda number=number: len(session.outstanding.settled) == number + 1)
        assert session.unsent_texts() is None
    stopped = session.run.stop_signal.stopped
    assert stopped.reason == "failed"
    assert "has created none of 2 batches: 500" in stopped.message


def test_looks_are_counted_until_something_changes(session_of, job_of, plan, practice):
    """So that they become rarer; and start anew with what is new."""
    practice.configure(PracticeSettings(batch_seconds=600))
    session = session_of(job_of())
    sent(session, plan())
    session.poll()
    assert session.polls == 0
    session.poll()
    session.poll()
    assert session.polls == 2
    session.cancel_mine()
    assert session.polls == 0


def test_corrections_are_answered_under_the_schema(session_of, job_of, plan, practice):
    """A text whose answer was no label is asked again with what was wrong said, and its answer read as it was asked."""
    practice.configure(PracticeSettings(faults={FaultKind.EMPTY: 1.0}))
    session = session_of(job_of())
    sent(session, plan(TEXTS[:1]))
    harvested(session)
    tries = rows_of(session)
    assert (tries["error"].to_list(), tries["final"].to_list()) == (["empty_answer"], [False])
    sent(session, plan(TEXTS[:1], problems=["empty_answer"], under_schema=True))
    (record,) = session.outstanding.mine
    assert (record.is_correction, record.under_schema) == (True, True)
    (result,) = harvested(session)
    assert [(outcome.last.label, outcome.final) for outcome in result.outcomes] == [("sport", True)]
    assert rows_of(session).height == 2
