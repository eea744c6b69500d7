"""A practice provider for tests: started as a run starts it, looked into and set up anew by the test."""

from pathlib import Path

from labelmill.job.model import Practice
from labelmill.providers import practice as launcher
from practice import PracticeSettings
from practice.client import PracticeClient


class PracticeServer(launcher.PracticeServer, PracticeClient):
    """A running practice provider with its `totals`, `reset` and `configure`."""


def start_practice(
    settings: PracticeSettings | None = None, port: int = 0, folder: Path | None = None
) -> PracticeServer:
    """Start one with these settings; it ends with the `with` it is used in."""
    told = Practice(**settings.model_dump(mode="json")) if settings else None
    return PracticeServer.start(told, port, folder)
