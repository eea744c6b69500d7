"""What the tests of whole jobs share."""

import pytest
from world import KEY, World

from labelmill.live import guard


@pytest.fixture
def world(tmp_path, job_of, monkeypatch):
    """A job in an empty folder, whose requests are sent again after a fraction of the usual waits."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(guard, "FIRST_WAIT_SECONDS", 0.02)
    return World(tmp_path, job_of)
