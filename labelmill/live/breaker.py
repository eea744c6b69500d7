"""The circuit breaker: what the requests of a run get, taken together, tells whose failure a failure is.

A refusal (400, 401, 403, 404, ...) may be the text's own or everyone's, and one answer can't tell. What some texts get while
others are answered is theirs; what all get is everyone's, and ends the run in the provider's words, before it has paid
for more.
"""

import itertools
import threading
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from labelmill.question.failures import FORM_KIND, OVERLOAD_KINDS, Failure, Policy

WINDOW = 100
"""Requests looked back on; fewer decide nothing."""
REFUSALS_IN_A_ROW = 10
"""Refusals over the key, the account or the model, and no answer to a later request, after which they are everyone's."""
REFUSALS_OF_A_TEXT = 3
"""Refusals of one text, with answers to others in between, after which they are the text's own."""
MOST_QUOTED = 3
"""Different messages that a sentence quotes."""
_FREE = OVERLOAD_KINDS - {"timeout"} | {FORM_KIND}
"""What costs nothing, and is dealt with elsewhere: "too much" by the throttle, a form that is refused by the next one."""


@dataclass
class _Refused:
    """How often a text was refused, how often with answers to others in between, and how many answers there were then."""

    times: int
    at: int
    in_all: int = 1


class CircuitBreaker:
    """Watches what comes of the requests of a run. Threads may share it."""

    def __init__(self, most_failed_fraction: float) -> None:
        self._most = most_failed_fraction * WINDOW
        self._seen: deque[Failure | None] = deque(maxlen=WINDOW)
        self._untold: deque[Failure | None] = deque(maxlen=WINDOW)
        self._refused: dict[str, _Refused] = {}
        self._undecided: dict[str, Failure] = {}
        self._refused_since_answer: set[str] = set()
        self._account_refusals: list[int] = []
        self._numbers = itertools.count(1)
        self._answers = self._heard = 0
        self._is_new_refused = False
        self._lock = threading.Lock()

    @property
    def has_answers(self) -> bool:
        """Whether any text was answered in this run."""
        return self._answers > 0

    @property
    def own_answers(self) -> int:
        """How many of the answers came to this process."""
        return self._answers - self._heard

    @property
    def undecided(self) -> Failure | None:
        """The last refusal of which it is open whose it is."""
        with self._lock:
            return next(reversed(self._undecided.values()), None)

    def take_untold(self) -> tuple[Failure | None, ...]:
        """What requests of this process came to since this was last asked, as far as it is looked back on."""
        with self._lock:
            untold = tuple(self._untold)
            self._untold.clear()
            return untold

    def hear(
        self, answers: int, undecided: Failure | None = None, seen: Iterable[Failure | None] = ()
    ) -> None:
        """Take account of what other processes of the run got: so many more answers, what the last of them was refused with, and what their requests came to."""
        with self._lock:
            self._seen.extend(seen)
            if answers:
                self._answers, self._heard = self._answers + answers, self._heard + answers
                self._refused_since_answer.clear()
            if undecided is not None:
                self._undecided[""] = undecided

    def number_request(self) -> int:
        """A number for a request that goes out now: which of two went first, their numbers tell when they are back."""
        return next(self._numbers)

    def judged(
        self, row_key: str, failure: Failure, *, earlier_refusals: int = 0, last: bool = False
    ) -> Failure:
        """Tell whose a failure is by what the others got: a refusal that is the text's own is a `bad_request`.

        It is the text's own when it was refused several times with answers to others in between. The last request there
        is decides with less: where others were answered and hardly a text is refused, or where all that is refused was
        refused by earlier runs too, which labeled others.

        Args:
            row_key: the text's.
            failure: what its request came to.
            earlier_refusals: runs that refused it while they labeled others.
            last: whether it is not asked again in this run.
        """
        if failure.policy is not Policy.DOUBT:
            return failure
        with self._lock:
            known = self._refused.get(row_key)
            if known is None:
                known = self._refused[row_key] = _Refused(1, self._answers)
            else:
                known.in_all += 1
                if self._answers > known.at:
                    known.times, known.at = known.times + 1, self._answers
            self._refused_since_answer.add(row_key)
            self._is_new_refused = self._is_new_refused or not earlier_refusals
            own = known.times >= REFUSALS_OF_A_TEXT
            if last and not failure.is_account:
                among_few = self._answers > 0 and len(self._refused_since_answer) < REFUSALS_OF_A_TEXT
                own = own or among_few or not self._is_new_refused
            if own:
                self._undecided.pop(row_key, None)
            else:
                self._undecided[row_key] = failure
        return replace(failure, kind="bad_request") if own else failure

    def add(
        self, row_key: str, failure: Failure | None, *, number: int, answered: bool, paused: bool = False
    ) -> str | None:
        """Count a request; returns a sentence when it is time to stop.

        Args:
            row_key: its text's.
            failure: what it came to, None for a label.
            number: what it was given when it went out. An answer that was only slow says nothing of a refusal that went
                out after it.
            answered: whether the model answered, whatever it said.
            paused: whether nothing gets through at this moment; the throttle waits that out.
        """
        with self._lock:
            if answered:
                self._answers += 1
                self._account_refusals = [one for one in self._account_refusals if one > number]
                self._refused_since_answer.clear()
                self._undecided.pop(row_key, None)
            if failure is not None and failure.policy is Policy.DOUBT and failure.is_account:
                self._account_refusals.append(number)
                if len(self._account_refusals) >= REFUSALS_IN_A_ROW:
                    return refusal_sentence(failure)
            if failure is not None and (failure.kind in _FREE or paused or self._is_again(row_key, failure)):
                return None
            self._seen.append(failure)
            self._untold.append(failure)
            seen = list(self._seen)
        failed = [one for one in seen if one is not None]
        if len(seen) < WINDOW or len(failed) <= self._most:
            return None
        kinds = ", ".join(
            f"{count} {kind}" for kind, count in Counter(one.kind for one in failed).most_common()
        )
        return (
            f"{len(failed)} of the last {WINDOW} requests failed ({kinds}), so the rest was not asked. "
            f"{quoted(one.message for one in failed)}"
        )

    def end(self) -> str | None:
        """What a run that has asked everything has to say of its refusals: a sentence where all it got were such."""
        with self._lock:
            if self._answers or not self._undecided:
                return None
            return refusal_sentence(next(reversed(self._undecided.values())))

    def _is_again(self, row_key: str, failure: Failure) -> bool:
        """Whether a text is refused again: it is asked again to be sure, and counts once.

        Otherwise thirty refused texts, asked again before a slow model has answered others, would look like everyone.
        """
        known = self._refused.get(row_key)
        refused = failure.policy is Policy.DOUBT or failure.kind == "bad_request"
        return refused and known is not None and known.in_all > 1


def refusal_sentence(failure: Failure) -> str:
    """Why no text can succeed, in the provider's own words."""
    return f"the provider refuses every request: {failure.message}"


def quoted(messages: Iterable[str]) -> str:
    """The most frequent of some messages, a few different ones, each in quotes."""
    counts = Counter(messages).most_common(MOST_QUOTED)
    return "What came back: " + "; ".join(f'"{message}"' for message, _ in counts)
