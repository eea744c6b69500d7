"""Prefect without help: settings that a first run needs, and a temporary server that outlives a Ctrl-C.

Nothing here imports Prefect before its settings stand in the environment, which is where it reads them.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from commands.local_server import use_running_server
from labelmill.providers.environment import bypass_proxies

PROJECT = Path(__file__).resolve().parent.parent

SETTINGS = {
    # Around 100 migrations on a first run: 20 to 40 seconds, where Prefect's own limit is 20.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "labelmill",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TRIGGERS_READ_BATCH_SIZE": "50",
    # In memory, the default, a restart of the server would leave the slots that were held taken forever.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    # Runs older than 90 days go from the database; run.json keeps their history.
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
}


def prepare_environment(*, quiet: bool) -> None:
    """Fill in what the user has not set; `quiet` keeps Prefect's log lines out of a progress bar's way.

    Servers on this machine are reached past any proxy, by Prefect's clients too.
    """
    if (PROJECT / "pyproject.toml").is_file():
        os.environ.setdefault("PREFECT_HOME", str(PROJECT / ".prefect"))
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    if quiet:
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    bypass_proxies(os.environ)


@contextmanager
def prefect_api() -> Iterator[str]:
    """Have a Prefect API for the length of the block, and yield its address.

    It is the user's own (`PREFECT_API_URL`), that of `labelmill up` while it answers, or a temporary server's.

    Prefect's temporary server sits in the terminal's process group, so that a Ctrl-C would end it before the run has
    drained; this one has a session of its own, and ends with this process whatever happens to it.
    """
    use_running_server()

    from prefect.settings import (  # noqa: PLC0415
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_LOGGING_TO_API_ENABLED,
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
        get_current_settings,
        temporary_settings,
    )

    if own := PREFECT_API_URL.value():
        yield own
        return

    # Importing the server takes a second or two, which a run that has one already need not wait for.
    from prefect.events.worker import EventsWorker  # noqa: PLC0415
    from prefect.logging.handlers import APILogHandler  # noqa: PLC0415
    from prefect.server.api.server import SubprocessASGIServer  # noqa: PLC0415

    class OwnSessionServer(SubprocessASGIServer):
        def _run_uvicorn_command(self) -> "subprocess.Popen[bytes]":
            return subprocess.Popen(  # noqa: S603  (this interpreter, our own words)
                [sys.executable, "-c", _SERVE, str(self.port)],
                stdin=subprocess.PIPE,
                start_new_session=True,
                env={
                    **os.environ,
                    **get_current_settings().to_environment_variables(exclude_unset=True),
                    **_SERVER_ENV,
                },
            )

    # Prefect would point to a page of this server, which has no pages and is gone when the run ends.
    logging.getLogger("prefect.flow_runs").addFilter(
        lambda line: not line.getMessage().startswith("View at ")
    )
    server = OwnSessionServer()
    server.start(timeout=int(PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value()))
    try:
        # Nobody looks for dead runs on this server, and a flow run waits a second for the thread of its heartbeat.
        with temporary_settings({PREFECT_API_URL: server.api_url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            try:
                yield server.api_url
            finally:
                APILogHandler().flush()
                EventsWorker.drain_all()
    finally:
        process = server.server_process
        with temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False}):
            server.stop()
        if process is not None and process.stdin is not None:
            process.stdin.close()


_SERVER_ENV = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}

# Standard input is a pipe from the parent that nobody writes to: it ends when the parent does.
_SERVE = """
import os, sys, threading
def follow_parent():
    os.read(0, 1)
    os._exit(0)
threading.Thread(target=follow_parent, daemon=True).start()
import uvicorn
from prefect.server.api.server import create_app
uvicorn.run(create_app, factory=True, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", lifespan="on")
"""
