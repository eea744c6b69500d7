"""What the system tests share: what `labelmill up` started, and what the machine must have."""

import os
from pathlib import Path

import pytest
from house import House


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
    """Bring a house up with settings of its own; each is taken down at the end, and must leave nothing running."""
    houses = []

    def bring_up(**settings):
        house = House(tmp_path_factory.mktemp("home"), **settings)
        houses.append(house)
        up = house.labelmill("up")
        assert up.returncode == 0, up.stderr
        return house

    yield bring_up
    for house in houses:
        down = house.labelmill("down")
        assert "stopped: worker, server" in down.stderr
        assert house.pids() == [None, None]
        assert "nothing was up" in house.labelmill("down").stderr


@pytest.fixture(scope="session")
def house(open_house):
    """One house with the settings that `labelmill up` has by itself."""
    return open_house()
