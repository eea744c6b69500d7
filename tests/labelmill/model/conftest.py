"""The real chain on real HTTP."""

import pytest

from labelmill.model.chain import Toll, chain_of
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
def toll_of():
    """Build the toll of a job: its throttle, a budget without a limit unless one is given, its price."""

    def build(job, limit=None):
        return Toll(Throttle(job.run), Budget(limit), price_of(job.model, job.price))

    return build


@pytest.fixture
def chain_at(toll_of):
    """Build the chain of a job for an endpoint: `chain_at(job, base_url)`."""

    def build(job, base_url, key="practice", toll=None):
        return chain_of(job, base_url, key, toll or toll_of(job))

    return build
