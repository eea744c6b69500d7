"""The exceptions."""

import pickle

import pytest

from labelmill.errors import BudgetReached, JobRefused, LabelmillError, Mistake, RunStopped


def test_a_mistake_reads_as_one_line():
    """A mistake shows its place and its sentence; without a place the sentence stands by itself."""
    assert str(Mistake("job.toml, labels", "there are none")) == "job.toml, labels: there are none"
    assert str(Mistake("", "there are none")) == "there are none"


def test_a_refusal_shows_all_its_mistakes():
    """One line for each, in their order, and each to be had by itself."""
    mistakes = [Mistake("a", "one"), Mistake("b", "two")]
    assert str(JobRefused(mistakes)) == "a: one\nb: two"
    assert JobRefused(mistakes).mistakes == mistakes


def test_a_stopped_run_says_why():
    """A stop has a status for the record and a sentence for people."""
    stopped = RunStopped("cancelled", "stopped by Ctrl-C")
    assert (stopped.reason, stopped.message, str(stopped)) == ("cancelled", *["stopped by Ctrl-C"] * 2)
    reached = BudgetReached("0.01 USD are left")
    assert (reached.reason, str(reached)) == ("budget_reached", "0.01 USD are left")


@pytest.mark.parametrize("error", [JobRefused([]), RunStopped("failed", "x"), BudgetReached("x")])
def test_every_error_is_labelmills(error):
    """Whoever calls Labelmill can catch all it raises on purpose by one name."""
    assert isinstance(error, LabelmillError)


@pytest.mark.parametrize(
    "error", [JobRefused([Mistake("a", "one")]), RunStopped("failed", "x"), BudgetReached("x")]
)
def test_errors_travel_between_processes(error):
    """An error that a task of another process raised arrives with all it says."""
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  (what was just made)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)
