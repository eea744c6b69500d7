"""Prefect without help: the settings that Labelmill needs of it, and the server that there is.

Nothing here imports Prefect before its settings stand in the environment, which is where it reads them.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from commands.local_server import use_running_server
from labelmill.errors import JobRefused, Mistake
from labelmill.job.model import LabelJob
from labelmill.providers.environment import bypass_proxies

PROJECT = Path(__file__).resolve().parent.parent

SHARED_LIMIT = "labelmill"
"""The global concurrency limit that `labelmill up` makes, for jobs that share one."""

SETTINGS = {
    # A run without a server takes its steps in its own process: nothing of ours is to start one unseen.
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
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
    """Fill in what the user has not set; `quiet` keeps log lines out of a progress bar's way.

    Servers on this machine are reached past any proxy, by Prefect's clients too.
    """
    if (PROJECT / "pyproject.toml").is_file():
        os.environ.setdefault("PREFECT_HOME", str(PROJECT / ".prefect"))
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    if quiet:
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    bypass_proxies(os.environ)


def server_address() -> str | None:
    """The address of the Prefect server that runs are shown on; None where there is none, and a run needs none.

    It is the user's own (`PREFECT_API_URL`, or what Prefect's files say), or that of `labelmill up` while it answers.
    """
    use_running_server()
    if told := os.environ.get("PREFECT_API_URL"):
        return told
    if not any(map(_may_name_a_server, _settings_files())):
        return None
    from prefect.settings import PREFECT_API_URL  # noqa: PLC0415  (importing Prefect takes a second)

    return PREFECT_API_URL.value() or None


def _settings_files() -> Iterator[Path]:
    """The files that Prefect takes its settings from, beside the environment."""
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    profiles = os.environ.get("PREFECT_PROFILES_PATH")
    yield from (Path(".env"), Path("prefect.toml"), Path("pyproject.toml"))
    yield Path(profiles) if profiles else home / "profiles.toml"


_NAMING = {".env": ("prefect_api_url", "prefect_profiles_path"), "pyproject.toml": ("tool.prefect",)}
"""What a file says, in small letters, that may name a server; any word of Prefect's own files may."""


def _may_name_a_server(path: Path) -> bool:
    """Whether Prefect has to be asked what a file of settings says."""
    words = ""
    with suppress(OSError):
        words = path.read_text(encoding="utf-8", errors="replace").casefold()
    return any(word in words for word in _NAMING.get(path.name, ("url", "profiles_path")))


def refuse_limit_without_server(job: LabelJob) -> None:
    """Refuse a job that shares a limit of a server, where there is none: it would share it with nobody.

    The limit that `labelmill up` makes is no reason to refuse: while that server is not up, no other run holds a slot of it.

    Raises:
        JobRefused: it names another limit.
    """
    name = job.run.shared_limit
    if name not in {None, SHARED_LIMIT}:
        sentence = (
            f"found {name!r}, a limit of a Prefect server, and no server is up; start one with `labelmill up` and "
            "make the limit there, set PREFECT_API_URL to yours, or take the field out for a run by itself"
        )
        raise JobRefused([Mistake("run.shared_limit", sentence)])
