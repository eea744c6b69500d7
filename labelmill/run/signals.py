"""Ctrl-C and SIGTERM: the first lets a run drain, the second ends the process at once."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from labelmill.errors import RunStopped
from labelmill.stop import StopSignal

EXIT_AT_ONCE = 130
_STANDARD_ERROR = 2


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
            _leave_terminal()
            os._exit(EXIT_AT_ONCE)
        signalled = True
        name = signal.Signals(number).name
        stop_signal.stop(RunStopped("cancelled", f"stopped by {name}"))
        say(
            f"{name}: finishing what is in flight, then publishing. A second one ends the run at once; nothing paid for is lost."
        )

    with _handled(drain, signal.SIGINT, signal.SIGTERM):
        yield


def _leave_terminal() -> None:
    """Show the cursor again, which a progress bar hides, and leave the bar's line."""
    with suppress(OSError):
        if os.isatty(_STANDARD_ERROR):
            os.write(_STANDARD_ERROR, b"\x1b[?25h\n")


@contextmanager
def draining_interrupts(stop_signal: StopSignal, say: Callable[[str], None]) -> Iterator[None]:
    """The same for a run within somebody else's program, whose process is not ours to end.

    It hears Ctrl-C alone, and no other one ends the run sooner: what is in flight takes no longer than a request may.
    Where the program passes Ctrl-C over, so does this.
    """
    # None is a handler that was not set by Python: it could not be put back.
    heard = signal.getsignal(signal.SIGINT) not in {None, signal.SIG_IGN}
    if threading.current_thread() is not threading.main_thread() or not heard:
        yield
        return

    def drain(*_: object) -> None:
        stop_signal.stop(RunStopped("cancelled", "stopped by Ctrl-C"))
        say("Ctrl-C: finishing what is in flight, then keeping it; nothing paid is lost.")

    with _handled(drain, signal.SIGINT):
        yield


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None], *numbers: signal.Signals) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
