"""The workers of a run on other machines, as its holder has them: it gives out chunks with their leases, and alone keeps the money.

A step of the run waits for its chunk, wherever it is classified. What came of a lease is read from the output's store, never from
what an engine says of a task: one that failed but left a receipt is done, one that is said to be done and left none is not.
A worker that was not heard of for its time is given up: its lease counts as spent, what its journal tells is folded in, and what
is left of the chunk goes out again under a new lease.
"""

import concurrent.futures
import contextvars
import json
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import polars as pl

from labelmill.dataset.plan import Chunk, Plan, read_chunk, write_pending_part, write_tried
from labelmill.errors import RunStopped
from labelmill.live.pace import Share
from labelmill.money.budget import Limit
from labelmill.money.leases import lease_usd
from labelmill.money.prices import cost_of
from labelmill.question.form import form_of, worst_case_of
from labelmill.question.prompt import messages_of
from labelmill.run import orders
from labelmill.run.classify import ChunkReceipt
from labelmill.run.context import RunContext
from labelmill.run.orders import (
    BEATS,
    GONE,
    LEASE_USED,
    PENDING_CHUNKS,
    LeaseNames,
    Order,
    Pulse,
    Receipt,
    stop_content,
)
from labelmill.stop import sleep_on
from labelmill.store.address import is_url
from labelmill.store.ledger import Ledger
from labelmill.store.objects import FolderStore, Store, nonce
from labelmill.store.working import bring

log = logging.getLogger(__name__)

Submit = Callable[[Order], "Future[Any]"]
"""How an order is taken elsewhere. What comes of it is in the store; the future only tells when to look."""
_POLL_SECONDS = 0.5
_AGAIN = frozenset({GONE, LEASE_USED})
_ZERO = Decimal(0)


class Machines:
    """The workers elsewhere of one run. Threads share it.

    Args:
        context: the run.
        submit: has an order taken.
    """

    def __init__(self, context: RunContext, submit: Submit) -> None:
        self._context, self._submit = context, submit
        self._store = context.folder.store
        self._names = LeaseNames(context.run_id)
        self._ttl_seconds = orders.TTL_SECONDS
        self._lock = threading.Lock()
        self._tries: dict[str, int] = {}
        self._slots = _Slots(context.job.run.max_concurrency)
        self._money = threading.Condition()
        self._leases_out = 0
        self._waking: SimpleQueue[None] = SimpleQueue()
        self._is_over = False
        self._beats = 0
        self._beat()
        here = contextvars.copy_context()
        self._thread = threading.Thread(target=here.run, args=(self._beat_on,), name="holder", daemon=True)
        self._thread.start()

    def begin(self, plan: Plan) -> None:
        """Begin a pass: as many workers as there is work for share the pace, and nothing else is in flight."""
        run = self._context.job.run
        self._slots.begin(min(run.workers, run.max_concurrency, max(1, len(plan.chunks))), len(plan.chunks))

    def classify(self, texts: Path, chunk: Chunk) -> ChunkReceipt:
        """Have a chunk classified elsewhere, under as many leases as it takes, and wait for it.

        Raises:
            OSError: the store can't be reached.
        """
        try:
            return self._classified(texts, chunk)
        except BaseException as error:
            # Others may wait for the money that was on lease here.
            words = f"{type(error).__name__}: {error}"
            if isinstance(error, OSError):
                words = f"{self._store.place} can't be read or written: {error.strerror or error}"
            self._context.stop_signal.stop(RunStopped("failed", words))
            raise

    def _classified(self, texts: Path, chunk: Chunk) -> ChunkReceipt:
        started, context = time.monotonic(), self._context
        rows = read_chunk(texts, chunk)
        worst = self._worst_costs(rows)
        labeled = failed = 0
        number, dearest = chunk.number, max(worst.values(), default=_ZERO)
        with self._slots.chunk():
            while rows and context.stop_signal.stopped is None:
                need = sum((worst[key] for key, _ in rows), _ZERO)
                with self._slots.share(context.stop_signal) as share:
                    held_usd = None if share is None else self._lease(max(need, dearest), dearest)
                    if held_usd is None or share is None:
                        break
                    order = self._ordered(texts, rows, number, held_usd, share)
                    receipt = self._taken(order)
                self._settle(held_usd, receipt)
                part = bring(context.ledger.part_path(context.run_id, number))
                left = _left(receipt, part, rows)
                new = _counts_in(part) if receipt.is_settled else (receipt.labeled, receipt.failed)
                labeled, failed = labeled + new[0], failed + new[1]
                if len(left) == len(rows) and not receipt.spent_usd:
                    # The worst case was larger than it looks from here.
                    dearest = dearest * 2
                if left:
                    number = context.take_numbers()
                    texts = self._with_tries(left)
                rows = left
        return ChunkReceipt(chunk.number, chunk.texts, labeled, failed, time.monotonic() - started)

    def close(self) -> None:
        """Say that the run is over, and take away what its leases were made of. Whoever is late finds that it is over."""
        self._is_over = True
        self._waking.put(None)
        self._thread.join()
        over = self._context.stop_signal.stopped or RunStopped("over", "the run is over")
        with suppress(OSError):
            self._store.create(self._names.stop, stop_content(over))
            remove_leases(self._store, self._names, self._context.record_folder)

    def _ordered(
        self, texts: Path, rows: list[tuple[str, str]], number: int, held_usd: Decimal, share: Share
    ) -> Order:
        context, lease_id = self._context, f"{number:05d}-{nonce()[:8]}"
        name = f"{self._names.texts}{lease_id}.parquet"
        with tempfile.TemporaryDirectory(prefix="labelmill-") as scratch:
            part = Path(scratch) / "texts.parquet"
            write_pending_part(texts, rows, part)
            tried = part.with_suffix(".tried")
            if tried.exists():
                self._store.put(str(Path(name).with_suffix(".tried")), tried)
            self._store.put(name, part)
        with self._lock:
            tries = {key: self._tries[key] for key, _ in rows if key in self._tries}
        return Order(
            _at_home(context),
            context.run_id,
            context.base_url,
            context.practice,
            context.started_at_utc,
            name,
            Chunk(number, 0, len(rows)),
            lease_id,
            _on_lease(context.budget.limit, held_usd),
            share,
            context.spoken_dialect.now,
            context.thoughts.found,
            int(context.guard.breaker.has_answers),
            context.guard.is_last_pass,
            tries,
            self._ttl_seconds,
        )

    def _taken(self, order: Order) -> Receipt:
        """Have an order taken, and return its receipt: its worker's, or the one by which it is given up."""
        pulse = Pulse(self._store, self._names.beat(order.lease_id), self._ttl_seconds)
        seen = _Seen(self._context)
        future: Future[Any] | None = None
        with suppress(Exception):
            future = self._submit(order)
        looked_at, is_begun = float("-inf"), False
        while True:
            held = self._store.read(self._names.receipt(order.lease_id))
            if held is not None:
                receipt = Receipt.from_bytes(held.content)
                break
            if not is_begun and self._store.head(self._names.attempt(order.lease_id)) is not None:
                is_begun = True
                pulse = Pulse(self._store, self._names.beat(order.lease_id), self._ttl_seconds)
            if is_begun and time.monotonic() - looked_at > self._ttl_seconds / BEATS:
                looked_at = time.monotonic()
                seen.hear(pulse.look())
            is_done = future is None or future.done()
            is_hopeless = not is_begun and (is_done or self._context.stop_signal.stopped is not None)
            if is_hopeless or (is_begun and not pulse.is_alive):
                why = None if future is None or not future.done() else future.exception()
                receipt = self._given_up(
                    order, pulse, was_begun=is_begun, error=why, is_known=future is not None
                )
                break
            if future is None or future.done():
                time.sleep(_POLL_SECONDS)
            else:
                concurrent.futures.wait([future], _POLL_SECONDS)
        for name in (order.texts, str(Path(order.texts).with_suffix(".tried"))):
            self._store.remove(name)
        seen.end(receipt)
        return receipt

    def _given_up(
        self, order: Order, pulse: Pulse, *, was_begun: bool, error: BaseException | None, is_known: bool
    ) -> Receipt:
        """Give a lease up, unless its receipt comes first, and fold in what its worker has left."""
        held_usd = order.limit.left_usd if order.limit is not None else _ZERO
        mine = Receipt(order.lease_id, nonce(), held_usd if was_begun else _ZERO, is_settled=True)
        name = self._names.receipt(order.lease_id)
        if not self._store.create(name, mine.to_bytes()) and (held := self._store.read(name)):
            return Receipt.from_bytes(held.content)
        if not was_begun and self._store.head(self._names.attempt(order.lease_id)) is not None:
            # It began at this very moment, and may not have seen yet that it should not.
            while pulse.is_alive:
                time.sleep(self._ttl_seconds / BEATS)
                pulse.look()
            mine, was_begun = replace(mine, spent_usd=held_usd), True
        if was_begun:
            log.warning(
                "A worker was not heard of for %.0f s; what it had asked counts as paid, and the rest of its chunk "
                "is given out again",
                self._ttl_seconds,
            )
            fold_given_up(self._context, self._store, order.lease_id)
        elif self._context.stop_signal.stopped is None:
            said = f": {type(error).__name__}: {error}" if error is not None else ""
            if not is_known:
                said = ": it could not be handed over"
            self._slots.lose(f"no worker has taken a chunk{said}"[:500], self._context)
        return mine

    def _settle(self, held_usd: Decimal, receipt: Receipt) -> None:
        """Settle a lease's money, and take account of what its worker has found out."""
        context = self._context
        with self._money:
            if context.budget.limit is not None or receipt.spent_usd:
                context.budget.settle(held_usd, receipt.spent_usd)
            self._leases_out -= 1
            self._money.notify_all()
        with self._lock:
            self._tries.update(receipt.tries)
        context.guard.breaker.hear(receipt.answers, receipt.undecided)
        if receipt.dialect is not None:
            context.spoken_dialect.hear(receipt.dialect)
        if receipt.room is not None:
            context.thoughts.hear(receipt.room)
        for sentence in receipt.notices:
            context.notice(sentence)
        if receipt.stopped is not None and receipt.stopped[0] not in _AGAIN:
            context.stop_signal.stop(RunStopped(*receipt.stopped))

    def _lease(self, need_usd: Decimal, dearest_usd: Decimal) -> Decimal | None:
        """Set a chunk's money aside, or what there is of it; None where the run has stopped, or stops since nothing fits."""
        context = self._context
        with self._money:
            while context.stop_signal.stopped is None:
                left_usd, limit = context.budget.left_usd, context.budget.limit
                if left_usd is None or limit is None:
                    self._leases_out += 1
                    return _ZERO
                usd = lease_usd(need_usd, dearest_usd, left_usd, self._slots.count)
                if usd is not None:
                    context.budget.hold(usd)
                    self._leases_out += 1
                    return usd
                if not self._leases_out:
                    context.stop_signal.stop(limit.reached(limit.left_usd - left_usd, dearest_usd))
                    return None
                self._money.wait(1.0)
        return None

    def _with_tries(self, rows: list[tuple[str, str]]) -> Path:
        """A file of the texts that are left, with what the ledger knows of them by now."""
        path = self._context.record_folder / f"pending-left-{nonce()[:8]}.parquet"
        write_pending_part(path, rows, path)
        write_tried(path, self._context.ledger.tries(self._context.run_id))
        return path

    def _worst_costs(self, rows: list[tuple[str, str]]) -> dict[str, Decimal]:
        """What a request for each text may cost at most; nothing for one that no limit allows, which is never sent."""
        context = self._context
        limit = context.budget.limit
        if limit is None:
            return dict.fromkeys((key for key, _ in rows), _ZERO)
        form = context.thoughts.widened(form_of(context.job))
        costs = {}
        for key, messages in zip(
            (key for key, _ in rows), messages_of(context.job, [text for _, text in rows]), strict=True
        ):
            usage = worst_case_of(messages, form.max_tokens, form.bound_by, context.job.model.extra_body)
            cost = cost_of(usage, context.price) or _ZERO
            costs[key] = _ZERO if limit.too_dear(cost) else cost
        return costs

    def _beat_on(self) -> None:
        stop_signal = self._context.stop_signal
        with stop_signal.waking(self._waking):
            is_told = False
            while not self._is_over:
                if stop_signal.stopped is None or is_told:
                    sleep_on(self._waking, self._ttl_seconds / BEATS)
                try:
                    self._beat()
                    if stop_signal.stopped is not None and not is_told:
                        self._store.create(self._names.stop, stop_content(stop_signal.stopped))
                        is_told = True
                except OSError as error:
                    log.warning("Workers could not be told that the run goes on: %s", error.strerror or error)
                    time.sleep(_POLL_SECONDS)

    def _beat(self) -> None:
        self._beats += 1
        self._store.put(self._names.holder, json.dumps({"beat": self._beats, "nonce": nonce()}).encode())


class _Slots:
    """The shares of a run's pace. Whoever begins a chunk takes one, and all that nobody waits for at the end of a pass."""

    def __init__(self, max_concurrency: int) -> None:
        self._most = max_concurrency
        self._free: list[Share] = []
        self._to_begin = 0
        self._lost = 0
        self._changed = threading.Condition()
        self.count = 1

    def begin(self, count: int, chunks: int) -> None:
        """Begin a pass with so many shares, over so many chunks."""
        with self._changed:
            self._free, self.count, self._to_begin = Share.among(self._most, count), count, chunks

    @contextmanager
    def chunk(self) -> Iterator[None]:
        """A chunk has begun, and is at work for the length of the block."""
        with self._changed:
            self._to_begin = max(0, self._to_begin - 1)
        yield

    @contextmanager
    def share(self, stop_signal: Any) -> Iterator[Share | None]:
        """Hold a share for the length of the block; None where the run has stopped before there was one."""
        with self._changed:
            while not self._free and stop_signal.stopped is None:
                self._changed.wait(1.0)
            taken = [self._free.pop()] if self._free else []
            while len(self._free) > self._to_begin and taken:
                taken.append(self._free.pop())
        try:
            size = sum(share.max_concurrency for share in taken)
            yield Share(size, size / self._most) if taken else None
        finally:
            with self._changed:
                self._free += taken
                self._changed.notify_all()

    def lose(self, sentence: str, context: RunContext) -> None:
        """Note that a chunk was not taken by anybody; several of them end the run."""
        with self._changed:
            self._lost += 1
            if self._lost > 2 * self.count:
                context.stop_signal.stop(RunStopped("failed", sentence))
        context.stop_signal.wait_unless_stopped(1.0)


class _Seen:
    """What a worker's heartbeats have told of its progress, which the run's tells on."""

    def __init__(self, context: RunContext) -> None:
        self._progress = context.progress
        self._labeled = self._failed = 0
        self._cost_usd = _ZERO

    def hear(self, told: dict[str, Any]) -> None:
        """A heartbeat says how far its worker is."""
        if "labeled" in told:
            cost = told.get("cost_usd")
            self._go_on(int(told["labeled"]), int(told["failed"]), None if cost is None else Decimal(cost))

    def end(self, receipt: Receipt) -> None:
        """A receipt says how far it was. One by which a lease was given up says nothing of that."""
        if not receipt.is_settled:
            self._go_on(receipt.labeled, receipt.failed, max(self._cost_usd, receipt.spent_usd))

    def _go_on(self, labeled: int, failed: int, cost_usd: Decimal | None) -> None:
        self._progress.add(
            labeled=max(0, labeled - self._labeled),
            failed=max(0, failed - self._failed),
        )
        self._progress.pay(None if cost_usd is None else cost_usd - self._cost_usd)
        self._labeled, self._failed = max(labeled, self._labeled), max(failed, self._failed)
        self._cost_usd = self._cost_usd if cost_usd is None else cost_usd


def end_left_leases(context: RunContext) -> None:
    """End the leases that dead runs have left: wait for workers that may live, and fold in what those leave that don't.

    They are told to stop. One that is heard of has in flight what is paid for, and leaves its receipt once it is answered.

    Raises:
        OSError: the store can't be reached.
    """
    store = context.folder.store
    for run_id in _runs_with_leases(context, store):
        names = LeaseNames(run_id)
        store.create(names.stop, stop_content(RunStopped("failed", "another run has taken over")))
        out = {}
        for entry in list(store.list(names.leases)):
            lease_id, _, kind = entry.name.removeprefix(names.leases).rpartition(".")
            held = store.read(entry.name) if kind == "attempt" else None
            if held is not None and store.head(names.receipt(lease_id)) is None:
                told = json.loads(held.content)
                out[lease_id] = told, Pulse(store, names.beat(lease_id), float(told["ttl_seconds"]))
        if out:
            log.info("Waiting for what workers of run %s have in flight", run_id)
        while out:
            for lease_id, (told, pulse) in list(out.items()):
                pulse.look()
                if store.head(names.receipt(lease_id)) is None and pulse.is_alive:
                    continue
                del out[lease_id]
                mine = Receipt(lease_id, nonce(), is_settled=True)
                if store.create(names.receipt(lease_id), mine.to_bytes()):
                    journal = bring(context.folder.path / told["journal"])
                    Ledger(journal.parent).fold_given_up(journal, context.job.run)
            if out:
                time.sleep(min(1.0, *(float(told["ttl_seconds"]) / BEATS for told, _ in out.values())))
        remove_leases(store, names, context.folder.run(run_id))


def _runs_with_leases(context: RunContext, store: Store) -> list[str]:
    """The runs that have left anything of their leases."""
    if isinstance(store, FolderStore):
        return sorted(folder.parent.name for folder in context.folder.runs.glob("*/chunks/"))
    names = (entry.name.split("/") for entry in store.list("runs/"))
    return sorted({parts[1] for parts in names if parts[2:3] == ["chunks"]})


def remove_leases(store: Store, names: LeaseNames, record_folder: Path) -> None:
    """Take away what a run's leases were made of. That it is over stays: whoever is late finds it."""
    for prefix in (names.leases, names.texts, names.holder):
        for entry in list(store.list(prefix)):
            store.remove(entry.name)
    for folder in (record_folder / "chunks", record_folder / PENDING_CHUNKS):
        with suppress(OSError):
            folder.rmdir()


def fold_given_up(context: RunContext, store: Store, lease_id: str) -> None:
    """Fold in what the worker of a lease has left that was given up. It may live on, and adds nothing."""
    held = store.read(LeaseNames(context.run_id).attempt(lease_id))
    if held is not None:
        name = json.loads(held.content)["journal"]
        journal = bring(context.folder.path / name)
        context.ledger.fold_given_up(journal, context.job.run)


def _left(receipt: Receipt, part: Path, rows: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The texts of a lease that are to be asked under another one, by what its part of the ledger says."""
    if not receipt.is_settled and (receipt.stopped is None or receipt.stopped[0] not in _AGAIN):
        return []
    if not part.exists():
        return rows
    is_done = pl.col("final") | (pl.col("ended") & pl.col("error").ne_missing("interrupted"))
    done = set(pl.read_parquet(part).filter(is_done)["row_key"])
    return [row for row in rows if row[0] not in done]


def _counts_in(part: Path) -> tuple[int, int]:
    if not part.exists():
        return 0, 0
    rows = pl.read_parquet(part)
    return rows["label"].count(), rows.filter(pl.col("label").is_null() & pl.col("final")).height


def _on_lease(limit: Limit | None, held_usd: Decimal) -> Limit | None:
    if limit is None:
        return None
    whole = limit.smallest or limit
    return replace(limit, left_usd=held_usd, smallest=replace(whole, smallest=None))


def _at_home(context: RunContext) -> Any:
    """The job, with a place of its output that does not depend on where a process stands."""
    output = context.job.output
    path = output.path if is_url(output.path) else str(Path(output.path).absolute())
    return context.job.model_copy(update={"output": output.model_copy(update={"path": path})})
