"""Rows that fail, are lost or never run stand where OpenAI puts them, and cost what they should."""

import pytest

from practice import FaultKind, PracticeSettings

TEXTS = [f"足球比赛 {number}" for number in range(40)]


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (FaultKind.RATE_LIMITED, 429, "rate_limit_exceeded"),
        (FaultKind.RATE_LIMITED_BARE, 429, "rate_limit_exceeded"),
        (FaultKind.SERVER_ERROR, 500, "server_error"),
        (FaultKind.UNAVAILABLE, 503, "overloaded"),
        (FaultKind.CONNECTION_RESET, 500, "server_error"),
        (FaultKind.HANG, 500, "server_error"),
        (FaultKind.CONTENT_FILTER, 400, "content_filter"),
        (FaultKind.TOO_LONG, 400, "context_length_exceeded"),
    ],
)
def test_a_fault_that_is_an_error_goes_to_the_error_file(sender, practice, fault, status, code):
    """The error file has the status and the body of the error, and nobody pays."""
    practice.configure(PracticeSettings(stubborn_faults={fault: 1.0}))
    batch = sender.finish(sender.rows(["a", "b"]))
    assert (batch.status, batch.output_file_id, batch.usage.total_tokens) == ("completed", None, 0)
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (2, 0, 2)
    lines = sender.read(batch.error_file_id)
    assert sorted(lines) == ["row-0", "row-1"]
    for line in lines.values():
        assert line["error"] is None
        assert line["response"]["status_code"] == status
        assert line["response"]["body"]["error"]["code"] == code
    assert practice.totals()["faults"] == {fault: 2}


@pytest.mark.parametrize(
    ("fault", "content", "finish_reason"),
    [
        (FaultKind.TRUNCATED, "体", "length"),
        (FaultKind.OFF_LABEL, "off-label-by-practice", "stop"),
        (FaultKind.EMPTY, "", "stop"),
        (FaultKind.REFUSAL, "I'm sorry, I can't help with that.", "stop"),
    ],
)
def test_a_fault_in_the_answer_is_as_in_chat(sender, practice, fault, content, finish_reason):
    """Bad answers are answers: in the output file, and billed."""
    practice.configure(PracticeSettings(stubborn_faults={fault: 1.0}))
    batch = sender.finish(sender.rows(["足球比赛"]))
    (line,) = sender.read(batch.output_file_id).values()
    choice = line["response"]["body"]["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (content, finish_reason)
    assert practice.totals()["batch_rows_billed"] == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_missing_fraction": 1.0},
        {"faults": {"bad_json": 1.0}},
        {"faults": {"cut_off": 1.0}},
    ],
)
def test_lost_rows_are_billed_and_stand_nowhere(sender, practice, settings):
    """A lost row counts as completed and is paid for, and is in neither file; sent again, it is there."""
    practice.configure(PracticeSettings(**settings))
    lost = sender.finish(sender.rows(["足球比赛"]))
    assert (lost.output_file_id, lost.error_file_id) == (None, None)
    assert (lost.request_counts.completed, lost.request_counts.total) == (1, 1)
    assert lost.usage.output_tokens == 1
    totals = practice.totals()
    assert (totals["batch_rows_billed"], totals["batch_rows_answered"]) == (1, 0)
    again = sender.finish(sender.rows(["足球比赛"]))
    assert sender.labels(again) == {"row-0": "体育"}


def test_some_rows_are_lost(sender, practice):
    """The fraction is of the texts, the same ones whatever batch they are in."""
    settings = PracticeSettings(batch_missing_fraction=0.3)
    practice.configure(settings)
    found = set(sender.labels(sender.finish(sender.rows(TEXTS))))
    assert 0 < 40 - len(found) < 25
    practice.reset()
    assert set(sender.labels(sender.finish(sender.rows(TEXTS)))) == found


def test_faults_meet_the_first_attempt_in_either_lane(sender, practice, ask):
    """A text that failed in a batch is sound when asked again, in a batch or live; and the other way round."""
    practice.configure(PracticeSettings(faults={FaultKind.SERVER_ERROR: 1.0}))
    assert sender.labels(sender.finish(sender.rows(["足球比赛"]))) == {}
    assert ask("足球比赛").choices[0].message.content == "体育"
    practice.reset()
    with pytest.raises(Exception, match="practice fault"):
        ask("足球比赛")
    assert sender.labels(sender.finish(sender.rows(["足球比赛"]))) == {"row-0": "体育"}


def test_a_row_that_is_no_chat_request_fails_alone(sender):
    """400 for that row, answers for the others."""
    lines = [*sender.rows(["足球比赛"]), sender.row(1, "x", n=2), sender.row(2, "x", messages=[])]
    batch = sender.finish(lines)
    assert list(sender.labels(batch)) == ["row-0"]
    failed = sender.read(batch.error_file_id)
    assert {name: line["response"]["status_code"] for name, line in failed.items()} == {
        "row-1": 400,
        "row-2": 400,
    }
    assert failed["row-1"]["response"]["body"]["error"]["param"] == "n"


@pytest.mark.parametrize("fraction", [0.0, 0.25, 1.0])
def test_an_expired_batch_hands_over_what_is_finished(sender, practice, fraction):
    """Finished rows are in the output and billed; the others are in the error file without a response."""
    practice.configure(PracticeSettings(batch_outcome="expired", batch_finished_fraction=fraction))
    batch = sender.finish(sender.rows(TEXTS))
    assert batch.status == "expired"
    assert batch.expired_at is not None
    finished = sender.read(batch.output_file_id)
    left = sender.read(batch.error_file_id)
    assert (len(finished), len(left)) == (40 * fraction, 40 - 40 * fraction)
    assert set(finished) | set(left) == {f"row-{number}" for number in range(40)}
    assert all(
        line["response"] is None and line["error"]["code"] == "batch_expired" for line in left.values()
    )
    assert practice.totals()["batch_rows_billed"] == len(finished)
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (40, len(finished), len(left))


def test_a_cancelled_batch_hands_over_what_is_finished(sender, client, practice):
    """Cancelling is seen first, takes its time, and leaves finished rows and cancelled ones."""
    practice.configure(
        PracticeSettings(batch_seconds=1000, batch_cancelling_seconds=0.5, batch_finished_fraction=0.25)
    )
    batch_id = sender.send(sender.rows(TEXTS)).id
    asked = client.batches.cancel(batch_id)
    assert (asked.status, asked.cancelled_at) == ("cancelling", None)
    assert client.batches.cancel(batch_id).cancelling_at == asked.cancelling_at
    batch = sender.wait(batch_id)
    assert batch.status == "cancelled"
    assert batch.cancelled_at >= batch.cancelling_at
    assert len(sender.labels(batch)) == 10
    left = sender.read(batch.error_file_id)
    assert len(left) == 30
    assert {line["error"]["code"] for line in left.values()} == {"batch_cancelled"}


def test_a_failed_batch_costs_nothing(sender, practice):
    """Failed by the settings: an error that is nobody's fault, no files, no bill; and it stays failed."""
    practice.configure(PracticeSettings(batch_outcome="failed"))
    batch = sender.finish(sender.rows(TEXTS))
    assert (batch.status, batch.output_file_id, batch.error_file_id) == ("failed", None, None)
    assert [error.code for error in batch.errors.data] == ["server_error"]
    practice.configure(PracticeSettings())
    assert sender.wait(batch.id) == batch
    assert practice.totals()["batch_rows_billed"] == 0


def test_rows_come_in_another_order_unless_told(sender, practice):
    """No order is promised, and the order is always the same one."""
    names = [f"row-{number}" for number in range(40)]
    shuffled = list(sender.labels(sender.finish(sender.rows(TEXTS))))
    assert shuffled != names
    assert sorted(shuffled) == sorted(names)
    assert list(sender.labels(sender.finish(sender.rows(TEXTS)))) == shuffled
    practice.configure(PracticeSettings(batch_shuffled=False))
    assert list(sender.labels(sender.finish(sender.rows(TEXTS)))) == names


def test_long_beginnings_are_cached_within_a_batch(sender, practice):
    """From the second row on, what begins alike is cached; other batches do not matter."""
    beginning = "".join(chr(0x7000 + number) for number in range(1300))
    lines = sender.rows([f"{beginning} {number}" for number in range(3)])
    bills = [sender.finish(lines).usage for _ in range(2)]
    assert [bill.input_tokens_details.cached_tokens for bill in bills] == [2 * 1280] * 2
    assert practice.totals()["batch_cached_input_tokens"] == 4 * 1280


def test_the_quota_runs_out_in_a_batch_too(sender, practice, ask):
    """Answers of both lanes use up one quota; the rows beyond it fail and are not billed."""
    practice.configure(PracticeSettings(insufficient_quota_after=5))
    ask("足球比赛")
    batch = sender.finish(sender.rows(TEXTS[:6]))
    assert len(sender.labels(batch)) == 4
    failed = sender.read(batch.error_file_id)
    assert {line["response"]["body"]["error"]["code"] for line in failed.values()} == {"insufficient_quota"}
    with pytest.raises(Exception, match="exceeded your current quota"):
        ask("足球")
    with pytest.raises(Exception, match="exceeded your current quota"):
        sender.send(sender.rows(["a"]))


def test_odd_answers_stand_in_the_output_file_as_they_are_live(sender, practice):
    """The same text gets the same odd answer in a batch as live; the totals count each kind and what can't be seen."""
    settings = PracticeSettings(odd_answers=0.8)
    practice.configure(settings)
    batch = sender.finish(sender.rows(TEXTS))
    bodies = {
        name: line["response"]["body"]
        for name, line in sender.read(batch.output_file_id).items()
        if line["response"]["body"].pop("created")
    }
    in_batches = practice.totals()
    practice.reset()
    for number, text in enumerate(TEXTS):
        asked = sender.row(number, text)["body"]
        live = sender.client.chat.completions.with_raw_response.create(**asked).http_response.json()
        assert live | {"created": 0} == bodies[f"row-{number}"] | {"created": 0}
    totals = practice.totals()
    for name in ("odd_answers", "odd_answers_right"):
        assert totals[name] == in_batches[name]
    assert sum(totals["odd_answers"].values()) > len(TEXTS) / 2
    for name in ("unseen_input_tokens", "unseen_output_tokens"):
        assert totals[name] == in_batches[f"batch_{name}"] > 0
    for name in ("input_tokens", "output_tokens"):
        assert totals[name] + totals[f"unseen_{name}"] == in_batches[f"batch_{name}"]
