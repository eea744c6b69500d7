"""The budget: a request's worst case is reserved before it is sent, and settled when its cost is known."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal

from labelmill.errors import BudgetReached
from labelmill.job.model import Run


@dataclass(frozen=True)
class Limit:
    """What is left to spend, and which of the job's limits it comes from."""

    left_usd: Decimal
    field: str
    limit_usd: Decimal


@dataclass(frozen=True)
class LimitUse:
    """One of the job's limits, and how much of it was spent."""

    field: str
    limit_usd: Decimal
    spent_usd: Decimal

    @property
    def fraction(self) -> Decimal:
        """The part of the limit that was spent; a limit of nothing is all used."""
        return self.spent_usd / self.limit_usd if self.limit_usd else Decimal(1)


def limit_uses(
    run: Run, spent_by_run_usd: Decimal, spent_today_usd: Decimal, spent_this_month_usd: Decimal
) -> list[LimitUse]:
    """How much of each limit that the job has was spent, the one with the least left first."""
    spent = {
        "max_cost_usd": spent_by_run_usd,
        "max_cost_usd_per_day": spent_today_usd,
        "max_cost_usd_per_month": spent_this_month_usd,
    }
    uses = [
        LimitUse(field, Decimal(str(value)), already)
        for field, already in spent.items()
        if (value := getattr(run, field)) is not None
    ]
    return sorted(uses, key=lambda use: use.limit_usd - use.spent_usd)


def tightest_limit(run: Run, spent_today_usd: Decimal, spent_this_month_usd: Decimal) -> Limit | None:
    """The limit of the three that a run would meet first; None where the job has none."""
    spent = {
        "max_cost_usd": Decimal(0),
        "max_cost_usd_per_day": spent_today_usd,
        "max_cost_usd_per_month": spent_this_month_usd,
    }
    limits = []
    for field, already in spent.items():
        value = getattr(run, field)
        if value is not None:
            limits.append(Limit(Decimal(str(value)) - already, field, Decimal(str(value))))
    return min(limits, key=lambda limit: limit.left_usd, default=None)


class Reservation:
    """Money set aside for one request; `usd` is what of it counts as spent: all of it until it is settled."""

    def __init__(self, worst_case_usd: Decimal) -> None:
        self.worst_case_usd = worst_case_usd
        self.usd = worst_case_usd

    def settle(self, cost_usd: Decimal | None) -> None:
        """Say what the request really cost. Unknown (None) keeps the worst case: it may have been paid."""
        self.usd = self.worst_case_usd if cost_usd is None else cost_usd


class Budget:
    """Money of one run, shared by its threads. Without a limit it only adds up."""

    def __init__(self, limit: Limit | None) -> None:
        self.limit = limit
        self._committed = Decimal(0)
        self._in_flight = 0
        self._settled = threading.Condition()

    @contextmanager
    def reserve(self, worst_case_usd: Decimal) -> Iterator[Reservation]:
        """Set aside a request's worst case; waits while requests in flight may still give some back.

        A request that raises without settling keeps its worst case: it may have been paid.

        Raises:
            BudgetReached: it doesn't fit, and nothing is in flight that could change that.
        """
        self._take(worst_case_usd)
        reservation = Reservation(worst_case_usd)
        try:
            yield reservation
        finally:
            with self._settled:
                self._committed += reservation.usd - worst_case_usd
                self._in_flight -= 1
                self._settled.notify_all()

    @property
    def left_usd(self) -> Decimal | None:
        """What can still be set aside; None without a limit."""
        with self._settled:
            return None if self.limit is None else self.limit.left_usd - self._committed

    def hold(self, worst_case_usd: Decimal) -> None:
        """Set money aside for a batch, whose cost is known much later; whether it fits is the caller's to see."""
        with self._settled:
            self._committed += worst_case_usd

    def settle(self, held_usd: Decimal, spent_usd: Decimal) -> None:
        """Say what of the money that was held was really spent."""
        with self._settled:
            self._committed += spent_usd - held_usd
            self._settled.notify_all()

    def _take(self, worst_case_usd: Decimal) -> None:
        with self._settled:
            while self.limit is not None and self._committed + worst_case_usd > self.limit.left_usd:
                if not self._in_flight:
                    raise BudgetReached(
                        f"{self.limit.field} = {self.limit.limit_usd} would be passed by the next request "
                        f"(${self._committed:.6f} spent by this run, the next may cost ${worst_case_usd:.6f})"
                    )
                self._settled.wait()
            self._committed += worst_case_usd
            self._in_flight += 1
