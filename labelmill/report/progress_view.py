"""How a call from Python shows its run: the bar of a terminal, a line of a notebook, else lines in the log."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from rich.console import Console
from rich.text import Text

from labelmill.live.progress import Progress, Snapshot, viewer
from labelmill.report.formatting import STATUS_WORDS, cost_of_record, labeled_words, visible
from labelmill.report.progress_bar import facts_of, progress_bar
from labelmill.run.record import RunRecord
from labelmill.store.folder import OutputFolder

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 5.0
SECONDS_BETWEEN_UPDATES = 0.5
_CELLS = 24


@contextmanager
def run_shown(console: Console) -> Iterator[Callable[[RunRecord], None]]:
    """Show the run that begins in this block; what is yielded shows in one line how it has ended."""
    if console.is_jupyter:
        with _shown_in_notebook() as ended:
            yield ended
        return
    if not console.is_terminal:
        with _followed(_log, SECONDS_BETWEEN_LINES):
            yield _nothing_more
        return
    ends: list[RunRecord] = []
    with progress_bar(console, "starting"):
        yield ends.append
    for record in ends:
        console.print(Text(_ending(record)), soft_wrap=True)


def ending_line(record: RunRecord) -> str:
    """How a run has ended, and what it cost."""
    cost = "this run would have cost" if record.practice else "cost of this run"
    ended = f"{visible(record.job.name)}: {STATUS_WORDS[record.status]}, {labeled_words(record)}"
    return f"{ended}, {cost} {cost_of_record(record)}"


def _ending(record: RunRecord) -> str:
    page = OutputFolder.of(record.job).run(record.run_id) / "report.html"
    return f"{ending_line(record)}; report in {visible(str(page))}" if page.exists() else ending_line(record)


def progress_line(now: Snapshot) -> str:
    """Where a run stands, in one line."""
    words = [now.phase]
    if now.texts:
        done = min(1.0, now.done / now.texts)
        cells = round(_CELLS * done)
        words.append(f"{'█' * cells}{'░' * (_CELLS - cells)} {done:.0%}")
        words.append(facts_of(now))
    return "  ".join([*words, *([now.pause] if now.pause else [])])


def _nothing_more(_: RunRecord) -> None:
    """The run itself logs how it ends."""


def _log(now: Snapshot) -> None:
    log.info("%s", ": ".join(filter(None, [now.phase, facts_of(now), now.pause])))


@contextmanager
def _shown_in_notebook() -> Iterator[Callable[[RunRecord], None]]:
    """One line of text that is replaced: it needs no widgets."""
    display: Any = import_module("IPython.display").display

    def content(line: str) -> dict[str, str]:
        return {"text/plain": line}

    shown: Any = display(content("starting"), raw=True, display_id=True)

    def show(line: str) -> None:
        if shown is not None:
            shown.update(content(line), raw=True)

    with _followed(lambda now: show(progress_line(now)), SECONDS_BETWEEN_UPDATES):
        yield lambda record: show(_ending(record))


@contextmanager
def _followed(show: Callable[[Snapshot], None], seconds: float) -> Iterator[None]:
    """Show every so many seconds where the run stands that was last begun in this block."""
    begun: list[Progress] = []
    ended = threading.Event()

    def follow() -> None:
        while not ended.wait(seconds):
            for progress in begun[-1:]:
                show(progress.now())

    follower = threading.Thread(target=follow, name="progress-view", daemon=True)
    follower.start()
    token = viewer.set(begun.append)
    try:
        yield
    finally:
        viewer.reset(token)
        ended.set()
        follower.join()
