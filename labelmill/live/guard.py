"""The guard: the one place that every request passes, and the one rule for money.

A request takes a place in the throttle and its worst case from the budget, is noted, and is sent. What comes of it, whatever
that is, is exactly one attempt: the budget is settled by it, the chunk's journal keeps it, and the breaker and the throttle
take account of it. What the provider failed at is sent again from here, as often as the job allows.
"""

import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Protocol

from labelmill.errors import BudgetReached, LabelmillError, RunStopped, TextTooDear
from labelmill.job.model import Run
from labelmill.live.breaker import CircuitBreaker
from labelmill.live.pace import Permit
from labelmill.live.thought_room import ThoughtRoom
from labelmill.live.throttle import Throttle
from labelmill.money.budget import Budget, Reservation
from labelmill.money.prices import PRACTICE_MODEL, Price, Surcharge, cost_of, surcharge_of
from labelmill.money.usage import Usage
from labelmill.providers.failures import failure_of
from labelmill.providers.protocol import Reply
from labelmill.providers.refusals import refusal_words
from labelmill.question.answers import Answer
from labelmill.question.attempts import Attempt
from labelmill.question.failures import Failure, Policy
from labelmill.question.judge import Judge, failed_attempt
from labelmill.question.thinking import refuses_room, was_cut_in_thoughts

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 60.0
LONGEST_WAIT_IN_PLACE = 1.0
"""Seconds. A longer wait is put off: it would keep a thread of its chunk from asking other texts."""
_HUGE = 4
"""So many times its prompt, a text is dear by itself."""
_ASKED_AGAIN = frozenset({Policy.RETRY, Policy.DOUBT})


class RequestFailed(LabelmillError):  # noqa: N818  (the name is the sentence)
    """A text's requests got no answer, and this run, or this pass of it, sends no more of them."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.message)


class FormIsStale(LabelmillError):  # noqa: N818
    """While a request waited for its turn, its form was refused to another one; it was not sent."""


class PutOff(LabelmillError):  # noqa: N818
    """A text has to wait before its request is sent again; its chunk's follow-ups do that, and ask it then."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"asked again in {seconds:.0f} s")


class FollowUps(Protocol):
    """Asks the texts of a chunk again."""

    def again(self, row_key: str, failure: Failure) -> None:
        """An answer was no label."""

    def later(self, row_key: str, seconds: float) -> None:
        """A request has to be sent once more, after so many seconds."""


class Recorder(Protocol):
    """Keeps what is known of a chunk's requests."""

    def note_sent(self, row_key: str, worst_cost_usd: Decimal | None) -> None:
        """A request goes out now; it may cost so much at most.

        Raises:
            OSError: that can't be kept; nothing is to be sent.
        """

    def record(self, attempt: Attempt) -> None:
        """What came of it.

        Raises:
            OSError: that can't be kept.
        """

    def paid_before(self, row_key: str) -> int:
        """How many requests of earlier runs may have been paid and gave no answer."""

    def earlier_refusals(self, row_key: str) -> int:
        """How many earlier runs refused the text while they labeled others."""


@dataclass(frozen=True)
class _Ending:
    """What one request came to. `is_last` tells that none follows in this pass."""

    answer: Answer | None
    attempt: Attempt
    failure: Failure | None
    is_last: bool = False


@dataclass(frozen=True)
class Asked:
    """One text on its way: its chunk (the lower goes first), and what a request for it may come to.

    `least_case` is what a request for a text of nothing may come to. `most_attempts` are the requests it may have without
    an answer, where that is not for the run to say; `tried` of them it has had. `thought_room` are the tokens that its answer
    may take beside the label. Where `binding_may_be_refused`, a refusal in whatever words may mean what binds its answer, and
    it is not sent again as it is. Where it `is_stale` by the time it may go, another form is known to be needed. Where it
    `can_be_put_off`, it can be asked anew from the start after a wait.
    """

    row_key: str
    chunk: int
    worst_case: Usage
    most_attempts: int | None = None
    binding_may_be_refused: bool = False
    least_case: Usage | None = None
    thought_room: int = 0
    tried: int = 0
    is_stale: Callable[[], bool] = field(default=lambda: False)
    can_be_put_off: bool = False


class RequestGuard:
    """One for all chunks of a run; threads share it.

    Args:
        settings: the run's.
        throttle: says when a request may go.
        budget: says whether it may.
        breaker: ends what can't succeed.
        price: what tokens cost.
        address: where requests go, in words.
        notify: takes what must stand beside the run's numbers.
        is_practice: whether the practice provider may answer.
        thoughts: the room that answers have for thoughts; it stays what their form says unless this is given.
    """

    def __init__(  # noqa: PLR0913, PLR0917  (it is where everything comes together)
        self,
        settings: Run,
        throttle: Throttle,
        budget: Budget,
        breaker: CircuitBreaker,
        price: Price | None,
        address: str = "",
        notify: Callable[[str], None] = lambda _: None,
        *,
        is_practice: bool = True,
        thoughts: ThoughtRoom | None = None,
    ) -> None:
        self.settings = settings
        self.throttle = throttle
        self.budget = budget
        self.breaker = breaker
        self.price = price
        self.address = address
        self.notify = notify
        self.is_practice = is_practice
        self.thoughts = thoughts
        self.is_last_pass = False
        self._recorders: dict[int, Recorder] = {}
        self._follow_ups: dict[int, FollowUps] = {}
        self._put_off: dict[str, int] = {}
        self._tried: dict[str, int] = {}
        self._paid: dict[tuple[int, str], int] = {}
        self._jitter = random.Random()
        self._lock = threading.Lock()

    @property
    def tries(self) -> dict[str, int]:
        """How many requests without an answer each text has had in this run, by its row key."""
        return self._tried

    @contextmanager
    def recording(self, chunk: int, recorder: Recorder) -> Iterator[None]:
        """Let a recorder take the attempts of a chunk for the length of the block."""
        self._recorders[chunk] = recorder
        try:
            yield
        finally:
            del self._recorders[chunk]

    @contextmanager
    def following(self, chunk: int, follow_ups: FollowUps) -> Iterator[None]:
        """Let a chunk's texts be asked again by its follow-ups for the length of the block."""
        self._follow_ups[chunk] = follow_ups
        try:
            yield
        finally:
            del self._follow_ups[chunk]

    def had_no_label(self, row_key: str, chunk: int, failure: Failure) -> None:
        """Hand an answer that was no label to its chunk's follow-ups, if it has any."""
        follow_ups = self._follow_ups.get(chunk)
        if follow_ups is not None:
            follow_ups.again(row_key, failure)

    def ask(self, asked: Asked, judge: Judge, send: Callable[[], Reply]) -> tuple[Answer, Attempt]:
        """Send a text's request until it is answered, and return the answer with what it amounts to.

        Args:
            asked: the text.
            judge: tells which answers are labels.
            send: sends one request. It raises nothing that is the provider's or the network's doing, and its words hold no key.

        Raises:
            RequestFailed: it was not answered.
            FormIsStale: it has to be asked in another form.
            PutOff: it is sent again later, by its chunk's follow-ups.
            RunStopped: the run has stopped; nothing was sent, or nothing more.
            OSError: what came of it can't be kept.
        """
        if self._left(asked) <= 0:
            raise RequestFailed(Failure("provider_error", "its requests are used up"))
        tried = self._put_off.pop(asked.row_key, 0)
        while True:
            try:
                ending = self._once(replace(asked, tried=tried), judge, send)
            except TextTooDear as too_dear:
                raise RequestFailed(self._left_out(asked, too_dear)) from None
            tried += 1
            if ending.answer is not None and ending.attempt.answered:
                return ending.answer, ending.attempt
            failure = ending.failure or Failure("bad_response", "no answer")
            may_be_binding = asked.binding_may_be_refused and failure.policy is Policy.DOUBT
            may_be_room = self._is_of_room(asked, failure)
            if ending.is_last or may_be_binding or may_be_room or failure.policy not in _ASKED_AGAIN:
                raise RequestFailed(failure)
            wait = wait_after(tried, failure, self._jitter)
            follow_ups = self._follow_ups.get(asked.chunk)
            if asked.can_be_put_off and follow_ups is not None and wait > LONGEST_WAIT_IN_PLACE:
                self._put_off[asked.row_key] = tried
                follow_ups.later(asked.row_key, wait)
                raise PutOff(wait)
            self.throttle.stop_signal.wait_unless_stopped(wait)
            self.throttle.stop_signal.raise_if_stopped()

    def stop_over(self, failure: Failure) -> RunStopped:
        """Stop the run over a field that its endpoint refuses and that there is no other form for; returns how it ended."""
        stopped = RunStopped("failed", refusal_words(failure, self.address))
        self.throttle.stop_signal.stop(stopped)
        return stopped

    def end(self) -> None:
        """End a run that has asked everything: where all that came of it were refusals, these are everyone's, and it failed."""
        if self.throttle.stop_signal.stopped is not None:
            return
        sentence = self.breaker.end()
        if sentence:
            self.throttle.stop_signal.stop(
                RunStopped("failed", f"{sentence} (requests go to {self.address})")
            )

    def _once(self, asked: Asked, judge: Judge, send: Callable[[], Reply]) -> _Ending:
        worst_cost = cost_of(asked.worst_case, self.price)
        recorder = self._recorders.get(asked.chunk)
        with self._permit(asked, worst_cost or Decimal(0)) as (permit, reservation):
            if asked.is_stale():
                reservation.release()
                raise FormIsStale
            if recorder is not None:
                try:
                    recorder.note_sent(asked.row_key, worst_cost)
                except OSError:
                    reservation.release()
                    raise
            number = self.breaker.number_request()
            reply = send()
            ending = self._ending_of(asked, judge, reply.result, worst_cost)
            attempt = ending.attempt
            reservation.settle(attempt.unseen_usd if attempt.cost_usd is None else attempt.cost_usd)
            ending = self._shared(asked, ending, permit, reply.headers, number)
            if recorder is not None:
                recorder.record(ending.attempt)
            return ending

    def _left_out(self, asked: Asked, too_dear: TextTooDear) -> Failure:
        """Remember a text that no request is sent for, since it alone is dearer than a limit; the others go on.

        Raises:
            BudgetReached: it is hardly larger than the prompt, so that none of them would fit.
        """
        least = asked.least_case
        if least is not None and asked.worst_case.input_tokens < _HUGE * least.input_tokens:
            reached = BudgetReached(str(too_dear))
            self.throttle.stop_signal.stop(reached)
            raise reached
        failure = Failure("over_budget", str(too_dear))
        recorder = self._recorders.get(asked.chunk)
        if recorder is not None:
            recorder.record(replace(failed_attempt(asked.row_key, failure, None), gave_up=True))
        return failure

    def _ending_of(
        self, asked: Asked, judge: Judge, result: Answer | Failure, worst_cost: Decimal | None
    ) -> _Ending:
        """What a reply amounts to by itself. It never raises: something was sent, and may have been paid."""
        try:
            if isinstance(result, Failure):
                return _Ending(None, failed_attempt(asked.row_key, result, worst_cost), result)
            if not self.is_practice and (result.model or "").startswith(PRACTICE_MODEL):
                sentence = "a practice provider answers where a model was expected; its labels would be taken for a model's"
                failure = Failure("denied", sentence, is_account=True)
                self.throttle.stop_signal.stop(
                    RunStopped("failed", f"{sentence} (requests go to {self.address})")
                )
                return _Ending(None, failed_attempt(asked.row_key, failure, worst_cost), failure)
            attempt, found = judge.attempt_of(asked.row_key, result, worst_cost)
            return _Ending(result, attempt, found)
        except Exception as error:  # noqa: BLE001  (whatever was sent, one attempt is made of it)
            failure = failure_of(error)
            return _Ending(None, failed_attempt(asked.row_key, failure, worst_cost), failure)

    def _shared(
        self, asked: Asked, ending: _Ending, permit: Permit, headers: Mapping[str, str], number: int
    ) -> _Ending:
        """What an ending amounts to beside what the others got; the run's parts take account of it."""
        attempt, failure = ending.attempt, ending.failure
        counts = True
        if failure is not None and self._is_of_room(asked, failure):
            # It is asked once more with less; a refused request costs nothing, and this one says nothing of the others.
            self.throttle.failed(permit, failure, headers)
            return replace(ending, attempt=replace(attempt, failure="denied"))
        if attempt.answered and self.thoughts is not None:
            self.thoughts.was_answered(asked.thought_room)
        if attempt.answered:
            self.throttle.answered(permit, attempt.usage, headers)
        elif failure is not None:
            counts = self.throttle.failed(permit, failure, headers)
        is_of_form = failure is not None and failure.policy is Policy.OTHER_FORM
        if not attempt.answered and not is_of_form:
            self._count(asked, attempt, counts=counts)
        is_last = self._left(replace(asked, tried=asked.tried + 1)) <= 0
        if failure is not None:
            waits_too_long = (failure.retry_after_seconds or 0.0) > self.settings.patience_minutes * 60
            earlier = (
                self._recorders[asked.chunk].earlier_refusals(asked.row_key)
                if asked.chunk in self._recorders
                else 0
            )
            failure = self.breaker.judged(asked.row_key, failure, earlier_refusals=earlier, last=is_last)
            # A refusal, or a wait of hours, may be everyone's as long as nobody is answered: the text is pending then.
            may_be_everyones = failure.policy is Policy.DOUBT or waits_too_long
            settled = not may_be_everyones or self.breaker.has_answers
            # Where it may be the binding that is refused, the text is asked once more without one.
            may_be_binding = asked.binding_may_be_refused and failure.kind in {"denied", "bad_request"}
            # Before the last pass something is left to try: should the run stop there, the text is pending.
            is_over = is_last and (self.is_last_pass or asked.most_attempts is not None)
            gave_up = not attempt.answered and is_over and settled and not may_be_binding and not is_of_form
            is_last = is_last or waits_too_long
            attempt = replace(attempt, failure=failure.kind, gave_up=gave_up)
        if attempt.model is not None:
            self.notice_surcharge(surcharge_of(self.price, attempt.model))
        # What lacked room is asked again with more: nothing is wrong with it, and it stops no run.
        lacked_room = (
            self.thoughts is not None
            and ending.answer is not None
            and was_cut_in_thoughts(ending.answer)
            and self.thoughts.was_too_small(asked.thought_room)
        )
        sentence = self.breaker.add(
            asked.row_key, failure, number=number, answered=attempt.answered, paused=lacked_room or not counts
        )
        if sentence:
            self.throttle.stop_signal.stop(
                RunStopped("failed", f"{sentence} (requests go to {self.address})")
            )
        return _Ending(ending.answer, attempt, failure, is_last)

    def _is_of_room(self, asked: Asked, failure: Failure) -> bool:
        """Whether a refusal may be of the room for thoughts, and there is less to be had."""
        return (
            self.thoughts is not None
            and self.thoughts.can_shrink(asked.thought_room)
            and refuses_room(failure)
        )

    def notice_surcharge(self, surcharge: Surcharge | None) -> None:
        """Say that a dearer model answers than the one that was asked for; a budget can't be kept by a price that isn't so."""
        if surcharge is None:
            return
        sentence = (
            f"The provider answers as {surcharge.reported}, which costs {surcharge.factor:.3g} times as much as "
            f"{surcharge.named}; its answers are billed at its own price"
        )
        self.notify(sentence)
        if self.budget.limit is not None:
            advice = "name that model in model.name, or add a [price] section with what you pay"
            self.throttle.stop_signal.stop(
                BudgetReached(f"{sentence}. To go on within {self.budget.limit.field}, {advice}")
            )

    def _left(self, asked: Asked) -> int:
        """How many more requests a text may have in this pass without an answer."""
        if asked.most_attempts is not None:
            return asked.most_attempts - asked.tried
        tried = self._tried.get(asked.row_key, 0)
        # What earlier chunks paid for it, in this run or another, its recorder knows.
        paid = self._paid.get((asked.chunk, asked.row_key), 0)
        recorder = self._recorders.get(asked.chunk)
        before = recorder.paid_before(asked.row_key) if recorder is not None else 0
        most = self.settings.max_attempts
        # One is kept for the last pass, minutes later: what has failed four times in a row may work then.
        this_pass = most if self.is_last_pass else max(1, most - 1)
        return min(this_pass - tried, most - before - paid)

    def _count(self, asked: Asked, attempt: Attempt, *, counts: bool) -> None:
        """Remember a request without an answer: how many a text may have is for the whole run, and for all of them."""
        if asked.most_attempts is not None:
            return
        with self._lock:
            if counts:
                self._tried[asked.row_key] = self._tried.get(asked.row_key, 0) + 1
            if attempt.usage != Usage():
                key = (asked.chunk, asked.row_key)
                self._paid[key] = self._paid.get(key, 0) + 1

    @contextmanager
    def _permit(self, asked: Asked, worst_cost: Decimal) -> Iterator[tuple[Permit, Reservation]]:
        """Hold a place and the money for one request."""
        worst_case = asked.worst_case
        has_failed = self._tried.get(asked.row_key, 0) > 0
        with self.throttle.admit(
            asked.chunk, worst_case.input_tokens, worst_case.output_tokens, has_failed=has_failed
        ) as permit:
            try:
                with self.budget.reserve(worst_cost) as reservation:
                    try:
                        self.throttle.stop_signal.raise_if_stopped()
                    except RunStopped:
                        reservation.release()
                        raise
                    yield permit, reservation
            except BudgetReached as reached:
                self.throttle.stop_signal.stop(reached)
                raise


def wait_after(tried: int, failure: Failure, jitter: random.Random) -> float:
    """Seconds to wait before a request is sent again: what the provider asks for, or a growing, random while."""
    ceiling: float = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** max(0, tried - 1))
    return max(ceiling * jitter.uniform(0.5, 1.0), failure.retry_after_seconds or 0.0)
