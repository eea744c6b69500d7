"""The real chain on real HTTP."""

import pytest

from labelmill.model.breaker import CircuitBreaker
from labelmill.model.chain import chain_of
from labelmill.model.guard import RequestGuard
from labelmill.model.throttle import Throttle
from labelmill.money.budget import Budget
from labelmill.money.prices import price_of
from labelmill.practice import PracticeSettings


@pytest.fixture
def practice(practice):
    """The session's practice provider as if just started, and left as it was found."""
    practice.configure(PracticeSettings())
    practice.reset()
    yield practice
    practice.configure(PracticeSettings())


@pytest.fixture
def guard_of():
    """Build the guard of a job: its throttle, a budget without a limit unless one is given, its price.

    A request is sent once, unless the job's own `max_attempts` are asked for.
    """

    def build(job, limit=None, *, attempts=1, key=None, throttle=None):
        settings = job.run.model_copy(update={"max_attempts": attempts or job.run.max_attempts})
        breaker = CircuitBreaker(settings.stop_at_failed_fraction)
        price = price_of(job.model, job.price)
        return RequestGuard(
            settings, throttle or Throttle(settings), Budget(limit), breaker, price, hidden_key=key
        )

    return build


@pytest.fixture
def chain_at(guard_of):
    """Build the chain of a job for an endpoint: `chain_at(job, base_url)`."""

    def build(job, base_url, key="practice", guard=None):
        return chain_of(job, base_url, key, guard or guard_of(job))

    return build
