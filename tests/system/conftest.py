"""What the system tests share: what `labelmill up` started, and what the machine must have."""

import os
from contextlib import contextmanager
from pathlib import Path

import pytest
from house import House
from servers.base import serving
from servers.robots import Robots


@pytest.fixture(scope="session")
def need():
    """See that a program of the machine is there: without it a test is skipped, or fails where nothing may be missing."""

    def check(what, *places):
        found = [path for place in places for path in sorted(Path("/").glob(place.lstrip("/")))]
        if found:
            return found[-1]
        sentence = f"{what} is not installed: looked for {', '.join(places)}"
        if os.environ.get("LABELMILL_REQUIRE_SYSTEM") == "1":
            pytest.fail(sentence)
        pytest.skip(sentence)

    return check


@pytest.fixture(scope="session")
def open_house(tmp_path_factory):
    """Have a house up with settings of its own for the length of a block; it must leave nothing running."""

    @contextmanager
    def stay(**settings):
        house = House(tmp_path_factory.mktemp("home"), **settings)
        up = house.labelmill("up")
        yield house
        down = house.labelmill("down")
        assert up.returncode == 0, up.stderr
        assert "stopped: worker, server" in down.stderr
        assert house.pids() == [None, None]
        assert "nothing was up" in house.labelmill("down").stderr

    return stay


@pytest.fixture(scope="session")
def house(open_house):
    """One house with the settings that `labelmill up` has by itself, and a webhook of its own that alerts of all runs go to."""
    with serving(Robots()) as robots:
        alerts = {"LABELMILL_ALERT_URL": robots.url("webhook"), "LABELMILL_ALERT_WHEN": "every_run"}
        with open_house(**alerts) as house:
            house.robots = robots
            yield house
