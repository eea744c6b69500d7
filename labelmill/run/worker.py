"""A worker process of a run: it classifies the chunks that it is given, and tells the run's own process what came of them.

`python -m labelmill.run.worker DESCRIPTOR`, which only `run/workers.py` starts. It has a guard, a throttle and journals of its own, and
a lease of the run's money. Where its run's process is gone, it sends nothing more and waits for what is in flight, so that its
journals hold all that was paid. It holds the output's lock until then, by a descriptor that it inherits.
"""

import logging
import pickle
import sys
import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue

from labelmill.errors import LabelmillError, RunStopped
from labelmill.live.callbacks import Tracing
from labelmill.live.chain import chain_of
from labelmill.live.pace import Share
from labelmill.live.progress import Snapshot
from labelmill.live.tracing import tracing
from labelmill.money.budget import Budget
from labelmill.money.leases import Lease, LeasedBudget, LeaseReport
from labelmill.providers.dialect import SpokenDialect
from labelmill.run.classify import classify_chunk
from labelmill.run.collector import few_collections
from labelmill.run.context import RunContext
from labelmill.run.messages import (
    Classify,
    Close,
    Counted,
    Done,
    Found,
    FromWorker,
    Logged,
    Noticed,
    Opening,
    Pass,
    Stop,
    ToWorker,
)
from labelmill.stop import sleep_on

_TELL_SECONDS = 0.1
"""How often it is told what has changed, where nobody waits for it."""
_MOST_CHUNKS = 256
_ORPHANED = RunStopped("failed", "the process of the run is gone")


class WorkerContext(RunContext):
    """A run as its worker has it: it opens nothing and takes nothing over, and its money is on lease.

    Args:
        opening: the run.
        traced: what its requests are traced by.
        worker: who it belongs to.
    """

    def __init__(self, opening: Opening, traced: Tracing, worker: "Worker") -> None:
        self._opening, self._worker = opening, worker
        super().__init__(
            opening.job,
            opening.run_id,
            opening.base_url,
            opening.practice,
            opening.started_at_utc,
            tracing=traced,
            chain_of=chain_of,
        )

    def notice(self, sentence: str) -> None:
        """Tell the run's process, which says it once, whoever tells it."""
        if sentence not in self.notices:
            self.notices.append(sentence)
            self._worker.say(Noticed(sentence))

    @cached_property
    def budget(self) -> Budget:
        """What it has on lease; without a limit it only adds up."""
        limit = self._opening.limit
        return Budget(None) if limit is None else LeasedBudget(limit, self._worker.wake)

    @cached_property
    def spoken_dialect(self) -> SpokenDialect:
        """What the run has found out of its endpoint's dialect."""
        return SpokenDialect(self.job, self._opening.dialect)


class Worker:
    """The worker of a run, from its opening to its end. Threads share it."""

    def __init__(self, connection: Connection, opening: Opening) -> None:
        self._connection = connection
        self._opening = opening
        self._waking: SimpleQueue[None] = SimpleQueue()
        self._said: deque[FromWorker] = deque()
        self._sending = threading.Lock()
        self._counted = Snapshot()
        self._pause: str | None = None
        self._answers = 0
        self._undecided: object = None
        self._dialect, self._room = opening.dialect, 0
        self._reported = LeaseReport()
        self._tries: Mapping[str, int] = {}
        self._told_stop = self._is_over = False

    def serve(self) -> None:
        """Do what is asked until there is nothing more to do, or nobody there who asks."""
        log = logging.getLogger("labelmill")
        log.addHandler(_Forwarding(self))
        log.setLevel(self._opening.log_level)
        log.propagate = False
        with tracing(keep_texts=self._opening.job.run.trace_texts) as traced:
            self._context = WorkerContext(self._opening, traced, self)
            _ = self._context.guard
            teller = threading.Thread(target=self._tell_on, name="teller")
            teller.start()
            try:
                with few_collections(), ThreadPoolExecutor(_MOST_CHUNKS, "chunk") as chunks:
                    self._hear_on(chunks)
            finally:
                self._is_over = True
                self.wake()
                teller.join()
        self._tell()

    def say(self, message: FromWorker) -> None:
        """Have something told with what is told next."""
        self._said.append(message)

    def wake(self) -> None:
        """Have told at once what there is to tell."""
        self._waking.put(None)

    def _hear_on(self, chunks: ThreadPoolExecutor) -> None:
        """Hear what is asked. Whatever ends that, what is in flight is waited for."""
        try:
            while not isinstance(message := self._connection.recv(), Close):
                self._hear(message, chunks)
        except (EOFError, OSError):
            self._context.stop_signal.stop(_ORPHANED)
        except BaseException as error:
            self._context.stop_signal.stop(RunStopped("failed", f"{type(error).__name__}: {error}"))
            raise

    def _hear(self, message: ToWorker, chunks: ThreadPoolExecutor) -> None:
        context, guard = self._context, self._context.guard
        match message:
            case Classify():
                chunks.submit(self._classify, message)
            case Lease() if isinstance(context.budget, LeasedBudget):
                context.budget.hear(message)
            case Pass():
                guard.is_last_pass = message.is_last
                guard.tries.update(message.tries)
                run = context.job.run.model_copy(update={"max_concurrency": message.share.max_concurrency})
                context.job = context.job.model_copy(update={"run": run})
                context.throttle.take(message.share)
            case Share():
                context.throttle.take(message)
            case Found():
                guard.breaker.hear(message.answers, seen=message.seen)
                if message.dialect is not None:
                    context.spoken_dialect.hear(message.dialect)
                if message.room is not None:
                    context.thoughts.hear(message.room)
            case Stop():
                self._told_stop = True
                context.stop_signal.stop(message.stopped)
            case _:
                raise TypeError(f"not for a worker: {message!r}")

    def _classify(self, asked: Classify) -> None:
        receipt, error = None, None
        try:
            receipt = classify_chunk(self._context, asked.texts, asked.chunk)
        except BaseException as raised:  # noqa: BLE001  (whatever it is, the run's process is told)
            error = _fit_to_send(raised)
        tries = dict(self._context.guard.tries)
        new = {key: times for key, times in tries.items() if self._tries.get(key) != times}
        self._tries = tries
        self._tell(Done(asked.chunk.number, receipt, error, new))

    def _tell_on(self) -> None:
        """Tell what has changed, now and then, and at once where it is waited for."""
        with self._context.stop_signal.waking(self._waking):
            while not self._is_over:
                sleep_on(self._waking, _TELL_SECONDS)
                with suppress(Empty):
                    while True:
                        self._waking.get_nowait()
                self._tell()

    def _tell(self, *more: FromWorker) -> None:
        """Tell what has changed, in this order: who is told of a chunk's end knows then all that it did."""
        with self._sending:
            try:
                for message in (*self._news(), *more):
                    self._connection.send(message)
            except OSError:
                pass  # who asks is gone, which is seen where it is listened to

    def _news(self) -> list[FromWorker]:
        context = self._context
        news: list[FromWorker] = []
        while self._said:
            news.append(self._said.popleft())
        news += self._count()
        news += self._findings()
        stopped = context.stop_signal.stopped
        if isinstance(context.budget, LeasedBudget):
            if stopped is not None:
                context.budget.end(stopped)
            report = context.budget.report()
            if report != self._reported:
                self._reported = report
                news.append(report)
        if stopped is not None and not self._told_stop:
            self._told_stop = True
            news.append(Stop(stopped))
        return news

    def _count(self) -> list[FromWorker]:
        now, before = self._context.progress.now(), self._counted
        self._counted = now
        unknown = now.cost_usd is None or before.cost_usd is None
        cost = None if unknown else now.cost_usd - before.cost_usd  # type: ignore[operator]  # both are known
        counted = Counted(now.labeled - before.labeled, now.failed - before.failed, cost, now.pause)
        is_news = (
            counted.labeled or counted.failed or now.cost_usd != before.cost_usd or now.pause != before.pause
        )
        return [counted] if is_news else []

    def _findings(self) -> list[FromWorker]:
        context, breaker = self._context, self._context.guard.breaker
        answers, undecided = breaker.own_answers, breaker.undecided
        dialect, room = context.spoken_dialect.now, context.thoughts.found or 0
        found = Found(
            answers - self._answers,
            breaker.take_untold(),
            undecided if undecided is not self._undecided else None,
            dialect if dialect != self._dialect else None,
            room if room > self._room else None,
        )
        self._answers, self._undecided, self._dialect, self._room = answers, undecided, dialect, room
        return [found] if found != Found() else []


class _Forwarding(logging.Handler):
    """Hands the lines of the log on."""

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        self._worker = worker

    def emit(self, record: logging.LogRecord) -> None:
        self._worker.say(Logged(record.name, record.levelno, record.getMessage()))


def _fit_to_send(error: BaseException) -> BaseException:
    """An exception, or where it doesn't survive the way, one that says the same."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  (our own bytes)
    except Exception:  # noqa: BLE001  (whatever an exception of somebody's does when it is copied)
        return LabelmillError(f"{type(error).__name__}: {error}")
    return error


def main() -> None:
    """Hear which run it is, and serve it."""
    connection = Connection(int(sys.argv[1]))
    try:
        opening = connection.recv()
    except (EOFError, OSError):
        return
    if isinstance(opening, Opening):
        Worker(connection, opening).serve()


if __name__ == "__main__":
    main()
