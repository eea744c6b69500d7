"""The budget: never passed, never given up too early, and honest about what is unknown."""

import copy
import random
import threading
import time
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from labelmill.errors import BudgetReached, RunStopped, TextTooDear
from labelmill.job.model import Run
from labelmill.money.budget import Budget, Limit, limit_uses, tightest_limit

PATIENCE_SECONDS = 10
cents = st.integers(0, 500).map(lambda cent: Decimal(cent) / 100)


def limit_of(usd):
    """A run's limit."""
    return Limit(Decimal(str(usd)), "max_cost_usd", Decimal(str(usd)))


def fail_midway():
    """End a request as an error does."""
    raise KeyError


ENDINGS = {
    "settle": lambda reservation, usd: reservation.settle(usd),
    "unknown": lambda reservation, _: reservation.settle(None),
    "release": lambda reservation, _: reservation.release(),
    "impossible": lambda reservation, _: reservation.settle(Decimal(-1)),
    "not a number": lambda reservation, _: reservation.settle(Decimal("NaN")),
    "say nothing": lambda *_: None,
}
KNOWN = {"settle": lambda usd, _: usd, "release": lambda *_: Decimal(0)}
"""What counts as spent after an ending; the worst case after all others."""
endings = st.tuples(cents, st.floats(0, 1), st.sampled_from(sorted(ENDINGS)), st.booleans())


@settings(max_examples=100, deadline=None)
@given(limit=cents, requests=st.lists(endings, max_size=20))
def test_no_sequence_of_requests_passes_the_limit(limit, requests):
    """While no request costs more than its worst case, what is committed stays within the limit, and is what was paid.

    Only who says what a request cost gets something back: one that raises, or says nothing, counts as paid.
    """
    budget = Budget(limit_of(limit))
    paid = Decimal(0)
    for worst_case, share, ending, raises in requests:
        actual = (worst_case * Decimal(share)).quantize(Decimal("0.000001")).min(worst_case)
        fits = paid + worst_case <= limit
        try:
            with budget.reserve(worst_case) as reservation:
                assert fits
                assert budget._committed == paid + worst_case <= limit
                ENDINGS[ending](reservation, actual)
                paid += KNOWN.get(ending, lambda _, worst: worst)(actual, worst_case)
                assert budget._committed == paid
                if raises:
                    fail_midway()
        except BudgetReached:
            assert not fits
        except TextTooDear:
            assert worst_case > limit > 0
        except KeyError:
            pass
        assert budget._committed == paid <= limit


class LedgerMachine(RuleBasedStateMachine):
    """Requests and batches that begin and end in any order, at any cost, beside what a ledger would record of them."""

    open_requests = Bundle("open_requests")
    batches = Bundle("batches")

    def __init__(self):
        super().__init__()
        self.budget = Budget(None)
        self.recorded = {}
        self.exits = {}

    @rule(target=open_requests, worst_case=cents)
    def send(self, worst_case):
        """A request goes out."""
        reserved = self.budget.reserve(worst_case)
        reservation = reserved.__enter__()
        self.exits[reservation] = reserved
        return reservation

    @rule(reservation=open_requests, cost=st.none() | st.decimals(0, 1000, places=3))
    def answer(self, reservation, cost):
        """It is answered: the ledger records its cost, or its worst case as unseen. An answer may be told of twice."""
        reservation.settle(cost)
        self.recorded[reservation] = reservation.worst_case_usd if cost is None else cost

    @rule(reservation=consumes(open_requests), error=st.sampled_from([None, KeyError, KeyboardInterrupt]))
    def leave(self, reservation, error):
        """It ends, whoever raises."""
        assert not self.exits.pop(reservation).__exit__(error, error and error(), None)

    @rule(target=batches, worst_case=cents)
    def send_batch(self, worst_case):
        """A batch goes out."""
        self.budget.hold(worst_case)
        return worst_case

    @rule(worst_case=consumes(batches), cost=st.decimals(0, 1000, places=3))
    def harvest(self, worst_case, cost):
        """It is harvested, whatever it cost."""
        self.budget.settle(worst_case, cost)
        self.recorded[object()] = cost

    @invariant()
    def what_is_committed_is_never_less_than_what_is_recorded(self):
        """At any moment, within requests too."""
        assert self.budget._committed >= sum(self.recorded.values())


class TestLedger(LedgerMachine.TestCase):
    """What is committed covers what is recorded, however requests and batches interleave."""

    settings = settings(max_examples=100, deadline=None, stateful_step_count=30)


def test_dearer_answers_than_any_worst_case_raise_the_next_ones():
    """An endpoint that ignores `max_tokens`: the limit is passed by what is in flight at first, and by no more."""
    budget = Budget(limit_of(100))
    with budget.reserve(Decimal(1)) as reservation:
        reservation.settle(Decimal(20))
    with budget.reserve(Decimal(1)) as reservation:
        assert budget.left_usd == 60
        reservation.settle(Decimal(20))
        assert budget.left_usd == 60
    with budget.reserve(Decimal(2)) as reservation:
        assert budget.left_usd == 20
        reservation.release()
    with budget.reserve(Decimal(1)):
        assert budget.left_usd == 40
    with budget.reserve(Decimal(1)), budget.reserve(Decimal(1)) as reservation:
        assert budget.left_usd == 0
        reservation.release()
    with pytest.raises(BudgetReached, match=r"may cost \$20\.200000"), budget.reserve(Decimal("1.01")):
        pytest.fail("it passed")


@settings(max_examples=50, deadline=None)
@given(costs=st.lists(st.tuples(st.decimals("0.01", 1, places=2), st.floats(0, 1)), min_size=1, max_size=20))
def test_answers_within_their_worst_cases_raise_nothing(costs):
    """What is set aside for a request is its worst case, as long as worst cases are what they say."""
    budget = Budget(None)
    for worst_case, share in costs:
        before = budget._committed
        with budget.reserve(worst_case) as reservation:
            assert budget._committed == before + worst_case
            reservation.settle(worst_case * Decimal(share))


LIMITS = {"max_cost_usd": 1.0, "max_cost_usd_per_day": 5.0, "max_cost_usd_per_month": 20.0}


@pytest.mark.parametrize("fields", [{field} for field in LIMITS] + [set(LIMITS)])
@pytest.mark.parametrize("spent", [0, "0.5", 4])
def test_a_text_that_alone_is_more_than_a_limit_is_told_from_a_limit_that_is_reached(fields, spent):
    """It is that text's own affair, whatever is left of the limit: the others go on, and so does the next run."""
    run = Run(**{field: LIMITS[field] for field in fields})
    budget = Budget(tightest_limit(run, Decimal(spent), Decimal(spent)))
    field = min(fields, key=LIMITS.get)
    worst = Decimal(str(LIMITS[field])) + Decimal("0.01")
    with pytest.raises(TextTooDear) as raised, budget.reserve(worst):
        pytest.fail("it passed")
    dear = copy.copy(raised.value)  # as pickle does, between processes
    assert (dear.field, dear.limit_usd, dear.worst_case_usd) == (field, Decimal(str(LIMITS[field])), worst)
    assert f"{field} = {LIMITS[field]}" in str(dear)
    assert f"${worst:.6f}" in str(dear)
    assert not isinstance(dear, RunStopped)
    assert budget._committed == 0
    with budget.reserve(Decimal("0.4")) as reservation:
        reservation.settle(Decimal("0.1"))
    assert budget.limit.too_dear(worst) is not None
    assert budget.limit.too_dear(worst - Decimal("0.01")) is None


def test_a_text_that_fits_into_the_limit_but_not_into_what_is_left_reaches_it():
    """Tomorrow it would fit."""
    budget = Budget(tightest_limit(Run(max_cost_usd_per_day=5), Decimal(4), Decimal(4)))
    with pytest.raises(BudgetReached), budget.reserve(Decimal(2)):
        pytest.fail("it passed")


@pytest.mark.parametrize("seed", range(3))
def test_many_threads_together_stay_within_the_limit_and_use_it_up(seed):
    """However settlements interleave, the sum stays within the limit, and nobody gives up while it would still fit."""
    budget = Budget(limit_of(10))
    paid, refused, lock = [], [], threading.Lock()
    worst = Decimal(1)

    def ask(number):
        dice = random.Random(f"{seed}-{number}")
        try:
            with budget.reserve(worst) as reservation:
                time.sleep(dice.random() * 0.003)
                actual = Decimal(dice.randrange(101)) / 100
                reservation.settle(actual)
                with lock:
                    paid.append(actual)
        except BudgetReached:
            with lock:
                refused.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()
    assert len(paid) + len(refused) == 60
    assert refused
    assert 10 - worst < sum(paid) <= 10


def test_a_request_waits_for_those_in_flight_before_it_gives_up():
    """What is in flight may give money back; only when nothing is left to wait for is the budget reached."""
    budget = Budget(limit_of(1))
    order = []
    inside, leave = threading.Event(), threading.Event()

    def first():
        with budget.reserve(Decimal("0.8")) as reservation:
            inside.set()
            leave.wait(PATIENCE_SECONDS)
            order.append("first settles")
            reservation.settle(Decimal("0.1"))

    def second():
        with budget.reserve(Decimal("0.9")) as reservation:
            order.append("second passes")
            reservation.settle(Decimal("0.9"))

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert inside.wait(PATIENCE_SECONDS)
    threads[1].start()
    time.sleep(0.02)
    leave.set()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()
    assert order == ["first settles", "second passes"]
    with pytest.raises(BudgetReached), budget.reserve(Decimal("0.000001")):
        pytest.fail("it passed a budget that is used up")


def test_a_settlement_that_gives_nothing_back_ends_the_wait():
    """Whoever waits in vain is told, and doesn't hang."""
    budget = Budget(limit_of(1))
    inside, leave, told = threading.Event(), threading.Event(), []

    def hold():
        with budget.reserve(Decimal(1)) as reservation:
            inside.set()
            leave.wait(PATIENCE_SECONDS)
            reservation.settle(Decimal(1))

    def wait():
        try:
            with budget.reserve(Decimal("0.1")):
                told.append("passed")
        except BudgetReached as reached:
            told.append(reached.reason)

    threads = [threading.Thread(target=hold), threading.Thread(target=wait), threading.Thread(target=wait)]
    threads[0].start()
    assert inside.wait(PATIENCE_SECONDS)
    for thread in threads[1:]:
        thread.start()
    leave.set()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()
    assert told == ["budget_reached"] * 2


def test_an_unknown_cost_keeps_the_worst_case():
    """What may have been paid counts as paid."""
    budget = Budget(limit_of(1))
    with budget.reserve(Decimal("0.6")) as reservation:
        reservation.settle(None)
    assert budget._committed == Decimal("0.6")
    with pytest.raises(BudgetReached), budget.reserve(Decimal("0.5")):
        pytest.fail("it passed")


def test_the_sentence_names_the_limit_and_both_amounts():
    """Who meets the budget learns which of the job's fields it was, and how far things stand."""
    budget = Budget(Limit(Decimal("0.5"), "max_cost_usd_per_day", Decimal("2.5")))
    with budget.reserve(Decimal("0.5")) as reservation:
        reservation.settle(Decimal("0.25"))
    with pytest.raises(BudgetReached) as reached, budget.reserve(Decimal("0.3")):
        pytest.fail("it passed")
    assert reached.value.reason == "budget_reached"
    assert "max_cost_usd_per_day = 2.5" in reached.value.message
    assert "$0.250000" in reached.value.message
    assert "$0.300000" in reached.value.message


@settings(deadline=None)
@given(limit=cents, batches=st.lists(st.tuples(cents, st.floats(0, 1)), max_size=10))
def test_money_held_for_batches_is_gone_until_they_are_settled(limit, batches):
    """What is left is the limit less what is held and what was spent, at every moment."""
    budget = Budget(limit_of(limit))
    expected = limit
    spent = [(held * Decimal(share)).quantize(Decimal("0.01")).min(held) for held, share in batches]
    for held, _ in batches:
        budget.hold(held)
        expected -= held
        assert budget.left_usd == expected
    for (held, _), cost in zip(batches, spent, strict=True):
        budget.settle(held, cost)
        expected += held - cost
        assert budget.left_usd == expected
    assert budget.left_usd == limit - sum(spent)


def test_a_request_does_not_spend_what_is_held_for_a_batch():
    """Nor does it wait for it: a batch may take a day."""
    budget = Budget(limit_of(1))
    budget.hold(Decimal("0.9"))
    with pytest.raises(BudgetReached), budget.reserve(Decimal("0.2")):
        pytest.fail("it passed")
    budget.settle(Decimal("0.9"), Decimal("0.5"))
    with budget.reserve(Decimal("0.5")) as reservation:
        assert budget.left_usd == 0
        reservation.settle(Decimal("0.1"))
    assert budget.left_usd == Decimal("0.4")


def test_without_a_limit_any_amount_can_be_held():
    """There is nothing that could be left."""
    budget = Budget(None)
    budget.hold(Decimal(1_000_000))
    assert budget.left_usd is None
    budget.settle(Decimal(1_000_000), Decimal(1))
    assert budget._committed == 1


def test_without_a_limit_everything_passes_and_is_added_up():
    """No budget refuses nothing."""
    budget = Budget(None)
    for _ in range(3):
        with budget.reserve(Decimal(1_000_000)) as reservation:
            reservation.settle(Decimal("0.1"))
    assert budget._committed == Decimal("0.3")


@pytest.mark.parametrize(
    ("run", "today", "month", "field", "left"),
    [
        ({}, 1, 1, None, None),
        ({"max_cost_usd": 0.1}, 9, 9, "max_cost_usd", "0.1"),
        ({"max_cost_usd": 5, "max_cost_usd_per_day": 6}, 2, 2, "max_cost_usd_per_day", "4"),
        ({"max_cost_usd": 5, "max_cost_usd_per_day": 6}, 1, 1, "max_cost_usd", "5"),
        (
            {"max_cost_usd_per_day": 1, "max_cost_usd_per_month": 10},
            0,
            "9.5",
            "max_cost_usd_per_month",
            "0.5",
        ),
        ({"max_cost_usd_per_month": 1}, 0, 3, "max_cost_usd_per_month", "-2"),
        ({"max_cost_usd": 0}, 0, 0, "max_cost_usd", "0"),
    ],
)
def test_the_limit_that_would_be_met_first_counts(run, today, month, field, left):
    """A run has its own allowance; days and months have what past runs left of theirs; none is no limit."""
    limit = tightest_limit(Run(**run), Decimal(today), Decimal(month))
    if field is None:
        assert limit is None
    else:
        assert (limit.field, limit.left_usd) == (field, Decimal(left))
        assert limit.limit_usd == Decimal(str(run[field]))


def test_a_budget_that_is_overspent_or_zero_lets_nothing_through():
    """A limit below what was spent refuses the first request that could cost anything."""
    for left in (Decimal(0), Decimal(-1)):
        with pytest.raises(BudgetReached), Budget(limit_of(left)).reserve(Decimal("0.0000001")):
            pytest.fail("it passed")


def test_how_much_of_each_limit_is_used():
    """Only limits that the job has, the one with the least left first; a limit of nothing is all used."""
    run = Run(max_cost_usd=1, max_cost_usd_per_month=2)
    uses = limit_uses(run, Decimal("0.25"), Decimal(9), Decimal("1.9"))
    assert [(use.field, use.fraction) for use in uses] == [
        ("max_cost_usd_per_month", Decimal("0.95")),
        ("max_cost_usd", Decimal("0.25")),
    ]
    assert limit_uses(Run(max_cost_usd=0), Decimal(0), Decimal(0), Decimal(0))[0].fraction == 1
    assert limit_uses(Run(), Decimal(1), Decimal(1), Decimal(1)) == []
