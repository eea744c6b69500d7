"""The guard: exactly one attempt for every request, and the one rule for money, over real HTTP."""

import json
import random
import threading
from collections import Counter
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labelmill.errors import RunStopped
from labelmill.live.guard import LONGEST_WAIT_SECONDS, Asked, FormIsStale, RequestFailed, wait_after
from labelmill.live.questions import Question, configs_of
from labelmill.money.budget import Limit
from labelmill.money.usage import Usage
from labelmill.providers.endpoint import NO_KEY
from labelmill.question.attempts import Attempt
from labelmill.question.failures import Failure, Policy
from labelmill.question.judge import Judge
from practice import FaultKind, PracticeSettings


class Notebook:
    """A recorder that keeps everything in memory; `full` lets the disk be full at the n-th attempt."""

    def __init__(self, budget=None, full=None, paid=None):
        self.sent, self.attempts, self.budget = [], [], budget
        self.full, self.paid = full, paid or {}
        self.lock = threading.Lock()

    def note_sent(self, row_key, worst_cost_usd):
        """Keep it, but for a full disk."""
        if self.full == "sent":
            raise OSError(28, "No space left on device")
        with self.lock:
            self.sent.append((row_key, worst_cost_usd))

    def record(self, attempt):
        """Keep it, but for a full disk; the budget never knows of less than what is kept."""
        if self.full == "record":
            raise OSError(28, "No space left on device")
        with self.lock:
            self.attempts.append(attempt)
            if self.budget is not None:
                assert self.budget._committed >= self.recorded_usd

    @property
    def recorded_usd(self):
        """What is kept has cost, or may have cost."""
        return sum(((one.cost_usd or 0) + (one.unseen_usd or 0) for one in self.attempts), Decimal(0))

    def paid_before(self, row_key):
        """As set up."""
        return self.paid.get(row_key, 0)

    def earlier_refusals(self, row_key):  # noqa: ARG002
        """None."""
        return 0


@pytest.fixture
def ask(practice, job_of, chain_at, guard_of):
    """Ask for texts under a notebook; returns the results, the notebook and the guard."""

    def asked(
        texts, behaviour=None, *, base_url=None, limit=None, attempts=1, key=None, notebook=None, **sections
    ):
        if base_url is None:
            practice.configure(behaviour or PracticeSettings())
        job = job_of(**sections)
        guard = guard_of(job, limit, attempts=attempts)
        book = notebook or Notebook(guard.budget)
        chain = chain_at(job, base_url or practice.base_url, key=key or NO_KEY, guard=guard)
        questions = [Question(f"key of {text}", text) for text in texts]
        configs = configs_of(questions, {"max_concurrency": 4}, 0)
        with guard.recording(0, book):
            results = chain.batch([q.as_input() for q in questions], config=configs, return_exceptions=True)
        return results, book, guard

    return asked


@pytest.mark.parametrize("output", ["text", "schema"])
def test_each_answer_becomes_the_attempt_of_its_row(ask, practice, output):
    """Row key, label, model, usage and cost belong together, and add up to the provider's totals."""
    texts = [f"the {word} {number}" for number in range(10) for word in ("match", "market")]
    results, book, _ = ask(texts, model={"output": output})
    labels = {attempt.row_key: attempt.label for attempt in book.attempts}
    assert labels == {f"key of {text}": label for text, label in zip(texts, results, strict=True)}
    assert all(attempt.answered and attempt.failure is None for attempt in book.attempts)
    assert {attempt.model for attempt in book.attempts} == {"practice:gpt-4o-mini"}
    total = sum((attempt.usage for attempt in book.attempts), Usage())
    totals = practice.totals()
    assert (total.input_tokens, total.output_tokens) == (totals["input_tokens"], totals["output_tokens"])
    cost = sum(attempt.cost_usd for attempt in book.attempts)
    assert cost == (total.input_tokens * Decimal("0.15") + total.output_tokens * Decimal("0.6")) / 1_000_000


@pytest.mark.parametrize(
    "fault", [FaultKind.OFF_LABEL, FaultKind.TRUNCATED, FaultKind.EMPTY, FaultKind.REFUSAL]
)
def test_an_answer_that_is_no_label_is_paid_all_the_same(ask, fault):
    """Off-label, cut-off, empty and refused answers are recorded with their tokens and cost."""
    _, book, _ = ask(["the match"], PracticeSettings(faults={fault: 1.0}))
    (attempt,) = book.attempts
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
    """An error from the provider cost nothing; an answer that was lost has unknown usage, and counts at its worst case."""
    _, book, guard = ask(["the match"], PracticeSettings(faults={fault: 1.0}))
    (attempt,) = book.attempts
    assert (attempt.label, attempt.answered) == (None, False)
    assert (attempt.usage, attempt.cost_usd) == ((Usage(), Decimal(0)) if seen else (None, None))
    assert guard.budget._committed == book.recorded_usd
    assert bool(book.recorded_usd) is not seen


@pytest.mark.parametrize("full", ["sent", "record"])
def test_an_attempt_that_can_not_be_written_reaches_the_caller(ask, practice, full):
    """A full disk under the journal is the batch's result for that row; where it can't be noted, nothing is sent."""
    practice.reset()
    results, _, guard = ask(["the match", "the market"], notebook=Notebook(full=full))
    assert [type(result) for result in results] == [OSError, OSError]
    assert practice.totals()["requests"] == (0 if full == "sent" else 2)
    assert bool(guard.budget._committed) is (full == "record")


def test_an_unknown_price_leaves_the_cost_unknown(ask):
    """Tokens are counted, and the cost is None: not zero."""
    _, book, _ = ask(["the match"], model={"name": "no-such-model"})
    (attempt,) = book.attempts
    assert attempt.usage.input_tokens > 0
    assert attempt.cost_usd is None


def test_an_answers_seconds_are_the_providers_and_not_our_wait(ask):
    """With one place and two texts the second waits its turn; each answer still took what the provider took."""
    slow = PracticeSettings(latency_seconds=0.2)
    _, book, _ = ask(["the match", "the market"], slow, run={"max_concurrency": 1})
    assert all(0.2 <= attempt.seconds < 0.35 for attempt in book.attempts)
    _, lost, _ = ask(["the team"], PracticeSettings(faults={FaultKind.SERVER_ERROR: 1.0}))
    assert lost.attempts[0].seconds is None


def test_what_the_provider_failed_at_is_sent_again_and_one_request_is_kept_for_the_last_pass(
    ask, scripted, completion
):
    """A text has `max_attempts` requests in a run, the last of them in the pass that ends it."""
    scripted.reply((500, {"error": {"message": "oh no"}}))
    results, book, guard = ask(["x"], base_url=scripted.base_url, attempts=3)
    assert isinstance(results[0], RequestFailed)
    # Should the run stop here, the text is pending and has not failed.
    assert [(one.failure, one.gave_up) for one in book.attempts] == [("provider_error", False)] * 2
    guard.is_last_pass = True
    scripted.reply((200, completion()))
    assert len(scripted.bodies) == 2


def test_requests_of_earlier_runs_that_may_have_been_paid_count(ask, scripted):
    """Where four of five were used by earlier runs, and may have been paid, one more is sent and no other."""
    scripted.reply((200, b"{"))
    book = Notebook(paid={"key of x": 4})
    ask(["x"], base_url=scripted.base_url, attempts=5, notebook=book)
    assert len(scripted.bodies) == len(book.attempts) == 1


def test_a_key_is_hidden_before_its_words_are_cut(ask, scripted):
    """However the provider repeats the key, no part of it is kept, not even where the message is cut in the middle of it."""
    key = "sk-0123456789abcdefghijklmnopqrstuvwxyz"
    scripted.reply((400, {"error": {"message": "x" * 490 + key}}))
    _, book, _ = ask(["x"], base_url=scripted.base_url, key=key)
    assert key[:5] not in book.attempts[0].message
    assert "[key]" in book.attempts[0].message


def test_a_request_that_was_never_sent_is_no_attempt(job_of, practice, chain_at, guard_of):
    """What a stopped run holds back is neither noted nor recorded."""
    job = job_of()
    guard, book = guard_of(job), Notebook()
    guard.throttle.stop_signal.stop(RunStopped("cancelled", "m"))
    with guard.recording(0, book):
        config = configs_of([Question("k", "t")], {}, 0)
        results = chain_at(job, practice.base_url, guard=guard).batch(
            [{"text": "t"}], config=config, return_exceptions=True
        )
    assert isinstance(results[0], RunStopped)
    assert (book.sent, book.attempts) == ([], [])


@settings(max_examples=60, deadline=None)
@given(
    tried=st.integers(1, 30),
    asked=st.none() | st.floats(0, 1e6),
    kind=st.sampled_from(["timeout", "rate_limited", "denied", "provider_error"]),
    seed=st.integers(0, 99),
)
def test_a_wait_grows_and_is_never_shorter_than_the_provider_asks(tried, asked, kind, seed):
    """Waits grow with the requests, end at a minute, and hold at least what was asked for."""
    seconds = wait_after(tried, Failure(kind, "m", asked), random.Random(seed))
    assert (asked or 0.25) <= seconds <= max(LONGEST_WAIT_SECONDS, asked or 0)


odd_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
LEAVES = [
    ("model",),
    ("service_tier",),
    ("choices",),
    ("choices", 0),
    ("choices", 0, "message"),
    ("choices", 0, "message", "role"),
    ("choices", 0, "message", "content"),
    ("choices", 0, "message", "refusal"),
    ("choices", 0, "finish_reason"),
    ("choices", 0, "logprobs"),
    ("choices", 0, "error"),
    ("error",),
    ("usage",),
    ("usage", "prompt_tokens"),
    ("usage", "completion_tokens"),
    ("usage", "total_tokens"),
    ("usage", "prompt_tokens_details"),
]


def replaced(value, path, new):
    """The value with something else at a path; as it is where it has no such path."""
    if not path:
        return new
    first, *rest = path
    if isinstance(value, dict):
        return {**value, first: replaced(value.get(first), rest, new)}
    if isinstance(value, list) and isinstance(first, int) and first < len(value):
        return [replaced(one, rest, new) if place == first else one for place, one in enumerate(value)]
    return value


@st.composite
def odd_responses(draw):
    """A status and a body: a completion with something else in place of a part of it, broken at any byte, or any bytes."""
    status = draw(
        st.sampled_from([200, 200, 200, 200, 201, 204, 400, 401, 403, 404, 408, 409, 413, 429, 500, 502, 504])
    )
    body = {
        "id": "c",
        "object": "chat.completion",
        "model": "gpt-4o-mini",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "sport"}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 11, "completion_tokens": 2, "total_tokens": 13},
    }
    for path in draw(st.lists(st.sampled_from(LEAVES), max_size=2)):
        body = replaced(body, path, draw(odd_json))
    raw = json.dumps(body).encode(errors="surrogatepass")
    if draw(st.booleans()):
        raw = raw[: draw(st.integers(0, len(raw)))]
    return status, raw if status != 204 else b""


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(replies=st.lists(odd_responses(), min_size=1, max_size=6))
def test_whatever_comes_back_each_request_is_one_attempt_and_the_bill_holds(ask, scripted, replies):
    """Any status and body: one attempt a request, billed or unseen, committed never below recorded, and storable."""
    scripted.bodies.clear()
    scripted.reply(*replies)
    limit = Limit(Decimal(1), "max_cost_usd", Decimal(1))
    results, book, guard = ask(["x", "y"], base_url=scripted.base_url, limit=limit)
    assert len(book.attempts) == len(book.sent) == len(scripted.bodies) <= 2
    assert Counter(key for key, _ in book.sent) == Counter(attempt.row_key for attempt in book.attempts)
    for attempt in book.attempts:
        assert (attempt.label is None) != (attempt.failure is None)
        assert attempt.label in {None, "sport", "money"}
        if attempt.usage is None:
            assert attempt.unseen_usd > 0
        else:
            assert attempt.cost_usd is not None
        assert Attempt.from_json(json.loads(json.dumps(attempt.to_json()))) == attempt
    assert guard.budget._committed >= book.recorded_usd
    for result in results:
        assert isinstance(result, str | Failure | RequestFailed | RunStopped)
        assert not isinstance(result, Failure) or result.policy in {Policy.ASK_AGAIN, Policy.GIVE_UP}


def test_a_refused_form_is_an_attempt_that_is_none_of_the_texts(ask, practice):
    """Each is kept, free and without a try of the text's being used up, though the job allows a single one."""
    behaviour = PracticeSettings(refused_fields=["max_tokens", "system"], refusal_status=500)
    (label,), book, guard = ask(["the match"], behaviour, attempts=1)
    assert label == "sport"
    assert [attempt.failure for attempt in book.attempts] == ["field_refused", "field_refused", None]
    refused = book.attempts[:2]
    assert {(one.cost_usd, one.usage, one.answered, one.gave_up) for one in refused} == {
        (Decimal(0), Usage(), False, False)
    }
    assert len(book.sent) == practice.totals()["requests"] == 3
    assert guard.budget._committed == book.recorded_usd


def test_what_has_waited_in_a_form_that_is_refused_by_now_is_not_sent(job_of, guard_of):
    """Nothing is noted and nothing held: it is asked again in the form that is known."""
    job, notebook = job_of(), Notebook()
    guard = guard_of(job)
    asked = Asked("key", 0, Usage(50, 0, 10), is_stale=lambda: True)
    with guard.recording(0, notebook), pytest.raises(FormIsStale):
        guard.ask(asked, Judge.of(job, guard.price), lambda: pytest.fail("it was sent"))
    assert (notebook.sent, notebook.attempts, guard.budget._committed) == ([], [], 0)
