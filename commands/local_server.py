"""The server that `labelmill up` starts on this machine: where it keeps its things, and whether it answers.

Nothing here imports Prefect, so that the other verbs can ask in a moment.
"""

import os
import urllib.request
from pathlib import Path

from commands.background import BackgroundProgram

DEFAULT_PORT = 4200
HEALTH_SECONDS = 3.0
BUSY_SECONDS = 20.0
"""How long a server that runs may take to answer: one that works off the events of a run on a busy machine is late."""

# Loopback goes through no proxy, whatever the environment says.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def folder() -> Path:
    """Where pid files, logs and the address are: below PREFECT_HOME."""
    home = os.environ.get("PREFECT_HOME")
    return (Path(home) if home else Path.home() / ".prefect").absolute() / "labelmill"


def server() -> BackgroundProgram:
    """The Prefect server."""
    return BackgroundProgram("server", folder())


def worker() -> BackgroundProgram:
    """The worker that runs what is deployed."""
    return BackgroundProgram("worker", folder())


def wanted_api_url() -> str:
    """Where a server that is started now answers: PREFECT_SERVER_API_HOST and PREFECT_SERVER_API_PORT, or the defaults."""
    host = os.environ.get("PREFECT_SERVER_API_HOST", "127.0.0.1")
    # A server that listens on every address is reached on this machine's own.
    host = "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104  (compared, not bound)
    return f"http://{host}:{os.environ.get('PREFECT_SERVER_API_PORT', DEFAULT_PORT)}/api"


def write_api_url(url: str) -> None:
    """Leave the address for `running_api_url`."""
    _address_file().write_text(url)


def forget_api_url() -> None:
    """Take the address away; nothing happens where there is none."""
    _address_file().unlink(missing_ok=True)


def running_api_url() -> str | None:
    """The address of the server that `labelmill up` started, while it answers."""
    try:
        url = _address_file().read_text().strip()
    except OSError:
        return None
    return url if server().pid() is not None and answers(url, BUSY_SECONDS) else None


def client_settings(api_url: str) -> dict[str, str]:
    """What Prefect is told of a server that `labelmill up` started.

    Prefect's own links lead to its old pages; the UI that opens by itself is below `/v2`.
    """
    page = os.environ.get("PREFECT_UI_URL") or f"{api_url.removesuffix('/api')}/v2"
    return {"PREFECT_API_URL": api_url, "PREFECT_UI_URL": page}


def use_running_server() -> None:
    """Have Prefect talk to the server that `labelmill up` started, while it answers and the user names no other.

    It goes into the environment, where Prefect reads it when it is imported: temporary settings don't reach all of its
    threads, and one that knows no address starts a temporary server of its own.
    """
    if not os.environ.get("PREFECT_API_URL") and (url := running_api_url()):
        os.environ.update(client_settings(url))


def is_running_server() -> bool:
    """Whether Prefect talks to the server that `labelmill up` started."""
    url = running_api_url()
    return url is not None and os.environ.get("PREFECT_API_URL") == url


def answers(api_url: str, within_seconds: float = HEALTH_SECONDS) -> bool:
    """Whether a Prefect server says at that address that it is well."""
    try:
        with _OPENER.open(f"{api_url}/health", timeout=within_seconds) as response:
            return bool(response.status == 200)  # noqa: PLR2004  (HTTP's own number)
    except (OSError, ValueError):
        return False


def _address_file() -> Path:
    return folder() / "api-url"
