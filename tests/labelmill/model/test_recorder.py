"""The recorder: every attempt handed on the moment it is known, with its row, its tokens and its cost."""

import json
from decimal import Decimal

import pytest

from labelmill.errors import RunStopped
from labelmill.model.recorder import Recorder
from labelmill.model.rounds import Question, configs_of
from labelmill.money.usage import Usage
from labelmill.practice import FaultKind, PracticeSettings
from labelmill.store.attempts import Attempt


@pytest.fixture
def ask(practice, job_of, chain_at, toll_of):
    """Ask the practice provider for texts under a recorder; returns the results, the attempts and the stops."""

    def asked(texts, settings=None, record=None, base_url=None, **sections):
        practice.configure(settings or PracticeSettings())
        job = job_of(**sections)
        toll = toll_of(job)
        attempts, stops = [], []
        recorder = Recorder(job, toll.price, record or attempts.append, stops.append)
        chain = chain_at(job, base_url or practice.base_url, toll=toll)
        configs = configs_of(
            [Question(f"key of {text}", text) for text in texts],
            {"callbacks": [recorder], "max_concurrency": 4},
            0,
        )
        results = chain.batch([{"text": text} for text in texts], config=configs, return_exceptions=True)
        assert recorder._requests == {}
        return results, attempts, stops

    return asked


@pytest.mark.parametrize("output", ["text", "schema"])
def test_each_answer_becomes_the_attempt_of_its_row(ask, practice, output):
    """Row key, label, model, usage and cost belong together, and add up to the provider's totals."""
    texts = [f"the {word} {number}" for number in range(10) for word in ("match", "market")]
    results, attempts, stops = ask(texts, model={"output": output})
    labels = {attempt.row_key: attempt.label for attempt in attempts}
    assert labels == {f"key of {text}": label for text, label in zip(texts, results, strict=True)}
    assert all(attempt.answered and attempt.failure is None for attempt in attempts)
    assert {attempt.model for attempt in attempts} == {"practice:gpt-4o-mini"}
    total = sum((attempt.usage for attempt in attempts), Usage())
    totals = practice.totals()
    assert (total.input_tokens, total.output_tokens) == (totals["input_tokens"], totals["output_tokens"])
    cost = sum(attempt.cost_usd for attempt in attempts)
    assert cost == (total.input_tokens * Decimal("0.15") + total.output_tokens * Decimal("0.6")) / 1_000_000
    assert stops == []


@pytest.mark.parametrize(
    "fault", [FaultKind.OFF_LABEL, FaultKind.TRUNCATED, FaultKind.EMPTY, FaultKind.REFUSAL]
)
def test_an_answer_that_is_no_label_is_paid_all_the_same(ask, fault):
    """Off-label, cut-off, empty and refused answers are recorded with their tokens and cost."""
    _, (attempt,), _ = ask(["the match"], PracticeSettings(faults={fault: 1.0}))
    assert (attempt.label, attempt.answered) == (None, True)
    assert attempt.failure
    assert attempt.message
    assert attempt.usage.input_tokens > 0
    assert attempt.cost_usd > 0


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        (FaultKind.RATE_LIMITED_BARE, True),
        (FaultKind.SERVER_ERROR, True),
        (FaultKind.CONTENT_FILTER, True),
        (FaultKind.CONNECTION_RESET, False),
        (FaultKind.BAD_JSON, False),
        (FaultKind.CUT_OFF, False),
    ],
)
def test_a_request_without_an_answer_is_free_or_unseen_and_never_guessed(ask, fault, seen):
    """An error from the provider cost nothing; an answer that was lost has unknown usage and cost."""
    _, (attempt,), stops = ask(["the match"], PracticeSettings(faults={fault: 1.0}))
    assert (attempt.label, attempt.answered) == (None, False)
    assert (attempt.usage, attempt.cost_usd) == ((Usage(), Decimal(0)) if seen else (None, None))
    assert stops == []


def test_a_fatal_error_stops_the_run_and_is_no_rows_failure(ask):
    """A key that isn't accepted makes no attempt; the stop carries the provider's words."""
    _, attempts, stops = ask(["a", "b"], PracticeSettings(required_key="other"))
    assert attempts == []
    assert {stop.reason for stop in stops} == {"failed"}
    assert all("Incorrect API key provided" in stop.message for stop in stops)


def test_a_request_that_was_never_sent_is_no_attempt(job_of, practice, chain_at, toll_of):
    """What a stopped gate holds back is neither recorded nor a reason to stop again."""
    job = job_of()
    toll = toll_of(job)
    toll.throttle.gate.stop(RunStopped("cancelled", "m"))
    attempts, stops = [], []
    recorder = Recorder(job, toll.price, attempts.append, stops.append)
    config = configs_of([Question("k", "t")], {"callbacks": [recorder]}, 0)
    results = chain_at(job, practice.base_url, toll=toll).batch(
        [{"text": "t"}], config=config, return_exceptions=True
    )
    assert isinstance(results[0], RunStopped)
    assert (attempts, stops, recorder._requests) == ([], [], {})


def test_an_attempt_that_can_not_be_written_reaches_the_caller(ask):
    """A full disk under the journal is the batch's result for that row: it doesn't pass silently, and isn't retried."""

    def full(_: Attempt):
        raise OSError(28, "No space left on device")

    results, _, stops = ask(["the match", "the market"], record=full)
    assert [type(result) for result in results] == [OSError, OSError]
    assert stops == []


def test_an_unknown_price_leaves_the_cost_unknown(ask):
    """Tokens are counted, and the cost is None: not zero."""
    _, (attempt,), _ = ask(["the match"], model={"name": "no-such-model"})
    assert attempt.usage.input_tokens > 0
    assert attempt.cost_usd is None


@pytest.mark.parametrize(
    ("content", "label"), [("[" * 100_000, None), ('{"label": "sport"}', "sport"), ("x\x00\u202e", None)]
)
def test_a_hostile_answer_is_recorded_like_any_other(ask, scripted, completion, content, label):
    """However odd an answer is, it was paid, and its attempt can be written and read again."""
    scripted.reply((200, completion(content)))
    _, (attempt,), _ = ask(["x"], base_url=scripted.base_url, model={"output": "schema"})
    assert (attempt.label, attempt.usage) == (label, Usage(11, 0, 2))
    assert Attempt.from_json(json.loads(json.dumps(attempt.to_json()))) == attempt


def test_more_cached_tokens_than_input_do_not_lose_the_answer(ask, scripted, completion):
    """An endpoint that counts cached tokens beside the input still gets its answers recorded and priced."""
    body = completion()
    body["usage"]["prompt_tokens_details"] = {"cached_tokens": 999}
    scripted.reply((200, body))
    results, (attempt,), _ = ask(["x"], base_url=scripted.base_url)
    assert results == ["sport"]
    assert attempt.usage == Usage(11, 11, 2)
    assert attempt.cost_usd > 0


def test_an_answers_seconds_are_the_providers_and_not_our_wait(ask):
    """With one place and two texts the second waits its turn; each answer still took what the provider took."""
    slow = PracticeSettings(latency_seconds=0.2)
    _, attempts, _ = ask(["the match", "the market"], slow, run={"max_concurrency": 1})
    assert all(0.2 <= attempt.seconds < 0.35 for attempt in attempts)
    _, (lost,), _ = ask(["the team"], PracticeSettings(faults={FaultKind.SERVER_ERROR: 1.0}))
    assert lost.seconds is None
