"""Ctrl-C and SIGTERM: the first lets a run drain, the second ends the process at once."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from labelmill.errors import RunStopped
from labelmill.stop import StopSignal

EXIT_AT_ONCE = 130


@contextmanager
def draining_signals(stop_signal: StopSignal, say: Callable[[str], None]) -> Iterator[None]:
    """For the length of the block, a signal stops sending, lets what is in flight finish, and the run publishes.

    A second signal ends the process at once. Every answer that has arrived is in a journal, so that the next run loses
    nothing but what was in flight. Outside the main thread, where Python delivers no signals, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signalled = False

    def drain(number: int, _: FrameType | None) -> None:
        nonlocal signalled
        if signalled:
            os._exit(EXIT_AT_ONCE)
        signalled = True
        name = signal.Signals(number).name
        stop_signal.stop(RunStopped("cancelled", f"stopped by {name}"))
        say(
            f"{name}: finishing what is in flight, then publishing. A second one ends the run at once; nothing paid for is lost."
        )

    before = {number: signal.signal(number, drain) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
