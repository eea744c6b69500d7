"""What every test stands on: no key, no network but loopback, no state outside its own folder."""

import ipaddress
import os
import socket
import tempfile

import polars as pl
import pytest

from commands.prefect_setup import prefect_api, prepare_environment
from labelmill.job.model import LabelJob
from labelmill.practice import start_practice

# Prefect reads its settings when it is imported, which collecting the tests already does.
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="labelmill-tests-")
os.environ["PREFECT_LOGGING_LEVEL"] = "WARNING"
os.environ.pop("PREFECT_API_URL", None)
os.environ.pop("PREFECT_PROFILE", None)
prepare_environment(quiet=True)

KEY_MARKS = ("_API_KEY", "_TOKEN", "_SECRET")


@pytest.fixture(autouse=True, scope="session")
def _no_spending():
    """Take every key out of the environment and let no socket connect beyond this machine."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.endswith(KEY_MARKS) or name.startswith(("OPENAI_", "LANGSMITH_", "LANGCHAIN_")):
                patch.delenv(name)
        connect, connect_ex = socket.socket.connect, socket.socket.connect_ex
        patch.setattr(socket.socket, "connect", lambda self, address: connect(self, _allowed(self, address)))
        patch.setattr(
            socket.socket, "connect_ex", lambda self, address: connect_ex(self, _allowed(self, address))
        )
        yield


def _allowed(opened, address):
    if opened.family == socket.AF_UNIX:
        return address
    host = address[0]
    if host == "localhost" or ipaddress.ip_address(host).is_loopback:
        return address
    raise AssertionError(f"a test tried to reach {host}, which is not this machine")


@pytest.fixture(scope="session")
def practice():
    """One practice provider for the session; tests reset it and set it up as they need."""
    with start_practice() as server:
        yield server


@pytest.fixture(scope="session")
def prefect_server():
    """One temporary Prefect server for the session; yields its API address."""
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings  # noqa: PLC0415

    # A sync flow run waits a second for its heartbeat thread.
    with prefect_api() as url, temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield url


@pytest.fixture
def write_texts(tmp_path):
    """Write a list of texts as the source of `job_of`'s job."""

    def write(texts, name="source.parquet"):
        frame = pl.DataFrame(
            {"id": range(len(texts)), "text": texts}, schema={"id": pl.Int64, "text": pl.String}
        )
        frame.write_parquet(tmp_path / name)
        return frame

    return write


@pytest.fixture
def job_of(tmp_path):
    """Build a job over two English labels: `job_of(source="...", model={...}, run={...})`."""

    def build(**sections):
        values = {
            "name": "test",
            "source": {"path": str(tmp_path / "source.parquet"), "text": "text"},
            "labels": {"sport": "football, match, team", "money": "bank, market, price"},
            "model": {"provider": "practice", "name": "gpt-4o-mini"},
            "output": {"path": str(tmp_path / "out")},
        }
        for name, value in sections.items():
            known = values.get(name)
            values[name] = {**known, **value} if isinstance(known, dict) and name != "labels" else value
        return LabelJob.model_validate(values)

    return build
