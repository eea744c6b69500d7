"""A real PostgreSQL server, on loopback, in a folder that goes with it."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

NAME = "prefect"
PASSWORD = "a-long-password"
PATIENCE_SECONDS = 60


@contextmanager
def open_postgres(programs):
    """A PostgreSQL from this folder of programs for the length of the block; yields its port."""
    # It refuses to run as root, and another user sees nothing below pytest's own folders.
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="labelmill-postgres-"))
    secret = folder / "password"
    secret.write_text(PASSWORD)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    if user:
        for path in (folder, secret):
            shutil.chown(path, user)
    data = folder / "data"
    init = ["--username", NAME, "--pwfile", secret, "--auth", "scram-sha-256", "--encoding", "UTF8"]
    subprocess.run(
        [programs / "initdb", "--pgdata", data, *init], user=user, cwd=folder, check=True, capture_output=True
    )
    settings = ["listen_addresses=127.0.0.1", f"unix_socket_directories={folder}", "fsync=off"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, "-p", str(port), *(f"-c{setting}" for setting in settings)],
            user=user,
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _create_database(programs, port)
        yield port
    finally:
        # SIGINT is PostgreSQL's fast shutdown: it waits for no client.
        server.send_signal(signal.SIGINT)
        server.wait(PATIENCE_SECONDS)
        shutil.rmtree(folder)


def ask_postgres(programs, port, query):
    """The answer to a query, as psql prints it."""
    where = ["--host=127.0.0.1", f"--port={port}", f"--username={NAME}", NAME]
    done = subprocess.run(
        [programs / "psql", *where, "--tuples-only", "--no-align", "--command", query],
        env={**os.environ, "PGPASSWORD": PASSWORD},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def _create_database(programs, port):
    create = [programs / "createdb", "--host=127.0.0.1", f"--port={port}", f"--username={NAME}", NAME]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        done = subprocess.run(
            create, env={**os.environ, "PGPASSWORD": PASSWORD}, capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            return
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.3)
