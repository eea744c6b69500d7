"""The practice provider as a run starts it: a process of its own, known by its command line and by HTTP alone.

Its settings are its own affair: what `[practice]` says is handed to it as it is, and it says what it can't follow.
"""

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Self

from labelmill.errors import JobRefused, Mistake
from labelmill.job.model import Practice

_PATIENCE_SECONDS = 30.0
_FAREWELL_SECONDS = 5.0


class PracticeServer:
    """A running practice provider: stop it, or use it in a `with`; it also ends with this process."""

    def __init__(self, child: subprocess.Popen[bytes], port: int) -> None:
        self.port = port
        self.pid = child.pid
        self.base_url = f"http://127.0.0.1:{port}/v1"
        """What OpenAI's clients call `base_url`."""
        # Also called when this object is forgotten, so that no child outlives its use or stays a zombie.
        self._end = weakref.finalize(self, _end, child)

    @classmethod
    def start(cls, told: Practice | None = None, port: int = 0, folder: Path | None = None) -> Self:
        """Start a practice provider on loopback; port 0 takes a free one. It listens when this returns.

        The folder keeps files and batches for the next server that is given it; without one they go at the end.

        Raises:
            JobRefused: it can't follow the settings.
            RuntimeError: it did not come up; the message holds what it said.
        """
        more = [f"--port={port}", *([] if folder is None else [f"--folder={folder.absolute()}"])]
        with _started(told or Practice(), *more) as (child, said):
            return cls(child, int(said["port"]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the server; a second call does nothing."""
        self._end()


def practice_mistakes(told: Practice) -> list[tuple[str, str]]:
    """What the practice provider can't follow in `[practice]`: places in the job, with a sentence each."""
    if told.settings is None and not told.model_extra:
        return []  # the job's own model has checked the rest
    try:
        with _started(told, "--check") as (child, _):
            _end(child)
    except JobRefused as refused:
        return [(mistake.where, mistake.sentence) for mistake in refused.mistakes]
    return []


@contextlib.contextmanager
def _started(told: Practice, *more: str) -> Iterator[tuple[subprocess.Popen[bytes], Mapping[str, Any]]]:
    """A child that was told its settings, and what it answered; it is ended where that or the block raises."""
    settings = told.model_dump(mode="json", exclude_none=True)
    file = settings.pop("settings", None)
    # -P: no file of the folder we are in takes the place of the module.
    command = [sys.executable, "-P", "-m", "practice", "--settings-json=-", *more]
    command += [] if file is None else [f"--settings={file}"]
    with tempfile.TemporaryFile() as complaints:
        child = subprocess.Popen(  # noqa: S603 - this interpreter, our own module, the job's own words
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            # The child finds what this process finds.
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            # Ctrl-C is meant for the parent.
            start_new_session=True,
        )
        try:
            said = _announcement(child, settings)
            yield child, said
        except (OSError, ValueError, KeyError) as error:
            _end(child)
            complaints.seek(0)
            words = complaints.read().decode(errors="replace").strip() or str(error)
            raise RuntimeError(f"The practice provider did not start: {words}") from error
        except BaseException:
            _end(child)
            raise


def _announcement(child: subprocess.Popen[bytes], settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Tell the child its settings; it tells the port, or what is wrong with them.

    Raises:
        JobRefused: it can't follow them.
        OSError: it said nothing.
    """
    instructions, announcement = _pipes(child)
    instructions.write(json.dumps(settings).encode() + b"\n")
    instructions.flush()
    deadline = time.monotonic() + _PATIENCE_SECONDS
    line = b""
    # Read from the descriptor: a buffered read could wait beyond the deadline.
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([announcement], [], [], max(deadline - time.monotonic(), 0))
        if not ready:
            raise TimeoutError(f"nothing was announced within {_PATIENCE_SECONDS:.0f} seconds")
        if not (piece := os.read(announcement.fileno(), 4096)):
            raise ConnectionError("it ended at once")
        line += piece
    said: Mapping[str, Any] = json.loads(line)
    if mistakes := said.get("mistakes"):
        raise JobRefused([Mistake(f"practice.{place}".rstrip("."), sentence) for place, sentence in mistakes])
    return said


def _pipes(child: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    if child.stdin is None or child.stdout is None:
        raise ValueError("The practice provider was started without pipes.")
    return child.stdin, child.stdout


def _end(child: subprocess.Popen[bytes]) -> None:
    """Close the child's stdin, which ends it; kill it if it lingers; leave no zombie."""
    instructions, announcement = _pipes(child)
    # A broken pipe: it is gone already.
    with contextlib.suppress(BrokenPipeError):
        instructions.close()
    announcement.close()
    try:
        child.wait(_FAREWELL_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
