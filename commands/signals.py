"""Ctrl-C and SIGTERM: the first lets the run drain, the second ends it at once."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console

from labelmill.run.live import live_runs, stop_live_runs

EXIT_AT_ONCE = 130


@contextmanager
def draining_signals(console: Console) -> Iterator[None]:
    """For the length of the block, a signal stops sending, lets what is in flight finish, and publishes.

    A second signal ends the process at once. Every answer that has arrived is in the journal, so that the next run
    loses nothing but what was in flight. While no run is live yet, a signal ends the process as usual.
    """

    def drain(number: int, _: FrameType | None) -> None:
        runs = live_runs()
        if not runs:
            raise KeyboardInterrupt
        if any(run.gate.stopped for run in runs):
            os._exit(EXIT_AT_ONCE)
        name = signal.Signals(number).name
        console.print(
            f"{name}: finishing what is in flight, then publishing. Once more ends at once; nothing paid is lost."
        )
        stop_live_runs("cancelled", f"stopped by {name}")

    before = {number: signal.signal(number, drain) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
