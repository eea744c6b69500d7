"""Leases: one budget, spent by several workers, of which none asks another anything."""

import random
import threading
from collections import deque
from decimal import Decimal
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelmill.errors import BudgetReached, RunStopped, TextTooDear
from labelmill.money.budget import Budget, Limit
from labelmill.money.leases import Lease, LeasedBudget, LeaseReport, Leases, lease_usd


def limit_of(usd):
    """A run's limit, all of which is left."""
    return Limit(Decimal(usd), "max_cost_usd", Decimal(usd))


class SimulatedWorker:
    """A worker that takes one step at a time: it never sleeps, and its messages arrive when they are let.

    `requests` are worst cases and costs still to be asked, `places` of them at once.
    """

    def __init__(self, limit, requests, places):
        self.is_told = False
        self.budget = LeasedBudget(limit, self._tell)
        self.left, self.places = deque(requests), places
        self.waiting, self.in_flight, self.spent = {}, [], Decimal(0)
        self.to_holder, self.to_worker, self.reported = deque(), deque(), LeaseReport()
        self.reached = None

    def _tell(self):
        self.is_told = True

    def steps(self):
        """What it could do now."""
        room = len(self.waiting) + len(self.in_flight) < self.places
        return [
            *([self.ask] if self.left and room and self.reached is None else []),
            *([self.settle] if self.in_flight else []),
            *([self.report] if self.is_told else []),
            *([self.hear] if self.to_worker else []),
        ]

    def ask(self):
        """Begin with one more request."""
        request = self.left.popleft()
        self.waiting[object()] = request
        self._try_all()

    def settle(self):
        """An answer comes."""
        open_, cost = self.in_flight.pop(0)
        reservation = open_.result
        reservation.settle(cost)
        open_.__exit__(None, None, None)
        self.spent += cost
        self._try_all()

    def report(self):
        """Tell the holder what there is to tell."""
        self.is_told = False
        report = self.budget.report()
        if report != self.reported:
            self.reported = report
            self.to_holder.append(report)

    def hear(self):
        """Hear what the holder has said."""
        self.budget.hear(self.to_worker.popleft())
        self._try_all()

    def _try_all(self):
        """As the threads do that are woken: each looks whether its request fits."""
        for waiter, (worst, cost) in list(self.waiting.items()):
            try:
                usd = self.budget.fitting(waiter, worst)
            except BudgetReached as reached:
                self.reached = reached
                return
            if usd is not None:
                del self.waiting[waiter]
                open_ = _Open(self.budget.reserve(worst))
                self.in_flight.append((open_, cost))


class _Open:
    """A reservation that is held over several steps."""

    def __init__(self, reserve):
        self._reserve = reserve
        self.result = reserve.__enter__()

    def __exit__(self, *error):
        return self._reserve.__exit__(*error)


class Simulation:
    """A holder and its workers; messages are on their way for as long as chance wants."""

    def __init__(self, limit, work, places):
        self.limit = limit
        self.holder = Budget(limit_of(limit))
        self.leases = Leases(self.holder)
        self.workers, self.heard = [], {}
        for number, asked in enumerate(work):
            costs = [(worst, (worst * Decimal(part)).quantize(Decimal("1e-9"))) for worst, part in asked]
            # What is dearer than all of the limit is told before anything else.
            fitting = [pair for pair in costs if not 0 < limit < pair[0]]
            self.workers.append(SimulatedWorker(limit_of(limit), fitting, places))
            self.workers[-1].budget.hear(self.leases.begin(number))

    @property
    def spent(self):
        """What all answers have cost."""
        return sum(worker.spent for worker in self.workers)

    def steps(self):
        """What could happen next."""
        arrived = [n for n, worker in enumerate(self.workers) if worker.to_holder]
        return [
            *(step for worker in self.workers for step in worker.steps()),
            *(partial(self.hear, number) for number in arrived),
        ]

    def hear(self, number):
        """Let the holder hear a worker's report, and decide."""
        self.heard[number] = self.workers[number].to_holder.popleft()
        for other, lease in self.leases.hear(number, self.heard[number]).items():
            self.workers[other].to_worker.append(lease)
            if lease.reached is not None:
                assert not any(worker.in_flight for worker in self.workers)
                assert self.heard[other].needs_usd > self.limit - self.spent

    def end(self):
        """Let all that is in flight come to an end, and be told."""
        self.leases.close()
        for number, worker in enumerate(self.workers):
            worker.places = 0
            while worker.to_worker or worker.in_flight:
                (worker.hear if worker.to_worker else worker.settle)()
            worker.report()
            while worker.to_holder:
                self.hear(number)


cents = st.decimals(min_value="0.01", max_value="1", places=4)
requests = st.lists(st.tuples(cents, st.floats(0, 1)), max_size=25)


@given(
    limit=st.decimals(min_value=0, max_value=12, places=3),
    work=st.lists(requests, min_size=1, max_size=3),
    places=st.integers(1, 5),
    seed=st.integers(0, 2**32),
)
def test_workers_spend_one_budget_to_its_end_and_never_more(limit, work, places, seed):
    """Whatever comes when: no more is leased than there is, nobody waits for ever, all is given back, and the budget is reached only where nothing is in flight that could give back what is needed."""
    dice = random.Random(seed)
    world = Simulation(limit, work, places)
    while (steps := world.steps()) and not any(worker.reached for worker in world.workers):
        dice.choice(steps)()
        leased = sum(worker.budget.leased_usd for worker in world.workers)
        assert leased <= limit - world.holder.left_usd <= limit
        assert all(worker.budget.spent_usd <= worker.budget.leased_usd for worker in world.workers)
    if not any(worker.reached for worker in world.workers):
        assert not any(worker.left or worker.waiting or worker.in_flight for worker in world.workers)
    world.end()
    assert limit - world.holder.left_usd == world.spent <= limit


def test_a_worker_that_is_gone_has_spent_what_it_had():
    """What a dead worker had on lease counts as spent, and the others go on with the rest."""
    holder = Budget(limit_of("10"))
    leases = Leases(holder)
    leases.begin(0), leases.begin(1)
    said = leases.hear(0, LeaseReport(needs_usd=Decimal(4), wants_usd=Decimal(4)))
    assert said[0].given_usd == 4
    assert leases.end(0) == {}
    assert holder.left_usd == 6
    said = leases.hear(1, LeaseReport(needs_usd=Decimal(6), wants_usd=Decimal(60)))
    assert said[1] == Lease(Decimal(6))
    assert holder.left_usd == 0


def test_who_waits_for_money_is_woken_when_the_run_stops():
    """A request that waits for its worker's lease is not sent once the run has stopped, and doesn't wait on."""
    budget = LeasedBudget(limit_of("1"), lambda: None)
    stopped = RunStopped("cancelled", "stopped by SIGINT")
    raised = []

    def ask():
        try:
            with budget.reserve(Decimal("0.5")):
                pass
        except RunStopped as error:
            raised.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    budget.end(stopped)
    thread.join(10)
    assert raised == [stopped]


def test_a_text_that_is_dearer_than_the_whole_limit_is_told_by_the_worker():
    """A worker asks nobody for what no lease could ever hold."""
    budget = LeasedBudget(limit_of("1"), lambda: pytest.fail("nobody is to be asked"))
    with pytest.raises(TextTooDear), budget.reserve(Decimal(2)):
        pass


def test_leases_are_asked_for_ahead_and_seldom():
    """As long as there is enough, a worker asks for many requests at once, before it is out of money."""
    holder, told = Budget(limit_of("1000")), []
    leases = Leases(holder)
    budget = LeasedBudget(limit_of("1000"), lambda: told.append(None))
    budget.hear(leases.begin(0))
    worst, asked = Decimal("0.01"), 0
    for _ in range(1000):
        while budget.fitting("it", worst) is None:
            asked += 1
            budget.hear(leases.hear(0, budget.report())[0])
        with budget.reserve(worst) as reservation:
            if told:
                for lease in leases.hear(0, budget.report()).values():
                    budget.hear(lease)
                told.clear()
            reservation.settle(worst)
    assert asked == 1


@pytest.mark.parametrize(
    ("need", "dearest", "left", "given"),
    [
        ("10", "1", "50", "10"),  # the whole chunk
        ("10", "1", "10", "10"),
        ("10", "1", "8", "2"),  # a part for each of the four
        ("10", "3", "8", "3"),  # no less than a request
        ("10", "3", "2.9", None),
        ("0", "0", "0", "0"),  # what costs nothing always fits
    ],
)
def test_a_chunk_that_travels_is_given_its_worst_case_or_a_part_of_what_is_left(need, dearest, left, given):
    """It never asks for more, so that it is given all that it may need, or else what leaves something for the others."""
    usd = lease_usd(Decimal(need), Decimal(dearest), Decimal(left), 4)
    assert usd == (None if given is None else Decimal(given))
