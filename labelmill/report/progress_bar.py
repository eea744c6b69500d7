"""The progress bar of a terminal: rows done, rate, cost so far, time left, and below it the batches that are out."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text

from labelmill.live.progress import Progress as RunProgress
from labelmill.live.progress import Snapshot, viewer
from labelmill.report.formatting import batch_lines, duration, usd

SECONDS_BETWEEN_LOOKS = 0.2


class _BarWithLines(Progress):
    """A bar with lines of plain text below it."""

    lines: Sequence[str] = ()

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bar, then the lines; what a provider calls a batch is no markup."""
        yield from super().get_renderables()
        for line in self.lines:
            yield Text(f"  {line}", style="dim", no_wrap=True, overflow="ellipsis")


@contextmanager
def progress_bar(console: Console, first: str = "starting Prefect") -> Iterator[None]:
    """Show the runs that begin in this block, one after the other; nothing without a terminal.

    Args:
        console: the terminal.
        first: what is going on until one has begun.
    """
    if not console.is_terminal:
        yield
        return
    bar = _BarWithLines(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[facts]}"),
        console=console,
        transient=True,
    )
    ended = threading.Event()
    begun: list[RunProgress] = []
    with bar:
        line = bar.add_task(first, total=None, facts="")

        def follow() -> None:
            while not ended.wait(SECONDS_BETWEEN_LOOKS):
                for progress in begun[-1:]:
                    now = progress.now()
                    bar.lines = [*([now.pause] if now.pause else []), *batch_lines(now)]
                    bar.update(
                        line, description=now.phase, total=now.texts, completed=now.done, facts=facts_of(now)
                    )

        follower = threading.Thread(target=follow, name="progress-bar", daemon=True)
        follower.start()
        token = viewer.set(begun.append)
        try:
            yield
        finally:
            viewer.reset(token)
            ended.set()
            follower.join()


def facts_of(now: Snapshot) -> str:
    """What stands beside the bar."""
    if not now.texts:
        return ""
    facts = [f"{now.done:,}/{now.texts:,} texts", f"{now.texts_per_second:.0f}/s", usd(now.cost_usd)]
    if now.failed:
        facts.append(f"{now.failed:,} failed")
    if now.seconds_left:
        facts.append(f"{duration(now.seconds_left)} left")
    return " · ".join(facts)
