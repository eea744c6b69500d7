"""The room that answers have for thoughts in a run: where it begins, and how it grows once answers run out of it."""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from labelmill.job.model import Model
from labelmill.question.form import AnswerForm
from labelmill.question.thinking import MOST_ROOM, room_for_thoughts, room_that_holds, wider

_ADVICE = (
    "model.max_tokens sets another limit, and docs/model-settings.md says how to have fewer thoughts or none"
)

_SEVERAL = 3
"""So many texts are no coincidence."""


class ThoughtRoom:
    """One for all requests of a run, on both lanes; threads share it.

    Only `max_tokens = "auto"` has any: a limit of the job's own stays as it is.

    Args:
        model: the job's.
        notify: takes what is said of it, once anything is asked.
        remembered: tells how many tokens of thoughts the answers in the ledger have taken at most.
    """

    def __init__(
        self,
        model: Model,
        notify: Callable[[str], None] = lambda _: None,
        remembered: Callable[[], int] = lambda: 0,
    ) -> None:
        self._model = model
        self._notify = notify
        self._remembered = remembered
        self._own = room_for_thoughts(model)
        self._is_auto = model.max_tokens == "auto"
        self._room: int | None = None if self._is_auto else self._own
        self._most = MOST_ROOM
        self._answered: set[int] = {0}
        self._refusals = Counter[int]()
        self._lock = threading.Lock()

    @property
    def tokens(self) -> int:
        """The tokens that an answer may have beside its label at this moment."""
        with self._lock:
            return self._now()

    @property
    def found(self) -> int | None:
        """The same as far as it was looked for."""
        return self._room

    def hear(self, room: int) -> None:
        """Take account of the room that other processes of the run have found to be needed."""
        with self._lock:
            if self._is_auto:
                self._room = max(self._now(), min(room, self._most))

    def widened(self, form: AnswerForm) -> AnswerForm:
        """A form of the job's with the room that there is now."""
        more = self.tokens - self._own
        return replace(form, max_tokens=form.max_tokens + more) if more else form

    def can_widen(self, room: int) -> bool:
        """Whether a request that had such room would have more now, or could be given it."""
        with self._lock:
            now = self._now()
            return self._is_auto and (room < now or self._wider(now) > now)

    def was_too_small(self, room: int) -> bool:
        """Note that an answer ran out of its room; returns whether the next request for its text has more."""
        with self._lock:
            now = self._now()
            if not self._is_auto or room < now:
                return self._is_auto
            self._room = self._wider(now)
            if self._room == now:
                return False
            why = (
                f"longer than {now:,} tokens"
                if now
                else "before it answers, and its answers had no room for that"
            )
            self._notify(
                f"{self._model.name} thinks {why}: from here on an answer may take {self._room:,} tokens of thoughts "
                f"beside its label (at most {self._most:,}), and what was cut off is asked again; {_ADVICE}"
            )
            return True

    def can_shrink(self, room: int) -> bool:
        """Whether a request that had such room can have less."""
        return self._is_auto and room > 0

    def was_answered(self, room: int) -> None:
        """Note that the endpoint takes requests with such room."""
        with self._lock:
            self._answered.add(room)

    def less_than(self, room: int) -> int:
        """The room to ask a text with once more where an endpoint has refused it with this one; the same where there is none."""
        with self._lock:
            return max(one for one in self._answered if one < room) if self._is_auto and room else room

    def was_refused(self, room: int, less: int) -> None:
        """Note that a text was refused with one room and answered with less.

        Where the endpoint has taken such room before, that text was too long for it. Else, after a few of them, no further
        request has as much.
        """
        with self._lock:
            self._refusals[room] += 1
            if room not in self._answered and self._refusals[room] >= _SEVERAL:
                self._shrink(room, less)

    def was_refused_to_all(self, room: int) -> None:
        """Note that no text of a batch was given such room; no further request has as much."""
        less = self.less_than(room)
        with self._lock:
            self._shrink(room, less)

    def _shrink(self, room: int, less: int) -> None:
        self._most = min(self._most, less)
        if self._now() > less:
            self._room = less
            self._notify(
                f"The endpoint takes no answer of {self._model.name} that is as long as a label and {room:,} tokens of "
                f"thoughts: from here on it may take {less:,} of them. Give the server a longer context, or set model.max_tokens"
            )

    def _wider(self, room: int) -> int:
        return max(room, min(wider(room), self._most))

    def _now(self) -> int:
        if self._room is None:
            self._room = room_that_holds(self._own, self._remembered())
            if self._room:
                why = (
                    "is known to think before it answers"
                    if self._room == self._own
                    else "has thought before it answered in earlier runs"
                )
                self._notify(
                    f"{self._model.name} {why}, so an answer may take {self._room:,} tokens of thoughts beside its label; "
                    f"{_ADVICE}"
                )
        return self._room
