"""The progress bar: what a terminal shows of a run, and what a log gets of it."""

import contextlib
import io
import os
import re
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

    def show(work, *, is_terminal=True, width=120, phase="starting Prefect", begins=True):
        progress = Progress()
        monkeypatch.setattr(progress_bar, "SECONDS_BETWEEN_LOOKS", 0.01)
        file = io.StringIO()
        console = Console(file=file, force_terminal=is_terminal, width=width, color_system=None)
        with progress_bar.progress_bar(console, phase):
            if phase == "planning":
                until(file, "planning")
            if begins:
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


def test_off_a_terminal_each_phase_and_every_few_seconds_are_a_line(shown, monkeypatch):
    """With the time of day, without a carriage return; a control character in a batch's name is none in the line."""
    monkeypatch.setattr(progress_bar, "SECONDS_BETWEEN_LINES", 0.05)
    monkeypatch.setattr(progress_bar, "SECONDS_OF_A_MOMENT", 0.02)

    def work(progress, file):
        until(file, "planning")
        progress.go_on("labeling", 2_000)
        progress.add(labeled=1_000)
        until(file, "labeling: 1,000 of 2,000 texts (50.0%)")
        progress.show_batches("waiting for batches", BATCHES)
        until(file, "waiting for batches")
        file.truncate(0)
        file.seek(0)
        until(file, "waiting for batches")

    lines = shown(work, is_terminal=False, phase="planning").splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d waiting for batches: 1,000 of 2,000 texts", line) for line in lines)
    assert not re.search(r"[\r\x1b]", "".join(lines))


def test_what_is_over_in_a_moment_is_not_told(shown):
    """Off a terminal a phase before the run is told once it has lasted."""
    assert shown(lambda *_: None, is_terminal=False, begins=False) == ""


def test_what_the_log_has_just_told_is_not_told_again(shown, monkeypatch):
    """A line every few seconds, whoever writes it."""
    monkeypatch.setattr(progress_bar, "SECONDS_BETWEEN_LINES", 3600)

    def work(progress, file):
        progress.told_at = time.monotonic()
        progress.go_on("labeling", 10)
        until(file, "labeling")
        progress.add(labeled=7)
        progress.enter("merging")
        until(file, "merging")

    told = shown(work, is_terminal=False)
    assert len(re.findall("labeling", told)) == len(re.findall("merging", told)) == 1


def test_a_reader_who_is_gone_ends_no_run(monkeypatch):
    """The lines go nowhere then, and what is done in the block is done."""
    monkeypatch.setattr(progress_bar, "SECONDS_BETWEEN_LOOKS", 0.001)
    monkeypatch.setattr(progress_bar, "SECONDS_OF_A_MOMENT", -1.0)
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as file:
        with progress_bar.progress_bar(Console(file=file, force_terminal=False)):
            time.sleep(0.02)
            done = True
        with contextlib.suppress(OSError):
            file.close()
    assert done


@pytest.mark.parametrize(
    ("room", "facts"),
    [
        (100, "1,204,000/2,000,000 texts · 0/s · $1.50 · 17 failed"),
        (46, "1,204,000/2,000,000 texts · $1.50 · 17 failed"),
        (34, "1,204,000/2,000,000 texts · $1.50"),
        (10, "1,204,000/2,000,000 texts"),
    ],
)
def test_what_has_no_room_beside_the_bar_goes_whole(room, facts):
    """What matters least first; a number is there or not, and never cut off."""
    now = Snapshot("asking", 2_000_000, 1_204_000, 1_203_983, 17, Decimal("1.5"))
    assert facts_of(now, room) == facts


def test_how_much_of_a_batch_is_done_has_room_on_a_narrow_terminal(shown):
    """What is cut is the provider's name for it."""

    def work(progress, file):
        progress.go_on("sending", 50_000)
        progress.show_batches(
            "waiting for batches", (BatchSeen("batch_" + "0" * 60, "in progress", 3000, 50_000),)
        )
        until(file, "3,000 of 50,000")

    assert "… in progress, 3,000 of 50,000" in shown(work, width=60)


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
