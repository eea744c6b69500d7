"""Leases: one budget, spent by several workers. The run's holder alone keeps the money; no worker asks another anything.

A worker may commit as much as it was given less what it has returned, and asks for more in amounts of several requests. Once
the holder has too little left it is short: each worker then returns at once what it doesn't need, and is given what it asks for, a
request at a time. The budget is reached when a request doesn't fit and nothing is in flight with any worker.

Both sides only ever count upward what was given, so that a message that was overtaken by a later one does no harm; what was
returned the worker alone decides, and its reports arrive in their order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal

from labelmill.errors import BudgetReached, RunStopped
from labelmill.money.budget import SMALLEST_USD, Budget, Limit

_REQUESTS_AHEAD = 64
"""A worker asks for so many requests' worst cases at once, and again when half of that is left."""
_ZERO = Decimal(0)


@dataclass(frozen=True)
class Lease:
    """What the holder tells a worker: all that it was given so far, and whether it is to return what it doesn't need.

    `reached` says that the request which it waits for doesn't fit into the budget any more.
    """

    given_usd: Decimal = _ZERO
    is_short: bool = False
    reached: str | None = None


@dataclass(frozen=True)
class LeaseReport:
    """What a worker tells the holder: the lease as it knows it, what it has returned so far, its requests in flight.

    `needs_usd` is what lets one more of its waiting requests go, 0 where none waits; `wants_usd` what it would like to have.
    """

    lease: Lease = Lease()
    returned_usd: Decimal = _ZERO
    in_flight: int = 0
    needs_usd: Decimal = _ZERO
    wants_usd: Decimal = _ZERO


def lease_usd(need_usd: Decimal, dearest_usd: Decimal, left_usd: Decimal, workers: int) -> Decimal | None:
    """What a chunk is given with its order, which never asks for more: its worst case, or a worker's part of what is left.

    Args:
        need_usd: the worst case of all its requests.
        dearest_usd: the worst case of its dearest one, below which nothing is gained.
        left_usd: what nobody has yet.
        workers: how many may be waiting for it.

    Returns:
        None where what is left is too little for a request.
    """
    if need_usd <= left_usd:
        return need_usd
    share = (left_usd / workers).quantize(SMALLEST_USD, ROUND_DOWN)
    given = max(share, dearest_usd)
    return given if given <= left_usd else None


class LeasedBudget(Budget):
    """A worker's budget: what it may commit is what it has on lease.

    Args:
        limit: the run's, which tells of a text that is dearer than all of it; what is left of it the holder knows.
        tell: called when a report is due, by any thread, and under the budget's lock.
    """

    def __init__(self, limit: Limit, tell: Callable[[], None]) -> None:
        super().__init__(limit)
        self._tell = tell
        self._lease = Lease()
        self._returned = _ZERO
        self._waiting: dict[object, Decimal] = {}
        self._ahead = _ZERO
        self._asked_at: Decimal | None = None
        self._end: RunStopped | None = None

    @property
    def leased_usd(self) -> Decimal:
        """What may be committed."""
        return self._lease.given_usd - self._returned

    def hear(self, lease: Lease) -> None:
        """Take account of what the holder says."""
        with self._settled:
            given = max(lease.given_usd, self._lease.given_usd)
            self._lease = Lease(given, lease.is_short or self._lease.is_short)
            if lease.reached is not None:
                self._end = self._end or BudgetReached(lease.reached)
            self._settled.notify_all()
            if self._lease.is_short or self._waiting:
                self._tell()

    def end(self, stopped: RunStopped) -> None:
        """Let nobody wait for money any more; who does is told why."""
        with self._settled:
            self._end = self._end or stopped
            self._settled.notify_all()

    def report(self) -> LeaseReport:
        """What the holder is to know. What is not needed is returned where it is short, or where nothing is under way."""
        with self._settled:
            is_over = self._committed > self.leased_usd  # an answer came to more than its worst case
            if self._lease.is_short or is_over or (not self._in_flight and not self._waiting):
                self._returned = self._lease.given_usd - self._committed
            unused = self.leased_usd - self._committed
            needs, wants = min(self._waiting.values(), default=_ZERO), sum(self._waiting.values(), _ZERO)
            if not self._lease.is_short and (self._waiting or (self._in_flight and self._is_low(unused))):
                wants = max(wants, self._ahead)
            return LeaseReport(
                self._lease,
                self._returned,
                self._in_flight,
                max(_ZERO, needs - unused) if self._waiting else _ZERO,
                max(_ZERO, wants - unused),
            )

    def _is_low(self, unused: Decimal) -> bool:
        return unused < self._ahead / 2

    def fitting(self, waiter: object, worst_case_usd: Decimal) -> Decimal | None:
        """What is to be set aside for a request, where that fits; else None, and who waits with it is known to the holder.

        Raises:
            RunStopped: it will never fit.
        """
        usd = self._expected(worst_case_usd)
        self._ahead = max(self._ahead, _REQUESTS_AHEAD * usd)
        if self._committed + usd > self.leased_usd:
            if self._end is not None:
                raise self._end
            self._waiting[waiter] = usd
            self._tell()
            return None
        self._waiting.pop(waiter, None)
        # Asked in time, more is there before it is needed; once for what was given so far.
        is_low = self._is_low(self.leased_usd - self._committed - usd)
        if is_low and not self._lease.is_short and self._asked_at != self._lease.given_usd:
            self._asked_at = self._lease.given_usd
            self._tell()
        return usd

    def _wait_for(self, worst_case_usd: Decimal) -> Decimal:
        waiter = object()
        try:
            while (usd := self.fitting(waiter, worst_case_usd)) is None:
                self._settled.wait()
        finally:
            self._waiting.pop(waiter, None)
        return usd

    def _changed(self) -> None:
        self._settled.notify_all()
        if self._lease.is_short or self._waiting:
            self._tell()


class Leases:
    """The holder's side: what each worker has of the run's budget. Decisions only; whoever asks it sends what it says.

    What a worker has on lease is held in the budget: it counts as spent until the worker returns it, also where the worker is
    never heard of again.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._leases: dict[int, Lease] = {}
        self._reports: dict[int, LeaseReport] = {}
        self._is_short = self._is_closed = False

    def close(self) -> None:
        """Give nobody anything any more; what is still returned is heard."""
        self._is_closed = True

    def begin(self, worker: int) -> Lease:
        """A worker is there; returns what is to be said to it. It has nothing yet."""
        self._leases[worker], self._reports[worker] = Lease(is_short=self._is_short), LeaseReport()
        return self._leases[worker]

    def end(self, worker: int) -> dict[int, Lease]:
        """A worker is gone; what it has not returned is spent. Returns what is to be said to the others."""
        self._leases.pop(worker, None)
        self._reports.pop(worker, None)
        return self._served()

    def hear(self, worker: int, report: LeaseReport) -> dict[int, Lease]:
        """Take account of a report; returns what is to be said, by worker."""
        if worker not in self._leases:
            return {}
        returned = report.returned_usd - self._reports[worker].returned_usd
        # Whoever asks goes to the end of the queue, so that each has its turn.
        del self._reports[worker]
        self._reports[worker] = report
        if returned:
            self._budget.settle(returned, _ZERO)
        return self._served()

    def _served(self) -> dict[int, Lease]:
        said: dict[int, Lease] = {}
        if self._is_closed:
            return said
        for worker in list(self._reports):
            needs, wants = self._asks(worker)
            usd = self._share(worker, needs, wants)
            if usd is None and not self._is_short:
                self._is_short = True
                for other, lease in self._leases.items():
                    self._leases[other] = said[other] = Lease(lease.given_usd, is_short=True)
                usd = self._share(worker, needs, wants)
            if usd:
                self._budget.hold(usd)
                given = self._leases[worker].given_usd + usd
                self._leases[worker] = said[worker] = Lease(given, self._is_short)
        if self._is_short and all(map(self._is_idle, self._reports)):
            for worker in self._reports:
                needs, _ = self._asks(worker)
                if needs:
                    said[worker] = Lease(
                        self._leases[worker].given_usd, is_short=True, reached=self._reached(needs)
                    )
        return said

    def _asks(self, worker: int) -> tuple[Decimal, Decimal]:
        """What a worker needs and wants beyond what was given since its report."""
        report = self._reports[worker]
        since = self._leases[worker].given_usd - report.lease.given_usd
        return max(_ZERO, report.needs_usd - since), max(_ZERO, report.wants_usd - since)

    def _share(self, worker: int, needs: Decimal, wants: Decimal) -> Decimal | None:
        """What a worker is given now; None where it needs more than there is."""
        left = self._budget.left_usd
        if left is None or not wants:
            return _ZERO
        if needs > left:
            return None
        if self._is_short:
            # A report from before it was short asks for more than one needs to go on.
            knows = self._reports[worker].lease.is_short
            return wants if knows and wants <= left else needs
        for_each = (left / (2 * len(self._leases))).quantize(SMALLEST_USD, ROUND_DOWN)
        return max(needs, min(wants, for_each))

    def _is_idle(self, worker: int) -> bool:
        """Whether nothing is in flight with a worker, and it has returned what it doesn't need."""
        report = self._reports[worker]
        return not report.in_flight and report.lease == self._leases[worker]

    def _reached(self, needs: Decimal) -> str:
        limit, left = self._budget.limit, self._budget.left_usd
        if limit is None or left is None:
            return ""
        return str(limit.reached(limit.left_usd - left, needs))
