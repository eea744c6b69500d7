"""How a call from Python shows its run: in a terminal, in a notebook, and in the log."""

import io
import logging
import sys
import time
from decimal import Decimal
from types import ModuleType

import pytest
from rich.console import Console

from labelmill.live.progress import Progress, Snapshot, viewer
from labelmill.report import progress_bar, progress_view
from labelmill.report.progress_view import progress_line, run_shown

LAST_LINE = "test: completed, 950 of 1,000 rows labeled, cost of this run $0.0794"


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    """Look every hundredth of a second."""
    monkeypatch.setattr(progress_bar, "SECONDS_BETWEEN_LOOKS", 0.01)
    monkeypatch.setattr(progress_view, "SECONDS_BETWEEN_UPDATES", 0.01)
    monkeypatch.setattr(progress_view, "SECONDS_BETWEEN_LINES", 0.01)


def begin():
    """Begin a run that has asked 3 of 12 texts."""
    progress = Progress()
    viewer.get()(progress)
    progress.enter("labeling", 12)
    progress.add(labeled=3)
    progress.pay(Decimal("0.0123"))


def until(condition):
    """Wait for another thread."""
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def test_a_terminal_gets_the_bar_and_at_the_end_one_line(record_of):
    """The bar goes, the line with the bill stays."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=120, color_system=None)
    with run_shown(console) as ended:
        begin()
        until(lambda: "3/12 texts" in file.getvalue())
        ended(record_of())
    assert file.getvalue().splitlines()[-1].endswith(LAST_LINE)


def test_a_notebook_gets_one_line_that_is_replaced(record_of, monkeypatch):
    """By what every notebook has: no widget is needed, and nothing is printed."""
    shown = []

    class Handle:
        def update(self, content, *, raw):
            shown.append((content, raw))

    def display(content, *, raw, display_id):
        shown.append((content, raw))
        return Handle() if display_id else None

    module = ModuleType("IPython.display")
    module.display = display
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    with run_shown(Console(force_jupyter=True)) as ended:
        begin()
        until(lambda: len(shown) > 1)
        ended(record_of())
    lines = [content["text/plain"] for content, _ in shown]
    assert (lines[0], lines[-1]) == ("starting", LAST_LINE)
    assert lines[1].startswith("labeling  ██████░░░░░░░░░░░░░░░░░░ 25%  3/12 texts")


def test_elsewhere_the_log_gets_a_line_now_and_then(record_of, caplog):
    """At a level that nobody sees who has not asked for it."""
    with caplog.at_level(logging.INFO, logger="labelmill"), run_shown(Console(file=io.StringIO())) as ended:
        begin()
        until(lambda: caplog.records)
        ended(record_of())
    assert caplog.records[0].message.startswith("labeling: 3/12 texts")
    assert caplog.records[0].levelname == "INFO"


@pytest.mark.parametrize(
    ("now", "line"),
    [
        (Snapshot(), "starting"),
        (Snapshot(phase="planning", texts=0), "planning"),
        (Snapshot(phase="labeling", texts=4, done=5), f"labeling  {'█' * 24} 100%  5/4 texts · 0/s · $0.00"),
        (Snapshot(phase="labeling", pause="the provider is away"), "labeling  the provider is away"),
    ],
)
def test_a_line_says_what_is_known(now, line):
    """Nothing of a run that has no plan yet, and never more than the whole bar."""
    assert progress_line(now) == line
