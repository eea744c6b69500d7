"""Programs in the background: each with a pid file that it holds locked, and a log.

The lock is the kernel's and goes with the process, so that a pid file left by a crash, or a pid that belongs to another
program by now, is never taken for ours.
"""

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class BackgroundProgram:
    """One program that runs on when the command that started it has ended."""

    name: str
    folder: Path

    @property
    def pid_file(self) -> Path:
        """Holds the pid; locked for as long as the program runs."""
        return self.folder / f"{self.name}.pid"

    @property
    def log(self) -> Path:
        """What the program prints."""
        return self.folder / f"{self.name}.log"

    def pid(self) -> int | None:
        """The pid of the running program; None where it doesn't run."""
        try:
            with self.pid_file.open("r+") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return int(file.read())
        except (FileNotFoundError, ValueError):
            pass
        return None

    def start(self, command: Sequence[str], environment: Mapping[str, str], cwd: Path) -> int:
        """Start the program in a session of its own, and return its pid. It must not run yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # A shell that starts jobs in the background ignores SIGINT for them, which children inherit; a Prefect worker
        # that ignores SIGINT can't be stopped. A handler, unlike "ignore", is reset in the child.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with self.pid_file.open("w") as file, self.log.open("a") as log:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                child = subprocess.Popen(  # noqa: S603  (our own words)
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    cwd=cwd,
                    start_new_session=True,
                    pass_fds=(file.fileno(),),
                )
                file.write(str(child.pid))
        finally:
            signal.signal(signal.SIGINT, before)
        return child.pid

    def stop(self, patience_seconds: float) -> bool:
        """Ask the program to end, and end it where it doesn't within the patience; whether it ran at all."""
        pid = self.pid()
        if pid is None:
            return False
        os.kill(pid, signal.SIGTERM)
        if not self._gone_within(patience_seconds):
            os.kill(pid, signal.SIGKILL)
            self._gone_within(patience_seconds)
        self.pid_file.unlink(missing_ok=True)
        return True

    def last_words(self, lines: int = 5) -> str:
        """The end of its log."""
        try:
            return "\n".join(self.log.read_text(errors="replace").strip().splitlines()[-lines:])
        except OSError:
            return ""

    def _gone_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.pid() is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True
