"""What the tests of whole jobs share."""

import json
import select
import subprocess
import sys
from pathlib import Path

import pytest
from world import KEY, World

from labelmill.live import guard


@pytest.fixture
def world(tmp_path, job_of, monkeypatch):
    """A job in an empty folder, whose requests are sent again after a fraction of the usual waits."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(guard, "FIRST_WAIT_SECONDS", 0.02)
    return World(tmp_path, job_of)


class Mortals:
    """The driver `mortal.py`: starts runs that die when they are told to, or when they are killed."""

    def __init__(self, child):
        self._child = child

    def start(self, folder, base_url, death=None, **environment):
        """Start a run of the folder's `job.toml`, with some variables in its environment; returns its process id."""
        asked = {
            "folder": str(folder),
            "base_url": base_url,
            "death": death,
            "environment": environment,
        }
        self._child.stdin.write(f"{json.dumps(asked)}\n".encode())
        return int(self._child.stdout.readline())

    def has_ended(self):
        """Whether the run that was started is over."""
        readable, _, _ = select.select([self._child.stdout], [], [], 0)
        return bool(readable)

    def wait(self):
        """The exit code of the run that was started; -9 where it was killed."""
        return int(self._child.stdout.readline())


@pytest.fixture(scope="module")
def mortals():
    """The driver's process, for all tests of a file."""
    child = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("mortal.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    yield Mortals(child)
    child.stdin.close()
    child.wait(30)
    child.stdout.close()
