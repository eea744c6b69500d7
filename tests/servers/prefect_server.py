"""A Prefect server for the tests, in a process of its own, which ends with the process that starts it whatever happens to that."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 180
"""A database that is new goes through about a hundred migrations first."""

# Standard input is a pipe from the parent that nobody writes to: it ends when the parent does.
SERVE = """
import os, sys, threading
def follow_parent():
    os.read(0, 1)
    os._exit(0)
threading.Thread(target=follow_parent, daemon=True).start()
import uvicorn
from prefect.server.api.server import create_app
uvicorn.run(create_app, factory=True, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", lifespan="on")
"""


@contextmanager
def prefect_serving(home: Path):
    """Have a server with a database and a log below a folder; yields its API address."""
    home.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    settings = {
        "PREFECT_HOME": str(home),
        "PREFECT_UI_ENABLED": "0",
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
    }
    log = home / "server.log"
    with (
        log.open("wb") as said,
        subprocess.Popen(
            [sys.executable, "-c", SERVE, str(port)],
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=said,
            # A Ctrl-C at the tests' terminal is not for it.
            start_new_session=True,
            env={**os.environ, **settings},
        ) as server,
    ):
        deadline = time.monotonic() + START_SECONDS
        while not _is_well(url):
            assert server.poll() is None, log.read_text(errors="replace")
            assert time.monotonic() < deadline, log.read_text(errors="replace")
            time.sleep(0.1)
        try:
            yield url
        finally:
            server.terminate()


def _is_well(url):
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False
