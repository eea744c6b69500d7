"""`labelmill run` where nobody looks: a job that is refused tells somebody, and the address is printed nowhere."""

import pytest
from servers.base import Endpoint
from servers.robots import TOKEN

from labelmill.store.folder import OutputFolder
from labelmill.store.lock import locked

GONE = {"source": {"path": "gone.parquet"}}


@pytest.fixture
def alerts(robots):
    """The environment of somebody whom a webhook tells of trouble."""
    return {"LABELMILL_ALERT_URL": robots.url("webhook")}.items()


def test_a_refused_job_is_told_under_cron_and_not_at_a_terminal(world, robots, alerts):
    """Exit code 2 at night reaches somebody, with all mistakes; at a terminal the person there has seen them."""
    with Endpoint() as server:
        done = world.command(server, environment=alerts, **GONE)
        assert (done.returncode, len(robots.taken)) == (2, 1)
        told = robots.taken[0]
        assert told["summary"] == "[Labelmill] test: did not run, and nothing was spent"
        assert "source.path: " in told["message"]
        assert world.terminal(server, environment=alerts, **GONE)[0] == 2
    assert len(robots.taken) == 1
    assert TOKEN not in done.stdout + done.stderr


def test_an_output_in_use_and_a_run_in_trouble_are_told_once(world, robots, alerts):
    """What the run itself finds out passes two shells, and is told by one; what its record holds is not told again."""
    world.has(["the match", "the market"])
    with Endpoint() as server:
        with locked(OutputFolder.of(world.job()).lock, "another run"):
            assert world.command(server, environment=alerts).returncode == 2
        (told,) = robots.taken
        assert "another run is writing into" in told["message"]
        robots.taken.clear()
        done = world.command(server, environment=alerts, run={"max_cost_usd": 0})
        assert done.returncode == 4
        assert [told["status"] for told in robots.taken] == ["budget_reached"]
        robots.replies = [(500, f"no hook {TOKEN}")] * 3
        done = world.command(server, environment=alerts, run={"max_cost_usd": 0})
    assert done.returncode == 4
    assert "The alert could not be sent: the webhook answered 500: no hook [hidden]" in " ".join(
        done.stderr.split()
    )
    assert TOKEN not in done.stdout + done.stderr
