"""The worker processes of a run, as its own process has them: it starts them, gives them chunks, and alone keeps the money.

A step of the run waits for its chunk, whichever process classifies it, so that whoever shows the steps sees nothing of this. One
Python process is one interpreter lock; where a provider takes more than that sends, several processes send it.

A worker is handed its lock on the output along: should this process be killed, nobody writes into the output until the workers
have kept what was in flight.
"""

import contextvars
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue

from labelmill.dataset.plan import Chunk, Plan
from labelmill.errors import LabelmillError, RunStopped
from labelmill.live.pace import Share
from labelmill.money.leases import Lease, LeaseReport, Leases
from labelmill.run.classify import ChunkReceipt
from labelmill.run.context import RunContext
from labelmill.run.machines import Machines, Submit
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

log = logging.getLogger(__name__)

_FAREWELL_SECONDS = 15.0
"""How long a worker that has nothing to do may take to end; it sends its traces for up to five."""
_MOST_SAID = 300


class WorkerDied(LabelmillError):  # noqa: N818  (the name is the sentence)
    """A worker process ended before its chunks were done, in one sentence."""


@contextmanager
def workers_of(context: RunContext, submit: Submit | None = None) -> Iterator["Workers | Machines | None"]:
    """Start the worker processes that a run's job wants, for the length of the block; None where it is to ask by itself.

    Where orders are taken elsewhere, `submit` says how, and no process is started here.

    Once the block ends, all of them have ended, and what one has left that died is in the ledger.
    """
    if submit is not None:
        machines = Machines(context, submit)
        try:
            yield machines
        finally:
            machines.close()
        return
    count = min(context.job.run.processes, context.job.run.max_concurrency)
    if count == 1:
        yield None
        return
    workers = Workers(context, count)
    try:
        yield workers
    finally:
        workers.close()


class _Worker:
    """A worker process: what it was given, and how it is spoken to."""

    def __init__(self, number: int, lock: int | None) -> None:
        self.number = number
        self.is_open = False
        self.is_gone = False
        self.share: Share | None = None
        self.pause: str | None = None
        self.chunks: dict[int, Future[ChunkReceipt]] = {}
        self._sending = threading.Lock()
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115  (closed when it has ended)
        ours, its = socket.socketpair()
        with ours, its, _signals_held_back():
            self.child = subprocess.Popen(  # noqa: S603  (this interpreter, our own module)
                # -P: no file of the folder we are in takes the place of a module.
                [sys.executable, "-P", "-m", "labelmill.run.worker", str(its.fileno())],
                pass_fds=[its.fileno(), *([] if lock is None else [lock])],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._complaints,
                # It finds what this process finds, and the keys where they are looked for.
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                # Ctrl-C is meant for the process of the run.
                start_new_session=True,
            )
            self.connection = Connection(ours.detach())

    def send(self, message: ToWorker) -> None:
        """Tell it something; where it is gone, that is seen where it is listened to."""
        with self._sending, suppress(OSError):
            self.connection.send(message)

    def last_words(self) -> str:
        """How it ended, once it has."""
        code = self.child.wait()
        if code < 0:
            return f"a worker process was killed (signal {-code})"
        self._complaints.seek(0)
        lines = self._complaints.read().decode(errors="replace").split("\n")
        said = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"a worker process ended (exit code {code}){': ' if said else ''}{said[:_MOST_SAID]}"

    def end(self) -> None:
        """See it end, or end it."""
        try:
            self.child.wait(_FAREWELL_SECONDS)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self._complaints.close()


class Workers:
    """The worker processes of one run. Threads share it.

    Args:
        context: the run.
        count: how many there are.
    """

    def __init__(self, context: RunContext, count: int) -> None:
        self._context = context
        self._leases = Leases(context.budget)
        self._has_limit = context.budget.limit is not None
        self._lock = threading.Lock()
        self._tries: dict[str, int] = {}
        self._left = 0
        self._is_closing = False
        self._all = [_Worker(number, context.lock) for number in range(count)]
        self._waking: SimpleQueue[None] = SimpleQueue()
        self._threads = [self._thread(self._tell_of_stop)]
        context.progress.elsewhere = self._pause
        for worker in self._all:
            self._threads.append(self._thread(self._listen, worker))

    def begin(self, plan: Plan) -> None:
        """Begin a pass: as many workers as there is work for share the pace, and nobody else has anything in flight."""
        context = self._context
        if context.stop_signal.stopped is not None:
            return
        with self._lock:
            active = [worker for worker in self._all if not worker.is_gone][: len(plan.chunks)]
            self._left = len(plan.chunks)
            for worker, share in self._shared_out(active):
                if not worker.is_open:
                    worker.send(self._opening())
                    if self._has_limit:
                        worker.send(self._leases.begin(worker.number))
                    # From here on others speak to it too.
                    worker.is_open = True
                worker.send(Pass(share, context.guard.is_last_pass, dict(self._tries)))
            if context.stop_signal.stopped is not None:
                self._say_stop()

    def classify(self, texts: Path, chunk: Chunk) -> ChunkReceipt:
        """Have a worker classify a chunk, and wait for it.

        Raises:
            WorkerDied: it ended before the chunk was done; what it had asked is in its journals.
            OSError: the journal or the ledger part can't be written; the run is stopped.
        """
        with self._lock:
            self._left -= 1
            able = [worker for worker in self._all if worker.share is not None and not worker.is_gone]
            if self._context.stop_signal.stopped is not None or not able:
                return ChunkReceipt(chunk.number, chunk.texts, labeled=0, failed=0, seconds=0.0)
            worker = min(able, key=lambda one: len(one.chunks))
            done = worker.chunks[chunk.number] = Future()
            worker.send(Classify(texts, chunk))
        return done.result()

    def close(self) -> None:
        """Let all of them end, and put into the ledger what those have left that died."""
        with self._lock:
            self._is_closing = True
            self._leases.close()
        for worker in self._all:
            if worker.is_open:
                worker.send(Close())
            else:
                # It may still be importing: it was never told of a run.
                worker.child.kill()
        self._waking.put(None)
        for worker in self._all:
            worker.end()
        for thread in self._threads:
            thread.join()
        for worker in self._all:
            worker.connection.close()
        if any(worker.child.returncode for worker in self._all if worker.is_open):
            self._context.ledger.fold_abandoned(self._context.job.run)

    def _opening(self) -> Opening:
        context = self._context
        return Opening(
            context.job,
            context.run_id,
            context.base_url,
            context.practice,
            context.started_at_utc,
            context.budget.limit,
            context.spoken_dialect.now,
            logging.getLogger("labelmill").getEffectiveLevel(),
        )

    def _thread(self, target: Callable[..., None], *arguments: object) -> threading.Thread:
        """A thread that logs where this one does."""
        here = contextvars.copy_context()
        thread = threading.Thread(target=here.run, args=(target, *arguments), daemon=True)
        thread.start()
        return thread

    def _tell_of_stop(self) -> None:
        """Once the run stops, whoever stops it, tell the workers."""
        stop_signal = self._context.stop_signal
        with stop_signal.waking(self._waking):
            if stop_signal.stopped is None:
                self._waking.get()
        if stop_signal.stopped is not None:
            self._say_stop()

    def _say_stop(self) -> None:
        stopped = self._context.stop_signal.stopped
        for worker in self._all:
            if worker.is_open and stopped is not None:
                worker.send(Stop(stopped))

    def _listen(self, worker: _Worker) -> None:
        """Hear what a worker says, until it says no more."""
        try:
            while True:
                self._hear(worker, worker.connection.recv())
        except (EOFError, OSError):
            self._lose(worker)
        except BaseException:
            # Nobody may wait for ever for a worker that is not heard.
            worker.child.kill()
            self._lose(worker)
            raise

    def _hear(self, worker: _Worker, message: FromWorker) -> None:
        context = self._context
        match message:
            case Counted():
                context.progress.add(labeled=message.labeled, failed=message.failed)
                context.progress.pay(message.cost_usd)
                worker.pause = message.pause
            case LeaseReport():
                with self._lock:
                    self._grant(self._leases.hear(worker.number, message))
            case Logged():
                logging.getLogger(message.logger).log(
                    message.level, "%s (worker process %d)", message.line, worker.number + 1
                )
            case Noticed():
                context.notice(message.sentence)
            case Found():
                self._spread(worker, message)
            case Stop():
                context.stop_signal.stop(message.stopped)
            case Done():
                self._done(worker, message)

    def _grant(self, leases: dict[int, Lease]) -> None:
        for number, lease in leases.items():
            self._all[number].send(lease)

    def _spread(self, worker: _Worker, found: Found) -> None:
        """Let all know what one has found out of the endpoint."""
        context = self._context
        context.guard.breaker.hear(found.answers, found.undecided)
        if found.dialect is not None:
            context.spoken_dialect.hear(found.dialect)
        if found.room is not None:
            context.thoughts.hear(found.room)
        for other in self._all:
            if other is not worker and other.is_open:
                other.send(replace(found, undecided=None))

    def _done(self, worker: _Worker, done: Done) -> None:
        with self._lock:
            self._tries.update(done.tries)
            waiting = worker.chunks.pop(done.chunk)
            if not self._left:
                self._hand_on_shares()
        if done.receipt is not None:
            waiting.set_result(done.receipt)
        else:
            waiting.set_exception(
                done.error or WorkerDied("a worker process did not say what came of a chunk")
            )

    def _hand_on_shares(self) -> None:
        """Where no chunk is left to give out, whoever is done hands its share to those who are not."""
        working = [worker for worker in self._all if worker.chunks]
        if not working or len(working) == sum(worker.share is not None for worker in self._all):
            return
        for worker, share in self._shared_out(working):
            worker.send(share)

    def _shared_out(self, among: list[_Worker]) -> list[tuple[_Worker, Share]]:
        """Give these workers all of the run's pace, and the others none of it; returns whose share is which."""
        for worker in self._all:
            worker.share = None
        most = self._context.job.run.max_concurrency
        shares = list(zip(among, Share.among(most, len(among)), strict=True)) if among else []
        for worker, share in shares:
            worker.share = share
        return shares

    def _lose(self, worker: _Worker) -> None:
        """A worker says no more: at the end, or since it has died, which ends the run."""
        with self._lock:
            worker.is_gone = True
            if self._is_closing and not worker.chunks:
                return
        words = worker.last_words()
        self._context.stop_signal.stop(
            RunStopped(
                "failed", f"{words}; what it had asked counts as paid, and the next run goes on from there"
            )
        )
        with self._lock:
            lost, worker.chunks = worker.chunks, {}
            self._grant(self._leases.end(worker.number))
        for waiting in lost.values():
            waiting.set_exception(WorkerDied(words))

    def _pause(self) -> str | None:
        """Why nothing is sent, where that is so of all who have something to send."""
        pauses = [worker.pause for worker in self._all if worker.chunks]
        return pauses[0] if pauses and all(pauses) else None


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """What is started in the block never sees a signal to drain: a service manager sends it to all, and the run's process decides."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
