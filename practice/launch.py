"""A practice provider in a process of its own, that ends when its parent does."""

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
import urllib.request
import weakref
from pathlib import Path
from typing import IO, Any, Self

from practice.settings import PracticeSettings

_PATIENCE_SECONDS = 30.0
_FAREWELL_SECONDS = 5.0

# Loopback goes through no proxy, whatever the environment says.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class PracticeServer:
    """A running practice provider: stop it, or use it in a `with`; it also ends with this process."""

    def __init__(self, child: subprocess.Popen[bytes], port: int) -> None:
        self.port = port
        self.pid = child.pid
        self.base_url = f"http://127.0.0.1:{port}/v1"
        """What OpenAI's clients call `base_url`."""
        # Also called when this object is forgotten, so that no child outlives its use or stays a zombie.
        self._end = weakref.finalize(self, _end, child)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the server; a second call does nothing."""
        self._end()

    def totals(self) -> dict[str, Any]:
        """What the server has counted.

        Raises:
            OSError: the server does not answer.
        """
        return self._ask("/practice/totals")

    def reset(self) -> None:
        """Zero the totals, forget which texts were seen, and delete files and batches.

        Raises:
            OSError: the server does not answer.
        """
        self._ask("/practice/reset", b"")

    def configure(self, settings: PracticeSettings) -> None:
        """Replace the settings; totals and the attempts of each text stay.

        Raises:
            OSError: the server does not answer.
        """
        self._ask("/practice/settings", settings.model_dump_json().encode())

    def _ask(self, path: str, body: bytes | None = None) -> dict[str, Any]:
        # A fixed scheme and host: nothing a caller passes becomes part of the address.
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=body)
        with _OPENER.open(request, timeout=_PATIENCE_SECONDS) as response:
            answer: dict[str, Any] = json.load(response)
        return answer


def start_practice(
    settings: PracticeSettings | None = None, port: int = 0, folder: Path | None = None
) -> PracticeServer:
    """Start a practice provider on loopback and wait until it answers; port 0 takes a free one.

    The folder keeps files and batches for the next server that is given it; without one they go at the end.

    Raises:
        RuntimeError: it did not come up; the message holds what it said.
    """
    settings = settings or PracticeSettings()
    command = [sys.executable, "-m", "practice", "--settings-json", "-", "--port", str(port)]
    if folder is not None:
        command += ["--folder", str(folder.absolute())]
    with tempfile.TemporaryFile() as complaints:
        child = subprocess.Popen(  # noqa: S603 - this interpreter, our own module, a number
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
            server = PracticeServer(child, _announced_port(child, settings))
            server.totals()
        except (OSError, ValueError, KeyError) as error:
            _end(child)
            complaints.seek(0)
            said = complaints.read().decode(errors="replace").strip() or str(error)
            raise RuntimeError(f"The practice provider did not start: {said}") from error
        except BaseException:
            _end(child)
            raise
    return server


def _announced_port(child: subprocess.Popen[bytes], settings: PracticeSettings) -> int:
    """Tell the child its settings; it tells the port."""
    instructions, announcement = _pipes(child)
    instructions.write(settings.model_dump_json().encode() + b"\n")
    instructions.flush()
    deadline = time.monotonic() + _PATIENCE_SECONDS
    line = b""
    # Read from the descriptor: a buffered read could wait beyond the deadline.
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([announcement], [], [], max(deadline - time.monotonic(), 0))
        if not ready:
            raise TimeoutError(f"no port was announced within {_PATIENCE_SECONDS:.0f} seconds")
        if not (piece := os.read(announcement.fileno(), 4096)):
            raise ConnectionError("it ended at once")
        line += piece
    return int(json.loads(line)["port"])


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
