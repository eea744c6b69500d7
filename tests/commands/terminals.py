"""A command in a terminal of its own, whose questions are answered."""

import os
import pty
import re
import select
import signal
import subprocess
import termios
import time
from contextlib import contextmanager
from pathlib import Path

_CURSOR = re.compile(r"\x1b\[\?25([hl])")
_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """What a command shows, without colours, and a keyboard."""

    def __init__(self, ours, running):
        self._ours, self._running = ours, running
        self.shown = ""
        self.shows_cursor = True

    def read_until(self, words=None):
        """All that was shown until some words, or until the command is gone."""
        while words is None or words not in self.shown:
            ready, _, _ = select.select([self._ours], [], [], 60)
            assert ready, self.shown
            try:
                piece = os.read(self._ours, 4096)
            except OSError:  # Linux says so when the other end is closed
                piece = b""
            if not piece:
                assert words is None, self.shown
                break
            if cursors := _CURSOR.findall(piece.decode(errors="replace")):
                self.shows_cursor = cursors[-1] == "h"
            self.shown += _CONTROLS.sub("", piece.decode(errors="replace")).replace("\r\n", "\n")
        return self.shown

    def type(self, words):
        """Type a line."""
        os.write(self._ours, f"{words}\n".encode())

    def interrupt(self):
        """Press Ctrl-C while the command waits for a line: what it is told before, it hears in any case."""
        status = Path(f"/proc/{self._running.pid}/stat")
        while status.read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "R":
            time.sleep(0.01)
        self._running.send_signal(signal.SIGINT)

    def press_interrupt(self):
        """Press Ctrl-C, whatever the command is at."""
        self._running.send_signal(signal.SIGINT)

    @property
    def is_running(self):
        """Whether the command has not ended."""
        return self._running.poll() is None

    def end(self):
        """Read to the end; returns the exit code and all that was shown."""
        shown = self.read_until()
        return self._running.wait(60), shown


@contextmanager
def terminal(words, *, cwd, env, columns=100):
    """Start a command in a terminal."""
    ours, its = pty.openpty()
    termios.tcsetwinsize(its, (50, columns))
    known = {name: value for name, value in env.items() if name not in {"COLUMNS", "LINES"}}
    with subprocess.Popen(
        list(map(str, words)), stdin=its, stdout=its, stderr=its, cwd=cwd, env={**known, "TERM": "xterm"}
    ) as running:
        os.close(its)
        try:
            yield Terminal(ours, running)
        finally:
            running.kill()
            os.close(ours)


def in_terminal(words, columns, folder, environment):
    """Run a command in a terminal of so many columns; returns its exit code and the lines it leaves there."""
    ours, its = pty.openpty()
    termios.tcsetwinsize(its, (50, columns))
    # The processes that share out the tests have variables that say how wide another terminal is.
    known = {name: value for name, value in environment.items() if name not in {"COLUMNS", "LINES"}}
    with subprocess.Popen(
        words,
        cwd=folder,
        env={**known, "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=its,
        stderr=its,
    ) as running:
        os.close(its)
        with os.fdopen(ours, "rb") as shown:
            printed = b"".join(iter(lambda: _read_terminal(shown), b"")).decode()
    lines = _CONTROLS.sub("", printed).replace("\r", "\n").split("\n")
    return running.returncode, [line.rstrip() for line in lines]


def _read_terminal(shown):
    try:
        return shown.read1(65536)
    except OSError:  # Linux's word for a terminal that nobody writes to any more
        return b""
