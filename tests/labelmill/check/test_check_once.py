"""A job that was just found right is not checked again by the run that follows, and by none after it."""

from pathlib import Path

import pytest

from labelmill.check import job as check
from labelmill.check.job import check_job, checked_job
from labelmill.errors import JobRefused
from labelmill.job.file import draft_of


@pytest.fixture
def job(job_of, write_texts):
    """A job that is right as long as its source is there."""
    write_texts(["a match"])
    return job_of()


def told(job):
    """The job as a file tells it."""
    return draft_of(job.model_dump(mode="json"), "job")


def test_the_run_that_follows_takes_the_checks_word(job):
    """It does so once: the next one looks for itself."""
    found = checked_job(told(job))
    Path(job.source.path).unlink()
    check_job(found)
    with pytest.raises(JobRefused, match=r"source\.path"):
        check_job(found)


def test_another_job_or_address_is_checked(job):
    """The word is for this job at this address alone."""
    found = checked_job(told(job))
    Path(job.source.path).unlink()
    other = found.model_copy(update={"run": found.run.model_copy(update={"max_cost_usd": 1.0})})
    for asked in ((other,), (found, "http://127.0.0.1:9/v1")):
        with pytest.raises(JobRefused, match=r"source\.path"):
            check_job(*asked)


def test_a_run_by_itself_is_no_word_for_the_next(job):
    """A run that nobody has checked before checks, each time."""
    check_job(job)
    Path(job.source.path).unlink()
    with pytest.raises(JobRefused, match=r"source\.path"):
        check_job(job)


def test_a_check_is_forgotten(job, monkeypatch):
    """After a while things may have changed."""
    monkeypatch.setattr(check, "_FOUND_RIGHT_SECONDS", 0.0)
    checked_job(told(job))
    Path(job.source.path).unlink()
    with pytest.raises(JobRefused, match=r"source\.path"):
        check_job(job)
