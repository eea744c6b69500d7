"""What a terminal shows while a command works: a bar with rows done, rate, cost so far, time left, and the batches that are out.

Off a terminal it is a line every few seconds, and never a carriage return.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text

from labelmill.live.progress import Progress as RunProgress
from labelmill.live.progress import Snapshot, viewer
from labelmill.report.formatting import (
    batch_lines,
    duration,
    progress_line,
    shortened,
    usd,
    visible,
)

SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_BETWEEN_LINES = 5.0
"""Off a terminal nothing is silent for longer than that; a new phase is told at once."""
SECONDS_OF_A_MOMENT = 1.0
CHECKING = "checking the job"
STARTING = "starting Prefect"
_BESIDE_FACTS = 20
"""What the bar, the percentage and the spaces take at least."""
_BESIDE_NAME = 40
"""What a batch's line takes beside its name: its state and how many of its texts are done."""
_BAR_CELLS = 40


class _BarWithLines(Progress):
    """A bar with lines of plain text below it."""

    lines: Sequence[str] = ()

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bar, then the lines; what a provider calls a batch is no markup."""
        yield from super().get_renderables()
        for line in self.lines:
            yield Text(f"  {line}", style="dim", no_wrap=True, overflow="ellipsis")


@contextmanager
def progress_bar(console: Console, phase: str = STARTING) -> Iterator[None]:
    """Show what goes on, and the runs that begin in this block, one after the other.

    `phase` says what is done until a run begins.
    """
    show = _bar if console.is_terminal else _lines
    begun: list[RunProgress] = []
    token = viewer.set(begun.append)
    try:
        with show(console, phase, lambda: begun[-1] if begun else None):
            yield
    finally:
        viewer.reset(token)


Seen = Callable[[], RunProgress | None]
"""The run that is shown; None until one begins."""


@contextmanager
def _bar(console: Console, phase: str, seen: Seen) -> Iterator[None]:
    bar = _BarWithLines(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=min(_BAR_CELLS, max(1, console.width // 4))),
        TaskProgressColumn(),
        TextColumn("{task.fields[facts]}", markup=False),
        console=console,
        transient=True,
    )
    with bar:
        line = bar.add_task(phase, total=None, facts="")

        def follow() -> None:
            progress = seen()
            if progress is None:
                return
            now = progress.now()
            # What a provider calls a batch may be long, and how much of it is done is not to be cut off.
            name_cells = max(_BESIDE_NAME // 4, console.width - _BESIDE_NAME)
            batches = batch_lines(now, lambda words: shortened(visible(words), name_cells))
            bar.lines = [*([now.pause] if now.pause else []), *batches]
            room = console.width - cell_len(now.phase) - _BESIDE_FACTS - min(_BAR_CELLS, console.width // 4)
            facts = facts_of(now, room)
            bar.update(line, description=now.phase, total=now.texts, completed=now.done, facts=facts)

        with _again_and_again(follow):
            yield


@contextmanager
def _lines(console: Console, phase: str, seen: Seen) -> Iterator[None]:
    """Tell a line whenever a phase begins, and one every few seconds; not where the log has just told the same."""
    began = time.monotonic()
    # What is over in a moment need not be told.
    told_phase, told_at = phase, began - SECONDS_BETWEEN_LINES + SECONDS_OF_A_MOMENT

    def follow() -> None:
        nonlocal told_phase, told_at
        progress, at = seen(), time.monotonic()
        now = progress.now() if progress else Snapshot(phase)
        if progress is not None:
            told_at = max(told_at, progress.told_at)
        if now.phase == told_phase and at - told_at < SECONDS_BETWEEN_LINES:
            return
        waited = at - began
        since = "" if progress or waited < SECONDS_BETWEEN_LINES else f" ({duration(waited)})"
        _write(console, f"{progress_line(now) if progress else phase}{since}")
        told_phase, told_at = now.phase, at

    with _again_and_again(follow):
        yield


def _write(console: Console, line: str) -> None:
    # Rich would end the process where nobody reads any more, and a paid run with it.
    with suppress(OSError, ValueError):
        console.file.write(f"{datetime.now().astimezone():%H:%M:%S} {line}\n")
        console.file.flush()


@contextmanager
def _again_and_again(do: Callable[[], None]) -> Iterator[None]:
    """Do something every moment for the length of the block."""
    ended = threading.Event()

    def follow() -> None:
        while not ended.wait(SECONDS_BETWEEN_LOOKS):
            do()

    follower = threading.Thread(target=follow, name="progress", daemon=True)
    follower.start()
    try:
        yield
    finally:
        ended.set()
        follower.join()


def facts_of(now: Snapshot, room: int = sys.maxsize) -> str:
    """What stands beside the bar, as much of it as there is room for."""
    if not now.texts:
        return ""
    # As they stand, each with how much it matters; what matters least goes first.
    facts = [
        (1, f"{now.done:,}/{now.texts:,} texts"),
        (5, f"{now.texts_per_second:.0f}/s"),
        (2, usd(now.cost_usd)),
        *([(3, f"{now.failed:,} failed")] if now.failed else []),
        *([(4, f"{duration(now.seconds_left)} left")] if now.seconds_left else []),
    ]
    while True:
        words = " · ".join(fact for _, fact in facts)
        if len(words) <= room or len(facts) == 1:
            return words
        facts.remove(max(facts))
