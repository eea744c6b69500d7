"""`labelmill up` and `labelmill down`: all that a daily job needs, on one machine."""

import os
import socket
import subprocess
import sys
import time
from urllib.parse import urlsplit

from dotenv import find_dotenv, load_dotenv

from commands import local_server
from commands.deployments import WORK_POOL
from commands.invocation import command
from commands.prefect_setup import PROJECT, prepare_environment
from commands.server_check import require_server
from commands.terminal import console, shown
from labelmill.errors import JobRefused
from labelmill.providers.environment import environment_mistakes, without_credentials

START_SECONDS = 180.0
STOP_SECONDS = 60.0
EXIT_USER = 2
EXIT_OTHER = 1


class NotUpError(Exception):
    """It did not come up; the sentence says what to do, and the exit code whose turn it is."""

    def __init__(self, sentence: str, exit_code: int = EXIT_OTHER) -> None:
        self.exit_code = exit_code
        super().__init__(sentence)


def bring_up() -> int:
    """Start what isn't running yet: server, work pool, limit, deployments, automations, worker; returns the exit code."""
    load_dotenv(find_dotenv(usecwd=True))
    if mistakes := environment_mistakes():
        for mistake in mistakes:
            console.print(f"[bold red]error[/] {shown(str(mistake))}", soft_wrap=True)
        return EXIT_USER
    prepare_environment(quiet=False)
    try:
        url = _have_server()
        environment = _client_environment(url)
        _set_up(environment)
        _have_worker(environment)
    except NotUpError as error:
        lines = "\n".join(map(shown, str(error).split("\n")))
        console.print(f"[bold red]error[/] {lines}", soft_wrap=True)
        return error.exit_code
    console.print(
        f"Labelmill is up: {url.removesuffix('/api')}\n"
        f"logs are in {shown(str(local_server.folder()))}; stop it with: {shown(command('down'))}",
        soft_wrap=True,
    )
    return 0


def take_down() -> int:
    """Stop what `labelmill up` started, the worker first; returns the exit code."""
    prepare_environment(quiet=False)
    stopped = [
        program.name
        for program in (local_server.worker(), local_server.server())
        if program.stop(STOP_SECONDS)
    ]
    local_server.forget_api_url()
    if not stopped:
        console.print("nothing was up")
        return 0
    console.print(
        f"stopped: {', '.join(stopped)}\nWhat is scheduled waits: nothing runs until the next {shown(command('up'))}",
        soft_wrap=True,
    )
    return 0


def _have_server() -> str:
    """The address of a server that answers, started where none was."""
    if url := local_server.running_api_url():
        return url
    if own := os.environ.get("PREFECT_API_URL"):
        raise NotUpError(
            f"PREFECT_API_URL is set to {without_credentials(own)}, and labelmill up starts a server of its own; unset it, or use that "
            "server: docs/operations.md says how",
            EXIT_USER,
        )
    port = os.environ.get("PREFECT_SERVER_API_PORT", str(local_server.DEFAULT_PORT))
    if not port.isdecimal():
        raise NotUpError(f"PREFECT_SERVER_API_PORT is {port!r}, expected a number such as 4300", EXIT_USER)
    url, server = local_server.wanted_api_url(), local_server.server()
    if server.pid() is None:
        _refuse_taken_port(url)
        console.print("starting the server (half a minute, the first time) ...")
        port = str(urlsplit(url).port)
        # By the variable too, not the option alone: the UI asks the address that the settings name.
        command = [sys.executable, "-m", "prefect", "server", "start", "--port", port]
        server.start(command, {**os.environ, "PREFECT_SERVER_API_PORT": port}, PROJECT)
    deadline = time.monotonic() + START_SECONDS
    while not local_server.answers(url):
        if server.pid() is None:
            raise NotUpError(f"the server ended at once; {server.log} ends with:\n{server.last_words()}")
        if time.monotonic() > deadline:
            raise NotUpError(
                f"the server did not answer in {START_SECONDS:.0f} seconds; look at {server.log}"
            )
        time.sleep(0.3)
    local_server.write_api_url(url)
    return url


def _refuse_taken_port(url: str) -> None:
    """Say so where another program answers there.

    Raises:
        NotUpError: the port is taken.
    """
    parts = urlsplit(url)
    with socket.socket() as probe:
        probe.settimeout(1)
        if probe.connect_ex((parts.hostname, parts.port)) == 0:
            raise NotUpError(
                f"port {parts.port} is taken by another program; choose another with "
                f"PREFECT_SERVER_API_PORT=4300 {command('up')}",
                EXIT_USER,
            )


def _client_environment(url: str) -> dict[str, str]:
    environment = {**os.environ, **local_server.client_settings(url)}
    if secret := os.environ.get("PREFECT_SERVER_API_AUTH_STRING"):
        environment.setdefault("PREFECT_API_AUTH_STRING", secret)
    return environment


def _set_up(environment: dict[str, str]) -> None:
    """Work pool and limit, left as they are where they are there already; then deployments and automations."""
    # Prefect reads its settings when it is imported.
    os.environ.update(environment)
    from prefect.client.orchestration import get_client  # noqa: PLC0415

    from commands.work_pool import have_shared_limit, have_work_pool  # noqa: PLC0415

    try:
        require_server(environment["PREFECT_API_URL"])
    except JobRefused as refused:
        raise NotUpError(str(refused), EXIT_USER) from None
    with get_client(sync_client=True) as client:
        have_work_pool(client)
        have_shared_limit(client)
    if (PROJECT / "deployments" / "prefect.yaml").is_file():
        console.print("deploying deployments/prefect.yaml ...")
        deploy = ["deploy", "--prefect-file", "deployments/prefect.yaml", "--all"]
        _do([sys.executable, "-m", "prefect", "--no-prompt", *deploy], environment)
        _do([sys.executable, "deployments/automations.py"], environment)


def _do(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-1000:]
        raise NotUpError(f"this failed: {' '.join(command[1:])}\n{said}")


def _have_worker(environment: dict[str, str]) -> None:
    worker = local_server.worker()
    if worker.pid() is not None:
        return
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", WORK_POOL]
    worker.start(command, environment, PROJECT)
