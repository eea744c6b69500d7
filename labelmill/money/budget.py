"""The budget: a request's worst case is reserved before it is sent, and settled when its cost is known.

What is committed is never less than what was settled, whatever happens in between: money that nobody has accounted for
counts as spent.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import ROUND_UP, Decimal

from labelmill.errors import BudgetReached, TextTooDear
from labelmill.job.model import Run

SMALLEST_USD = Decimal("1e-12")
"""A share is rounded up to so much: sums of endless fractions would lose what is less than their last digit."""


@dataclass(frozen=True)
class Limit:
    """What is left to spend, and which of the job's limits it comes from.

    `smallest` is the job's smallest limit, whatever is left of it, where that is another one.
    """

    left_usd: Decimal
    field: str
    limit_usd: Decimal
    smallest: "Limit | None" = None

    def too_dear(self, worst_case_usd: Decimal) -> TextTooDear | None:
        """Why a request can't be sent under this limit, even if nothing else is; None where it can be.

        A limit of nothing is a wish to spend nothing, and no text's fault.
        """
        whole = self.smallest or self
        if not 0 < whole.limit_usd < worst_case_usd:
            return None
        return TextTooDear(whole.field, whole.limit_usd, worst_case_usd)

    def reached(self, spent_usd: Decimal, next_usd: Decimal) -> BudgetReached:
        """Why a run ends where so much was spent and the next request doesn't fit any more."""
        return BudgetReached(
            f"{self.field} = {self.limit_usd} would be passed by the next request "
            f"(${spent_usd:.6f} spent by this run, the next may cost ${next_usd:.6f})"
        )


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
    if not limits:
        return None
    tightest = min(limits, key=lambda limit: limit.left_usd)
    smallest = min(limits, key=lambda limit: limit.limit_usd)
    return tightest if smallest is tightest else replace(tightest, smallest=smallest)


class Reservation:
    """Money set aside for one request.

    `usd` is what counts as spent: all that was set aside, until more is known.
    """

    def __init__(self, budget: "Budget", worst_case_usd: Decimal, set_aside_usd: Decimal) -> None:
        self.worst_case_usd = worst_case_usd
        self.usd = set_aside_usd
        self.known_usd = Decimal(0)
        self._set_aside_usd = set_aside_usd
        self._budget = budget

    def settle(self, cost_usd: Decimal | None) -> None:
        """Say what the request really cost; the last word counts.

        Unknown (None) keeps what was set aside, since it may have been paid; so does an amount that nothing can cost.
        """
        if cost_usd is None or not cost_usd.is_finite() or cost_usd < 0:
            self._budget.count(self, self._set_aside_usd, known_usd=Decimal(0))
        else:
            self._budget.count(self, cost_usd, known_usd=cost_usd)

    def release(self) -> None:
        """Say that the request cost nothing: it was not sent, or it was refused."""
        self.settle(Decimal(0))


class Budget:
    """Money of one run, shared by its threads. Without a limit it only adds up."""

    def __init__(self, limit: Limit | None) -> None:
        self.limit = limit
        self._committed = Decimal(0)
        self._in_flight = 0
        self._settled = threading.Condition()
        # Of the requests with a known cost: what they came to, and what they should have come to at most.
        self._known = self._known_at_most = Decimal(0)

    @contextmanager
    def reserve(self, worst_case_usd: Decimal) -> Iterator[Reservation]:
        """Set aside a request's worst case; waits while requests in flight may still give some back.

        Only `settle` and `release` give back. A request that ends without either, however it ends, counts as paid. Where
        answers come to more than their worst cases on average, which an endpoint that ignores `max_tokens` brings about,
        as much more is set aside.

        Raises:
            TextTooDear: it is more than a whole limit, so that it would never fit.
            BudgetReached: it doesn't fit, and nothing is in flight that could change that.
        """
        set_aside_usd = self._take(worst_case_usd)
        try:
            yield Reservation(self, worst_case_usd, set_aside_usd)
        finally:
            with self._settled:
                self._in_flight -= 1
                self._changed()

    @property
    def spent_usd(self) -> Decimal:
        """What counts as spent: what was settled, and what is set aside for what is in flight."""
        return self._committed

    @property
    def left_usd(self) -> Decimal | None:
        """What can still be set aside; None without a limit."""
        with self._settled:
            return None if self.limit is None else self.limit.left_usd - self._committed

    def count(self, reservation: Reservation, usd: Decimal, *, known_usd: Decimal) -> None:
        """Count another amount for a reservation; `known_usd` is what of it an answer told, 0 where none did."""
        with self._settled:
            self._committed += usd - reservation.usd
            self._known += known_usd - reservation.known_usd
            self._known_at_most += reservation.worst_case_usd * (
                (known_usd > 0) - (reservation.known_usd > 0)
            )
            reservation.usd, reservation.known_usd = usd, known_usd
            self._changed()

    def hold(self, worst_case_usd: Decimal) -> None:
        """Set money aside for a batch, whose cost is known much later; whether it fits is the caller's to see."""
        with self._settled:
            self._committed += worst_case_usd

    def settle(self, held_usd: Decimal, spent_usd: Decimal) -> None:
        """Say what of the money that was held was really spent."""
        with self._settled:
            self._committed += spent_usd - held_usd
            self._changed()

    def _take(self, worst_case_usd: Decimal) -> Decimal:
        if self.limit is not None and (too_dear := self.limit.too_dear(worst_case_usd)):
            raise too_dear
        with self._settled:
            usd = self._wait_for(worst_case_usd)
            self._committed += usd
            self._in_flight += 1
            return usd

    def _wait_for(self, worst_case_usd: Decimal) -> Decimal:
        """Wait until a request fits; returns what is to be set aside for it."""
        usd = self._expected(worst_case_usd)
        while self.limit is not None and self._committed + usd > self.limit.left_usd:
            if not self._in_flight:
                raise self.limit.reached(self._committed, usd)
            self._settled.wait()
            usd = self._expected(worst_case_usd)
        return usd

    def _changed(self) -> None:
        """Something was given back, or a request is over: whoever waits looks again."""
        self._settled.notify_all()

    def _expected(self, worst_case_usd: Decimal) -> Decimal:
        """A worst case, raised by as much as answers have come to more than theirs."""
        if self._known <= self._known_at_most or not self._known_at_most:
            return worst_case_usd
        return (worst_case_usd * self._known / self._known_at_most).quantize(SMALLEST_USD, ROUND_UP)
