"""The batch lane, end to end, with a provider that speaks the Batch API on loopback."""

import json
import shutil
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from commands.costs import costs_of
from commands.run import EXIT_CODES, EXIT_USER, exit_code_of
from labelmill.batch import outstanding
from labelmill.batch.session import BatchSession
from labelmill.pipeline.label import label
from labelmill.providers.openai import OpenAIBatchClient
from labelmill.providers.protocol import BatchUnreachable
from practice import PracticeSettings

pytestmark = pytest.mark.slow

TEXTS = [f"the {word} of day {number}" for number in range(8) for word in ("match", "market", "team")]
BATCH = {"lane": "batch", "poll_seconds": 0.05, "max_failed_fraction": 1}
NO_WAIT = {"max_wait_minutes": 0}
LONG = PracticeSettings(batch_seconds=3600)
"""Batches that don't end by themselves within a test."""


@pytest.fixture
def run(practice):
    """Run the job against the session's practice provider, which remembers its batches; returns the record."""
    practice.configure(PracticeSettings())
    practice.reset()

    def run_there(job, settings=None):
        if settings is not None:
            practice.configure(settings)
        return label(job, practice.base_url)

    return run_there


@pytest.fixture
def after_harvest(monkeypatch):
    """Have something done once the first batch has been harvested, before anything else is."""

    def arrange(action):
        harvest, left = BatchSession.harvest, [action]

        def harvest_then(session, name):
            result = harvest(session, name)
            if left:
                left.pop()()
            return result

        monkeypatch.setattr(BatchSession, "harvest", harvest_then)

    return arrange


def labels_in(record):
    """The rows that a run has published."""
    return pl.read_parquet(f"{record.labeled_path}/**/*.parquet")


def billed_usd(totals):
    """What the provider bills: its batches at half of gpt-4o-mini's price, the rest at all of it."""
    assert totals["batch_cached_input_tokens"] == totals["cached_input_tokens"] == 0
    by_batch = (totals["batch_input_tokens"] + totals["batch_output_tokens"] * 4) * 0.075e-6
    return by_batch + (totals["input_tokens"] + totals["output_tokens"] * 4) * 0.15e-6


def assert_settled(practice, *records, is_clean=True):
    """Each text was paid once, the runs' bills are the provider's, and nothing is left of what was sent, here or there."""
    totals = practice.totals()
    assert totals["batch_texts_paid_twice"] == 0
    assert sum(record.cost_usd for record in records) == pytest.approx(billed_usd(totals), rel=1e-9)
    out = Path(records[-1].job.output.path)
    left = [json.loads(path.read_bytes()) for path in out.glob("batches/*/batch.json")]
    assert {each["step"] for each in left} <= {"harvested", "dropped"}
    made = [each for each in left if each["batch_id"] is not None]
    assert len({each["batch_id"] for each in made}) == len(made) == totals["batches"]
    assert not [path for path in out.glob("batches/*/*") if path.name != "batch.json"]
    assert records[-1].texts_out == 0
    assert (files_at(practice) == []) == is_clean


def files_at(practice):
    """The files that the provider keeps."""
    with urllib.request.urlopen(f"{practice.base_url}/files") as response:
        return json.load(response)["data"]


def test_a_batch_costs_half_and_labels_alike(run, practice, job_of, write_texts):
    """The same labels as live at half the cost, and what live would have cost to the last digit."""
    write_texts([*TEXTS, TEXTS[0]])
    live = run(job_of(output={"path": job_of().output.path + "-live"}))
    practice.reset()
    batch = run(job_of(run=BATCH))
    totals = practice.totals()
    assert (batch.status, totals["requests"]) == ("completed", 0)
    assert labels_in(batch).drop("label_run_id").equals(labels_in(live).drop("label_run_id"))
    assert batch.live_cost_usd == pytest.approx(live.cost_usd, rel=1e-12)
    assert batch.cost_usd == pytest.approx(live.cost_usd / 2, rel=1e-12)
    assert (batch.texts_by_batch, batch.texts_asked, live.texts_by_batch) == (len(TEXTS), len(TEXTS), 0)
    costs = pl.read_parquet(Path(batch.labeled_path).parent / "runs" / batch.run_id / "costs.parquet")
    assert costs.select("lane", "texts", "input_usd_per_mtok").rows() == [("batch", len(TEXTS), 0.075)]
    assert costs["cost_usd"].sum() == pytest.approx(batch.cost_usd, rel=1e-12)
    assert_settled(practice, batch)


@pytest.mark.parametrize("lanes", [("live", "batch"), ("batch", "live")])
def test_the_lanes_share_one_ledger(run, practice, job_of, write_texts, lanes):
    """What one lane has labeled the other doesn't ask: a second run costs nothing."""
    write_texts(TEXTS)
    first = run(job_of(run={**BATCH, "lane": lanes[0]}))
    before = practice.totals()
    second = run(job_of(run={**BATCH, "lane": lanes[1]}))
    after = practice.totals()
    assert (second.task_key, second.status) == (first.task_key, "completed")
    assert (second.texts_asked, second.cost_usd, second.rows_reused) == (0, 0, len(TEXTS))
    assert (after["requests"], after["batches"]) == (before["requests"], before["batches"])


def test_rows_that_a_batch_loses_are_asked_again_and_said_to_be_perhaps_paid(
    run, practice, job_of, write_texts
):
    """Rows that stand in no file of a completed batch go into the next one; what they may have cost is told apart."""
    write_texts(TEXTS)
    record = run(job_of(run=BATCH | {"patience_minutes": 0}), PracticeSettings(batch_missing_fraction=0.3))
    totals = practice.totals()
    lost = totals["batch_rows_billed"] - totals["batch_rows_answered"]
    assert (record.status, record.rows_labeled, totals["batches"]) == ("completed", len(TEXTS), 2)
    assert 0 < lost == record.requests_without_usage == record.requests - len(TEXTS)
    assert record.cost_usd < billed_usd(totals) <= record.cost_usd + record.unseen_usd
    assert totals["batch_texts_paid_twice"] == 0


def test_of_an_expired_batch_the_finished_rows_are_kept_and_the_rest_goes_into_the_next(
    run, practice, job_of, write_texts, after_harvest
):
    """Half of the rows had finished: they are paid once, and only the other half is asked again."""
    write_texts(TEXTS)
    after_harvest(lambda: practice.configure(PracticeSettings()))
    record = run(job_of(run=BATCH), PracticeSettings(batch_outcome="expired"))
    totals = practice.totals()
    assert (record.status, record.rows_labeled, record.requests) == ("completed", len(TEXTS), len(TEXTS))
    assert [(batch.status, batch.texts) for batch in record.batches] == [
        ("expired", len(TEXTS)),
        ("completed", len(TEXTS) // 2),
    ]
    assert totals["batch_rows_billed"] == len(TEXTS)
    assert_settled(practice, record)


def test_a_batch_that_somebody_cancels_is_harvested_and_the_rest_goes_into_the_next(
    run, practice, job_of, write_texts
):
    """Whoever cancels a batch at the provider, what had finished of it is kept and nothing is paid twice."""
    write_texts(TEXTS)
    first = run(job_of(run=BATCH | NO_WAIT), LONG)
    (batch,) = first.batches
    practice.configure(LONG.model_copy(update={"batch_finished_fraction": 0.25}))
    urllib.request.urlopen(f"{practice.base_url}/batches/{batch.batch_id}/cancel", data=b"").close()
    practice.totals()
    record = run(job_of(run=BATCH), PracticeSettings())
    assert (first.status, record.status, record.rows_labeled) == ("waiting", "completed", len(TEXTS))
    assert [(batch.status, batch.texts) for batch in record.batches] == [
        ("cancelled", len(TEXTS)),
        ("completed", len(TEXTS) * 3 // 4),
    ]
    assert_settled(practice, first, record)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (PracticeSettings(known_models=("gpt-4o",)), "not supported by the Batch API"),
        (PracticeSettings(batch_outcome="failed"), "could not be processed"),
    ],
)
def test_a_batch_that_is_invalid_ends_the_run_with_the_providers_words(
    run, practice, job_of, write_texts, settings, words
):
    """Nothing is paid, one batch is made, every row is pending, and the exit code says that a person has to look."""
    write_texts(TEXTS)
    record = run(job_of(run=BATCH), settings)
    assert (record.status, exit_code_of(record)) == ("failed", EXIT_USER)
    assert words in record.message
    assert (record.cost_usd, record.rows_pending, record.rows_failed) == (0, len(TEXTS), 0)
    assert practice.totals()["batches"] == 1
    assert_settled(practice, record)
    healed = run(job_of(run=BATCH), PracticeSettings())
    assert (healed.status, healed.rows_labeled) == ("completed", len(TEXTS))


def test_a_full_queue_leads_to_smaller_batches(run, practice, job_of, write_texts):
    """Where the provider queues fewer tokens than the texts have, they go in batches that fit, and all are labeled."""
    write_texts(TEXTS)
    record = run(job_of(run=BATCH), PracticeSettings(batch_queue_tokens=1000))
    steps = [batch.step for batch in record.batches]
    assert (record.status, record.rows_labeled) == ("completed", len(TEXTS))
    assert (steps[0], steps.count("harvested") > 1) == ("dropped", True)
    assert steps.count("dropped") < 8
    assert_settled(practice, record)


def test_a_jobs_own_limit_of_the_queue_is_kept(run, practice, job_of, write_texts):
    """With `max_queue_tokens` a provider of that very limit refuses no batch."""
    write_texts(TEXTS)
    job = job_of(run=BATCH, batch={"max_queue_tokens": 2000})
    record = run(job, PracticeSettings(batch_queue_tokens=1000, batch_seconds=0.2))
    assert (record.status, record.rows_labeled) == ("completed", len(TEXTS))
    assert len(record.batches) > 1
    assert {batch.step for batch in record.batches} == {"harvested"}
    assert_settled(practice, record)


def test_a_queue_that_others_fill_is_waited_for_whatever_the_jobs_own_limit(
    run, practice, job_of, write_texts, monkeypatch
):
    """With `max_queue_tokens` too, a provider that has no room even for one text is asked again until it has."""
    write_texts(TEXTS)
    practice.configure(PracticeSettings(batch_queue_tokens=10))
    tell, own, guesses = BatchSession._tell_no_room, 2000, []

    def others_end(session, bound):
        if not session.outstanding.mine:
            guesses.append(session.queue_tokens)
            if len(guesses) == 2:
                practice.configure(PracticeSettings())
        tell(session, bound)

    monkeypatch.setattr(BatchSession, "_tell_no_room", others_end)
    record = run(job_of(run=BATCH, batch={"max_queue_tokens": own}))
    # Twice it had come down to less than one text, and began again.
    assert len(guesses) == 2
    assert max(guesses) < own
    assert (record.status, record.rows_labeled) == ("completed", len(TEXTS))
    assert_settled(practice, record)


def test_answers_outside_the_labels_are_corrected_in_the_next_batch(run, practice, job_of, write_texts):
    """They are asked once more under the labels' schema; a text that never gets a label costs `max_answers`."""
    write_texts(TEXTS)
    settings = PracticeSettings(faults={"off_label": 0.3}, stubborn_faults={"off_label": 0.2}, seed=2)
    record = run(job_of(run={**BATCH, "max_answers": 2}), settings)
    totals = practice.totals()
    (wrong, unlabeled) = totals["batch_rows_billed"] - len(TEXTS), record.rows_failed
    assert (totals["batches"], record.failures) == (2, {"off_label": unlabeled})
    assert 0 < unlabeled < wrong < len(TEXTS)
    assert record.rows_labeled == len(TEXTS) - unlabeled
    assert record.requests == totals["batch_rows_billed"]
    assert record.cost_usd == pytest.approx(billed_usd(totals), rel=1e-9)
    again = run(job_of(run={**BATCH, "max_answers": 2}))
    assert (again.texts_asked, practice.totals()["batches"]) == (0, 2)


def test_rows_that_fail_are_asked_again_live_where_the_job_says_so(run, practice, job_of, write_texts):
    """With `retry_lane = "live"` a single batch is made, and only what failed in it is asked live."""
    write_texts(TEXTS)
    settings = PracticeSettings(faults={"server_error": 0.2, "off_label": 0.2}, seed=2)
    record = run(job_of(run={**BATCH, "retry_lane": "live"}), settings)
    totals = practice.totals()
    assert (record.status, record.rows_labeled, totals["batches"]) == ("completed", len(TEXTS), 1)
    assert 0 < totals["requests"] < len(TEXTS)
    assert record.requests == len(TEXTS) + totals["requests"]
    lanes = pl.read_parquet(Path(record.labeled_path).parent / "runs" / record.run_id / "costs.parquet")[
        "lane"
    ]
    assert set(lanes) == {"batch", "live"}
    assert_settled(practice, record)


def test_answers_in_a_batch_and_live_count_together(run, practice, job_of, write_texts):
    """A text that never gets a label costs `max_answers` over both lanes, is failed then, and is left alone after that."""
    write_texts(TEXTS)
    settings = PracticeSettings(faults={"off_label": 0.3}, stubborn_faults={"off_label": 0.2}, seed=2)
    record = run(job_of(run={**BATCH, "retry_lane": "live"}), settings)
    totals, failed = practice.totals(), record.rows_failed
    wrong = totals["faults"]["off_label"] - failed
    assert 0 < failed < wrong
    assert (record.failures, record.rows_labeled) == ({"off_label": failed}, len(TEXTS) - failed)
    assert (totals["requests"], record.requests) == (wrong, len(TEXTS) + wrong)
    assert record.cost_usd == pytest.approx(billed_usd(totals), rel=1e-9)
    again = run(job_of())
    assert (again.texts_asked, practice.totals()["requests"]) == (0, wrong)


def test_a_run_that_waits_no_longer_leaves_its_batches_to_the_next(run, practice, job_of, write_texts):
    """At `max_wait_minutes` it publishes and is `waiting` (exit code 5); the next run harvests, and nothing is paid twice."""
    write_texts(TEXTS)
    first = run(job_of(run=BATCH | NO_WAIT, batch={"max_requests": 10}), LONG)
    assert first.status == "waiting"
    assert exit_code_of(first) == EXIT_CODES["waiting"] == 5
    out = costs_of(first.job, "job.toml")["practice"]["out"]
    assert (out["batches"], out["texts"]) == (len(first.batches), first.texts_out)
    assert out["at_most_usd"] > 0
    assert (first.texts_out, first.rows_pending, first.cost_usd) == (len(TEXTS), len(TEXTS), 0)
    write_texts([*TEXTS, "a new team"])
    second = run(job_of(run=BATCH), PracticeSettings())
    assert (second.status, second.rows_labeled) == ("completed", len(TEXTS) + 1)
    assert [batch.texts for batch in second.batches] == [10, 10, 4, 1]
    assert_settled(practice, first, second)


@pytest.mark.parametrize("lane", ["batch", "live"])
def test_a_changed_task_cancels_the_batches_of_the_old_one_and_keeps_what_they_had(
    run, practice, job_of, write_texts, after_harvest, lane
):
    """What had finished of the old batch goes into the ledger of its own task, and its cost into the bill."""
    write_texts(TEXTS)
    first = run(job_of(run=BATCH | NO_WAIT), LONG)
    changed = job_of(labels={"sport": "match", "money": "market"}, run={**BATCH, "lane": lane})
    after_harvest(lambda: practice.configure(PracticeSettings()))
    second = run(changed, LONG.model_copy(update={"batch_finished_fraction": 0.25}))
    old = pl.read_parquet(f"{changed.output.path}/ledger/{first.task_key}/*.parquet")
    assert (second.status, second.rows_labeled) == ("completed", len(TEXTS))
    assert second.batches[0].name == first.batches[0].name
    assert second.batches[0].status == "cancelled"
    assert (old.height, old["label"].null_count(), set(old["run_id"])) == (6, 0, {second.run_id})
    assert second.requests == 6 + len(TEXTS)
    assert practice.totals()["requests"] == (len(TEXTS) if lane == "live" else 0)
    totals = practice.totals()
    assert second.cost_usd == pytest.approx(billed_usd(totals), rel=1e-9)
    assert second.texts_out == 0


def test_from_batch_to_live_the_batches_are_cancelled_and_only_the_rest_is_asked(
    run, practice, job_of, write_texts
):
    """A job that is switched to the live lane keeps what its batches had finished, and asks for nothing twice."""
    write_texts(TEXTS)
    first = run(job_of(run=BATCH | NO_WAIT, batch={"max_requests": 12}), LONG)
    practice.configure(LONG.model_copy(update={"batch_finished_fraction": 0.25}))
    second = run(job_of())
    totals = practice.totals()
    assert (second.status, second.rows_labeled) == ("completed", len(TEXTS))
    assert totals["batches_by_status"] == {"cancelled": 2}
    assert (second.texts_by_batch, totals["requests"]) == (6, len(TEXTS) - 6)
    assert_settled(practice, first, second)


def test_the_practice_provider_of_a_run_remembers_the_batches_of_the_run_before(job_of, write_texts):
    """Also on the live lane: what a batch had finished is kept, though each run has started a provider of its own."""
    write_texts(TEXTS)
    practice = {"batch_seconds": 3600, "batch_finished_fraction": 0.25}
    first = label(job_of(run=BATCH | NO_WAIT, practice=practice))
    second = label(job_of(practice=practice))
    assert (first.status, second.status, second.rows_labeled) == ("waiting", "completed", len(TEXTS))
    assert (second.batches[0].status, second.batches[0].step) == ("cancelled", "harvested")
    assert (second.texts_by_batch, second.requests) == (6, len(TEXTS))


def test_batches_are_cut_by_requests_and_by_bytes(run, practice, job_of, write_texts):
    """No batch holds more than `max_requests` or `max_bytes`, and none is made that needn't be."""
    write_texts(TEXTS)
    by_requests = run(job_of(run=BATCH, batch={"max_requests": 7}), PracticeSettings(batch_max_requests=7))
    assert [batch.texts for batch in by_requests.batches] == [7, 7, 7, 3]
    other = job_of(run=BATCH, batch={"max_bytes": 5000}, output={"path": f"{job_of().output.path}-bytes"})
    practice.reset()
    by_bytes = run(other, PracticeSettings(batch_max_bytes=5000))
    assert (by_bytes.status, by_bytes.rows_labeled) == ("completed", len(TEXTS))
    assert len(by_bytes.batches) > 1
    assert {batch.status for batch in by_bytes.batches} == {"completed"}
    assert_settled(practice, by_bytes)


def test_a_text_that_no_batch_can_hold_fails_alone(run, practice, job_of, write_texts):
    """A text larger than `max_bytes` fails as too long without being sent, now and later; the others are labeled."""
    write_texts([*TEXTS[:3], "market " * 1000, *TEXTS[3:]])
    job = job_of(run=BATCH, batch={"max_bytes": 5000})
    record = run(job)
    assert (record.status, record.rows_labeled) == ("completed", len(TEXTS))
    assert record.failures == {"too_long": 1}
    assert practice.totals()["batch_rows_answered"] == record.requests == len(TEXTS)
    assert_settled(practice, record)
    again = run(job)
    assert (again.texts_asked, again.failures) == (0, {"too_long": 1})


def test_a_budget_below_the_worst_case_leads_to_several_rounds(run, practice, job_of, write_texts):
    """Only so much is out at once as could be paid; what comes back cheaper is spent on the next round."""
    write_texts(TEXTS)
    whole = run(job_of(run=BATCH, output={"path": f"{job_of().output.path}-whole"}))
    practice.reset()
    limit = whole.cost_usd * 1.5
    record = run(job_of(run={**BATCH, "max_cost_usd": limit}))
    assert (record.status, record.rows_labeled) == ("completed", len(TEXTS))
    assert len(record.batches) > 1
    assert record.cost_usd == pytest.approx(whole.cost_usd, rel=1e-9)
    assert_settled(practice, record)


def test_a_budget_is_never_passed_and_the_next_run_goes_on(run, practice, job_of, write_texts):
    """Half of what all would cost: the run ends in `budget_reached` below it, and the rest is labeled by the next."""
    write_texts(TEXTS)
    whole = run(job_of(run=BATCH, output={"path": f"{job_of().output.path}-whole"}))
    practice.reset()
    limit = whole.cost_usd / 2
    first = run(job_of(run={**BATCH, "max_cost_usd": limit}))
    assert first.status == "budget_reached"
    assert 0 < billed_usd(practice.totals()) <= limit
    assert "max_cost_usd" in first.message
    second = run(job_of(run=BATCH))
    assert (second.status, second.rows_labeled) == ("completed", len(TEXTS))
    assert_settled(practice, first, second)


def test_what_is_out_counts_against_the_days_budget(run, practice, job_of, write_texts):
    """A day's budget that the batches of an earlier run may use up lets no further text be sent, on either lane."""
    write_texts(TEXTS[:12])
    first = run(job_of(run=BATCH | NO_WAIT), LONG)
    (path,) = Path(first.job.output.path).glob("batches/*/batch.json")
    worst = float(json.loads(path.read_bytes())["worst_case_usd"])
    write_texts(TEXTS)
    limited = {**BATCH, "max_cost_usd_per_day": worst * 1.01}
    second = run(job_of(run=limited | NO_WAIT))
    assert (second.status, second.rows_pending, practice.totals()["batches"]) == ("waiting", len(TEXTS), 1)
    third = run(job_of(run=limited), PracticeSettings())
    assert third.rows_labeled >= 12
    assert billed_usd(practice.totals()) <= worst * 1.01
    assert_settled(practice, first, second, third)


def test_long_before_its_deadline_the_lane_auto_is_the_batch_lane(run, practice, job_of, write_texts):
    """Batches that end in time do all of the work, and nothing is asked live."""
    write_texts(TEXTS)
    late = f"{datetime.now(UTC) + timedelta(hours=6):%H:%M}"
    job = job_of(run={**BATCH, "lane": "auto", "deadline": late})
    record = run(job, PracticeSettings(batch_seconds=0.3))
    assert (record.status, record.rows_labeled, record.texts_by_batch) == (
        "completed",
        len(TEXTS),
        len(TEXTS),
    )
    assert practice.totals()["requests"] == 0
    assert_settled(practice, record)


def test_when_time_runs_out_the_lane_auto_cancels_its_batches_and_finishes_live(
    run, practice, job_of, write_texts, monkeypatch
):
    """What the batches had finished is kept, the rest is asked live at once, and both are in the bill."""
    write_texts(TEXTS)
    monkeypatch.setattr(
        "labelmill.run.batch_lane.next_deadline", lambda now, *_: now + timedelta(seconds=104)
    )
    # One place: the live lane would need 102 s for all texts, and 66 s for the half that is left.
    job = job_of(
        run={**BATCH, "lane": "auto", "deadline": "08:00", "max_concurrency": 1}, batch={"cancel_seconds": 0}
    )
    record = run(job, LONG.model_copy(update={"batch_finished_fraction": 0.5}))
    totals = practice.totals()
    half = len(TEXTS) // 2
    assert (record.status, record.rows_labeled) == ("completed", len(TEXTS))
    assert totals["batches_by_status"] == {"cancelled": 1}
    assert (record.texts_by_batch, record.texts_asked, totals["requests"]) == (half, len(TEXTS), half)
    tokens = totals["batch_input_tokens"] + totals["input_tokens"]
    assert record.input_tokens == tokens
    output_tokens = totals["batch_output_tokens"] + totals["output_tokens"]
    assert record.live_cost_usd == pytest.approx((tokens * 0.15 + output_tokens * 0.6) / 1e6, rel=1e-12)
    assert_settled(practice, record)


@pytest.mark.parametrize("fault", ["server_error", "connection_reset"])
def test_a_batch_whose_making_went_unanswered_is_found_and_not_made_twice(
    run, practice, job_of, write_texts, fault
):
    """The provider made it and the answer was lost: the same run finds it by its metadata, and harvests it."""
    write_texts(TEXTS)
    settings = PracticeSettings(batch_errors={"create": fault})
    record = run(job_of(run=BATCH), settings)
    totals = practice.totals()
    assert (record.status, record.rows_labeled) == ("completed", len(TEXTS))
    assert (totals["batches"], totals["batch_calls"]["create"]) == (1, 1)
    assert_settled(practice, record)


def test_a_batch_that_is_made_late_is_waited_for_and_not_made_twice(
    run, practice, job_of, write_texts, monkeypatch, tmp_path
):
    """A provider that is slow to answer makes the batch after its client has looked for it: the batch is still found."""
    send, find = OpenAIBatchClient.send, OpenAIBatchClient.find
    late = {}

    class LongAfter(datetime):
        """A clock that goes on when the client has waited for longer than a batch may be under way."""

        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(seconds=outstanding.UNDER_WAY_SECONDS * 2 * bool(late))

    def give_up(_, requests, metadata, __):
        shutil.copy(requests, tmp_path / "requests.jsonl")
        late.update(metadata)
        raise BatchUnreachable("the provider did not answer in time")

    def find_and_make(client, *asked):
        found = find(client, *asked)
        monkeypatch.setattr(OpenAIBatchClient, "find", find)
        monkeypatch.setattr(OpenAIBatchClient, "send", send)
        client.send(tmp_path / "requests.jsonl", late, lambda _: None)
        return found

    monkeypatch.setattr(outstanding, "datetime", LongAfter)
    monkeypatch.setattr(OpenAIBatchClient, "send", give_up)
    monkeypatch.setattr(OpenAIBatchClient, "find", find_and_make)
    write_texts(TEXTS)
    record = run(job_of(run=BATCH))
    assert (record.status, record.rows_labeled) == ("completed", len(TEXTS))
    assert [batch.step for batch in record.batches] == ["harvested"]
    assert_settled(practice, record)


def test_a_provider_that_takes_no_file_is_tried_a_few_times_only(
    run, practice, job_of, write_texts, monkeypatch
):
    """After `max_attempts` batches that were never made the run fails with the provider's words; the next one heals it."""
    monkeypatch.setattr(outstanding, "UNDER_WAY_SECONDS", 0.1)
    write_texts(TEXTS)
    settings = PracticeSettings(batch_errors={"upload": "server_error"}, batch_error_calls=1000)
    record = run(job_of(run={**BATCH, "max_attempts": 2}), settings)
    assert (record.status, practice.totals()["batches"]) == ("failed", 0)
    assert "none of 2 batches" in record.message
    assert "practice fault" in record.message
    assert (record.cost_usd, record.rows_pending) == (0, len(TEXTS))
    healed = run(job_of(run=BATCH), PracticeSettings())
    assert (healed.status, healed.rows_labeled) == ("completed", len(TEXTS))
    # Of uploads that were never answered nobody knows the names: the provider deletes them by itself some day.
    assert_settled(practice, record, healed, is_clean=False)


@pytest.mark.parametrize(("step", "calls"), [("retrieve", 5), ("content", 5), ("cancel", 2)])
def test_a_provider_that_answers_again_is_gone_on_with(run, practice, job_of, write_texts, step, calls):
    """Polling, fetching or cancelling that fails for a while costs time and nothing else."""
    write_texts(TEXTS)
    faults = PracticeSettings(batch_errors={step: "connection_reset"}, batch_error_calls=4)
    if step == "cancel":
        first = run(job_of(run=BATCH | NO_WAIT), LONG)
        record = run(job_of(), faults.model_copy(update={"batch_seconds": 3600}))
        records = [first, record]
    else:
        record = run(job_of(run=BATCH), faults)
        records = [record]
    assert (record.status, record.rows_labeled) == ("completed", len(TEXTS))
    assert practice.totals()["batch_calls"][step] >= calls
    assert_settled(practice, *records)
