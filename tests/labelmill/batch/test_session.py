"""The desk: a run's batches from the plan to the ledger, with the real client over HTTP."""

import time
from decimal import Decimal

import pytest

from labelmill.batch.sending import Unsent
from labelmill.providers.protocol import BatchStatus
from practice import FaultKind, PracticeSettings

TEXTS = ["match 1", "match 2", "bank 3", "bank 4"]
OTHER_TASK = "practice-ffffffffffffffff"


@pytest.fixture
def plan(write_group):
    """Build a plan of texts."""
    return lambda texts=TEXTS, **kind: Unsent((write_group(list(texts), **kind),))


def looked(desk, until):
    """Look until something is so."""
    for _ in range(200):
        desk.look()
        if until():
            return
        time.sleep(0.02)
    raise AssertionError(desk)


def sent(desk, unsent):
    """Send a plan as far as there is room."""
    desk.planned(unsent)
    while desk.unsent_texts() and desk.has_room and desk.notes.means.gate.stopped is None:
        desk.send()


def harvested(desk):
    """Look until something can be harvested, and harvest all that can."""
    looked(desk, desk.ready)
    return [desk.harvest(name) for name in desk.ready()]


def rows_of(desk, task_key=None):
    """What is in a task's ledger."""
    means = desk.notes.means
    return means.ledger_of(task_key or means.task_key).scan().collect()


def test_a_plan_becomes_labels_in_the_ledger(desk_of, job_of, plan, practice):
    """At the batch lane's price, under the harvesting run, one part for a batch; the money that was not spent is free."""
    desk = desk_of(job_of(), limit_usd="0.1")
    assert desk.unsent_texts() is None
    sent(desk, plan())
    assert (desk.unsent_texts(), desk.ready()) == (0, ())
    (result,) = harvested(desk)
    rows = rows_of(desk)
    assert sorted(rows["label"]) == ["money", "money", "sport", "sport"]
    assert rows["lane"].unique().to_list() == ["batch"]
    assert rows["run_id"].unique().to_list() == [desk.notes.means.run_id]
    assert (rows["live_cost_usd"] == 2 * rows["cost_usd"]).all()
    paid = practice.totals()
    cost = paid["batch_input_tokens"] * Decimal("0.075") + paid["batch_output_tokens"] * Decimal("0.3")
    assert rows["cost_usd"].sum() == cost / 1_000_000 > 0
    assert desk.notes.means.budget.left_usd == Decimal("0.1") - rows["cost_usd"].sum()
    assert len(result.outcomes) == 4
    (record,) = desk.notes.settled
    assert (record.step, record.harvest_run_id) == ("harvested", desk.notes.means.run_id)
    part = desk.notes.means.ledger_of(record.task_key).folder / record.harvest_part
    assert part.exists()
    assert desk.notes.out == {}
    # Some batches have ended since the plan: what they left undone is planned anew.
    assert desk.unsent_texts() is None


def test_the_next_run_harvests_what_this_one_has_left(desk_of, job_of, plan):
    """A run may end, or die, while its batch is at work: nothing is sent or paid twice."""
    job = job_of()
    sent(desk_of(job), plan())
    later = desk_of(job, run_id="20260302-120000-cd34")
    assert len(later.notes.mine) == 1
    harvested(later)
    assert rows_of(later)["run_id"].unique().to_list() == ["20260302-120000-cd34"]
    assert rows_of(later).height == 4
    assert not desk_of(job).notes.out


def test_a_harvest_that_died_before_its_part_was_written_is_done_again(desk_of, job_of, plan, monkeypatch):
    """And one that died right after is not."""
    job = job_of()
    desk = desk_of(job)
    sent(desk, plan())
    looked(desk, desk.ready)
    (name,) = desk.ready()
    with monkeypatch.context() as patch:
        patch.setattr("labelmill.batch.session.frame_of", _die)
        with pytest.raises(KeyboardInterrupt):
            desk.harvest(name)
    again = desk_of(job)
    assert again.ready() == (name,)
    with monkeypatch.context() as patch:
        patch.setattr(type(again.notes), "settle", _die)
        with pytest.raises(KeyboardInterrupt):
            again.harvest(name)
    last = desk_of(job)
    assert not last.notes.out
    assert rows_of(last).height == 4


def _die(*_, **__):
    raise KeyboardInterrupt


def test_a_full_disk_keeps_the_answers_at_the_provider(desk_of, job_of, plan, monkeypatch):
    """The harvest can be done by the next run."""
    job = job_of()
    desk = desk_of(job)
    sent(desk, plan())
    looked(desk, desk.ready)
    (name,) = desk.ready()

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("labelmill.batch.session.written_whole", full)
        with pytest.raises(OSError, match="No space"):
            desk.harvest(name)
    assert rows_of(desk).is_empty()
    assert len(harvested(desk_of(job))[0].outcomes) == 4


def test_answers_that_can_not_be_fetched_yet_are_left_until_the_next_look(
    desk_of, job_of, plan, practice, monkeypatch
):
    """The batch is out and not ready for a while, rather than asked for over and over."""
    monkeypatch.setattr("labelmill.providers.openai._RETRIES", 0)
    desk = desk_of(job_of())
    sent(desk, plan())
    looked(desk, desk.ready)
    (name,) = desk.ready()
    practice.configure(PracticeSettings(batch_errors={"content": "server_error"}, batch_error_calls=1))
    assert desk.harvest(name).outcomes == ()
    assert desk.ready() == ()
    assert list(desk.notes.out) == [name]
    assert rows_of(desk).is_empty()
    desk.look()
    assert desk.ready() == (name,)
    assert len(desk.harvest(name).outcomes) == 4
    assert rows_of(desk).height == 4


def test_an_expired_batch_keeps_what_was_finished(desk_of, job_of, plan, practice):
    """The rest was not asked, and is not in the ledger; no attempt is counted."""
    practice.configure(PracticeSettings(batch_outcome="expired", batch_finished_fraction=0.5))
    desk = desk_of(job_of(), limit_usd="0.1")
    sent(desk, plan())
    (result,) = harvested(desk)
    assert len(result.outcomes) == rows_of(desk).height == 2
    assert rows_of(desk)["label"].null_count() == 0
    assert desk.notes.settled[0].status is BatchStatus.EXPIRED
    assert desk.notes.means.budget.left_usd == Decimal("0.1") - rows_of(desk)["cost_usd"].sum()


def test_what_may_have_been_paid_is_kept_from_the_budget(desk_of, job_of, plan, practice):
    """Rows that a completed batch says nothing of count at their worst case."""
    practice.configure(PracticeSettings(batch_missing_fraction=1.0))
    desk = desk_of(job_of(run={"patience_minutes": 0}), limit_usd="0.1")
    sent(desk, plan())
    (record,) = desk.notes.out.values()
    harvested(desk)
    assert rows_of(desk)["error"].to_list() == ["bad_response"] * 4
    unseen = rows_of(desk)["unseen_usd"].sum()
    assert unseen == pytest.approx(record.worst_case_usd)
    assert desk.notes.means.budget.left_usd == pytest.approx(Decimal("0.1") - unseen)


def test_a_used_up_quota_stops_the_run_and_keeps_the_answers(desk_of, job_of, plan, practice):
    """In the provider's words; what was answered before is kept, the rest is pending, and cost nothing."""
    practice.configure(PracticeSettings(insufficient_quota_after=1))
    desk = desk_of(job_of())
    sent(desk, plan())
    harvested(desk)
    rows = rows_of(desk)
    assert sorted(rows["error"].fill_null("-")) == ["-", "denied", "denied", "denied"]
    refused = rows.filter(error="denied")
    assert (refused["final"].any(), refused["ended"].any(), refused["cost_usd"].sum()) == (False, False, 0)
    assert desk.notes.means.gate.stopped.reason == "failed"
    assert "exceeded your current quota" in desk.notes.means.gate.stopped.message


def test_batches_of_another_task_are_stopped_and_harvested_into_its_own_ledger(
    desk_of, job_of, plan, practice
):
    """Nobody waits for an earlier prompt's labels; what is finished of them was paid, and is kept."""
    practice.configure(PracticeSettings(batch_seconds=600, batch_finished_fraction=0.5))
    job = job_of()
    sent(desk_of(job, task_key=OTHER_TASK), plan())
    desk = desk_of(job, limit_usd="0.1")
    assert (desk.notes.mine, len(desk.notes.out)) == ([], 1)
    desk.look()
    assert all(record.cancel_asked for record in desk.notes.out.values())
    harvested(desk)
    assert rows_of(desk, OTHER_TASK).height == 2
    assert rows_of(desk).is_empty()
    assert desk.notes.means.gate.stopped is None


def test_cancelling_stops_the_batches_that_are_out_and_those_found_later(desk_of, job_of, plan, practice):
    """One that nobody had noted is stopped once it is found."""
    settings = {"batch_seconds": 600, "batch_finished_fraction": 0.25}
    practice.configure(PracticeSettings(**settings))
    desk = desk_of(job_of())
    sent(desk, plan(TEXTS[:2]))
    desk.look()
    practice.configure(PracticeSettings(**settings, batch_errors={"create": "connection_reset"}))
    sent(desk, plan(TEXTS[2:]))
    desk.cancel_mine()
    assert [record.cancel_asked for record in desk.notes.out.values()] == [True, False]
    looked(desk, lambda: len(desk.ready()) == 2)
    assert all(record.status is BatchStatus.CANCELLED for record in desk.notes.out.values())


def test_batches_fit_the_limits_of_the_job(desk_of, job_of, plan, made):
    """So many requests in one, and as many batches as it takes."""
    desk = desk_of(job_of(batch={"max_requests": 3}))
    sent(desk, plan([f"match {number}" for number in range(8)]))
    assert sorted(record.texts for record in desk.notes.out.values()) == [2, 3, 3]
    assert len(made()) == 3


def test_more_than_the_providers_queue_takes_waits_its_turn(desk_of, job_of, plan, made):
    """With `max_queue_tokens` no batch goes out that would not fit beside those that are out; then the next one does."""
    desk = desk_of(job_of())
    sent(desk, plan())
    tokens = desk.notes.mine[0].estimated_tokens
    desk = desk_of(
        job_of(batch={"max_queue_tokens": tokens}, output={"path": str(desk.notes.means.folder.path / "o")})
    )
    sent(desk, plan([*TEXTS, "match 5", "match 6"]))
    assert [record.texts for record in desk.notes.mine] == [4]
    assert (desk.unsent_texts(), desk.has_room) == (2, False)
    assert desk.notes.means.gate.stopped is None
    harvested(desk)
    assert desk.has_room
    desk.send()
    assert [record.texts for record in desk.notes.mine] == [2]
    assert len(made()) == 3


def test_a_full_queue_at_the_provider_makes_smaller_batches_later(desk_of, job_of, plan, practice):
    """Where the job says nothing of it: after `token_limit_exceeded` half as many tokens, and not before a pause."""
    practice.configure(PracticeSettings(batch_queue_tokens=1))
    desk = desk_of(job_of(run={"poll_seconds": 50}))
    sent(desk, plan())
    (first,) = desk.notes.mine
    looked(desk, lambda: desk.notes.settled)
    assert desk.notes.settled[0].step == "dropped"
    assert "token limit" in desk.notes.settled[0].message
    assert desk.notes.means.gate.stopped is None
    assert desk.queue_tokens == first.estimated_tokens // 2
    assert 40 < desk.paused_until - time.monotonic() <= 50
    assert desk.unsent_texts() is None
    practice.configure(PracticeSettings())
    desk.planned(plan())
    desk.send()
    assert [record.texts for record in desk.notes.mine] == [2]


@pytest.mark.parametrize("asked", [None, 10_000])
def test_a_queue_that_others_fill_does_not_end_the_run(desk_of, job_of, plan, practice, asked):
    """However often it is full: once not even one text fits the guess, the job's own limit holds again after a pause."""
    practice.configure(PracticeSettings(batch_queue_tokens=1))
    desk = desk_of(job_of(batch={"max_queue_tokens": asked}, run={"poll_seconds": 50}))
    for _ in range(5):
        desk.planned(plan())
        desk.send()
        if not desk.notes.out:
            break
        looked(desk, lambda: not desk.notes.out)
    assert not desk.notes.out
    assert desk.notes.means.gate.stopped is None
    assert (desk.queue_tokens, desk.has_room, desk.unsent_texts()) == (asked, True, 4)
    assert desk.paused_until > time.monotonic()


def test_a_text_that_no_queue_can_hold_ends_the_run_with_a_sentence(desk_of, job_of, plan, made):
    """It names the setting."""
    desk = desk_of(job_of(batch={"max_queue_tokens": 10}))
    sent(desk, plan())
    stopped = desk.notes.means.gate.stopped
    assert (stopped.reason, stopped.message) == (
        "failed",
        "a single text is larger than batch.max_queue_tokens allows",
    )
    assert made() == []


def test_a_text_that_no_batch_can_hold_is_given_up_and_the_next_one_tried(desk_of, job_of, plan, made):
    """It is in the ledger as too long, for good and at no cost; nothing is sent of it."""
    desk = desk_of(job_of(batch={"max_bytes": 10}))
    desk.planned(plan())
    planned = desk.unsent_texts()
    assert [desk.send() for _ in range(planned)] == [1] * planned
    assert (desk.unsent_texts(), desk.notes.means.gate.stopped) == (0, None)
    rows = desk.notes.means.ledger_of(desk.notes.means.task_key).scan().collect()
    assert rows["error"].to_list() == ["too_long"] * planned
    assert (rows["final"].all(), rows["requests"].sum(), rows["cost_usd"].sum()) == (True, 0, 0)
    assert made() == []


def test_a_batch_the_provider_takes_for_invalid_ends_the_run(desk_of, job_of, plan, practice):
    """In its words: the next one would be no better."""
    practice.configure(PracticeSettings(known_models=["another"]))
    desk = desk_of(job_of())
    sent(desk, plan())
    looked(desk, lambda: desk.notes.settled)
    stopped = desk.notes.means.gate.stopped
    assert stopped.reason == "failed"
    assert "is not supported by the Batch API" in stopped.message


def test_a_budget_is_never_passed_by_what_is_out(desk_of, job_of, plan):
    """A batch holds as many texts as there is money for at the worst; then it is waited for, and the rest goes out."""
    texts = [f"match {number}" for number in range(20)]
    desk = desk_of(job_of(), limit_usd="0.0004")
    sent(desk, plan(texts))
    out = sum(record.worst_case_usd for record in desk.notes.mine)
    assert 0 < out <= Decimal("0.0004")
    assert desk.notes.means.budget.left_usd == Decimal("0.0004") - out
    first = sum(record.texts for record in desk.notes.mine)
    assert 0 < first < 20
    assert (desk.has_room, desk.notes.means.gate.stopped) == (False, None)
    harvested(desk)
    assert desk.has_room
    while desk.unsent_texts() and desk.notes.means.gate.stopped is None:
        desk.send()
        if desk.notes.mine:
            harvested(desk)
    spent = rows_of(desk)["cost_usd"].sum()
    assert spent <= Decimal("0.0004")
    assert rows_of(desk).height > first


def test_a_budget_without_room_for_one_text_ends_the_run_as_reached(desk_of, job_of, plan, made):
    """The sentence names the limit, and nothing goes out."""
    desk = desk_of(job_of(), limit_usd="0.1")
    desk.notes.means.budget.hold(Decimal("0.099999"))
    sent(desk, plan())
    stopped = desk.notes.means.gate.stopped
    assert stopped.reason == "budget_reached"
    assert stopped.message.startswith("max_cost_usd = 0.1 would be passed by one more text")
    assert "$0.099999 spent" in stopped.message
    assert made() == []


def test_a_text_that_is_dearer_than_the_budget_fails_alone(desk_of, job_of, plan, made):
    """The others are labeled; with another budget it is asked again, so it has not failed for good."""
    desk = desk_of(job_of(), limit_usd="0.001")
    desk.planned(plan(["match " * 20_000, *TEXTS]))
    assert desk.send() == 1
    assert desk.send() == 0
    harvested(desk)
    rows = rows_of(desk)
    assert rows["label"].null_count() == 1
    (dear,) = rows.filter(rows["label"].is_null()).to_dicts()
    assert (dear["error"], dear["final"], dear["ended"], dear["requests"]) == ("over_budget", False, True, 0)
    assert "more than all of max_cost_usd = 0.001" in dear["message"]
    assert desk.notes.means.gate.stopped is None
    assert len(made()) == 1


def test_a_budget_that_no_text_fits_into_is_reached(desk_of, job_of, plan, made):
    """Each is left out by itself; where nothing else was asked, that is what the run has to say."""
    desk = desk_of(job_of(), limit_usd="0.000001")
    sent(desk, plan())
    assert desk.notes.means.gate.stopped.reason == "budget_reached"
    assert "this text alone may cost" in desk.notes.means.gate.stopped.message
    assert (made(), rows_of(desk)["final"].any()) == ([], False)


def test_a_provider_that_makes_no_batch_is_given_up_after_max_attempts(
    desk_of, job_of, plan, practice, monkeypatch
):
    """Each time it is looked for first; and a pause comes before the next one."""
    monkeypatch.setattr("labelmill.batch.polling.UNDER_WAY_SECONDS", 0.0)
    monkeypatch.setattr("labelmill.providers.openai._RETRIES", 0)
    desk = desk_of(job_of(run={"max_attempts": 2}))
    for number in range(2):
        practice.configure(PracticeSettings(batch_errors={"upload": "server_error"}, batch_error_calls=99))
        desk.planned(plan())
        desk.send()
        assert desk.paused_until > time.monotonic()
        assert desk.notes.means.gate.stopped is None
        looked(desk, lambda number=number: len(desk.notes.settled) == number + 1)
        assert desk.unsent_texts() is None
    stopped = desk.notes.means.gate.stopped
    assert stopped.reason == "failed"
    assert "has made none of 2 batches: 500" in stopped.message


def test_looks_are_counted_until_something_changes(desk_of, job_of, plan, practice):
    """So that they become rarer; and start anew with what is new."""
    practice.configure(PracticeSettings(batch_seconds=600))
    desk = desk_of(job_of())
    sent(desk, plan())
    desk.look()
    assert desk.looks == 0
    desk.look()
    desk.look()
    assert desk.looks == 2
    desk.cancel_mine()
    assert desk.looks == 0


def test_corrections_are_answered_under_the_schema(desk_of, job_of, plan, practice):
    """A text whose answer was no label is asked again with what was wrong said, and its answer read as it was asked."""
    practice.configure(PracticeSettings(faults={FaultKind.EMPTY: 1.0}))
    desk = desk_of(job_of())
    sent(desk, plan(TEXTS[:1]))
    harvested(desk)
    tries = rows_of(desk)
    assert (tries["error"].to_list(), tries["final"].to_list()) == (["empty_answer"], [False])
    sent(desk, plan(TEXTS[:1], problems=["empty_answer"], under_schema=True))
    (record,) = desk.notes.mine
    assert (record.is_correction, record.under_schema) == (True, True)
    (result,) = harvested(desk)
    assert [(outcome.last.label, outcome.final) for outcome in result.outcomes] == [("sport", True)]
    assert rows_of(desk).height == 2
