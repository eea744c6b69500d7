"""Prefect without help: settings that a first run needs, and a temporary server that outlives a Ctrl-C.

Nothing here imports Prefect before its settings stand in the environment, which is where it reads them.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from commands.local_server import use_running_server
from commands.server_check import require_server
from labelmill.errors import JobRefused, Mistake
from labelmill.providers.environment import bypass_proxies

PROJECT = Path(__file__).resolve().parent.parent

SHARED_LIMIT = "labelmill"
"""The global concurrency limit that `labelmill up` makes, for jobs that share one."""

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
def prefect_api(shared_limit: str | None = None) -> Iterator[str]:
    """Have a Prefect API for the length of the block, and yield its address.

    It is the user's own (`PREFECT_API_URL`), that of `labelmill up` while it answers, or a temporary server's.

    Prefect's temporary server sits in the terminal's process group, so that a Ctrl-C would end it before the run has
    drained; this one has a session of its own, and ends with this process whatever happens to it.

    Args:
        shared_limit: the global concurrency limit that a job shares with others. A temporary server has none but ours.

    Raises:
        JobRefused: the server that Prefect is told of can't be used, or there is none and the job shares a limit.
    """
    use_running_server()

    from prefect.settings import (  # noqa: PLC0415
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_HOME,
        PREFECT_LOGGING_TO_API_ENABLED,
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
        get_current_settings,
        temporary_settings,
    )

    if own := PREFECT_API_URL.value():
        require_server(own)
        yield own
        return

    if shared_limit not in {None, SHARED_LIMIT}:
        sentence = (
            f"found {shared_limit!r}, a limit of a Prefect server, and no server is up; start one with `labelmill up` and "
            "make the limit there, set PREFECT_API_URL to yours, or take the field out for a run by itself"
        )
        raise JobRefused([Mistake("run.shared_limit", sentence)])

    # Importing the server takes a second or two, which a run that has one already need not wait for.
    from prefect.events.worker import EventsWorker  # noqa: PLC0415
    from prefect.logging.handlers import APILogHandler  # noqa: PLC0415
    from prefect.server.api.server import SubprocessASGIServer  # noqa: PLC0415

    environment = server_environment(
        {**os.environ, **get_current_settings().to_environment_variables(exclude_unset=True)},
        PREFECT_HOME.value(),
    )
    # What the server says when it is stopped amid its work means nothing to whoever looks at the run.
    log_file = Path(environment["PREFECT_HOME"]) / "server.log"

    class OwnSessionServer(SubprocessASGIServer):
        def _run_uvicorn_command(self) -> "subprocess.Popen[bytes]":
            log_file.parent.mkdir(parents=True, exist_ok=True)
            with log_file.open("wb") as log:
                return subprocess.Popen(  # noqa: S603  (this interpreter, our own words)
                    [sys.executable, "-c", _SERVE, str(self.port)],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    env=environment,
                )

    # Prefect would point to a page of this server, which has no pages and is gone when the run ends.
    logging.getLogger("prefect.flow_runs").addFilter(
        lambda line: not line.getMessage().startswith("View at ")
    )
    server = OwnSessionServer()
    try:
        server.start(timeout=int(PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value()))
    except RuntimeError:
        sys.stderr.write(log_file.read_text(encoding="utf-8", errors="replace"))
        raise
    try:
        # Nobody looks for dead runs on this server, and a flow run waits a second for the thread of its heartbeat.
        with temporary_settings({PREFECT_API_URL: server.api_url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            if shared_limit == SHARED_LIMIT:
                _have_shared_limit()
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


def _have_shared_limit() -> None:
    from prefect.client.orchestration import get_client  # noqa: PLC0415

    from commands.work_pool import have_shared_limit  # noqa: PLC0415

    with get_client(sync_client=True) as client:
        have_shared_limit(client)


def server_environment(environment: Mapping[str, str], home: Path) -> dict[str, str]:
    """The environment of a temporary server: a home and a database of its own, whatever the user's own server has.

    In the database of `labelmill up` it would work through that server's schedules and automations for as long as it lives.
    """
    kept = {name: value for name, value in environment.items() if not name.startswith(_OF_A_SERVERS_DATABASE)}
    return {**kept, **_SERVER_ENV, "PREFECT_HOME": str(home / "temporary-server")}


_OF_A_SERVERS_DATABASE = (
    "PREFECT_SERVER_DATABASE_",
    "PREFECT_API_DATABASE_",
    "PREFECT_SERVER_API_AUTH_STRING",
    "PREFECT_SERVER_CSRF_PROTECTION_ENABLED",
    "PREFECT_PROFILE",
)
"""Settings of the user's own server that the temporary one must not have; nobody could give it its password."""
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
