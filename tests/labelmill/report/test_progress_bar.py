"""The progress bar: what a terminal shows of a run, and that nothing else sees it."""

import io
import time
from decimal import Decimal

import pytest
from rich.console import Console

from labelmill.live.progress import BatchSeen, Progress, Snapshot, viewer
from labelmill.report import progress_bar
from labelmill.report.progress_bar import facts_of

BATCHES = (
    BatchSeen("batch_1[bold]", "in progress", 3000, 50_000),
    BatchSeen("batch_2\x1b]0;x\x07", "validating", 0, 7),
)


@pytest.fixture
def shown(monkeypatch):
    """Show the bar of a run while a block goes on; returns what the terminal got."""

    def show(work, *, is_terminal=True):
        progress = Progress()
        monkeypatch.setattr(progress_bar, "SECONDS_BETWEEN_LOOKS", 0.01)
        file = io.StringIO()
        console = Console(file=file, force_terminal=is_terminal, width=120, color_system=None)
        with progress_bar.progress_bar(console):
            if viewer.get() is not None:
                viewer.get()(progress)
            work(progress, file)
        return file.getvalue()

    return show


def until(file, words):
    """Wait until the terminal shows something."""
    for _ in range(500):
        if words in file.getvalue():
            return
        time.sleep(0.01)
    raise AssertionError(file.getvalue())


def test_a_terminal_shows_each_batch_below_the_bar(shown):
    """With its id, its state and how many of its rows are done; no mark and no control character of it counts."""

    def work(progress, file):
        progress.go_on("sending", 50_007)
        progress.show_batches("waiting for batches", BATCHES)
        until(file, "batch batch_2")

    terminal = shown(work)
    assert "waiting for batches" in terminal
    assert "  batch batch_1[bold] in progress, 3,000 of 50,000" in terminal
    assert "  batch batch_2 ]0;x  validating, 0 of 7" in terminal
    assert "\x1b]0;" not in terminal


def test_a_batch_that_is_settled_goes(shown):
    """Its line is not there any more."""

    def work(progress, file):
        progress.go_on("sending", 10)
        progress.show_batches("waiting for batches", BATCHES)
        until(file, "batch batch_2")
        progress.add(labeled=7)
        progress.show_batches("waiting for batches", BATCHES[:1])
        until(file, "7/10 texts")
        file.truncate(0)
        file.seek(0)
        until(file, "7/10 texts")

    terminal = shown(work)
    assert "batch_1" in terminal
    assert "batch_2" not in terminal


def test_where_there_is_no_terminal_nothing_is_shown(shown):
    """A log is no place for a bar."""
    assert shown(lambda progress, _: progress.show_batches("waiting", BATCHES), is_terminal=False) == ""


@pytest.mark.parametrize(
    ("now", "facts"),
    [
        (Snapshot(), ""),
        (Snapshot("waiting", 0, batches=BATCHES), ""),
        (Snapshot("asking", 2000, 0), "0/2,000 texts · 0/s · $0.00"),
        (Snapshot("asking", 10, 5, 4, 1, Decimal("0.5")), "5/10 texts · 0/s · $0.50 · 1 failed"),
        (Snapshot("asking", 10, 5, 5, 0, None), "5/10 texts · 0/s · unknown"),
    ],
)
def test_what_stands_beside_the_bar(now, facts):
    """Counts, rate and cost, and what is not known is not shown as nothing."""
    assert facts_of(now) == facts
