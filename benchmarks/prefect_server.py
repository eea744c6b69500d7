"""A Prefect server as `labelmill up` starts one, with a home and a database of its own, for the length of a measurement."""

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
from measure import FailedError, environment

from commands.local_server import answers
from commands.prefect_setup import SETTINGS

START_SECONDS = 180.0


class PrefectServer:
    """One that answers."""

    def __init__(self, url: str, pid: int) -> None:
        self.url = url
        self.pid = pid

    def cpu_seconds(self) -> float:
        """The CPU time that its processes have used."""
        process = psutil.Process(self.pid)
        used = [one.cpu_times() for one in (process, *process.children(recursive=True))]
        return sum(times.user + times.system for times in used)


@contextmanager
def prefect_server() -> Iterator[PrefectServer]:
    """Start it and wait until it answers; it ends with the block.

    Raises:
        FailedError: it did not come up.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    url = f"http://127.0.0.1:{port}/api"
    with tempfile.TemporaryDirectory() as home:
        own = environment(**SETTINGS, PREFECT_HOME=home, PREFECT_SERVER_API_PORT=port)
        words = [sys.executable, "-m", "prefect", "server", "start", "--port", port]
        with subprocess.Popen(
            words,
            env=own,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as child:
            try:
                deadline = time.monotonic() + START_SECONDS
                while not answers(url):
                    if child.poll() is not None or time.monotonic() > deadline:
                        raise FailedError("the Prefect server did not come up")
                    time.sleep(0.1)
                yield PrefectServer(url, child.pid)
            finally:
                child.terminate()
