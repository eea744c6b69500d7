"""The totals keep the lanes apart, and tell when a text was paid for twice."""

from practice import FaultKind, PracticeSettings

TEXTS = [f"足球比赛 {number}" for number in range(20)]


def test_lanes_are_counted_apart(sender, practice, ask):
    """Live and batch tokens are two bills."""
    live = ask("足球").usage
    batch = sender.finish(sender.rows(TEXTS)).usage
    totals = practice.totals()
    assert (totals["input_tokens"], totals["output_tokens"]) == (live.prompt_tokens, live.completion_tokens)
    assert (totals["batch_input_tokens"], totals["batch_output_tokens"]) == (
        batch.input_tokens,
        batch.output_tokens,
    )
    assert (totals["requests"], totals["answered"]) == (1, 1)


def test_calls_files_and_batches_are_counted(sender, client, practice):
    """Each call is counted by its step, each batch by its status."""
    sender.labels(sender.finish(sender.rows(TEXTS)))
    client.batches.list()
    sender.finish([])
    totals = practice.totals()
    calls = totals["batch_calls"]
    assert (calls["upload"], calls["create"], calls["content"], calls["list"]) == (2, 2, 1, 1)
    assert (calls["retrieve"], calls["cancel"]) == (2, 0)
    assert (totals["files"], totals["batches"]) == (3, 2)
    assert totals["batches_by_status"] == {"completed": 1, "failed": 1}
    assert (totals["batch_rows_answered"], totals["batch_rows_billed"]) == (20, 20)


def test_a_batch_is_billed_once_though_nobody_asks_for_it(sender, practice):
    """What is due is in the totals, whether or not a client has looked, and asking again changes nothing."""
    batch = sender.send(sender.rows(TEXTS))
    first = practice.totals()
    assert first["batch_rows_billed"] == 20
    for _ in range(3):
        sender.read(sender.wait(batch.id).output_file_id)
    assert practice.totals()["batch_input_tokens"] == first["batch_input_tokens"]


def test_texts_paid_twice_are_counted(sender, practice, ask):
    """A text answered in two batches, twice in one, or in a batch and live was paid for twice."""
    sender.finish(sender.rows(["a", "b", "c", "d"]))
    assert practice.totals()["batch_texts_paid_twice"] == 0
    sender.finish(sender.rows(["a", "e", "e"]))
    ask("b")
    ask("f")
    ask("f")
    assert practice.totals()["batch_texts_paid_twice"] == 3


def test_asking_again_after_a_fault_is_not_paying_twice(sender, practice, ask):
    """Only sound answers count: a faulty or lost one leaves no choice but to ask again."""
    for settings in (
        PracticeSettings(faults={FaultKind.OFF_LABEL: 1.0}),
        PracticeSettings(batch_missing_fraction=1.0),
    ):
        practice.reset()
        practice.configure(settings)
        sender.finish(sender.rows(["a"]))
        ask("a")
        assert practice.totals()["batch_texts_paid_twice"] == 0


def test_failed_rows_are_in_the_faults(sender, practice):
    """Faults met in batches are counted as those met live."""
    practice.configure(PracticeSettings(faults={FaultKind.EMPTY: 1.0}))
    sender.finish(sender.rows(TEXTS))
    assert practice.totals()["faults"] == {"empty": 20}
