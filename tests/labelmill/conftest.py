"""The real chain on real HTTP, and job files on disk with the sentences they are refused with."""

import polars as pl
import pytest

from labelmill.check.job import checked_job
from labelmill.errors import JobRefused
from labelmill.job.file import draft_of_file
from labelmill.live.breaker import CircuitBreaker
from labelmill.live.chain import chain_of
from labelmill.live.guard import RequestGuard
from labelmill.live.throttle import Throttle
from labelmill.money.budget import Budget
from labelmill.providers.endpoint import NO_KEY
from labelmill.providers.table import price_of
from practice import PracticeSettings


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

    def build(job, limit=None, *, attempts=1, throttle=None):
        settings = job.run.model_copy(update={"max_attempts": attempts or job.run.max_attempts})
        breaker = CircuitBreaker(settings.stop_at_failed_fraction)
        price = price_of(job.model, job.price)
        return RequestGuard(settings, throttle or Throttle(settings), Budget(limit), breaker, price)

    return build


@pytest.fixture
def chain_at(guard_of):
    """Build the chain of a job for an endpoint: `chain_at(job, base_url)`."""

    def build(job, base_url, key=NO_KEY, guard=None):
        return chain_of(job, base_url, key, guard or guard_of(job))

    return build


JOB = """
name = "topics"
[source]
path = "{folder}/source.parquet"
text = "text"
[labels]
"sport" = "football, match"
"money" = ""
[model]
provider = "practice"
name = "gpt-4o-mini"
[output]
path = "{folder}/out"
"""


@pytest.fixture
def job_file(tmp_path):
    """Write a job file over a small source, with some of its text replaced and more at its end."""

    def write(*replacements, more=""):
        pl.DataFrame({"text": ["a", "b"], "n": [1, 2]}).write_parquet(tmp_path / "source.parquet")
        text = JOB.replace("{folder}", str(tmp_path))
        for old, new in replacements:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        path = tmp_path / "job.toml"
        path.write_text(text + more, encoding="utf-8")
        return path

    return write


@pytest.fixture
def mistakes_in():
    """What a job file is refused with, as `{place: sentence}`.

    The file's own path is left out of the places; several sentences at one place are joined by ` / `.
    """

    def read(path):
        with pytest.raises(JobRefused) as refused:
            checked_job(draft_of_file(path))
        found = {}
        for mistake in refused.value.mistakes:
            place = mistake.where.removeprefix(str(path)).removeprefix(", ")
            assert "\n" not in mistake.sentence
            found[place] = f"{found[place]} / {mistake.sentence}" if place in found else mistake.sentence
        assert found
        return found

    return read
