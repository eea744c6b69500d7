"""A worker of a run on whatever machine: it takes an order, asks its chunk, and leaves a receipt in the output's store.

`python -m labelmill.run.machine ORDER.json` takes one; engines call `take`. It has a guard, a throttle and a journal of its own, and
a lease: so much money, so many requests in flight. Nobody is asked for more. Keys are read from its own environment.

Every few seconds it beats, and looks whether the run stops, whether its holder lives, and whether its lease was given up. One that
has not looked for longer than that (a stopped process, a machine asleep) sends nothing before it has looked again.
"""

import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path

from labelmill.errors import BudgetReached, LabelmillError, RunStopped
from labelmill.live.callbacks import Tracing
from labelmill.live.chain import chain_of
from labelmill.live.thought_room import ThoughtRoom
from labelmill.live.tracing import tracing
from labelmill.money.budget import Budget
from labelmill.providers.dialect import SpokenDialect
from labelmill.providers.environment import bypass_proxies
from labelmill.run.classify import classify_chunk
from labelmill.run.collector import few_collections
from labelmill.run.context import RunContext
from labelmill.run.orders import (
    BEATS,
    GONE,
    LEASE_USED,
    ChunkTaken,
    LeaseNames,
    Order,
    Pulse,
    Receipt,
)
from labelmill.stop import StopSignal
from labelmill.store.folder import OutputFolder
from labelmill.store.journal import Journal
from labelmill.store.ledger import Ledger
from labelmill.store.objects import Store, nonce

_SETTLED = RunStopped(GONE, "the holder of the run has given up this lease")
_HOLDER_GONE = RunStopped(GONE, "the holder of the run is not heard of any more")
_BLIND = RunStopped(GONE, "the store could not be reached to see whether the run goes on")


class Watch(StopSignal):
    """A worker's look at its run: a stop signal that also the store can set, and that trusts no old look.

    Args:
        order: what it works on.
        store: the output.
    """

    def __init__(self, order: Order, store: Store) -> None:
        super().__init__()
        self._order, self._store = order, store
        self._names = LeaseNames(order.run_id)
        self._holder = Pulse(store, self._names.holder, order.ttl_seconds)
        self._looking = threading.Lock()
        self._looked_at = float("-inf")
        self._beat = 0
        self.is_settled = False
        self.tell: Callable[[], dict[str, object]] = dict
        """What a heartbeat carries beside its number."""

    def raise_if_stopped(self) -> None:
        """Raise what the run was stopped with, as a look of the last few seconds tells; nothing is sent before there is one."""
        super().raise_if_stopped()
        ends = time.monotonic() + 2 * self._order.ttl_seconds
        while self._is_stale():
            with self._looking, suppress(OSError):
                if self._is_stale():
                    self._look()
            if self._is_stale():
                if time.monotonic() > ends:
                    self.stop(_BLIND)
                self.wait_unless_stopped(self._order.ttl_seconds / BEATS / 5)
            super().raise_if_stopped()
        super().raise_if_stopped()

    def look(self) -> None:
        """Beat, and see how things stand.

        Raises:
            OSError: the store can't be reached.
        """
        with self._looking:
            self._look()

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look every few seconds for the length of the block."""
        ended = threading.Event()

        def look_on() -> None:
            while not ended.wait(self._order.ttl_seconds / BEATS):
                with suppress(OSError):
                    self.look()

        thread = threading.Thread(target=look_on, name="watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _is_stale(self) -> bool:
        return time.monotonic() - self._looked_at > self._order.ttl_seconds / 3

    def _look(self) -> None:
        # What is seen is not younger than this, and the heartbeat not older.
        begun = time.monotonic()
        lease_id = self._order.lease_id
        self._beat += 1
        told = {"beat": self._beat, **self.tell()}
        self._store.put(self._names.beat(lease_id), json.dumps(told).encode())
        if (held := self._store.read(self._names.receipt(lease_id))) is not None:
            self.is_settled = Receipt.from_bytes(held.content).is_settled
        elif self._store.head(self._names.attempt(lease_id)) is None:
            # The run is over, and has taken away what its leases were made of.
            self.is_settled = True
        if self.is_settled:
            self.stop(_SETTLED)
        if (held := self._store.read(self._names.stop)) is not None:
            said = json.loads(held.content)
            self.stop(RunStopped(str(said.get("reason")), str(said.get("message"))))
        self._holder.look()
        if not self._holder.is_alive:
            self.stop(_HOLDER_GONE)
        self._looked_at = begun


class LeaseUsed(BudgetReached):
    """The lease is too small for the next request: what is left of the chunk needs another one."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.reason = LEASE_USED


class _LeaseBudget(Budget):
    """What is on lease. Where it is used up, that is not the run's whole budget."""

    def _wait_for(self, worst_case_usd: Decimal) -> Decimal:
        try:
            return super()._wait_for(worst_case_usd)
        except BudgetReached as reached:
            raise LeaseUsed(str(reached)) from None


@dataclass(frozen=True, kw_only=True)
class _LeasedLedger(Ledger):
    """The ledger as a worker has it: a lease that was given up adds nothing any more."""

    watch: Watch

    def add(self, journal: Journal, run: object) -> None:
        """Turn the journal into a part, unless the holder has done so."""
        try:
            self.watch.look()
        except OSError:
            # It stays where it is, and the next run that finds it folds it in.
            return
        if self.watch.is_settled or journal.path.with_suffix(".parquet").exists():
            journal.remove()
            return
        super().add(journal, run)  # type: ignore[arg-type]  # as it is called


class LeaseContext(RunContext):
    """A run as the worker of one lease has it: it opens nothing, takes nothing over, and looks nothing up in the ledger."""

    def __init__(self, order: Order, traced: Tracing, watch: Watch, scratch_folder: Path) -> None:
        self._order = order
        super().__init__(
            order.job,
            order.run_id,
            order.base_url,
            order.practice,
            order.started_at_utc,
            tracing=traced,
            chain_of=chain_of,
            scratch_folder=scratch_folder,
            stop_signal=watch,
        )
        share = order.share
        run = self.job.run.model_copy(update={"max_concurrency": share.max_concurrency})
        self.job = self.job.model_copy(update={"run": run})
        self.throttle.take(share)
        self._watch = watch
        watch.tell = self._progress_told
        guard = self.guard
        guard.is_last_pass = order.is_last_pass
        guard.tries.update(order.tries)
        guard.breaker.hear(order.answers)

    def _progress_told(self) -> dict[str, object]:
        now = self.progress.now()
        cost = None if now.cost_usd is None else str(now.cost_usd)
        return {"labeled": now.labeled, "failed": now.failed, "cost_usd": cost}

    @cached_property
    def ledger(self) -> Ledger:
        """Where its answers go."""
        return _LeasedLedger(folder=self.folder.ledger(self.task_key), watch=self._watch)

    @cached_property
    def budget(self) -> Budget:
        """What it has on lease."""
        return _LeaseBudget(self._order.limit)

    @cached_property
    def spoken_dialect(self) -> SpokenDialect:
        """What the run has found out of its endpoint's dialect."""
        return SpokenDialect(self.job, self._order.dialect)

    @cached_property
    def thoughts(self) -> ThoughtRoom:
        """The room for thoughts, as the run has found it."""
        room = ThoughtRoom(self.job.model, self.notice)
        if self._order.room is not None:
            room.hear(self._order.room)
        return room


def take(order: Order) -> Receipt:
    """Take an order: ask its texts, and return what came of them, which is in the store then.

    Raises:
        ChunkTaken: it was taken before, or its run is over; nothing was asked.
        OSError: the store can't be reached.
    """
    bypass_proxies()
    names = LeaseNames(order.run_id)
    with ExitStack() as stack:
        watch = Watch(order, store := OutputFolder.of(order.job).store)
        if store.read(names.stop) is not None:
            raise ChunkTaken(f"run {order.run_id} is over")
        mark = nonce()
        traced = stack.enter_context(tracing(keep_texts=order.job.run.trace_texts))
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="labelmill-")))
        context = LeaseContext(order, traced, watch, scratch)
        journal = context.ledger.journal_path(order.run_id, order.chunk.number)
        attempt = {
            "nonce": mark,
            "journal": journal.relative_to(context.folder.path).as_posix(),
            "ttl_seconds": order.ttl_seconds,
        }
        if not store.create(names.attempt(order.lease_id), json.dumps(attempt).encode()):
            held = store.read(names.receipt(order.lease_id))
            if held is not None and not (receipt := Receipt.from_bytes(held.content)).is_settled:
                return receipt
            raise ChunkTaken(f"lease {order.lease_id} was taken before")
        watch.look()
        stack.enter_context(watch.looking())
        texts = _fetched(order, store, scratch)
        receipt = _receipt_of(context, order, mark, _asked(context, order, texts))
        if not store.create(names.receipt(order.lease_id), receipt.to_bytes()):
            raise ChunkTaken(f"lease {order.lease_id} was given up meanwhile")
        return receipt


def _fetched(order: Order, store: Store, scratch: Path) -> Path:
    """A chunk's texts, and what the ledger knows of them, as files of this machine."""
    texts = scratch / "texts.parquet"
    if store.fetch(order.texts, texts) is None:
        raise ChunkTaken(f"the texts of lease {order.lease_id} are gone: its run is over")
    store.fetch(str(Path(order.texts).with_suffix(".tried")), texts.with_suffix(".tried"))
    return texts


def _asked(context: LeaseContext, order: Order, texts: Path) -> tuple[int, int]:
    """Ask the texts; returns how many have a label, and how many have failed. What stops that is in the stop signal."""
    try:
        with few_collections():
            done = classify_chunk(context, texts, order.chunk)
    except Exception as error:  # noqa: BLE001  (whatever it is, the receipt says it)
        words = str(error) if isinstance(error, LabelmillError) else f"{type(error).__name__}: {error}"
        context.stop_signal.stop(RunStopped("failed", words))
        now = context.progress.now()
        return now.labeled, now.failed
    return done.labeled, done.failed


def _receipt_of(context: LeaseContext, order: Order, mark: str, counts: tuple[int, int]) -> Receipt:
    stopped, breaker = context.stop_signal.stopped, context.guard.breaker
    dialect = context.spoken_dialect.now
    return Receipt(
        order.lease_id,
        mark,
        context.budget.spent_usd,
        *counts,
        stopped=None if stopped is None else (stopped.reason, stopped.message),
        dialect=dialect if dialect != order.dialect else None,
        room=context.thoughts.found,
        answers=breaker.own_answers,
        undecided=breaker.undecided,
        tries=dict(context.guard.tries),
        notices=tuple(context.notices),
    )


def main() -> None:
    """Take the order in a file."""
    take(Order.from_json(Path(sys.argv[1]).read_bytes()))


if __name__ == "__main__":
    main()
