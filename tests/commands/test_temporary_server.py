"""The temporary server of a local run: it shares nothing with the one of `labelmill up`, or with a server of the user's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from commands.prefect_setup import server_environment

LABELMILL = Path(sys.executable).parent / "labelmill"


@pytest.mark.usefixtures("prefect_server")
def test_its_database_is_its_own():
    """It lies below PREFECT_HOME, in a folder of its own: the home's own database is that of `labelmill up`."""
    home = Path(os.environ["PREFECT_HOME"])
    assert (home / "temporary-server" / "prefect.db").exists()


@pytest.mark.usefixtures("prefect_server")
def test_what_it_says_is_in_its_log():
    """A server that is stopped amid its work complains: in its own file, and not in the terminal of a run that went well."""
    home = Path(os.environ["PREFECT_HOME"])
    assert (home / "temporary-server" / "server.log").exists()


@pytest.mark.parametrize(
    "setting",
    [
        "PREFECT_SERVER_DATABASE_CONNECTION_URL",
        "PREFECT_API_DATABASE_CONNECTION_URL",
        "PREFECT_SERVER_DATABASE_PASSWORD",
        "PREFECT_SERVER_API_AUTH_STRING",
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED",
        "PREFECT_PROFILES_PATH",
    ],
)
def test_settings_of_the_users_server_are_not_its_settings(setting):
    """A database, a password and profiles are another server's; everything else reaches it, with a home of its own."""
    given = {
        setting: "the user's",
        "PREFECT_HOME": "/home/of/up",
        "PREFECT_SERVER_LOGGING_LEVEL": "DEBUG",
        "PATH": "/bin",
    }
    told = server_environment(given, Path("/home/of/up"))
    assert setting not in told
    assert told["PREFECT_HOME"] == "/home/of/up/temporary-server"
    assert (told["PREFECT_SERVER_LOGGING_LEVEL"], told["PATH"]) == ("DEBUG", "/bin")


def test_a_limit_that_is_shared_needs_a_server(tmp_path, write_texts):
    """Where no server is up, a job that shares a limit is refused before one is started: it would share it with nobody."""
    write_texts(["football", "bank"])
    (tmp_path / "job.toml").write_text(
        """
name = "shared"
source = { path = "source.parquet", text = "text" }
labels = { sport = "football", money = "bank" }
model = { provider = "practice", name = "gpt-4o-mini" }
run = { shared_limit = "llm" }
output = { path = "out" }
"""
    )
    done = subprocess.run(
        [LABELMILL, "run", "job.toml"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert (
        "error run.shared_limit: found 'llm', a limit of a Prefect server, and no server is up" in done.stderr
    )
    assert "starting Prefect" not in done.stderr
