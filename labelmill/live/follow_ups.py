"""Follow-ups: what a chunk asks again is asked at its own time, while the rest of the chunk goes on.

`chain.batch` returns nothing before its slowest text. So an answer that is no label is handed over here by the model's step,
the moment it came, and its correction is asked by a thread of its own. So is, once its time has come, a text that has to
wait: while it does, it holds no thread that another could use.
"""

import contextvars
import heapq
import itertools
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self

from labelmill.job.model import LabelJob
from labelmill.live.guard import PutOff
from labelmill.live.questions import Question, after_failure
from labelmill.question.failures import Failure
from labelmill.stop import StopSignal, sleep_on


class ChunkFollowUps:
    """A chunk's follow-ups. Nothing of them is left running at the end of the block; what is in flight then finishes.

    Args:
        job: says how often a text may be answered.
        questions: the chunk's.
        ask: asks one: as `chain.batch` does it, with what was raised in the place of a result. It runs in the context in
            which this is made.
        stop_signal: the run's. Who waits when it is set is asked at once, and finds that the run has stopped.
        most: the most threads that ask.
    """

    def __init__(
        self,
        job: LabelJob,
        questions: Iterable[Question],
        ask: Callable[[Question], Any],
        stop_signal: StopSignal,
        most: int,
    ) -> None:
        self._job = job
        self._ask = ask
        self._stop_signal = stop_signal
        self._latest = {question.row_key: question for question in questions}
        self._context = contextvars.copy_context()
        self._pool = ThreadPoolExecutor(most)
        self._results: dict[str, Any] = {}
        self._open: set[str] = set()
        self._held_back: list[Question] = []
        self._due: list[tuple[float, int, Question]] = []
        self._numbers = itertools.count()
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._timer: threading.Thread | None = None
        self._is_batch_over = False
        self._is_closed = False
        self._changed = threading.Condition()

    def __enter__(self) -> Self:
        """Take follow-ups from now on."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Wait for what is in flight, and give up the rest."""
        with self._changed:
            self._is_closed = True
        self._wake.put(None)
        if self._timer is not None:
            self._timer.join()
        self._pool.shutdown(cancel_futures=True)

    def ask(self, question: Question) -> None:
        """Ask a question now."""
        with self._changed:
            self._latest[question.row_key] = question
            self._begin(question)

    def again(self, row_key: str, failure: Failure) -> None:
        """Ask a text again after an answer that was no label, if there is anything left to ask it."""
        with self._changed:
            following = after_failure(self._latest[row_key], failure, self._job)
            if following is None:
                return
            self._latest[row_key] = following
            if failure.lacked_room and self._is_last(following) and not self._is_batch_over:
                # By then the others have told how much room it takes.
                self._held_back.append(following)
                self._open.add(row_key)
            else:
                self._begin(following)

    def later(self, row_key: str, seconds: float) -> None:
        """Ask a text's question once more after so many seconds."""
        with self._changed:
            question = self._latest[row_key]
            self._open.add(row_key)
            heapq.heappush(self._due, (time.monotonic() + seconds, next(self._numbers), question))
            if self._timer is None and not self._is_closed:
                self._timer = threading.Thread(target=self._keep_time, daemon=True)
                self._timer.start()
        self._wake.put(None)

    def results(self) -> Mapping[str, Any]:
        """What the texts that were asked here came to, by row key; waits for all of them. The batch is over by then."""
        with self._changed:
            self._is_batch_over = True
            for question in self._held_back:
                self._begin(question)
            self._changed.wait_for(lambda: not self._open)
            return self._results

    def _is_last(self, question: Question) -> bool:
        return question.answers + 1 >= self._job.run.max_answers

    def _begin(self, question: Question) -> None:
        self._open.add(question.row_key)
        if not self._is_closed:
            self._pool.submit(self._context.copy().run, self._go, question)

    def _go(self, question: Question) -> None:
        try:
            result = self._ask(question)
        except BaseException as error:  # noqa: BLE001  (whoever waits for the results raises it)
            result = error
        with self._changed:
            row_key = question.row_key
            has_followed = self._latest[row_key] is not question or isinstance(result, PutOff)
            if not has_followed:
                self._results[row_key] = result
                self._open.discard(row_key)
                self._changed.notify_all()

    def _keep_time(self) -> None:
        """Ask what is due, until the end of the block."""
        with self._stop_signal.waking(self._wake):
            while True:
                with self._changed:
                    if self._is_closed:
                        return
                    now = math.inf if self._stop_signal.stopped is not None else time.monotonic()
                    while self._due and self._due[0][0] <= now:
                        self._begin(heapq.heappop(self._due)[2])
                    seconds = self._due[0][0] - now if self._due else math.inf
                sleep_on(self._wake, seconds)
